"""``nn.functional``: the ops of the table's module "nn.functional", and composites of them.

An op with a formula of its own belongs to `taimatsu.ops`; here are functions that only combine
ops: they have no kernel and no gradient of their own.
"""
# ruff: noqa: F821  (the table's ops enter the namespace by globals().update)

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import taimatsu as torch
from taimatsu import Tensor
from taimatsu.ops import namespaces

from ._sizes import ntuple

# What the table has takes its place beside the composites below.
globals().update(namespaces["nn.functional"])


def reduced(values: Tensor, reduction: str, size_average=None, reduce=None) -> Tensor:
    """``values`` themselves, their mean or their sum; ValueError for another ``reduction``."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    if reduction == "none":
        return values
    if reduction == "mean":
        return values.mean()
    if reduction == "sum":
        return values.sum()
    raise ValueError(f"{reduction} is not a valid value for reduction")


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


def _into(input: Tensor, result: Tensor, inplace: bool) -> Tensor:
    return input.copy_(result) if inplace else result


# ---- rearrangements --------------------------------------------------------------------------


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(*, C r^2, H, W) -> (*, C, H r, W r)."""
    r = upscale_factor
    if input.dim() < 3:
        raise RuntimeError(f"pixel_shuffle: needs 3 dimensions or more; got {tuple(input.shape)}")
    *batch, channels, height, width = input.shape
    if r <= 0 or channels % (r * r):
        raise RuntimeError(
            f"pixel_shuffle: channels must be divisible by the square of the upscale factor; got "
            f"{channels} and {r}"
        )
    n, c = len(batch), channels // (r * r)
    parts = input.reshape(*batch, c, r, r, height, width)
    parts = parts.permute(*range(n), n, n + 3, n + 1, n + 4, n + 2)
    return parts.reshape(*batch, c, height * r, width * r)


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(*, C, H r, W r) -> (*, C r^2, H, W)."""
    r = downscale_factor
    if input.dim() < 3:
        raise RuntimeError(f"pixel_unshuffle: needs 3 dimensions or more; got {tuple(input.shape)}")
    *batch, channels, height, width = input.shape
    if r <= 0 or height % r or width % r:
        raise RuntimeError(
            f"pixel_unshuffle: height and width must be divisible by the downscale factor; got "
            f"{height}, {width} and {r}"
        )
    n = len(batch)
    parts = input.reshape(*batch, channels, height // r, r, width // r, r)
    parts = parts.permute(*range(n), n, n + 2, n + 4, n + 1, n + 3)
    return parts.reshape(*batch, channels * r * r, height // r, width // r)


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Interleave the channels (dim 1) of ``groups`` groups."""
    if input.dim() < 3 or groups <= 0 or input.size(1) % groups:
        raise RuntimeError(
            f"channel_shuffle: needs 3 dimensions or more, and channels divisible by groups; got "
            f"{tuple(input.shape)} and {groups}"
        )
    n, channels, *rest = input.shape
    parts = input.reshape(n, groups, channels // groups, *rest)
    return parts.transpose(1, 2).reshape(input.shape)


# ---- dropout of whole channels, and with a saturation value -------------------------------------


def _check_probability(p: float) -> None:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def _channel_mask(input: Tensor, channel_dim: int) -> Tensor:
    """Ones, one for each channel of each sample."""
    kept = [size if d <= channel_dim else 1 for d, size in enumerate(input.shape)]
    return input.new_ones(kept)


def _channel_dropout(input, p, training, inplace, channel_dim) -> Tensor:
    _check_probability(p)
    if not training or p == 0.0:
        return input
    mask = dropout(_channel_mask(input, channel_dim), p, True)
    return input.mul_(mask) if inplace else input * mask


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace=False) -> Tensor:
    """Zero whole channels of (N, C, L) or (C, L)."""
    if input.dim() not in (2, 3):
        raise RuntimeError(
            f"dropout1d: Expected 2D or 3D input, but received a {input.dim()}D input."
        )
    return _channel_dropout(input, p, training, inplace, input.dim() - 2)


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace=False) -> Tensor:
    """Zero whole channels of (N, C, H, W)."""
    return _channel_dropout(input, p, training, inplace, 1)


