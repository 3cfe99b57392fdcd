"""How the operands of an op have to lie on a dim of a mesh, and how its result lies then.

A rule looks at one dim of the mesh at a time. It gets the operands (sizes, and how they lie) and
the call's arguments, and gives (how each operand has to lie, how the result lies). What has no
rule, or none for this case, is computed of replicated operands: right, at the cost of gathering.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..placements import Partial, Placement, Replicate, Shard

__all__ = ["Operand", "decide"]

Decision = tuple[list[Placement], Placement]
R = Replicate()


@dataclass(frozen=True)
class Operand:
    """A tensor among the arguments: its sizes, and how it lies on the dim of the mesh."""

    shape: tuple[int, ...]
    placement: Placement

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    def sharded(self) -> int | None:
        """The dim that is divided, counted from the last one: -1, -2 ..."""
        p = self.placement
        return p.dim - len(self.shape) if isinstance(p, Shard) else None


@dataclass(frozen=True)
class Call:
    """A call: its function's name, operands, all arguments, how many the mesh divides among."""

    name: str
    operands: list[Operand]
    args: tuple
    kwargs: dict[str, Any]
    parts: int

    def argument(self, index: int, name: str, default: Any = None) -> Any:
        return self.args[index] if len(self.args) > index else self.kwargs.get(name, default)


def _shard(operand: Operand, dim: int) -> Placement:
    """Divided along a dim counted from the last one, if the operand isn't broadcast along it."""
    d = dim + len(operand.shape)
    return Shard(d) if d >= 0 and operand.shape[d] != 1 else R


def replicated(call: Call) -> Decision:
    return [R for _ in call.operands], R


# ---- elementwise --------------------------------------------------------------------------------
_LINEAR = {"neg", "clone", "contiguous", "detach", "positive", "to", "float", "double", "half",
           "bfloat16", "_to_copy", "alias"}  # fmt: skip
_SUMS = {"add", "sub", "__add__", "__radd__", "__sub__", "rsub"}
_PRODUCTS = {"mul", "div", "true_divide", "__mul__", "__rmul__", "__truediv__"}


def elementwise(call: Call) -> Decision:
    operands, name = call.operands, call.name.removesuffix("_")
    partial = [o for o in operands if isinstance(o.placement, Partial)]
    if partial:
        kept = _of_partials(call, name, partial)
        if kept is not None:
            return kept
    divided = [o for o in operands if o.sharded() is not None]
    if call.name.endswith("_") and not call.name.endswith("__"):
        divided = divided[:1] if operands[0].sharded() is not None else []
    if not divided:
        return replicated(call)
    first = max(divided, key=lambda o: o.numel)
    dim = first.sharded()
    assert dim is not None
    ndim = max(len(o.shape) for o in operands)
    wide = first.shape[dim] if first.shape[dim] != 1 else None
    if wide is None or any(len(o.shape) + dim >= 0 and o.shape[dim] not in (1, wide)
                           for o in operands):  # fmt: skip
        return replicated(call)
    return [_shard(o, dim) for o in operands], Shard(dim + ndim)


def _of_partials(call: Call, name: str, partial: list[Operand]) -> Decision | None:
    """What is the same for the sum as for its summands."""
    operands, p = call.operands, partial[0].placement
    if not isinstance(p, Partial) or p.reduce_op not in ("sum", "avg"):
        return None
    alone = len(operands) == 1
    if name in _LINEAR and alone:
        return [p], p
    numbers = [a for a in call.args if isinstance(a, (int, float))]
    if name in _SUMS and all(o.placement == p for o in operands) and not (alone and numbers):
        return [p for _ in operands], p
    if name in _PRODUCTS and len(partial) == 1 and operands[0].placement == p:
        if alone and len(numbers) + 1 == len(call.args) and "rounding_mode" not in call.kwargs:
            return [p], p
        if len(operands) == 2 and isinstance(operands[1].placement, Replicate):
            return [p, R], p
    return None


# ---- products -----------------------------------------------------------------------------------
def product(call: Call) -> Decision:
    """``a @ b`` of at least 2 dims; `addmm` and its kin add their first operand."""
    adds = call.name in ("addmm", "baddbmm")
    if len(call.operands) != 2 + adds:
        return replicated(call)
    a, b = call.operands[-2:]
    if len(a.shape) < 2 or len(b.shape) < 2:
        return replicated(call)
    result = _product(a, b)
    if result is None or (adds and (call.kwargs or isinstance(result[2], Partial))):
        return replicated(call)
    where_a, where_b, out = result
    added = []
    if adds:
        ndim = max(len(a.shape), len(b.shape))
        added = [_shard(call.operands[0], out.dim - ndim) if isinstance(out, Shard) else R]
    return [*added, where_a, where_b], out


