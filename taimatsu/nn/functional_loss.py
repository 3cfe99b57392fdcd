"""Losses that are composites of ops; those with a formula are in `taimatsu.ops.loss`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import taimatsu as torch
from taimatsu import Tensor
from taimatsu._overridable import overridable
from taimatsu.ops import namespaces

__all__ = [
    "cosine_embedding_loss",
    "gaussian_nll_loss",
    "hinge_embedding_loss",
    "legacy_reduction",
    "margin_ranking_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "pairwise_distance",
    "poisson_nll_loss",
    "soft_margin_loss",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]

_ops = namespaces["nn.functional"]


def _checked(reduction: str) -> str:
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return reduction


def reduced(values: Tensor, reduction: str, size_average=None, reduce=None) -> Tensor:
    """``values`` themselves, their mean or their sum; ValueError for another ``reduction``."""
    reduction = _checked(legacy_reduction(size_average, reduce, reduction))
    return values if reduction == "none" else getattr(values, reduction)()


def legacy_reduction(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """The reduction that the deprecated ``size_average`` and ``reduce`` ask for."""
    if size_average is None and reduce is None:
        return reduction
    warnings.warn(
        "loss: size_average and reduce are deprecated; use reduction='none', 'mean' or 'sum'",
        stacklevel=4,
    )
    if reduce is False:
        return "none"
    return "sum" if size_average is False else "mean"


@overridable
def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """The p-norm of x1 - x2 + eps along the last dim."""
    return torch.linalg.vector_norm(x1 - x2 + eps, p, -1, keepdim=keepdim)


@overridable
def soft_margin_loss(
    input: Tensor, target: Tensor, size_average=None, reduce=None, reduction: str = "mean"
) -> Tensor:
    """log(1 + exp(-target * input)), target 1 or -1.

    >>> F.soft_margin_loss(torch.tensor([2.0, -1.0]), torch.tensor([1.0, -1.0]))
    tensor(0.2201)
    """
    if input.shape != target.shape:
        raise RuntimeError(
            f"soft_margin_loss: input and target must have one shape; got {tuple(input.shape)}, "
            f"{tuple(target.shape)}"
        )
    return reduced((-target * input).exp().log1p(), reduction, size_average, reduce)


def _rows(name: str, input: Tensor) -> Tensor:
    """Scores (C) or (N, C) as (N, C)."""
    rows = input.reshape(1, -1) if input.dim() < 2 else input
    if rows.dim() > 2 or rows.size(1) == 0:
        raise RuntimeError(
            f"{name}: Expected non-empty vector or matrix with optional 0-dim batch size, but "
            f"got: {list(input.shape)}"
        )
    return rows


@overridable
def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average=None,
    reduce=None,
    reduction: str = "mean",
) -> Tensor:
    """The mean over the classes i but y of max(0, margin - x[y] + x[i])^p: (N, C), (N).

    >>> F.multi_margin_loss(torch.tensor([[0.1, 0.2, 0.4, 0.8]]), torch.tensor([3]))
    tensor(0.3250)
    """
    reduction = _checked(legacy_reduction(size_average, reduce, reduction))
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if weight is not None and weight.dim() != 1:
        raise ValueError(f"weight must be one-dimensional; got {list(weight.shape)}")
    rows = _rows("multi_margin_loss", input)
    if target.dim() > 1 or target.numel() != rows.size(0):
        raise RuntimeError(
            f"multi_margin_loss: inconsistent target size, expected {rows.size(0)} but got "
            f"{list(target.shape)}"
        )
    if weight is not None and weight.numel() != rows.size(1):
        raise RuntimeError(
            f"multi_margin_loss: inconsistent weight size, expected {rows.size(1)} but got "
            f"{list(weight.shape)}"
        )
    index = target.reshape(-1, 1)
    violations = (margin - rows.gather(1, index) + rows).clamp_min(0)
    if p == 2:
        violations = violations * violations
    if weight is not None:
        violations = violations * weight[index]
    others = torch.arange(rows.size(1), device=rows.device) != index
    loss = (violations * others).sum(1) / rows.size(1)
    return reduced(loss.reshape(target.shape), reduction)


@overridable
def multilabel_margin_loss(
    input: Tensor, target: Tensor, size_average=None, reduce=None, reduction: str = "mean"
) -> Tensor:
    """max(0, 1 - x[y] + x[i]) for all labels y and other classes i, over the number of classes.

    (N, C), (N, C) or (C), (C): the labels are the entries of the target before the first -1.

    >>> F.multilabel_margin_loss(torch.tensor([[0.1, 0.2, 0.4, 0.8]]), torch.tensor([[3, 0,
    ...     -1, 1]]))
    tensor(0.8500)
    """
    reduction = _checked(legacy_reduction(size_average, reduce, reduction))
    rows = _rows("multilabel_margin_loss", input)
    if target.shape != input.shape:
        raise RuntimeError(
            f"multilabel_margin_loss: inconsistent target size: {list(target.shape)} for input of "
            f"size: {list(input.shape)}"
        )
    if target.dtype != torch.int64:
        raise RuntimeError(f"multilabel_margin_loss: expected int64 labels; got {target.dtype}")
    labels = target.reshape(rows.shape)
    given = (labels >= 0).to(torch.int64).cumprod(1)
    labels = labels * given
    is_label = torch.zeros_like(labels).scatter_add(1, labels, given) > 0
    margins = 1 - rows.gather(1, labels).unsqueeze(2) + rows.unsqueeze(1)
    counted = given.unsqueeze(2).bool() & ~is_label.unsqueeze(1)
    loss = torch.where(counted, margins.clamp_min(0), 0).sum((1, 2)) / rows.size(1)
    return reduced(loss.reshape(input.shape[:-1] if input.dim() else ()), reduction)


@overridable
def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average=None,
    reduce=None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, -target * (input1 - input2) + margin).

    >>> F.margin_ranking_loss(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 1.0]),
    ...     torch.tensor([1, 1]))
    tensor(0.5000)
    """
    if input1.dim() != input2.dim() or input1.dim() != target.dim():
        raise RuntimeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: "
            f"input1: {input1.size()}, input2: {input2.size()}, target: {target.size()} "
        )
    loss = (-target * (input1 - input2) + margin).clamp_min(0)
    return reduced(loss, reduction, size_average, reduce)


