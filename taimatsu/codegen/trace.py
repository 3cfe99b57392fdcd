"""From a formula and the dtypes of its operands to a `Nest`.

`variant` calls the formula once with symbolic values and stores what it returns at the axes of
the op's kind:

    pointwise   y[a1, a0]              every operand has an element there
    row         y[k1, k0, r1, r0]      k: which row, r: along the row; a cell lacks r, a shared k
    indexed     y[the coordinates that the formula takes]
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from . import monoids, promote
from .ir import (
    C128,
    DTYPES,
    F64,
    FLOAT8,
    I64,
    Axis,
    Buffer,
    DType,
    Expr,
    Nest,
    Param,
    Store,
    axis,
    const,
    load,
    substitute,
    topological,
    transform,
)  # fmt: skip
from .lang import Context, Value, tracing
from .lang import value as as_value
from .operands import Accumulator, Operand
from .simplify import cast as cast_expr
from .simplify import node

if TYPE_CHECKING:
    from taimatsu.ops.schema import SchemaParam
    from taimatsu.ops.table import Op

    from .ptx import Launch
    from .schedule import Rows

# An operand for `variant`: (dtype name, "tensor" | "scalar" | "number"); None where absent. Of a
# number that is settled its value comes third.
OperandType = tuple[str, str] | tuple[str, str, float] | None


@dataclass(frozen=True)
class Variant:
    """An op for certain dtypes and static attributes: what the core asks for on a first call."""

    nest: Nest
    outputs: tuple[tuple[str, str], ...]  # (dtype, "row" | "cell" | "point")
    compute: str
    scalars: tuple[str, ...]  # "i", "f" or "c" for each
    zeroed: tuple[int, ...] = ()  # outputs that the core fills with zeros before the kernel
    over: int = 0  # indexed: the operand whose sizes the axes run over
    ranks: tuple[int, ...] = ()  # indexed: the rank of every operand

    @property
    def fails(self) -> bool:
        """Whether the kernel may meet elements that it refuses, after it has written others."""
        roots = [e for s in self.nest.stores for e in (s.value, *s.index, s.guard) if e is not None]
        return any(
            e.op == "check" or (e.op in ("idiv", "irem") and e.src[1].op != "const")
            for e in topological(roots)
        )

    def kernel(self, classes: tuple[str, ...], rows: Rows = "whole") -> tuple:
        """Machine code for a layout; see docs/layout.md for what the tuple holds."""
        from . import engine

        return engine.kernel(self.nest, classes, rows)

    def kernel_for(self, target: str, classes: tuple[str, ...], rows: Rows = "whole") -> Launch:
        """The kernel for a GPU ("sm_90"), and how it is launched: see `ptx.Launch`."""
        from . import ptx

        return ptx.kernel(self.nest, classes, target, rows)


@dataclass(frozen=True)
class Signature:
    """What a formula's parameters are: tensors first, then coordinates, then attributes."""

    positional: tuple[str, ...]
    attributes: frozenset[str] | None  # None: it takes any

    def wanted(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        if self.attributes is None:
            return dict(attributes)
        return {k: v for k, v in attributes.items() if k in self.attributes}


@cache
def signature(formula: Callable, ntensors: int) -> Signature:
    """How `formula` is called, for an op of `ntensors` tensor parameters.

    The names after the tensors are coordinates if the op is indexed, else attributes.
    """
    params = list(inspect.signature(formula).parameters.values())
    if any(p.kind is p.VAR_KEYWORD for p in params):
        return Signature((), None)
    if len(params) < ntensors:
        raise TypeError(
            f"{formula.__name__}: the schema has {ntensors} tensors, "
            f"the formula takes {len(params)} parameters; take every tensor"
        )
    named = frozenset(p.name for p in params[ntensors:])
    plain = tuple(p.name for p in params if p.kind is not p.KEYWORD_ONLY)
    return Signature(plain, named)


@dataclass
class Inputs:
    """The formula's arguments while they are being made, and the operands behind them."""

    buffers: list[Buffer] = field(default_factory=list)
    params: list[Param] = field(default_factory=list)
    scalars: list[str] = field(default_factory=list)
    slot: int = 0

    def scalar(self, name: str, t: DType) -> Expr:
        """A run-time number of 8 bytes (16 if complex) as a parameter of the kernel."""
        p = Param(name, t, self.slot)
        self.slot += 2 if t is C128 else 1
        self.params.append(p)
        self.scalars.append({"f": "f", "c": "c"}.get(t.kind, "i"))
        return Expr("param", (), p, t)


def scalar_type(compute: DType) -> DType:
    """What a number is passed to the kernel as."""
    return {"f": F64, "c": C128}.get(compute.kind, I64)


def common_type(
    op: Op, operands: tuple[OperandType, ...], statics: Mapping[str, Any], common: str | None
) -> DType:
    """What the operands meet in, before 16-bit floats widen; `common` if the caller knows it."""
    tensors = op.parsed.tensors
    present = [
        t
        for p, t in zip(tensors, operands, strict=True)
        if t is not None and p.type != "Index" and p.name not in op.keep
    ]
    if statics.get("dtype") is not None:
        promoted = DTYPES[statics["dtype"]]
    elif common is not None:
        promoted = DTYPES[common]
    elif op.promote == "none" or not present:
        kept = [t for t in operands if t is not None]
        promoted = DTYPES[kept[0][0]] if kept else promote.default_dtype()
    else:
        promoted = promote.result_type([t[:2] for t in present])
        if op.promote == "float" and promoted.integral:
            promoted = promote.default_dtype()
    for p, t in zip(tensors, operands, strict=True):
        wanted = op.keep_dtypes.get(p.name)
        if t is not None and wanted is not None and DTYPES[t[0]] not in wanted:
            raise RuntimeError(
                f"{op.name}: expected `{p.name}` to be {_one_of(wanted)}; got a tensor of "
                f"{promote.LONG_NAMES[t[0]]}; convert it, or compare it with something"
            )
    for p, t in zip(tensors, operands, strict=True):
        if t is not None and p.name in op.single:
            _check_single(op, p.name, t, promoted)
    if promoted in FLOAT8 and not op.storage:
        raise NotImplementedError(
            f"{op.name}: not defined for {promote.LONG_NAMES[promoted.name]}, which is for "
            "storage; convert to a wider type with .to(torch.float32)"
        )
    if op.dtypes is not None and promoted not in op.dtypes and promoted not in FLOAT8:
        given = ", ".join(promote.LONG_NAMES[t[0]] for t in operands if t is not None)
        raise op.refusal(
            f"{op.name}: not defined for {promote.LONG_NAMES[promoted.name]}; "
            f"given {given}; convert to one of {_one_of(op.dtypes)}"
        )
    return promoted


def _check_single(op: Op, name: str, t: tuple, promoted: DType) -> None:
    if DTYPES[t[0]].kind == "c" != promoted.kind:
        raise RuntimeError(
            f"{op.name}: value cannot be converted to type {promote.LONG_NAMES[promoted.name]} "
            f"without overflow; `{name}` is complex"
        )
    if t[1] == "tensor":
        raise RuntimeError(
            f"{op.name}: only supports a 0-dimensional {name} tensor; got one with dims; "
            "pick an element, or use where()"
        )


def _one_of(dtypes: frozenset[DType]) -> str:
    return ", ".join(sorted(promote.LONG_NAMES[t.name] for t in dtypes))


def make_axes(op: Op, statics: Mapping[str, Any], names: tuple[str, ...]) -> tuple[Axis, ...]:
    if op.kind == "pointwise":
        return Axis("a1"), Axis("a0")
    if op.kind == "row":
        return Axis("k1", "k"), Axis("k0", "k"), Axis("r1", "r"), Axis("r0", "r")
    return tuple(Axis(n) for n in names)


def single_dim(op: Op, statics: Mapping[str, Any]) -> bool:
    """Whether the rows of a row op run along exactly one dim, so that r1 isn't needed."""
    spec = op.row_spec
    if isinstance(spec, int):
        return True
    if isinstance(spec, tuple) and spec[0] == "trailing":
        sizes = statics.get(spec[1])
        return isinstance(sizes, tuple) and len(sizes) == 1
    if isinstance(spec, tuple) or spec == "all":
        return False
    p = next(p for p in op.parsed.params if p.name == spec)
    if p.length is None:
        return not (p.optional and statics.get(spec, 0) is None)
    dims = statics.get(spec)
    return isinstance(dims, tuple) and len(dims) == 1


def place(role: str | None, axes: tuple[Axis, ...], single: bool) -> tuple[Expr, ...]:
    """The index of an operand with `role` in a pointwise or row nest."""
    if role is None:
        return tuple(map(axis, axes))
    zero = const(0, I64)
    k1, k0, r1, r0 = map(axis, axes)
    kept = (zero, zero) if role == "shared" else (k1, k0)
    along = (zero, zero) if role == "cell" else (zero if single else r1, r0)
    return kept + along


ROLES = {"Row": "row", "Cell": "cell", "Shared": "shared", "Tensor": "row"}


def attributes(
    op: Op, statics: Mapping[str, Any], compute: DType, inputs: Inputs
) -> dict[str, Any]:
    """The op's attributes as the formula sees them: statics as they are, others as values."""
    found: dict[str, Any] = {}
    for p in op.parsed.attributes:
        if op.is_static(p):
            found[p.name] = statics.get(p.name)
        elif op.names_rows(p):
            continue  # the core's matter: the kernel isn't told
        elif p.optional and statics.get(p.name, 0) is None:
            found[p.name] = None
        elif p.length:
            found[p.name] = tuple(
                _number(inputs, f"{p.name}{i}", p, compute) for i in range(p.length)
            )
        else:
            found[p.name] = _number(inputs, p.name, p, compute)
    return found


def _number(inputs: Inputs, name: str, p: SchemaParam, compute: DType) -> Value:
    if p.type == "Number":
        return Value(cast_expr(inputs.scalar(name, scalar_type(compute)), compute))
    if p.type == "float":
        x = inputs.scalar(name, F64)
        return Value(x if compute.integral else cast_expr(x, compute.real))
    x = inputs.scalar(name, I64)
    return Value(node("ne", x, const(0, I64), dtype=DTYPES["bool"]) if p.type == "bool" else x)


def as_tuple(result: Any) -> tuple:
    return tuple(result) if isinstance(result, tuple | list) else (result,)


def variant(
    op: Op,
    operands: tuple[OperandType, ...],
    statics: Mapping[str, Any],
    common: str | None = None,
) -> Variant:
    """Calls `op`'s formula for operands of these types.

    Raises NotImplementedError for dtypes that the op isn't defined for, TypeError for a formula
    that doesn't fit its schema.
    """
    schema = op.parsed
    promoted = common_type(op, operands, statics, common)
    compute = promoted.compute
    # What was computed in a wider type than the operands' is stored in theirs, parts of it too.
    narrow = {compute: promoted}
    if compute.floating or compute.kind == "c":
        narrow[compute.real] = promoted.real
        narrow[promote.complex_of(compute)] = promote.complex_of(promoted)
    converts = statics.get("dtype") is not None  # a dtype asked for is what the operands become
    ntensors = len(schema.tensors)
    sig = signature(op.formula, ntensors + len(op.accumulates))
    names = op.coordinates or sig.positional[ntensors + len(op.accumulates) :]
    axes = make_axes(op, statics, names)
    single = op.kind == "row" and single_dim(op, statics)
    nout = len(schema.outputs)
    inputs = Inputs()
    tensors = [
        _tensor(op, p, t, promoted, converts, axes, single, inputs, nout)
        for p, t in zip(schema.tensors, operands, strict=True)
    ]
    attrs = attributes(op, statics, compute, inputs)
    row = () if op.kind != "row" else axes[3:] if single else axes[2:]
    accumulators = tuple(
        Buffer(o.name, compute, op.ranks[name], i)
        for i, (o, name) in enumerate(zip(schema.outputs, op.accumulates, strict=False))
    )
    with tracing(Context(op.kind, compute, row, axes)) as context:
        coordinates = [Value(axis(a)) for a in axes] if op.kind == "indexed" else []
        result = op.formula(
            *map(Accumulator, accumulators), *tensors, *coordinates, **sig.wanted(attrs)
        )
        values = [] if accumulators else [as_value(v) for v in as_tuple(result)]
    if accumulators:
        outputs = [(b, "point") for b in accumulators]
        stores = context.stores
    else:
        if len(values) != nout:
            raise TypeError(f"{op.name}: the schema has {nout} outputs, the formula {len(values)}")
        outputs, stores = [], []
        for i, (o, v) in enumerate(zip(schema.outputs, values, strict=True)):
            # Integers are summed as int64, unless a dtype was asked for.
            asked = converts and promoted.integral and v.dtype.integral
            t = promoted if asked else narrow.get(v.dtype, v.dtype)
            role = ROLES[o.type] if op.kind == "row" else None
            buffer = Buffer(o.name, t, len(axes), i, role)
            outputs.append((buffer, role or "point"))
            stores.append(Store(buffer, place(role, axes, single), cast_expr(v.expr, t)))
    if op.kind == "row":
        _check_roles(op, stores)
    for position, b in enumerate(inputs.buffers):
        b.index = nout + position
    stores = finish(stores, row)
    ranks: tuple[int, ...] = ()
    if op.kind == "indexed":
        operands_ = (*(b for b, _ in outputs), *inputs.buffers)
        if unused := [b.name for b in operands_ if b.rank == Operand.UNKNOWN]:
            raise TypeError(f"{op.name}: the formula never indexes {', '.join(unused)}")
        ranks = tuple(b.rank for b in operands_)
    nest = Nest(
        op.name, axes, stores, tuple(b for b, _ in outputs), tuple(inputs.buffers),
        tuple(inputs.params), axes[2:] if op.kind == "row" else (),
    )  # fmt: skip
    return Variant(
        nest,
        tuple((b.dtype.name, role) for b, role in outputs),
        compute.name,
        tuple(inputs.scalars),
        tuple(range(len(accumulators))),
        _over(op, operands, nout),
        ranks,
    )


def _over(op: Op, operands: tuple[OperandType, ...], nout: int) -> int:
    if op.over is None:
        return 0
    before = next(i for i, p in enumerate(op.parsed.tensors) if p.name == op.over)
    return nout + sum(t is not None and t[1] != "number" for t in operands[:before])


def _tensor(op, p, t, promoted, converts, axes, single, inputs: Inputs, nout: int):
    """What the formula is given for the tensor parameter `p`."""
    if t is None:
        return None
    own, rank = DTYPES[t[0]], t[1]
    kept = p.name in op.keep or p.type == "Index" or (op.promote == "none" and not converts)
    kept = kept and not (rank == "number" and p.name in op.follows)
    target = own.compute if kept else promoted.compute
    if rank == "number" and len(t) == 3:
        return Value(cast_expr(const(t[2], own.compute), target))
    if rank == "number":
        return Value(cast_expr(inputs.scalar(p.name, scalar_type(target)), target))
    role = ROLES.get(p.type) if op.kind == "row" else None
    buffer = Buffer(p.name, own, len(axes), nout + len(inputs.buffers), role)
    inputs.buffers.append(buffer)
    if op.kind == "indexed":
        buffer.rank = op.ranks.get(p.name, Operand.UNKNOWN)
        return Operand(buffer, target)
    return Value(cast_expr(load(buffer, *place(role, axes, single)), target))


def _check_roles(op: Op, stores: list[Store]) -> None:
    for s in stores:
        along = {a.name for a in s.value.axes if a.role == "r"}
        if s.buffer.role == "cell" and along:
            raise TypeError(
                f"{op.name}: output {s.buffer.name!r} is a Cell, but its value varies along the "
                "row; reduce it or declare a Row"
            )


def count_outputs(formula: Callable) -> int:
    """How many values a pointwise formula of a user's returns, by a trial call."""
    args = []
    for p in inspect.signature(formula).parameters.values():
        trial = Value(load(Buffer(p.name, F64, 0)))
        args.append(p.default if isinstance(p.default, str | bool) else trial)
    with tracing(Context("pointwise", F64)):
        return len(as_tuple(formula(*args)))


@dataclass(frozen=True, eq=False)
class Call:
    """What a custom node is the result of: an op whose gradient is given, called in a formula."""

    op: Op
    present: tuple[bool, ...]  # which of the op's tensors are the node's operands 1, 2 ...
    attributes: Mapping[str, Any]

    def __repr__(self) -> str:
        return self.op.name


def custom(op: Op, tensors: list, attributes: Mapping[str, Any], result: Any) -> Any:
    """`result` of `op`'s formula as one node, so that a derivative uses the op's own gradient."""
    if not isinstance(result, Value):  # several outputs: derived through the formula
        return result
    with_compute = [None if t is None else as_value(t).expr for t in tensors]
    call = Call(op, tuple(e is not None for e in with_compute), dict(attributes))
    operands = [e for e in with_compute if e is not None]
    return Value(Expr("custom", (result.expr, *operands), call, result.dtype))


# ---- what only formulas and derivatives see ---------------------------------------------------


def finish(stores: list[Store], row: tuple[Axis, ...]) -> list[Store]:
    """The stores without picks, custom nodes and reversed scans."""
    done = []
    for s in stores:
        guards = [] if s.guard is None else [s.guard]
        value, *rest = transform([s.value, *s.index, *guards], _lower)
        index, guard = tuple(rest[: len(s.index)]), rest[len(s.index)] if guards else None
        done.append(_forwards(Store(s.buffer, index, value, s.combine, guard), row))
    return done


def _lower(e: Expr) -> Expr | None:
    if e.op == "custom":
        return e.src[0]
    if e.op == "pick":
        row, index = e.src
        if any(x.op == "scan" and x.arg[1] is e.arg for x in topological([row])):
            raise TypeError("pick: of a scan's row; pick from a stored result instead")
        return substitute(row, {axis(e.arg): index})
    return None


def _forwards(s: Store, row: tuple[Axis, ...]) -> Store:
    """A store with a reversed scan, run along the row from its end.

    Every use of the row's axis is turned round, under reductions too: these don't mind the order.
    """
    scans = {e.arg[0] for e in topological([s.value]) if e.op == "scan"}
    if monoids.SUM_REVERSED not in scans:
        return s
    if len(scans) > 1:
        raise TypeError("formula: scans in both directions in one value; make it two steps")
    (line,) = row
    last = node("add", Expr("size", (), line, I64), const(-1, I64))

    def turn(e: Expr) -> Expr | None:
        if e.op == "axis" and e.arg is line:
            return node("sub", last, e)
        if e.op == "scan":
            return Expr("scan", e.src, (monoids.SUM, line), e.dtype)
        return None

    value, *index = transform([s.value, *s.index], turn)
    return Store(s.buffer, tuple(index), value, s.combine, s.guard)