def _product(a: Operand, b: Operand) -> tuple[Placement, Placement, Placement] | None:
    """How a and b have to lie, and how a @ b lies. What costs least is moved."""
    at_a, at_b = a.sharded(), b.sharded()
    ndim = max(len(a.shape), len(b.shape))
    if at_a is not None and at_b is not None and {at_a, at_b} == {-1, -2} and at_a == -1:
        return Shard(len(a.shape) - 1), Shard(len(b.shape) - 2), Partial()
    if at_a is not None and at_a <= -3 and at_b == at_a:
        return a.placement, b.placement, Shard(at_a + ndim)
    if a.placement == Partial() and isinstance(b.placement, Replicate):
        return a.placement, R, Partial()
    if at_a is None and at_b is None:
        return None
    if at_b is None or (at_a is not None and a.numel >= b.numel):
        assert at_a is not None
        if at_a == -1:
            return a.placement, Shard(len(b.shape) - 2), Partial()
        other = _shard(b, at_a) if at_a <= -3 else R
        return a.placement, other, Shard(at_a + ndim)
    if at_b == -2:
        return Shard(len(a.shape) - 1), b.placement, Partial()
    other = _shard(a, at_b) if at_b <= -3 else R
    return other, b.placement, Shard(at_b + ndim)


def linear(call: Call) -> Decision:
    """``x @ weight.T + bias``: by columns the result is divided, by rows it is partial."""
    if len(call.operands) != (3 if call.argument(2, "bias") is not None else 2):
        return replicated(call)
    x, weight, *bias = call.operands
    turned = {0: 1, 1: 0}
    p = weight.placement
    columns = Operand(weight.shape[::-1], Shard(turned[p.dim]) if isinstance(p, Shard) else p)
    if bias and isinstance(x.placement, Partial):
        x = Operand(x.shape, R)
    if len(x.shape) < 2:
        return replicated(call)
    result = _product(x, columns)
    if result is None:
        return replicated(call)
    where_x, where_w, out = result
    where_w = Shard(turned[where_w.dim]) if isinstance(where_w, Shard) else where_w
    where_bias: Placement = R
    if isinstance(out, Partial):
        where_bias = out  # it is added once
    elif isinstance(out, Shard) and out.dim == len(x.shape) - 1:
        where_bias = Shard(0)
    return [where_x, where_w, *(where_bias for _ in bias)], out


# ---- along dims ---------------------------------------------------------------------------------
def _dims(value: Any, ndim: int) -> set[int]:
    if value is None or (isinstance(value, (tuple, list)) and not value):
        return set(range(ndim))
    return {d % max(ndim, 1) for d in (value if isinstance(value, (tuple, list)) else (value,))}


def reduction(call: Call) -> Decision:
    if len(call.operands) != 1 or not isinstance(call.argument(1, "dim"), (int, tuple, list,
                                                                          type(None))):  # fmt: skip
        return replicated(call)
    (x,) = call.operands
    p = x.placement
    linear_too = call.name in ("sum", "mean")
    if isinstance(p, Partial) and p.reduce_op in ("sum", "avg") and linear_too:
        return [p], p
    if not isinstance(p, Shard):
        return replicated(call)
    dims = _dims(call.argument(1, "dim"), len(x.shape))
    if p.dim in dims:
        if call.name == "sum":
            return [p], Partial()
        if call.name == "mean" and x.shape[p.dim] % call.parts == 0:
            return [p], Partial("avg")
        return replicated(call)
    keeps = call.argument(2, "keepdim", False)
    return [p], p if keeps else Shard(p.dim - sum(d < p.dim for d in dims))


def along(call: Call) -> Decision:
    """A row of the result is of a row of the first operand; others are the same for all rows."""
    x, p = call.operands[0], call.operands[0].placement
    if call.name in ("layer_norm", "rms_norm"):
        shape = call.argument(1, "normalized_shape")
        rows = range(len(x.shape) - (1 if isinstance(shape, int) else len(shape)), len(x.shape))
    else:
        dim = call.argument(1, "dim")
        if dim is None:
            return replicated(call)
        rows = range(dim % len(x.shape), dim % len(x.shape) + 1)
    if not isinstance(p, Shard) or p.dim in rows:
        return replicated(call)
    return [p, *(R for _ in call.operands[1:])], p


def of_batch(call: Call) -> Decision:
    """A convolution or pooling: each item of the batch by itself."""
    p = call.operands[0].placement
    if p != Shard(0):
        return replicated(call)
    return [p, *(R for _ in call.operands[1:])], p


