"""LLVM IR for single operations, on scalars and on vectors of any width.

The text is written directly: it is what one reads when a kernel is wrong, and the fastest input
that LLVM takes. `Code` is a piece of a function under construction; `Builder` appends to one the
instructions of one operation. A value is wider than the machine's registers on purpose (32 lanes of
f32 are four AVX2 registers): LLVM splits it, which is the unrolling. `loops` decides what is
evaluated where.

How types look in registers: bf16 and 8-bit floats are their bits as an integer, a complex number
two values, a bool i1 (i8 in memory). What a comparison of vectors gives is kept as a `mask`,
integers 0 or -1 as wide as what was compared, unless the target has mask registers: LLVM packs
vectors of i1 into bytes for every `and` and unpacks them for every `select`.
"""

from __future__ import annotations

import math
import struct
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .ir import BF16, BOOL, F16, F32, F64, FLOAT8, I32, I64, U8, U16, U32, U64, DType, Expr

PTR = DType("ptr", "p", 64)
BYTE = DType("byte", "u", 8)
INVERSE_BITS = 48  # of 64-bit integers that are divided through a reciprocal


@dataclass(frozen=True)
class Target:
    """The machine that code is emitted for. Any target that LLVM has can be emitted on any host."""

    triple: str
    cpu: str
    features: str = ""

    @property
    def mask_registers(self) -> bool:
        return self.cpu == "x86-64-v4" or "+avx512vl" in self.features.split(",")


AVX2 = Target("x86_64-unknown-linux-gnu", "x86-64-v3")
AVX512 = Target("x86_64-unknown-linux-gnu", "x86-64-v4")
SSE = Target("x86_64-unknown-linux-gnu", "x86-64")
NEON = Target("aarch64-unknown-linux-gnu", "cortex-a76")


class Value(typing.NamedTuple):
    """An SSA name or a literal; complex values have `parts` (re, im) instead.

    A bool with `mask` bits is an integer of that size, 0 or -1.
    """

    text: str
    dtype: DType
    lanes: int = 1
    literal: bool = False
    parts: tuple[Value, ...] = ()
    mask: int = 0


@dataclass
class Code:
    """A sequence of instructions; `label` is the basic block that its end is in."""

    label: str
    lines: list[str] = field(default_factory=list)

    def emit(self, line: str) -> None:
        self.lines.append("  " + line)

    def enter(self, label: str) -> None:
        self.lines.append(label + ":")
        self.label = label


def held_as_bits(dtype: DType) -> bool:
    """Whether a float is the integer of its bits in registers."""
    return dtype is BF16 or dtype in FLOAT8


def register_type(dtype: DType, lanes: int = 1) -> str:
    if dtype is BOOL:
        element = "i1"
    elif dtype.kind == "p":
        element = "ptr"
    elif dtype.kind == "f" and not held_as_bits(dtype):
        element = {16: "half", 32: "float", 64: "double"}[dtype.bits]
    else:
        element = f"i{dtype.bits}"
    return element if lanes == 1 else f"<{lanes} x {element}>"


def memory_dtype(dtype: DType) -> DType:
    return U8 if dtype is BOOL else dtype


def suffix(dtype: DType, lanes: int) -> str:
    """The type as intrinsics' names spell it: v8f32."""
    kind = "f" if dtype.kind == "f" and not held_as_bits(dtype) else "i"
    element = "p0" if dtype.kind == "p" else f"{kind}{1 if dtype is BOOL else dtype.bits}"
    return element if lanes == 1 else f"v{lanes}{element}"


def type_of(v: Value) -> str:
    return f"<{v.lanes} x i{v.mask}>" if v.mask else register_type(v.dtype, v.lanes)


def typed(v: Value) -> str:
    return f"{type_of(v)} {v.text}"


