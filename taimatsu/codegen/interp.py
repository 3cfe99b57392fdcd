"""A slow interpreter of nests on NumPy arrays: what the back ends are tested against.

Every axis, bound ones too, is a dim of every array (extent 1 where a value doesn't have it),
and each expression is evaluated at once for all values of its axes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .ir import Axis, Buffer, DType, Expr, Nest, Param, Store, topological

Array = np.ndarray


class DivisionByZero(ArithmeticError):
    """What a kernel reports by flag 1."""


class IndexOutOfRange(IndexError):
    """What a kernel reports by flag 2."""


def numpy_dtype(t: DType) -> np.dtype:
    """What has no NumPy type is interpreted in the type that it is computed in."""
    if t.kind == "c" or t.name == "bf16" or (t.bits == 8 and t.floating):
        t = t.compute
    if t.name == "bool":
        return np.dtype(bool)
    return np.dtype(f"{t.kind}{t.bits // 8}")


def run(
    nest: Nest,
    inputs: Sequence[Array],
    scalars: Sequence[Any] = (),
    extents: Sequence[int] | None = None,
    sizes: Sequence[tuple[int, ...]] | None = None,
) -> list[Array]:
    """The outputs of `nest`.

    inputs   one array for each input, of its buffer's rank; extent 1 where it lacks an axis
    scalars  the value of each of the nest's params
    extents  of the nest's axes; by default what the inputs' shapes broadcast to
    sizes    of the outputs; by default the extents (1 where the operand lacks the axis)
    """
    if extents is None:
        extents = np.broadcast_shapes(*(np.shape(x) for x in inputs))
    m = _Machine(nest, list(inputs), list(scalars), tuple(extents))
    outputs = []
    for i, b in enumerate(nest.outputs):
        shape = sizes[i] if sizes is not None else m.output_shape(b)
        outputs.append(np.zeros(shape, numpy_dtype(b.dtype)))
    m.arrays = dict(zip(nest.operands, (*outputs, *m.inputs), strict=True))
    with np.errstate(all="ignore"):
        for store in nest.stores:
            m.store(store)
    return outputs


class _Machine:
    def __init__(self, nest: Nest, inputs: list[Array], scalars: list[Any], extents: tuple):
        self.nest, self.inputs, self.extents = nest, inputs, extents
        self.params = dict(zip(nest.params, scalars, strict=True))
        self.arrays: dict[Buffer, Array] = {}
        axes: dict[Axis, None] = dict.fromkeys(nest.axes)
        roots = [e for s in nest.stores for e in (s.value, *s.index, *([s.guard] * bool(s.guard)))]
        for e in topological(roots):
            axes.update(dict.fromkeys(e.axes))
            if e.op == "reduce":
                axes.update(dict.fromkeys(e.arg[1]))
        self.dims = {a: d for d, a in enumerate(axes)}
        self.memo: dict[tuple, Any] = {}
        self.leaves: dict[Expr, Array] = {}

    def extent(self, a: Axis) -> int:
        a = a.origin
        return self.extents[self.nest.axes.index(a)] if a in self.nest.axes else a.extent

    def output_shape(self, b: Buffer) -> tuple[int, ...]:
        stores = [s for s in self.nest.stores if s.buffer is b]
        free = set().union(*(i.axes for s in stores for i in s.index))
        return tuple(
            self.extent(a) if a in free else 1 for a in self.nest.axes[: b.rank]
        )

    def store(self, s: Store) -> None:
        target = self.arrays[s.buffer]
        value = self.eval(s.value)
        index = [self.eval(i) for i in s.index]
        guard = True if s.guard is None else self.eval(s.guard)
        value, guard, *index = np.broadcast_arrays(value, guard, *index)
        at = tuple(i[guard] for i in index)
        if s.combine is None:
            target[at] = value[guard]
        else:
            assert s.combine.name == "sum", s.combine
            np.add.at(target, at, value[guard].astype(target.dtype))

    def eval(self, root: Expr, mask: Array | None = None) -> Any:
        """The value of `root`; `mask` is where it is needed: elsewhere loads may be outside."""
        key = (root, None if mask is None else id(mask))
        if key not in self.memo:
            # The mask is kept alive with the result: its id is the key.
            self.memo[key] = (self._eval(root, mask), mask)
        return self.memo[key][0]

    def _eval(self, e: Expr, mask: Array | None) -> Any:
        if e in self.leaves:
            return self.leaves[e]
        t = numpy_dtype(e.dtype)
        match e.op:
            case "const":
                return np.asarray(e.arg, t)
            case "param":
                return np.asarray(self.params[e.arg], t)
            case "axis":
                shape = [1] * len(self.dims)
                shape[self.dims[e.arg]] = -1
                return np.arange(self.extent(e.arg), dtype=np.int64).reshape(shape)
            case "size":
                if isinstance(e.arg, Axis):
                    return np.int64(self.extent(e.arg))
                buffer, dim = e.arg
                return np.int64(self.arrays[buffer].shape[dim])
            case "load":
                return self.load(e, mask)
            case "where":
                cond = self.eval(e.src[0], mask)
                yes = cond if mask is None else cond & mask
                no = ~cond if mask is None else ~cond & mask
                return np.where(cond, self.eval(e.src[1], yes), self.eval(e.src[2], no))
            case "reduce":
                return self.fold(e, mask)[0]
            case "scan":
                return self.scan(e, mask)[0]
            case "loop":
                return self.iterate(e, mask)
            case "item" if e.src[0].op == "loop":
                return self.eval(e.src[0], mask)[e.arg]
            case "item":
                inner = e.src[0]
                fields = self.fold if inner.op == "reduce" else self.scan
                return fields(inner, mask)[e.arg]
            case "check":
                cond = self.eval(e.src[0], mask)
                if not np.all(cond if mask is None else cond | ~mask):
                    raise IndexOutOfRange if e.arg == 2 else DivisionByZero
                return cond
        src = [self.eval(s, mask) for s in e.src]
        if e.op in ("idiv", "irem"):
            zero = src[1] == 0 if mask is None else (src[1] == 0) & mask
            if np.any(zero):
                raise DivisionByZero
        return np.asarray(_OPS[e.op](e, *src)).astype(t, copy=False)

    def iterate(self, e: Expr, mask: Array | None) -> list[Array]:
        operands = list(np.broadcast_arrays(*(self.eval(s, mask) for s in e.src)))
        loop, n = e.arg, e.arg.fields
        holes = [Expr("hole", (), i, s.dtype) for i, s in enumerate(e.src)]
        state, others = operands[:n], operands[n:]
        for _ in range(loop.limit):
            m = self.inside(dict(zip(holes, (*state, *others), strict=True)))
            going = np.asarray(m.eval(loop.going))
            if not going.any():
                break
            pairs = zip(loop.following, state, strict=True)
            state = [np.where(going, m.eval(f), old) for f, old in pairs]
        return state

    def inside(self, leaves: dict[Expr, Array]) -> _Machine:
        """A machine for formulas of these values."""
        m = _Machine.__new__(_Machine)
        m.__dict__.update(self.__dict__, memo={}, leaves=leaves)
        return m

    def load(self, e: Expr, mask: Array | None) -> Array:
        array = self.arrays[e.arg]
        index = [np.asarray(self.eval(i, mask)) for i in e.src]
        safe = []
        for i, n in zip(index, array.shape, strict=True):
            wrong = (i < 0) | (i >= n)
            if np.any(wrong if mask is None else wrong & mask):
                raise AssertionError(f"{e}: index outside of the buffer's {array.shape}")
            safe.append(np.clip(i, 0, max(n - 1, 0)))
        return array[tuple(np.broadcast_arrays(*safe))] if array.size else np.zeros(1, array.dtype)

    def fold(self, e: Expr, mask: Array | None) -> tuple[Array, ...]:
        key = (e, "fields", None if mask is None else id(mask))
        if key in self.memo:
            return self.memo[key][0]
        monoid, axes = e.arg
        fields = self.fields(e, axes, mask)
        dims = [self.dims[a] for a in axes]
        # All reduced dims as one, last, in order.
        moved = [np.moveaxis(f, dims, range(-len(dims), 0)) for f in fields]
        moved = [m.reshape(*m.shape[: m.ndim - len(dims)], -1) for m in moved]
        merge = self.merge(e)
        types = tuple(s.dtype for s in e.src)
        total = [
            np.broadcast_to(self.eval(x), m.shape[:-1])
            for x, m in zip(monoid.init(types), moved, strict=True)
        ]
        parts = list(moved)
        while parts[0].shape[-1] > 1:  # a tree, so that long sums are accurate
            n = parts[0].shape[-1]
            left, right = [p[..., 0 : n - 1 : 2] for p in parts], [p[..., 1:n:2] for p in parts]
            rest = [p[..., n - 1 :] for p in parts] if n % 2 else None
            parts = list(merge(left, right))
            if rest is not None:
                parts = [np.concatenate(pair, -1) for pair in zip(parts, rest, strict=True)]
        if parts[0].shape[-1]:
            total = list(merge(total, [p[..., 0] for p in parts]))
        out = tuple(np.expand_dims(x, tuple(sorted(dims))) for x in total)
        self.memo[key] = (out, mask)
        return out

    def scan(self, e: Expr, mask: Array | None) -> tuple[Array, ...]:
        key = (e, "fields", None if mask is None else id(mask))
        if key in self.memo:
            return self.memo[key][0]
        _, a = e.arg
        fields, merge = self.fields(e, (a,), mask), self.merge(e)
        d = self.dims[a]
        slices = [[np.take(f, [i], d) for f in fields] for i in range(fields[0].shape[d])]
        for i in range(1, len(slices)):
            slices[i] = list(merge(slices[i - 1], slices[i]))
        out = tuple(np.concatenate(column, d) for column in zip(*slices, strict=True))
        self.memo[key] = (out, mask)
        return out

    def fields(self, e: Expr, axes: Sequence[Axis], mask: Array | None) -> Sequence[Array]:
        """The operands, broadcast to each other and along `axes`."""
        shape = [1] * len(self.dims)
        for a in axes:
            shape[self.dims[a]] = self.extent(a)
        values = np.broadcast_arrays(*(self.eval(s, mask) for s in e.src), np.empty(shape))
        return values[:-1]

    def merge(self, e: Expr) -> Callable:
        """The monoid's merge on tuples of arrays."""
        monoid = e.arg[0]
        left, right = (
            tuple(
                Expr("param", (), Param(f"{side}{i}", s.dtype, -1), s.dtype)
                for i, s in enumerate(e.src)
            )
            for side in ("left", "right")
        )
        merged = monoid.merge(left, right)

        def apply(a: Sequence[Array], b: Sequence[Array]) -> list[Array]:
            m = self.inside(dict(zip((*left, *right), (*a, *b), strict=True)))
            return [np.asarray(m.eval(x)) for x in merged]

        return apply