@overridable
def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average=None,
    reduce=None,
    reduction: str = "mean",
) -> Tensor:
    """input where target is 1, max(0, margin - input) where it is -1.

    >>> F.hinge_embedding_loss(torch.tensor([0.5, 0.2]), torch.tensor([1.0, -1.0]))
    tensor(0.6500)
    """
    zeros = torch.zeros_like(input)
    far = torch.where(target == 1, zeros, (margin - input).clamp_min(0))
    near = torch.where(target == -1, zeros, input)
    return reduced(far + near, reduction, size_average, reduce)


@overridable
def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average=None,
    reduce=None,
    reduction: str = "mean",
) -> Tensor:
    """1 - cos where target is 1, max(0, cos - margin) where it is -1.

    >>> F.cosine_embedding_loss(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]),
    ...     torch.tensor([1]))
    tensor(1.)
    """
    if target.dim() not in (0, 1):
        raise RuntimeError(
            "cosine_embedding_loss: 0D or 1D target tensor expected, multi-target not supported"
        )
    if input1.dim() != target.dim() + 1 or input2.dim() != target.dim() + 1:
        raise RuntimeError(
            f"cosine_embedding_loss: inputs must have one dimension more than the target "
            f"{tuple(target.shape)}; got {tuple(input1.shape)}, {tuple(input2.shape)}"
        )
    tiny = 1e-12
    dot = (input1 * input2).sum(-1)
    squares1 = (input1 * input1).sum(-1) + tiny
    squares2 = (input2 * input2).sum(-1) + tiny
    cos = dot / (squares1 * squares2).sqrt()
    zeros = torch.zeros_like(cos)
    near = torch.where(target == 1, 1 - cos, zeros)
    far = torch.where(target == -1, (cos - margin).clamp_min(0), zeros)
    return reduced(near + far, reduction, size_average, reduce)