def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace=False) -> Tensor:
    """Zero whole channels of (N, C, D, H, W) or (C, D, H, W)."""
    return _channel_dropout(input, p, training, inplace, 0 if input.dim() == 4 else 1)


def _alpha_dropout(input, mask, p, inplace) -> Tensor:
    """Set dropped elements to SELU's lower limit, then keep the mean at 0 and the variance at 1."""
    limit = -1.7580993408473766  # -alpha * scale of SELU
    if p == 1.0:
        return _into(input, input * 0.0, inplace)
    a = 1.0 / math.sqrt((1.0 - p) * (1.0 + p * limit * limit))
    b = -a * limit * p
    kept = torch.bernoulli(mask * (1.0 - p))
    return _into(input, input * (a * kept) + (a * limit) * (1.0 - kept) + b, inplace)


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace=False) -> Tensor:
    """Dropout that keeps mean 0 and variance 1 of inputs that come from `selu`."""
    _check_probability(p)
    if not training or p == 0.0:
        return input
    return _alpha_dropout(input, torch.ones_like(input), p, inplace)


def feature_alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace=False
) -> Tensor:
    """`alpha_dropout` of whole channels (dim 1)."""
    _check_probability(p)
    if not training or p == 0.0:
        return input
    return _alpha_dropout(input, _channel_mask(input, 1), p, inplace)