def literal(value: Any, dtype: DType, lanes: int = 1) -> Value:
    """A constant from a Python number."""
    if dtype.kind == "c":
        z = complex(value)
        parts = literal(z.real, dtype.real, lanes), literal(z.imag, dtype.real, lanes)
        return Value("", dtype, lanes, True, parts)
    if dtype is BOOL:
        text = "true" if value else "false"
    elif dtype is F32 or dtype is F64:
        text = _hex_float(float(value), dtype)
    elif dtype is F16:
        text = "0xH" + struct.pack(">e", _clip_half(float(value))).hex().upper()
    elif dtype is BF16:
        text = str(_bf16_bits(float(value)))
    else:
        bits = int(value) & ((1 << dtype.bits) - 1)
        text = str(
            bits - (1 << dtype.bits) if dtype.kind == "i" and bits >> (dtype.bits - 1) else bits
        )
    if lanes > 1:
        text = f"splat ({register_type(dtype)} {text})"
    return Value(text, dtype, lanes, True)


def is_true(v: Value) -> bool:
    """Whether a bool is known to hold in every lane."""
    return v.literal and not v.mask and "true" in v.text


def _hex_float(value: float, dtype: DType) -> str:
    if dtype is F32:
        value = round_f32(value)
    return "0x" + struct.pack(">d", value).hex().upper()


def round_f32(value: float) -> float:
    try:
        return struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)


def _clip_half(value: float) -> float:
    return math.copysign(math.inf, value) if abs(value) >= 65520 else value


def _bf16_bits(value: float) -> int:
    if value != value:
        return 0x7FC0
    bits = struct.unpack("I", struct.pack("f", round_f32(value)))[0]
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) & 0xFFFF


_FLOAT_BINARY = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv", "frem": "frem"}
_INT_BINARY = {op: op for op in ("add", "sub", "mul", "and", "or", "xor")}
_BOOL_BINARY = {"add": "or", "mul": "and", "sub": "xor", "and": "and", "or": "or", "xor": "xor",
                "max": "or", "min": "and", "ne": "xor"}  # fmt: skip
_FLOAT_COMPARE = {"lt": "olt", "le": "ole", "eq": "oeq", "ne": "une"}
_FLOAT_UNARY = {"sqrt": "sqrt", "floor": "floor", "ceil": "ceil", "trunc": "trunc",
                "rint": "roundeven", "abs": "fabs"}  # fmt: skip