def _shift(e: Expr, a: Array, b: Array) -> Array:
    return np.left_shift(a, b) if e.op == "shl" else np.right_shift(a, b)


def _idiv(_: Expr, a: Array, b: Array) -> Array:
    safe = np.where(b == 0, 1, b).astype(b.dtype)
    q = a // safe
    return q + ((q < 0) & (q * safe != a)).astype(q.dtype)  # NumPy rounds down


def _irem(e: Expr, a: Array, b: Array) -> Array:
    return a - _idiv(e, a, b) * b


def _bits(e: Expr, function: Callable[[int], int]) -> Callable:
    return np.vectorize(lambda n: function(int(n) & (1 << e.dtype.bits) - 1), otypes=[np.int64])


def _special(name: str) -> Callable:
    def function(_: Expr, *args: Array) -> Array:
        from scipy import special

        return getattr(special, name)(*args)

    return function


def _plain(function: Callable) -> Callable:
    return lambda _, *args: function(*args)


def _fma(_: Expr, a: Array, b: Array, c: Array) -> Array:
    wide = np.float64 if a.dtype == np.float32 else np.longdouble
    return a.astype(wide) * b + c


_OPS: dict[str, Callable] = {
    "cast": lambda e, x: (
        (x != 0) if e.dtype.name == "bool"
        else (x.real if np.iscomplexobj(x) and e.dtype.kind != "c" else x)
    ),
    "bitcast": lambda e, x: np.asarray(x).view(numpy_dtype(e.dtype)),
    "stop": _plain(lambda x: x),
    "neg": _plain(np.negative),
    "add": _plain(np.add),
    "sub": _plain(np.subtract),
    "mul": _plain(np.multiply),
    "div": _plain(np.divide),
    "idiv": _idiv,
    "irem": _irem,
    "and": _plain(np.bitwise_and),
    "or": _plain(np.bitwise_or),
    "xor": _plain(np.bitwise_xor),
    "not": _plain(np.invert),
    "shl": _shift,
    "shr": _shift,
    "lt": _plain(np.less),
    "le": _plain(np.less_equal),
    "eq": _plain(np.equal),
    "ne": _plain(np.not_equal),
    "min": _plain(lambda a, b: np.where(a < b, a, b)),
    "max": _plain(lambda a, b: np.where(a > b, a, b)),
    "fma": _fma,
    "abs": _plain(np.abs),
    "complex": _plain(lambda a, b: a + 1j * b),
    "re": _plain(np.real),
    "im": _plain(np.imag),
    "popcount": lambda e, x: _bits(e, int.bit_count)(x),
    "clz": lambda e, x: _bits(e, lambda n: e.dtype.bits - n.bit_length())(x),
    "rsqrt": _plain(lambda x: 1 / np.sqrt(x)),
    "pow": _plain(np.power),
    "lgamma": _special("gammaln"),
    "digamma": _special("digamma"),
    "trigamma": lambda _, x: _special("polygamma")(_, 1, x),
    "zeta": _special("zeta"),
    "erf": _special("erf"),
    "erfc": _special("erfc"),
    "erfinv": _special("erfinv"),
    "atan2": _plain(np.arctan2),
}
_OPS |= {
    name: _plain(getattr(np, name))
    for name in (
        "sqrt", "floor", "ceil", "trunc", "rint", "copysign", "exp", "exp2", "expm1", "log", "log2",
        "log10", "log1p", "sin", "cos", "tan", "sinh", "cosh", "tanh", "hypot", "fmod", "nextafter",
    )
}  # fmt: skip
_OPS |= {
    f"a{name}": _plain(getattr(np, f"arc{name}"))
    for name in ["sin", "cos", "tan", "sinh", "cosh", "tanh"]
}