def gumbel_softmax(
    logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    """Draw from the relaxed categorical distribution of ``logits`` (Jang et al., 2017).

    ``hard``: one-hot values, with the gradient of the soft ones.
    """
    noise = -torch.empty_like(logits).exponential_().log()  # Gumbel(0, 1)
    soft = softmax((logits + noise) / tau, dim)
    if not hard:
        return soft
    index = soft.max(dim, keepdim=True)[1]
    one_hot = torch.zeros_like(logits).scatter_(dim, index, 1.0)
    return one_hot - soft.detach() + soft


# ---- normalisation and distances ----------------------------------------------------------------


def normalize(
    input: Tensor, p: float = 2.0, dim: Any = 1, eps: float = 1e-12, out: Tensor | None = None
) -> Tensor:
    """input / max(norm_p(input), eps) along ``dim``."""
    norm = torch.linalg.vector_norm(input, p, dim, keepdim=True).clamp_min(eps)
    if out is None:
        return input / norm
    return torch.div(input, norm.expand_as(input), out=out)


def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """input / (k + alpha * mean of squares over ``size`` neighbouring channels) ** beta."""
    if input.dim() < 3:
        raise ValueError(
            f"Expected 3D or higher dimensionality input (got {input.dim()} dimensions)"
        )
    if input.numel() == 0:
        return input
    n, channels, *rest = input.shape
    squares = (input * input).reshape(n, 1, channels, -1)
    squares = pad(squares, (0, 0, size // 2, (size - 1) // 2))
    mean = avg_pool2d(squares, (size, 1), stride=1).reshape(n, channels, *rest)
    return input / (mean * alpha + k) ** beta


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Batch norm of each sample by itself: (N, C, *spatial), more than one spatial element."""
    n, channels, *rest = input.shape
    if use_input_stats and math.prod(rest) == 1:
        raise ValueError(
            f"Expected more than 1 spatial element when training, got input size {input.size()}"
        )

    def per_sample(t: Tensor | None) -> Tensor | None:
        return None if t is None else t.repeat(n)

    mean, var = per_sample(running_mean), per_sample(running_var)
    out = batch_norm(
        input.reshape(1, n * channels, *rest), mean, var, per_sample(weight), per_sample(bias),
        use_input_stats, momentum, eps,
    )  # fmt: skip
    if use_input_stats:
        with torch.no_grad():
            for running, batch in ((running_mean, mean), (running_var, var)):
                if running is not None:
                    running.copy_(batch.reshape(n, channels).mean(0))
    return out.reshape(input.shape)


def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """The p-norm of x1 - x2 + eps along the last dim."""
    return torch.linalg.vector_norm(x1 - x2 + eps, p, -1, keepdim=keepdim)


def lp_pool1d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """The p-norm of each window of (N, C, L), p = ``norm_type``."""
    return _lp_pool(avg_pool1d, 1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """The p-norm of each window of (N, C, H, W), p = ``norm_type``."""
    return _lp_pool(avg_pool2d, 2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """The p-norm of each window of (N, C, D, H, W), p = ``norm_type``."""
    return _lp_pool(avg_pool3d, 3, input, norm_type, kernel_size, stride, ceil_mode)


def _lp_pool(avg_pool, n, input, p, kernel_size, stride, ceil_mode) -> Tensor:
    powers = avg_pool(input.pow(p), kernel_size, stride, 0, ceil_mode)
    count = math.prod(ntuple(kernel_size, n))
    # The sign and the relu keep a sum of odd powers that is negative at 0.
    return (torch.sign(powers) * relu(torch.abs(powers)) * count).pow(1.0 / p)


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """sum_ij x1_i W_kij x2_j + b_k: (*, I), (*, J), (K, I, J) -> (*, K)."""
    if input1.shape[:-1] != input2.shape[:-1]:
        raise RuntimeError(
            f"bilinear: inputs must have the same leading sizes; got {tuple(input1.shape)}, "
            f"{tuple(input2.shape)}"
        )
    if (input1.size(-1), input2.size(-1)) != tuple(weight.shape[1:]):
        raise RuntimeError(
            f"bilinear: the last sizes must be those of the weight {tuple(weight.shape)}; got "
            f"{tuple(input1.shape)}, {tuple(input2.shape)}"
        )
    out_features, n1, n2 = weight.shape
    rows1, rows2 = input1.reshape(-1, n1), input2.reshape(-1, n2)
    products = (rows1.unsqueeze(2) * rows2.unsqueeze(1)).reshape(-1, n1 * n2)
    out = linear(products, weight.reshape(out_features, n1 * n2), bias)
    return out.reshape(*input1.shape[:-1], out_features)


# ---- losses -------------------------------------------------------------------------------------


def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average=None,
    reduce=None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, -target * (input1 - input2) + margin)."""
    if input1.dim() != input2.dim() or input1.dim() != target.dim():
        raise RuntimeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: "
            f"input1: {input1.size()}, input2: {input2.size()}, target: {target.size()} "
        )
    loss = (-target * (input1 - input2) + margin).clamp_min(0)
    return reduced(loss, reduction, size_average, reduce)


def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average=None,
    reduce=None,
    reduction: str = "mean",
) -> Tensor:
    """input where target is 1, max(0, margin - input) where it is -1."""
    zeros = torch.zeros_like(input)
    far = torch.where(target == 1, zeros, (margin - input).clamp_min(0))
    near = torch.where(target == -1, zeros, input)
    return reduced(far + near, reduction, size_average, reduce)


def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average=None,
    reduce=None,
    reduction: str = "mean",
) -> Tensor:
    """1 - cos where target is 1, max(0, cos - margin) where it is -1."""
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
    """exp(x) - y x, or x - y log(x + eps); ``full`` adds Stirling's approximation of log(y!)."""
    if log_input:
        loss = input.exp() - target * input
    else:
        loss = input - target * (input + eps).log()
    if full:
        stirling = target * target.log() - target + 0.5 * (2 * math.pi * target).log()
        loss = loss + stirling.masked_fill(target <= 1, 0)
    return reduced(loss, reduction, size_average, reduce)


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


def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average=None,
    reduce=None,
    reduction: str = "mean",
) -> Tensor:
    """The mean over classes (last dim) of the binary cross entropy of sigmoid(input)."""
    loss = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    if weight is not None:
        loss = loss * weight
    return reduced(loss.mean(-1), reduction, size_average, reduce)


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
    """max(0, |a - p| - |a - n| + margin) with the p-norm along the last dim."""
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
    """`triplet_margin_loss` with any distance (None: `pairwise_distance`)."""
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