class Builder:
    """Appends instructions to a `Code`; names and declarations are unique in the module.

    `flag` is where errors that depend on the data are reported: called as
    `flag(code, condition, bit)`.
    """

    def __init__(self, target: Target, flag: Callable[[Code, Value, int], None]) -> None:
        self.masks = not target.mask_registers
        self.count = 0
        self.tables: dict[tuple[float, ...], str] = {}
        self.declarations: dict[str, str] = {}
        self.flag = flag

    def name(self) -> str:
        self.count += 1
        return f"%v{self.count}"

    def block(self) -> str:
        self.count += 1
        return f"b{self.count}"

    def let(self, code: Code, dtype: DType, lanes: int, instruction: str) -> Value:
        name = self.name()
        code.emit(f"{name} = {instruction}")
        return Value(name, dtype, lanes)

    def call(self, code: Code, function: str, dtype: DType, lanes: int, *args: Value) -> Value:
        """Calls `llvm.<function>`."""
        args = tuple(self.plain(code, a) for a in args)
        result = register_type(dtype, lanes)
        types = ", ".join(map(type_of, args))
        self.declarations[function] = f"declare {result} @llvm.{function}({types})"
        texts = ", ".join(map(typed, args))
        return self.let(code, dtype, lanes, f"call {result} @llvm.{function}({texts})")

    def intrinsic(self, code: Code, base: str, v: Value, *more: Value) -> Value:
        return self.call(code, f"{base}.{suffix(v.dtype, v.lanes)}", v.dtype, v.lanes, v, *more)

    # Vectors

    def splat(self, code: Code, v: Value, lanes: int) -> Value:
        if v.lanes == lanes:
            return v
        assert v.lanes == 1, (v, lanes)
        if v.parts:
            return self.pair(v.dtype, *(self.splat(code, p, lanes) for p in v.parts))
        if v.literal:
            return v._replace(text=f"splat ({typed(v)})", lanes=lanes)
        ty = register_type(v.dtype, lanes)
        one = self.let(code, v.dtype, lanes, f"insertelement {ty} poison, {typed(v)}, i64 0")
        return self.shuffle(code, one, [0] * lanes)

    def pair(self, dtype: DType, *parts: Value) -> Value:
        """A complex value of its (re, im)."""
        return Value("", dtype, parts[0].lanes, all(p.literal for p in parts), parts)

    def shuffle(self, code: Code, v: Value, order: list[int], other: Value | None = None) -> Value:
        """Lanes of v, then of `other`, in the given order. One lane: a scalar."""
        if v.parts:
            more = other.parts if other else (None, None)
            parts = (self.shuffle(code, p, order, q) for p, q in zip(v.parts, more, strict=True))
            return self.pair(v.dtype, *parts)
        v = self.plain(code, v)
        if len(order) == 1:
            return self.let(code, v.dtype, 1, f"extractelement {typed(v)}, i64 {order[0]}")
        second = typed(other) if other else f"{type_of(v)} poison"
        mask = "<" + ", ".join(f"i32 {i}" for i in order) + ">" if any(order) else "zeroinitializer"
        text = f"shufflevector {typed(v)}, {second}, <{len(order)} x i32> {mask}"
        return self.let(code, v.dtype, len(order), text)

    def iota(self, dtype: DType, lanes: int, step: int = 1) -> Value:
        """0, step, 2 step ..."""
        ty = register_type(dtype)
        text = "<" + ", ".join(f"{ty} {i * step}" for i in range(lanes)) + ">"
        return Value(text if lanes > 1 else "0", dtype, lanes, True)

    # Memory. A lane that is masked off is never read or written.

    def gep(self, code: Code, pointer: Value, element: DType, offset: Value) -> Value:
        """pointer + offset elements; a complex element counts as one."""
        if offset.literal and offset.lanes == 1 and offset.text == "0":
            return pointer
        size = (
            f"[2 x {register_type(element.real)}]"
            if element.kind == "c"
            else register_type(memory_dtype(element))
        )
        text = f"getelementptr {size}, {typed(pointer)}, {typed(offset)}"
        return self.let(code, PTR, max(pointer.lanes, offset.lanes), text)

    def from_memory(self, code: Code, v: Value, dtype: DType) -> Value:
        if dtype is not BOOL:
            return v
        return self.let(code, BOOL, v.lanes, f"icmp ne {typed(v)}, {literal(0, U8, v.lanes).text}")

    def to_memory(self, code: Code, v: Value) -> Value:
        return self.convert(code, "zext", self.plain(code, v), U8) if v.dtype is BOOL else v

    def load(self, code: Code, pointer: Value, dtype: DType, lanes: int) -> Value:
        """Consecutive elements from a scalar pointer, or one from each pointer of a vector."""
        if pointer.lanes > 1:
            return self.gather(code, pointer, dtype, literal(True, BOOL, lanes))
        if dtype.kind == "c":
            both = self.load(code, pointer, dtype.real, 2 * lanes)
            parts = (self.shuffle(code, both, list(range(i, 2 * lanes, 2))) for i in (0, 1))
            return self.pair(dtype, *parts)
        memory = memory_dtype(dtype)
        align = memory.bits // 8
        text = f"load {register_type(memory, lanes)}, {typed(pointer)}, align {align}"
        return self.from_memory(code, self.let(code, memory, lanes, text), dtype)

    def store(self, code: Code, pointer: Value, v: Value) -> None:
        if v.parts:
            if pointer.lanes > 1:
                for p, q in zip(self._parts(code, pointer, v.dtype), v.parts, strict=True):
                    self.store(code, p, q)
                return
            both = self.interleave(code, *v.parts)
            return self.store(code, pointer, both)
        if pointer.lanes > 1:
            return self.scatter(code, pointer, v, literal(True, BOOL, v.lanes))
        v = self.to_memory(code, v)
        code.emit(f"store {typed(v)}, {typed(pointer)}, align {v.dtype.bits // 8}")

    def prefetch(self, code: Code, pointer: Value) -> None:
        """A hint: any address will do."""
        self.declarations["prefetch"] = "declare void @llvm.prefetch.p0(ptr, i32, i32, i32)"
        code.emit(f"call void @llvm.prefetch.p0({typed(pointer)}, i32 0, i32 3, i32 1)")

    def interleave(self, code: Code, a: Value, b: Value) -> Value:
        n = a.lanes
        if n > 1:
            return self.shuffle(code, a, [i for k in range(n) for i in (k, n + k)], b)
        v = Value("poison", a.dtype, 2)
        for i, x in enumerate((a, b)):
            v = self.let(code, a.dtype, 2, f"insertelement {typed(v)}, {typed(x)}, i64 {i}")
        return v

    def _parts(self, code: Code, pointer: Value, dtype: DType) -> tuple[Value, Value]:
        return pointer, self.gep(code, pointer, dtype.real, literal(1, I64))

    def gather(
        self, code: Code, pointers: Value, dtype: DType, mask: Value, default: Value | None = None
    ) -> Value:
        """One element from each pointer where `mask` holds; elsewhere `default` or anything."""
        lanes = pointers.lanes
        if dtype.kind == "c":
            defaults = default.parts if default else (None, None)
            pairs = zip(self._parts(code, pointers, dtype), defaults, strict=True)
            return self.pair(dtype, *(self.gather(code, p, dtype.real, mask, d) for p, d in pairs))
        memory = memory_dtype(dtype)
        rest = self.to_memory(code, default) if default else Value("poison", memory, lanes)
        name = f"masked.gather.{suffix(memory, lanes)}.v{lanes}p0"
        align = literal(memory.bits // 8, I32)
        v = self.call(code, name, memory, lanes, pointers, align, mask, rest)
        return self.from_memory(code, v, dtype)

    def masked_load(
        self, code: Code, pointer: Value, dtype: DType, mask: Value, default: Value
    ) -> Value:
        """Consecutive elements where `mask` holds, `default` elsewhere."""
        lanes = mask.lanes
        if dtype.kind == "c":
            pointers = self.gep(code, pointer, dtype, self.iota(I64, lanes))
            return self.gather(code, pointers, dtype, mask, default)
        memory = memory_dtype(dtype)
        name = f"masked.load.{suffix(memory, lanes)}.p0"
        rest = self.to_memory(code, default)
        align = literal(memory.bits // 8, I32)
        v = self.call(code, name, memory, lanes, pointer, align, mask, rest)
        return self.from_memory(code, v, dtype)

    def scatter(self, code: Code, pointers: Value, v: Value, mask: Value) -> None:
        """Stores lane by lane, in order, where `mask` holds."""
        if v.parts:
            for p, q in zip(self._parts(code, pointers, v.dtype), v.parts, strict=True):
                self.scatter(code, p, q, mask)
            return
        v, mask = self.to_memory(code, v), self.plain(code, mask)
        name = f"masked.scatter.{suffix(v.dtype, v.lanes)}.v{v.lanes}p0"
        self._masked_store(code, name, v, pointers, mask)

    def masked_store(self, code: Code, pointer: Value, v: Value, mask: Value) -> None:
        if v.parts:
            pointers = self.gep(code, pointer, v.dtype, self.iota(I64, v.lanes))
            return self.scatter(code, pointers, v, mask)
        v, mask = self.to_memory(code, v), self.plain(code, mask)
        self._masked_store(code, f"masked.store.{suffix(v.dtype, v.lanes)}.p0", v, pointer, mask)

    def _masked_store(self, code: Code, name: str, v: Value, pointer: Value, mask: Value) -> None:
        args = (v, pointer, literal(v.dtype.bits // 8, I32), mask)
        types, texts = (", ".join(map(f, args)) for f in (type_of, typed))
        self.declarations[name] = f"declare void @llvm.{name}({types})"
        code.emit(f"call void @llvm.{name}({texts})")

    # Arithmetic. Operands have equal lanes and, unless said otherwise, equal types.

    def convert(self, code: Code, instruction: str, v: Value, to: DType) -> Value:
        return self.let(
            code, to, v.lanes, f"{instruction} {typed(v)} to {register_type(to, v.lanes)}"
        )

    def binary(self, code: Code, instruction: str, a: Value, b: Value) -> Value:
        return self.let(code, a.dtype, a.lanes, f"{instruction} {typed(a)}, {b.text}")

    def compare(self, code: Code, op: str, a: Value, b: Value) -> Value:
        if a.dtype.kind == "f":
            text = f"fcmp {_FLOAT_COMPARE[op]}"
        else:
            sign = "s" if a.dtype.kind == "i" else "u"
            text = f"icmp {sign + op if op in ('lt', 'le') else op}"
        v = self.let(code, BOOL, a.lanes, f"{text} {typed(a)}, {b.text}")
        wide = self.masks and a.lanes > 1 and a.dtype is not BOOL
        return self.as_mask(code, v, a.dtype.bits) if wide else v

    def plain(self, code: Code, v: Value) -> Value:
        """A bool as i1; anything else itself."""
        if not v.mask:
            return v
        return self.let(code, BOOL, v.lanes, f"icmp slt {typed(v)}, zeroinitializer")

    def as_mask(self, code: Code, v: Value, bits: int) -> Value:
        """A vector of bools as integers of this size; 0 for i1."""
        if v.mask == bits:
            return v
        if not bits:
            return self.plain(code, v)
        if v.literal:
            number = -1 if "true" in v.text else 0
            return Value(f"splat (i{bits} {number})", BOOL, v.lanes, True, (), bits)
        instruction = "trunc" if v.mask > bits else "sext"
        text = f"{instruction} {typed(v)} to <{v.lanes} x i{bits}>"
        return self.let(code, BOOL, v.lanes, text)._replace(mask=bits)

    def select(self, code: Code, cond: Value, a: Value, b: Value) -> Value:
        if a.parts:
            pairs = zip(a.parts, b.parts, strict=True)
            return self.pair(a.dtype, *(self.select(code, cond, p, q) for p, q in pairs))
        if a.mask or b.mask:
            yes = self.logic(code, "and", cond, a)
            inverse = self.logic(code, "xor", cond, literal(True, BOOL, cond.lanes))
            return self.logic(code, "or", yes, self.logic(code, "and", inverse, b))
        cond = self.plain(code, cond)
        return self.let(code, a.dtype, a.lanes, f"select {typed(cond)}, {typed(a)}, {typed(b)}")

    def logic(self, code: Code, op: str, a: Value, b: Value) -> Value:
        """and, or, xor of bools."""
        if op == "and" and (is_true(a) or is_true(b)):
            return b if is_true(a) else a
        bits = min(a.mask or 64, b.mask or 64) if a.mask or b.mask else 0
        a, b = self.as_mask(code, a, bits), self.as_mask(code, b, bits)
        return self.let(code, BOOL, a.lanes, f"{op} {typed(a)}, {b.text}")._replace(mask=bits)

    def any(self, code: Code, v: Value) -> Value:
        return v if v.lanes == 1 else self.call(code, f"vector.reduce.or.v{v.lanes}i1", BOOL, 1, v)

    def all(self, code: Code, v: Value) -> Value:
        if v.lanes == 1:
            return self.plain(code, v)
        return self.call(code, f"vector.reduce.and.v{v.lanes}i1", BOOL, 1, v)

    def operation(self, code: Code, e: Expr, args: list[Value]) -> Value:
        """The instructions of one arithmetic node."""
        op, a = e.op, args[0]
        lanes = a.lanes
        if op == "cast":
            return self.cast(code, a, e.dtype)
        if op == "bitcast":
            return self.convert(code, "bitcast", a, e.dtype)
        if op == "where":
            return self.select(code, *args)
        if op == "table":
            return self._table(code, e, a)
        if op == "complex":
            return self.pair(e.dtype, a, args[1])
        if op in ("re", "im"):
            return (
                a.parts[op == "im"]
                if a.parts
                else (a if op == "re" else literal(0, a.dtype, lanes))
            )
        if a.parts:
            return self._complex(code, op, args)
        if a.dtype is BOOL:
            return self._bool(code, op, args)
        if op in _FLOAT_COMPARE:
            return self.compare(code, op, a, args[1])
        if op in ("min", "max"):
            first, second = (a, args[1]) if op == "min" else (args[1], a)
            return self.select(code, self.compare(code, "lt", first, second), a, args[1])
        return (self._float if a.dtype.kind == "f" else self._integer)(code, op, args)

    def _table(self, code: Code, e: Expr, index: Value) -> Value:
        name = self.tables.setdefault(e.arg, f"@table{len(self.tables)}")
        return self.load(code, self.gep(code, Value(name, PTR), F64, index), F64, index.lanes)

    def constants(self) -> list[str]:
        """The module's tables."""
        return [
            f"{name} = private constant [{len(values)} x double] "
            f"[{', '.join(typed(literal(v, F64)) for v in values)}]"
            for values, name in self.tables.items()
        ]

    def _bool(self, code: Code, op: str, args: list[Value]) -> Value:
        if op in ("not", "eq"):
            a = args[0] if op == "not" else self.logic(code, "xor", *args)
            return self.logic(code, "xor", a, literal(True, BOOL, a.lanes))
        if op in ("lt", "le"):
            return self.compare(code, op, *(self.plain(code, a) for a in args))
        if op in ("abs", "neg"):
            return args[0]
        if op not in _BOOL_BINARY:
            raise NotImplementedError(f"codegen: no instruction for {op} of bool")
        return self.logic(code, _BOOL_BINARY[op], *args)

    def _float(self, code: Code, op: str, args: list[Value]) -> Value:
        if op in _FLOAT_BINARY:
            return self.binary(code, _FLOAT_BINARY[op], *args)
        if op == "neg":
            return self.let(code, args[0].dtype, args[0].lanes, f"fneg {typed(args[0])}")
        return self.intrinsic(code, _FLOAT_UNARY.get(op, op), *args)

    def _integer(self, code: Code, op: str, args: list[Value]) -> Value:
        a = args[0]
        dtype, lanes = a.dtype, a.lanes
        if op in _INT_BINARY:
            return self.binary(code, op, *args)
        if op == "neg":
            return self.binary(code, "sub", literal(0, dtype, lanes), a)
        if op == "not":
            return self.binary(code, "xor", a, literal(-1, dtype, lanes))
        if op in ("shl", "shr"):
            return self._shift(code, op, *args)
        if op == "idiv":
            return self._divide(code, *args)
        no = literal(False, BOOL)
        if op == "abs":
            return a if dtype.kind == "u" else self.intrinsic(code, "abs", a, no)
        if op == "popcount":
            return self.intrinsic(code, "ctpop", a)
        if op == "clz":
            return self.intrinsic(code, "ctlz", a, no)
        raise NotImplementedError(f"codegen: no instruction for {op} of {dtype}")

    def _shift(self, code: Code, op: str, a: Value, n: Value) -> Value:
        """A count outside 0..bits-1 shifts everything out (LLVM leaves it undefined)."""
        dtype, lanes = a.dtype, a.lanes
        unsigned = n._replace(dtype=U64 if dtype.bits == 64 else DType("", "u", dtype.bits))
        last = literal(dtype.bits - 1, unsigned.dtype, lanes)
        inside = self.compare(code, "le", unsigned, last)
        n = self.select(code, inside, n, last._replace(dtype=dtype))
        if op == "shr" and dtype.kind == "i":
            return self.binary(code, "ashr", a, n)
        shifted = self.binary(code, "shl" if op == "shl" else "lshr", a, n)
        return self.select(code, inside, shifted, literal(0, dtype, lanes))

    def _divide(self, code: Code, a: Value, b: Value) -> Value:
        """Truncating division that can't trap: by zero sets a flag and divides by one."""
        if a.lanes > 1 and a.dtype.bits == 64:
            return self.divide_long(code, a, b)
        b = self._divisor(code, a, b)
        if a.lanes == 1:
            return self._divide_each(code, a, b)
        # No vector unit divides integers. A quotient of n-bit integers is at least 2^-n (relative)
        # away from the next integer, so that one rounded to more bits than that truncates right.
        wide = F32 if a.dtype.bits <= 16 else F64
        q = self.binary(code, "fdiv", self.cast(code, a, wide), self.cast(code, b, wide))
        return self.cast(code, q, a.dtype)

    def _divisor(self, code: Code, a: Value, b: Value) -> Value:
        dtype, lanes = a.dtype, a.lanes
        bad = self.compare(code, "eq", b, literal(0, dtype, lanes))
        self.flag(code, bad, 1)
        if dtype.kind == "i":
            # The smallest number divided by -1 overflows; wrapped, it is itself, as divided by 1.
            smallest = literal(-(1 << (dtype.bits - 1)), dtype, lanes)
            overflow = self.logic(
                code,
                "and",
                self.compare(code, "eq", a, smallest),
                self.compare(code, "eq", b, literal(-1, dtype, lanes)),
            )
            bad = self.logic(code, "or", bad, overflow)
        return self.select(code, bad, literal(1, dtype, lanes), b)

    def _divide_each(self, code: Code, a: Value, b: Value) -> Value:
        return self.binary(code, "sdiv" if a.dtype.kind == "i" else "udiv", a, b)

    def divide_long(self, code: Code, a: Value, b: Value, inverse: Value | None = None) -> Value:
        """64-bit integers as doubles; lane by lane if one has over 51 bits, or divides by zero.

        With the `inverse` of all b (see `evaluate`), if an a has over `INVERSE_BITS`.
        """
        dtype, lanes = a.dtype, a.lanes
        bits, far = (51, [a, b]) if inverse is None else (INVERSE_BITS, [a])
        zero, half = literal(0, dtype, lanes), literal(1 << bits, dtype, lanes)
        if dtype.kind == "i":  # from -2**bits
            bits, far = bits + 1, [self.binary(code, "add", v, half) for v in far]
        high = far[0] if inverse else self.binary(code, "or", *far)
        high = self.binary(code, "lshr", high, literal(bits, dtype, lanes))
        hard = self.compare(code, "ne", high, zero)
        if inverse is None:
            hard = self.logic(code, "or", hard, self.compare(code, "eq", b, zero))
        each, exact, done = self.block(), self.block(), self.block()
        code.emit(f"br {typed(self.any(code, hard))}, label %{each}, label %{exact}")
        code.enter(each)
        slow = self._divide_each(code, a, self._divisor(code, a, b))
        code.emit(f"br label %{done}")
        code.enter(exact)
        # Doubles from 2**52 to 2**53 are the integers there: their bits count them.
        middle = literal(1.5 * 2.0**52, F64, lanes)
        offset = literal(struct.unpack("q", struct.pack("d", 1.5 * 2.0**52))[0], dtype, lanes)

        def double(v: Value) -> Value:
            v = self.convert(code, "bitcast", self.binary(code, "add", v, offset), F64)
            return self.binary(code, "fsub", v, middle)

        by, how = (double(b), "fdiv") if inverse is None else (inverse, "fmul")
        q = self.intrinsic(code, "trunc", self.binary(code, how, double(a), by))
        q = self.convert(code, "bitcast", self.binary(code, "fadd", q, middle), dtype)
        fast = self.binary(code, "sub", q, offset)
        code.emit(f"br label %{done}")
        code.enter(done)
        results = f"[ {slow.text}, %{each} ], [ {fast.text}, %{exact} ]"
        return self.let(code, dtype, lanes, f"phi {register_type(dtype, lanes)} {results}")

    def _complex(self, code: Code, op: str, args: list[Value]) -> Value:
        a = args[0]
        if op in ("eq", "ne"):
            parts = [
                self.compare(code, op, p, q) for p, q in zip(*(x.parts for x in args), strict=True)
            ]
            return self.logic(code, "and" if op == "eq" else "or", *parts)
        if op not in ("add", "sub", "neg"):
            raise NotImplementedError(f"codegen: complex {op} should have been lowered")
        pairs = zip(*(x.parts for x in args), strict=True)
        return self.pair(a.dtype, *(self._float(code, op, list(x)) for x in pairs))

    def cast(self, code: Code, v: Value, to: DType) -> Value:
        """Converts the value as C does; 16-bit floats round to nearest even, from f32."""
        source, lanes = v.dtype, v.lanes
        if source is to:
            return v
        if source.kind == "c":
            if to.kind == "c":
                return self.pair(to, *(self.cast(code, p, to.real) for p in v.parts))
            if to is BOOL:
                return self._complex(code, "ne", [v, literal(0, source, lanes)])
            return self.cast(code, v.parts[0], to)
        if to.kind == "c":
            return self.pair(to, self.cast(code, v, to.real), literal(0, to.real, lanes))
        if source is BF16:
            bits = self.convert(code, "zext", v._replace(dtype=U16), U32)
            bits = self.binary(code, "shl", bits, literal(16, U32, lanes))
            return self.cast(code, self.convert(code, "bitcast", bits, F32), to)
        if source is F16:
            return self.cast(code, self.convert(code, "fpext", v, F32), to)
        if to is BF16:
            return self._round_bf16(code, self.cast(code, v, F32))
        if to is F16:
            return self.convert(code, "fptrunc", self.cast(code, v, F32), F16)
        if to is BOOL:
            return self.compare(code, "ne", v, literal(0, source, lanes))
        if source is BOOL:
            if to.kind != "f":
                return self.convert(code, "zext", self.plain(code, v), to)
            return self.select(code, v, literal(1, to, lanes), literal(0, to, lanes))
        if source.kind == "f":
            if to.kind == "f":
                return self.convert(code, "fpext" if to.bits > source.bits else "fptrunc", v, to)
            if to is U64:
                return self.convert(code, "fptoui", v, U64)
            # Through a wider signed type: what is out of range wraps, as compiled C does.
            wide = I32 if to.bits < 32 or to is I32 else I64
            return self.cast(code, self.convert(code, "fptosi", v, wide), to)
        if to.kind == "f":
            return self.convert(code, "sitofp" if source.kind == "i" else "uitofp", v, to)
        if to.bits == source.bits:
            return v._replace(dtype=to)
        if to.bits < source.bits:
            return self.convert(code, "trunc", v, to)
        return self.convert(code, "sext" if source.kind == "i" else "zext", v, to)

    def _round_bf16(self, code: Code, v: Value) -> Value:
        lanes = v.lanes
        bits = self.convert(code, "bitcast", v, U32)
        high = self.binary(code, "lshr", bits, literal(16, U32, lanes))
        odd = self.binary(code, "and", high, literal(1, U32, lanes))
        half = self.binary(code, "add", odd, literal(0x7FFF, U32, lanes))
        rounded = self.binary(code, "lshr", self.binary(code, "add", bits, half),
                              literal(16, U32, lanes))  # fmt: skip
        nan = self.compare(code, "ne", v, v)
        rounded = self.select(code, nan, literal(0x7FC0, U32, lanes), rounded)
        return self.convert(code, "trunc", rounded, BF16)