@overridable
def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average=None,
    eps: float = 1e-8,
    reduce=None,
    reduction: str = "mean",
) -> Tensor:
    """exp(x) - y x, or x - y log(x + eps); ``full`` adds Stirling's approximation of log(y!).

    >>> F.poisson_nll_loss(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0]))
    tensor(0.8591)
    """
    if log_input:
        loss = input.exp() - target * input
    else:
        loss = input - target * (input + eps).log()
    if full:
        stirling = target * target.log() - target + 0.5 * (2 * math.pi * target).log()
        loss = loss + stirling.masked_fill(target <= 1, 0)
    return reduced(loss, reduction, size_average, reduce)


@overridable
def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Any,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """(log v + (x - y)^2 / v) / 2 with v = max(var, eps); ``full`` adds log(2 pi) / 2.

    ``var``: a number, or a tensor of the input's shape, with or without the last dim, or
    with size 1 in one dim. Raises ValueError if it is negative or has another shape.

    >>> F.gaussian_nll_loss(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]),
    ...     torch.tensor([1.0, 4.0]))
    tensor(0.5966)
    """
    if not isinstance(var, Tensor):
        if var < 0:
            raise ValueError("var has negative entry/entries")
        var = torch.full_like(input, var)
    elif (var < 0).any():
        raise ValueError("var has negative entry/entries")
    if var.size() != input.size():
        if input.size()[:-1] == var.size():
            var = var.unsqueeze(-1)
        elif input.dim() != var.dim() or [
            v for n, v in zip(input.size(), var.size(), strict=True) if n != v
        ] != [1]:
            raise ValueError("var is of incorrect size")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(reduction + " is not valid")
    with torch.no_grad():
        clamped = var.clone().clamp_(min=eps)
    var = var + (clamped - var).detach()  # the value of the clamped, the gradient of the given
    loss = 0.5 * (var.log() + (input - target) ** 2 / var)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return reduced(loss, reduction)


@overridable
def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average=None,
    reduce=None,
    reduction: str = "mean",
) -> Tensor:
    """The mean over classes (last dim) of the binary cross entropy of sigmoid(input).

    >>> F.multilabel_soft_margin_loss(torch.tensor([[2.0, -1.0]]), torch.tensor([[1.0, 0.0]]))
    tensor(0.2201)
    """
    loss = -(target * _ops["logsigmoid"](input) + (1 - target) * _ops["logsigmoid"](-input))
    if weight is not None:
        loss = loss * weight
    return reduced(loss.mean(-1), reduction, size_average, reduce)


@overridable
def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average=None,
    reduce=None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, |a - p| - |a - n| + margin) with the p-norm along the last dim.

    >>> F.triplet_margin_loss(torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 0.0]]),
    ...     torch.tensor([[0.0, 1.5]]))
    tensor(0.5000)
    """
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    return triplet_margin_with_distance_loss(
        anchor,
        positive,
        negative,
        distance_function=lambda x, y: pairwise_distance(x, y, p, eps),
        margin=margin,
        swap=swap,
        reduction=legacy_reduction(size_average, reduce, reduction),
    )


@overridable
def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """`triplet_margin_loss` with any distance (None: `pairwise_distance`).

    >>> F.triplet_margin_with_distance_loss(torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0,
    ...     0.0]]), torch.tensor([[0.0, 1.5]]))
    tensor(0.5000)
    """
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor.dim() == positive.dim() == negative.dim():
        raise RuntimeError(
            "triplet_margin_loss: anchor, positive and negative must have as many dimensions; got "
            f"{anchor.dim()}D, {positive.dim()}D, {negative.dim()}D"
        )
    distance = pairwise_distance if distance_function is None else distance_function
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = torch.minimum(far, distance(positive, negative))
    return reduced((margin + near - far).clamp_min(0), reduction)