def attention(call: Call) -> Decision:
    """Each item of the batch, and each head, by itself."""
    q, k, v = call.operands[:3]
    p = q.placement
    alike = q.shape[:-2] == k.shape[:-2] == v.shape[:-2]
    if len(call.operands) != 3 or not isinstance(p, Shard) or p.dim >= len(q.shape) - 2:
        return replicated(call)
    return ([p, p, p], p) if alike else replicated(call)


def embedding(call: Call) -> Decision:
    x, weight = call.operands if call.name == "embedding" else call.operands[::-1]
    if weight.placement == Shard(1):
        return [R, Shard(1)], Shard(len(x.shape))
    if isinstance(x.placement, Shard):
        return [x.placement, R], x.placement
    return replicated(call)


# ---- views --------------------------------------------------------------------------------------
def _moved(call: Call, order: Sequence[int]) -> Decision:
    p = call.operands[0].placement
    if isinstance(p, Shard):
        return [p], Shard(list(order).index(p.dim))
    return [p], p


def transpose(call: Call) -> Decision:
    ndim = len(call.operands[0].shape)
    order = list(range(ndim))
    if call.name in ("t", "adjoint", "mT", "T"):
        pair = (ndim - 2, ndim - 1) if ndim > 1 else (0, 0)
    else:
        pair = call.argument(1, "dim0") % ndim, call.argument(2, "dim1") % ndim
    order[pair[0]], order[pair[1]] = order[pair[1]], order[pair[0]]
    return _moved(call, order)


def permute(call: Call) -> Decision:
    dims = call.argument(1, "dims")
    dims = dims if isinstance(dims, (tuple, list)) else call.args[1:]
    ndim = len(call.operands[0].shape)
    return _moved(call, [d % ndim for d in dims])


def unsqueeze(call: Call) -> Decision:
    p, ndim = call.operands[0].placement, len(call.operands[0].shape)
    if isinstance(p, Shard):
        return [p], Shard(p.dim + (call.argument(1, "dim") % (ndim + 1) <= p.dim))
    return [p], p


def reshape(call: Call, target: Sequence[int]) -> Decision:
    """Divided as before where that dim is the first of those put together or taken apart."""
    (x,) = call.operands
    p = x.placement
    if not isinstance(p, Shard):
        return ([p], p) if isinstance(p, Partial) else replicated(call)
    before = math.prod(x.shape[: p.dim])
    at = 0
    for d, size in enumerate(target):
        if at == 0:
            at = 1
        if at == before and size != 1:
            even = size % call.parts == 0 and x.shape[p.dim] % call.parts == 0
            return ([p], Shard(d)) if even or size == x.shape[p.dim] else replicated(call)
        at *= size
    return replicated(call)


_FIXED: dict[str, Callable[[Call], Decision]] = {
    **dict.fromkeys(("matmul", "mm", "bmm", "addmm", "baddbmm", "__matmul__"), product),
    "linear": linear,
    **dict.fromkeys(("sum", "mean", "amax", "amin", "argmax", "argmin", "var", "std", "prod",
                     "all", "any", "logsumexp"), reduction),
    **dict.fromkeys(("softmax", "log_softmax", "layer_norm", "rms_norm", "cumsum"), along),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "max_pool2d", "avg_pool2d",
                     "adaptive_avg_pool2d", "group_norm"), of_batch),
    "scaled_dot_product_attention": attention,
    "embedding": embedding,
    **dict.fromkeys(("transpose", "t", "swapaxes", "T", "mT"), transpose),
    "permute": permute,
    "unsqueeze": unsqueeze,
}  # fmt: skip
SHAPED = {"view", "reshape", "flatten", "unflatten", "view_as", "squeeze"}
_LIKE = {"zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like"}


def decide(call: Call, kind: str | None, target: Sequence[int] | None) -> Decision:
    """The rule for a call. ``kind``: of the op in the table; ``target``: the result's sizes."""
    if call.name in _FIXED:
        return _FIXED[call.name](call)
    if call.name in SHAPED and len(call.operands) == 1 and target is not None:
        return reshape(call, target)
    if call.name in _LIKE:
        p = call.operands[0].placement
        return [p], R if isinstance(p, Partial) else p
    return elementwise(call) if is_elementwise(call.name, kind) else replicated(call)


def is_elementwise(name: str, kind: str | None) -> bool:
    """Whether the result's sizes are those of the operands, broadcast, and so is how it lies."""
    others = ("dropout", "copy_", "fill_", "zero_", "where")
    return kind == "pointwise" or name in _LINEAR or name in others or name in _LIKE
