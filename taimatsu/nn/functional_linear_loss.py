"""A linear layer and the cross entropy of its scores as one loss, whole or in pieces."""

from __future__ import annotations

import math
import warnings

import taimatsu as torch
from taimatsu import Tensor
from taimatsu.ops import namespaces

__all__ = ["linear_cross_entropy"]

_ops = namespaces["nn.functional"]
_ACC_DTYPES = (None, torch.float16, torch.bfloat16, torch.float32, torch.float64)
_POLICIES = ("accurate", "balanced", "compact", "auto")


def _aspect_ratio(method: str) -> float:
    """The number in "aspect_ratio:2"; 2 for "auto". ValueError for anything else."""
    if method == "auto":
        return 2.0
    name, _, number = method.partition(":")
    try:
        ratio = float(number)
    except ValueError:
        ratio = -1.0
    if name != "aspect_ratio" or not 0 < ratio < math.inf:
        raise ValueError(f"invalid chunking_method: {method!r}; use 'auto' or 'aspect_ratio:2'")
    return ratio


class LinearCrossEntropyOptions:
    """How `linear_cross_entropy` cuts the batch, so that the scores of all are never in memory.

    ``batch_chunk_size`` samples at a time; by default so many that their scores are twice as large
    as the weight (``chunking_method="aspect_ratio:2"``; None: all at once). Scores are computed
    again in the backward pass, which may therefore run twice and be differentiated; the other
    options are accepted and have no effect, as sums are always accumulated in float32 or wider.
    """

    def __init__(
        self,
        allow_retain_graph: bool = False,
        batch_chunk_size: int | None = None,
        chunking_method: str | None = "auto",
        acc_policy: str = "auto",
        acc_dtype: torch.dtype | None = None,
    ):
        if batch_chunk_size is not None and (
            not isinstance(batch_chunk_size, int) or batch_chunk_size <= 0
        ):
            raise ValueError(f"batch_chunk_size must be positive int or None, got "
                             f"{batch_chunk_size}")  # fmt: skip
        if chunking_method is not None:
            _aspect_ratio(chunking_method)
        if acc_policy not in _POLICIES:
            raise ValueError(f"invalid acc_policy: {acc_policy!r}; use one of {_POLICIES}")
        if acc_dtype not in _ACC_DTYPES:
            raise ValueError(f"acc_dtype must be one of {_ACC_DTYPES}, got {acc_dtype}")
        self.allow_retain_graph = allow_retain_graph
        self.batch_chunk_size = batch_chunk_size
        self.chunking_method = chunking_method
        self.acc_policy = acc_policy
        self.acc_dtype = acc_dtype

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({values})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash(tuple(vars(self).values()))

    def samples(self, batch: int, in_features: int) -> int:
        """How many samples to take at once."""
        if self.batch_chunk_size is not None:
            return self.batch_chunk_size
        if self.chunking_method is None:
            return max(1, batch)
        return max(1, math.ceil(_aspect_ratio(self.chunking_method) * in_features))


def _check(input, linear_weight, target, linear_bias, options) -> None:
    name = "linear_cross_entropy: "
    if input.dim() not in (1, 2):
        raise RuntimeError(
            f"{name}expected input with dimensionality 1 or 2, got shape {tuple(input.shape)}"
        )
    if linear_weight.dim() < 2:
        raise RuntimeError(
            f"{name}expected linear_weight (C, ..., in_features), got {tuple(linear_weight.shape)}"
        )
    if input.shape[-1] != linear_weight.shape[-1]:
        raise RuntimeError(
            f"{name}expected equal input and linear_weight last dimensions (in_features), got "
            f"{input.shape[-1]} and {linear_weight.shape[-1]}"
        )
    if linear_weight.dim() > 2 and input.dim() == 1:
        raise RuntimeError(
            f"{name}a K-dimensional loss, of linear_weight with shape "
            f"{tuple(linear_weight.shape)}, requires batched input (N, in_features), got shape "
            f"{tuple(input.shape)}"
        )
    if linear_bias is not None and linear_bias.shape != linear_weight.shape[:-1]:
        raise RuntimeError(
            f"{name}expected linear_bias shape {tuple(linear_weight.shape[:-1])}, got "
            f"{tuple(linear_bias.shape)}"
        )
    if options is not None:
        if not isinstance(options, LinearCrossEntropyOptions):
            raise AttributeError(
                f"{name}options must be LinearCrossEntropyOptions, got {type(options).__name__}"
            )
        halves = (torch.float16, torch.bfloat16)
        if options.acc_dtype not in (None, input.dtype) and not (
            options.acc_dtype == torch.float32 and input.dtype in halves
        ):
            raise RuntimeError(
                f"{name}supports float32 acc_dtype with float16/bfloat16 inputs, but got "
                f"{options.acc_dtype} and {input.dtype} inputs"
            )


