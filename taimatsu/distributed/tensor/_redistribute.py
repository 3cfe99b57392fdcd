"""How a tensor comes to lie otherwise on a mesh, and what that does to gradients.

`convert` moves local tensors, one dim of the mesh after another. `redistribute` is its
differentiable form. A gradient lies as its tensor does, but for a partial one: the gradient of each
summand is that of the sum, so it is replicated (`dual`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import taimatsu as torch
from taimatsu import Tensor
from taimatsu.autograd import Function

from .. import collectives as dist
from ..device_mesh import DeviceMesh
from ..placements import Partial, Placement, Replicate, Shard

__all__ = ["Spec", "convert", "dual", "local_shape", "normalized", "redistribute", "summed"]

_OPS = {
    "sum": dist.ReduceOp.SUM, "avg": dist.ReduceOp.AVG, "product": dist.ReduceOp.PRODUCT,
    "max": dist.ReduceOp.MAX, "min": dist.ReduceOp.MIN,
}  # fmt: skip


@dataclass(frozen=True)
class Spec:
    """Where and how a tensor of these sizes lies."""

    mesh: DeviceMesh
    placements: tuple[Placement, ...]
    shape: tuple[int, ...]

    def lying(self, placements: Sequence[Placement]) -> Spec:
        """The same tensor, otherwise."""
        return Spec(self.mesh, tuple(placements), self.shape)


def normalized(mesh: DeviceMesh, placements: Sequence[Placement] | None, ndim: int) -> tuple:
    """A placement for each dim of the mesh; None is replicated. ValueError for what doesn't fit."""
    if placements is None:
        return (Replicate(),) * mesh.ndim
    found = []
    for p in placements:
        if isinstance(p, Shard) and p.dim < 0:
            p = Shard(p.dim + ndim)
        if isinstance(p, Shard) and not 0 <= p.dim < max(ndim, 1):
            raise ValueError(f"{p!r}: the tensor has {ndim} dims")
        found.append(p)
    if len(found) != mesh.ndim:
        raise ValueError(
            f"`placements` must have the same length as `device_mesh.ndim`! Found placements "
            f"length: {len(found)}, and device_mesh.ndim: {mesh.ndim}."
        )
    return tuple(found)


def dual(placements: Sequence[Placement]) -> tuple[Placement, ...]:
    """How the gradient lies of a tensor that lies so."""
    return tuple(Replicate() if isinstance(p, Partial) else p for p in placements)


def _levels(spec: Spec) -> list[tuple[list[int], list[int]]]:
    """For each dim of the mesh the sizes, and where they begin, of what is divided along it; and
    those of the local tensor."""
    sizes, offsets = list(spec.shape), [0] * len(spec.shape)
    found = [(list(sizes), list(offsets))]
    for i, p in enumerate(spec.placements):
        if isinstance(p, Shard):
            size, offset = Shard.local_shard_size_and_offset(
                sizes[p.dim], spec.mesh.size(i), spec.mesh.get_local_rank(i)
            )
            sizes[p.dim] = size
            offsets[p.dim] += offset
        found.append((list(sizes), list(offsets)))
    return found


def local_shape(spec: Spec) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The sizes of this process's part, and where it begins in the whole."""
    sizes, offsets = _levels(spec)[-1]
    return tuple(sizes), tuple(offsets)


def _chunk(x: Tensor, dim: int, parts: int, index: int) -> Tensor:
    size, offset = Shard.local_shard_size_and_offset(x.shape[dim], parts, index)
    return x.narrow(dim, offset, size).contiguous()


def _gathered(x: Tensor, dim: int, size: int, parts: int, group: Any) -> Tensor:
    """The whole of chunks along a dim, which may be of different sizes."""
    if parts == 1:
        return x
    largest = -(-size // parts)
    sizes = list(x.shape)
    sizes[dim] = largest
    if x.shape[dim] < largest:
        padded = x.new_zeros(sizes)
        padded.narrow(dim, 0, x.shape[dim]).copy_(x)
    else:
        padded = x.contiguous()
    chunks = [x.new_empty(sizes) for _ in range(parts)]
    dist.all_gather(chunks, padded, group=group)
    return torch.cat(chunks, dim).narrow(dim, 0, size)


def _reduced(x: Tensor, how: str, group: Any) -> Tensor:
    result = x.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(result, _OPS[how], group=group)
    return result


def convert(x: Tensor, source: Spec, target: Sequence[Placement]) -> Tensor:
    """The local tensor of a tensor that lies as ``source`` says, when it lies as ``target``."""
    mesh, now = source.mesh, list(source.placements)
    levels = _levels(source)
    # What is divided twice along one dim has to be put together from the inside.
    changing = {i for i, (a, b) in enumerate(zip(now, target, strict=True)) if a != b}
    for i in sorted(changing):
        for p in (now[i], target[i]):
            if isinstance(p, Shard):
                changing |= {
                    j for j in range(i + 1, mesh.ndim)
                    if p.dim in (getattr(now[j], "dim", None), getattr(target[j], "dim", None))
                }  # fmt: skip
    for i in sorted(changing, reverse=True):
        p, group = now[i], mesh.get_group(i)
        if isinstance(p, Shard):
            x = _gathered(x, p.dim, levels[i][0][p.dim], mesh.size(i), group)
        elif isinstance(p, Partial) and not isinstance(target[i], Partial):
            x = _reduced(x, p.reduce_op, group)
    for i in sorted(changing):
        p, index = target[i], mesh.get_local_rank(i)
        if isinstance(p, Shard):
            x = _chunk(x, p.dim, mesh.size(i), index)
        elif p == Partial() and not isinstance(now[i], Partial) and index:
            x = torch.zeros_like(x)
    return x


class _Redistribute(Function):
    @staticmethod
    def forward(ctx, x, source, target):
        ctx.source, ctx.target = source, target
        result = convert(x, source, target)
        return x.view_as(x) if result is x else result

    @staticmethod
    def backward(ctx, g):
        source, target = ctx.source, ctx.target
        g = convert(g, source.lying(dual(target)), dual(source.placements))
        for i, (a, b) in enumerate(zip(source.placements, target, strict=True)):
            if a != b and isinstance(a, Partial) and a.reduce_op == "avg":
                g = g / source.mesh.size(i)  # each has its share of an average
        return g, None, None


def redistribute(x: Tensor, source: Spec, target: Sequence[Placement]) -> Tensor:
    """`convert`, on the tape."""
    if source.placements == tuple(target):
        return x
    return _Redistribute.apply(x, source, tuple(target))


class _Summed(Function):
    @staticmethod
    def forward(ctx, x, spec, given, wanted):
        ctx.spec, ctx.given, ctx.wanted = spec, given, wanted
        return x.view_as(x)

    @staticmethod
    def backward(ctx, g):
        return convert(g, ctx.spec.lying(ctx.given), ctx.wanted), None, None, None


def summed(x: Tensor, spec: Spec, given: Sequence[Placement]) -> Tensor:
    """The local tensor, whose gradient comes as ``given`` and is put as the tensor's has to lie."""
    wanted = dual(spec.placements)
    return x if tuple(given) == wanted else _Summed.apply(x, spec, tuple(given), wanted)
