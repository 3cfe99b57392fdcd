"""Runs a hand-made nest through ctypes, as the core would: strides, layout classes, geometry."""

from __future__ import annotations

import ctypes

import numpy as np

from taimatsu.codegen import engine
from taimatsu.codegen.ir import (
    DTYPES,
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
)  # fmt: skip

NUMPY = {
    "bool": np.bool_, "f16": np.float16, "f32": np.float32, "f64": np.float64,
    "c64": np.complex64, "c128": np.complex128, "bf16": np.uint16,
    **{f"u{n}": np.dtype(f"uint{n}").type for n in (8, 16, 32, 64)},
    **{f"i{n}": np.dtype(f"int{n}").type for n in (8, 16, 32, 64)},
}  # fmt: skip

KERNEL = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_void_p] * 4)
FINISH = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_void_p] * 4, ctypes.c_int64)
ZERO = const(0, DTYPES["i64"])
BLOCK = 32768


def numpy_dtype(t: DType) -> type:
    return NUMPY[t.name]


def bf16(x: np.ndarray) -> np.ndarray:
    """The bits of x rounded to bfloat16, to nearest even."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(x), 0x7FC0, rounded).astype(np.uint16)


def from_bf16(x: np.ndarray) -> np.ndarray:
    return (x.astype(np.uint32) << 16).view(np.float32)


def letter(stride: int) -> str:
    return {0: "u", 1: "c", 2: "2"}.get(stride, "s")


def element_strides(a: np.ndarray) -> list[int]:
    return [s // a.itemsize for s in a.strides]


class Operands:
    """Buffers for a nest under construction, and what each is indexed by."""

    def __init__(self, axes: tuple[Axis, ...]):
        self.axes, self.buffers, self.params = axes, [], []

    def index(self, role: str | None) -> tuple[Expr, ...]:
        at = [axis(a) for a in self.axes]
        if role == "cell":
            return at[0], at[1], ZERO, ZERO
        if role == "shared":
            return ZERO, ZERO, at[2], at[3]
        return tuple(at)

    def buffer(self, dtype: DType, role: str | None = None, rank: int | None = None) -> Buffer:
        n = len(self.buffers)
        rank = len(self.axes) if rank is None else rank
        b = Buffer(f"x{n}", dtype, rank, n, role)
        self.buffers.append(b)
        return b

    def element(self, dtype: DType, role: str | None = None) -> Expr:
        return load(self.buffer(dtype, role), *self.index(role))

    def param(self, dtype: DType) -> Expr:
        slot = sum(2 if p.dtype.kind == "c" else 1 for p in self.params)
        self.params.append(Param(f"s{slot}", dtype, slot))
        return Expr("param", (), self.params[-1], dtype)


def pointwise(formula, out: tuple[DType, ...], *inputs: DType, params: tuple[DType, ...] = ()):
    """A nest of `formula(elements..., params...)` for each element."""
    make = Operands((Axis("a1"), Axis("a0")))
    outputs = [make.buffer(t) for t in out]
    values = formula(*(make.element(t) for t in inputs), *(make.param(t) for t in params))
    values = values if isinstance(values, tuple) else (values,)
    stores = [Store(b, make.index(None), v) for b, v in zip(outputs, values, strict=True)]
    return Nest("test", make.axes, stores, tuple(outputs), tuple(make.buffers[len(out):]),
                tuple(make.params))  # fmt: skip


def row(formula, out, *inputs, axes=None):
    """A nest of `formula(reduced axes, elements...)`; out and inputs are (dtype, role)."""
    axes = axes or tuple(Axis(n, n[0]) for n in ("k1", "k0", "r1", "r0"))
    make = Operands(axes)
    outputs = [make.buffer(t, role) for t, role in out]
    values = formula(axes[2:], *(make.element(t, role) for t, role in inputs))
    values = values if isinstance(values, tuple) else (values,)
    stores = [
        Store(b, make.index(role), v) for b, v, (_, role) in zip(outputs, values, out, strict=True)
    ]
    inputs = tuple(make.buffers[len(out) :])
    return Nest("test", axes, stores, tuple(outputs), inputs, (), axes[2:])


class Call:
    """A kernel for given arrays. Arrays of pointwise and row nests have a dim for each axis."""

    def __init__(self, nest: Nest, arrays, scalars=(), rows="whole", extents=None, indexed=False):
        self.nest, self.arrays = nest, arrays
        self.classes, operands = [], []
        for b, a in zip(nest.operands, arrays, strict=True):
            strides = element_strides(a)
            if indexed:
                self.classes.append(letter(strides[-1]) if strides else "c")
                operands += [*a.shape, *strides]
                continue
            strides = [0 if n == 1 else s for n, s in zip(a.shape, strides, strict=True)]
            tracked = (1, 3) if nest.reduced else (0, 1)
            letters = [letter(strides[d]) for d in tracked]
            if b.role == "cell":
                letters[1] = "u"
            self.classes.append("".join(letters))
            operands += strides
        if extents is None:
            extents = np.broadcast_shapes(*(a.shape for a in arrays))
        self.bounds = [[0, n] for n in extents]
        self.operands = operands
        self.kernel = engine.kernel(nest, tuple(self.classes), rows)
        self.function = KERNEL(self.kernel.address)
        self.pointers = (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))
        self.scalars = np.array([*scalars, 0], np.float64)
        for i, (p, s) in enumerate(zip(nest.params, scalars, strict=False)):
            if p.dtype.kind in "biu":
                self.scalars.view(np.int64)[i] = s
        length = int(np.prod(extents[2:])) if nest.reduced else 1
        self.scratch = np.zeros(self.kernel.scratch_bytes_per_row_element * length + 64, np.uint8)

    def geometry(self, bounds) -> ctypes.Array:
        flat = [*(int(x) for b in bounds for x in b), *self.operands]
        return (ctypes.c_int64 * len(flat))(*flat)

    def __call__(self, bounds=None, scratch: int | None = None) -> int:
        g = self.geometry(bounds or self.bounds)
        return self.function(
            self.pointers, g, self.scalars.ctypes.data, scratch or self.scratch.ctypes.data
        )

    def blocked(self) -> int:
        """As the core splits a long row: the same blocks at every thread count."""
        (k1, k0, r1, _), size = self.bounds, self.kernel.state_bytes
        assert size and self.kernel.finish_address
        rows = (k1[1] - k1[0]) * (k0[1] - k0[0])
        dim, block = (2, 16) if r1[1] >= 64 else (3, BLOCK)
        begins = range(0, self.bounds[dim][1], block)
        states = np.zeros(len(begins) * size * rows + 64, np.uint8)
        flags = 0
        for b, begin in reversed(list(enumerate(begins))):
            bounds = [list(x) for x in self.bounds]
            bounds[dim] = [begin, min(begin + block, self.bounds[dim][1])]
            flags |= self(bounds, states.ctypes.data + b * size * rows)
        finish = FINISH(self.kernel.finish_address)
        g = self.geometry(self.bounds)
        return flags | finish(self.pointers, g, self.scalars.ctypes.data, states.ctypes.data,
                              len(begins))  # fmt: skip