def _scores(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(N, in), (C, *, in) -> (N, C, *)."""
    flat = None if bias is None else bias.reshape(-1)
    scores = _ops["linear"](input, weight.reshape(-1, weight.shape[-1]), flat)
    return scores.reshape(*input.shape[:-1], *weight.shape[:-1])


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: LinearCrossEntropyOptions | None = None,
) -> Tensor:
    """cross_entropy(linear(input, linear_weight, linear_bias), target).

    input: (N, in) or (in), linear_weight: (C, in), or (C, d1, ..., in) for a loss of more dims;
    target: (N, d1, ...) of int64, or probabilities (N, C, d1, ...). With ``options`` the batch is
    cut into pieces, where the target are classes of one dim and labels aren't smoothed.

    RuntimeError or ValueError for sizes that don't fit.

    >>> x, w = torch.randn(4, 8), torch.randn(10, 8)
    >>> F.linear_cross_entropy(x, w, torch.tensor([1, 0, 9, 3])).shape
    torch.Size([])
    """
    _check(input, linear_weight, target, linear_bias, options)
    if target.is_floating_point() and ignore_index is not None:
        raise RuntimeError(
            "linear_cross_entropy: ignore_index cannot be specified when target contains "
            "probabilities"
        )
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(
            f"linear_cross_entropy: label_smoothing must be between 0.0 and 1.0. Got: "
            f"{label_smoothing}"
        )
    ignored = -100 if ignore_index is None else ignore_index
    if options is not None:
        if (input.dim() == linear_weight.dim() == 2 and target.dim() == 1 and not label_smoothing
                and not target.is_floating_point() and reduction in ("none", "mean", "sum")):
            return _in_pieces(input, linear_weight, target, linear_bias, weight, reduction, ignored,
                              options.samples(input.shape[0], input.shape[1]))
        if input.dim() == 2:
            warnings.warn(
                "linear_cross_entropy: options are ignored; pieces need classes as target, one "
                "class for each sample, and no label smoothing",
                stacklevel=2,
            )
    scores = _scores(input, linear_weight, linear_bias)
    return _ops["cross_entropy"](scores, target, weight, ignore_index=ignored, reduction=reduction,
                                 label_smoothing=label_smoothing)


def _in_pieces(input, linear_weight, target, bias, weight, reduction, ignored, size) -> Tensor:
    from taimatsu.utils.checkpoint import checkpoint

    if len(target) != len(input):
        raise ValueError(f"linear_cross_entropy: Expected input batch_size ({len(input)}) to match "
                         f"target batch_size ({len(target)}).")  # fmt: skip

    def piece(x, classes):
        scores = _scores(x, linear_weight, bias)
        how = "none" if reduction == "none" else "sum"
        return _ops["cross_entropy"](scores, classes, weight, ignore_index=ignored, reduction=how)

    if len(input) <= size:
        losses = [piece(input, target)]
    else:
        losses = [
            checkpoint(piece, x, classes, use_reentrant=False)
            for x, classes in zip(input.split(size), target.split(size), strict=True)
        ]
    if reduction == "none":
        return torch.cat(losses)
    total = losses[0] if len(losses) == 1 else torch.stack(losses).sum()
    if reduction == "sum":
        return total
    used = target != ignored
    if weight is not None:
        return total / (weight[target * used] * used).sum()
    return total / used.sum()
