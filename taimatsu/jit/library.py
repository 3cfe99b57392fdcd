"""This package's functions, as TorchScript has them; `layers` has the layers' methods.

Where a function is written in more of Python than TorchScript has, or where ATen's op of the name
takes other arguments, its form in the language is here, in ATen's terms.
"""
# mypy: ignore-errors
# ruff: noqa: UP006, UP035  (the language's own names of types)

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any, Dict, List

import taimatsu as torch
from taimatsu import Tensor
from taimatsu.jit.annotations import (
    BroadcastingList1,
    BroadcastingList2,
    BroadcastingList3,
)
from taimatsu.nn import functional as F

__all__ = ["CLASSES", "FUNCTIONS"]

FUNCTIONS: dict[Any, Callable] = {}
CLASSES: dict[type, type] = {}
aten = torch.ops.aten
_F = typing.TypeVar("_F", bound=Callable)


def _as(*targets: Any) -> Callable[[_F], _F]:
    """The form of functions."""

    def keep(function: _F) -> _F:
        FUNCTIONS.update(dict.fromkeys(targets, function))
        return function

    return keep


# ---- Activations ----------------------------------------------------------------------------
@_as(F.relu)
def relu(input: Tensor, inplace: bool = False) -> Tensor:
    if inplace:
        return torch.relu_(input)
    return torch.relu(input)


@_as(F.relu6)
def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    if inplace:
        return aten.relu6_(input)
    return aten.relu6(input)


@_as(F.selu)
def selu(input: Tensor, inplace: bool = False) -> Tensor:
    if inplace:
        return torch.selu_(input)
    return torch.selu(input)


@_as(F.celu)
def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    if inplace:
        return torch.celu_(input, alpha)
    return torch.celu(input, alpha)


@_as(F.silu)
def silu(input: Tensor, inplace: bool = False) -> Tensor:
    if inplace:
        return aten.silu_(input)
    return aten.silu(input)


@_as(F.mish)
def mish(input: Tensor, inplace: bool = False) -> Tensor:
    if inplace:
        return aten.mish_(input)
    return aten.mish(input)


@_as(F.hardsigmoid)
def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    if inplace:
        return aten.hardsigmoid_(input)
    return aten.hardsigmoid(input)


@_as(F.hardswish)
def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    if inplace:
        return aten.hardswish_(input)
    return aten.hardswish(input)


@_as(F.elu)
def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    if inplace:
        return aten.elu_(input, alpha)
    return aten.elu(input, alpha)


@_as(F.leaky_relu)
def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    if inplace:
        return aten.leaky_relu_(input, negative_slope)
    return aten.leaky_relu(input, negative_slope)


@_as(F.hardtanh)
def hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    if inplace:
        return aten.hardtanh_(input, min_val, max_val)
    return aten.hardtanh(input, min_val, max_val)


@_as(F.threshold)
def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    if inplace:
        return aten.threshold_(input, threshold, value)
    return aten.threshold(input, threshold, value)


@_as(F.rrelu)
def rrelu(
    input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False,
    inplace: bool = False,
) -> Tensor:  # fmt: skip
    if inplace:
        return torch.rrelu_(input, lower, upper, training)
    return torch.rrelu(input, lower, upper, training)


@_as(F.softsign)
def softsign(input: Tensor) -> Tensor:
    return input / (input.abs() + 1)


@_as(F.tanhshrink)
def tanhshrink(input: Tensor) -> Tensor:
    return input - input.tanh()


def implicit_dim(dims: int) -> int:
    if dims == 0 or dims == 1 or dims == 3:
        return 0
    return 1


@_as(F.softmax)
def softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: int | None = None
) -> Tensor:
    if dim is None:
        dim = implicit_dim(input.dim())
    return torch.softmax(input, dim, dtype)


@_as(F.log_softmax)
def log_softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: int | None = None
) -> Tensor:
    if dim is None:
        dim = implicit_dim(input.dim())
    return torch.log_softmax(input, dim, dtype)


@_as(F.softmin)
def softmin(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: int | None = None
) -> Tensor:
    return softmax(-input, dim, 3, dtype)


@_as(F.gumbel_softmax)
def gumbel_softmax(
    logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    noise = -torch.empty_like(logits).exponential_().log()
    soft = torch.softmax((logits + noise) / tau, dim)
    if not hard:
        return soft
    index = soft.argmax(dim, True)
    chosen = torch.zeros_like(soft).scatter_(dim, index, 1.0)
    return chosen - soft.detach() + soft


@_as(F.one_hot)
def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    return aten.one_hot(tensor, num_classes)


# ---- Dropout --------------------------------------------------------------------------------
@_as(F.dropout)
def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    if inplace:
        return aten.dropout_(input, p, training)
    return aten.dropout(input, p, training)


@_as(F.alpha_dropout)
def alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    return aten.alpha_dropout(input, p, training)


@_as(F.feature_alpha_dropout)
def feature_alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    return aten.feature_alpha_dropout(input, p, training)


@_as(F.dropout1d, F.dropout2d, F.dropout3d)
def feature_dropout(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    return aten.feature_dropout(input, p, training)


# ---- Normalisation --------------------------------------------------------------------------
@_as(F.batch_norm)
def batch_norm(
    input: Tensor, running_mean: Tensor | None, running_var: Tensor | None,
    weight: Tensor | None = None, bias: Tensor | None = None, training: bool = False,
    momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    return aten.batch_norm(
        input, weight, bias, running_mean, running_var, training, momentum, eps, True
    )


@_as(F.instance_norm)
def instance_norm(
    input: Tensor, running_mean: Tensor | None = None, running_var: Tensor | None = None,
    weight: Tensor | None = None, bias: Tensor | None = None, use_input_stats: bool = True,
    momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    return aten.instance_norm(
        input, weight, bias, running_mean, running_var, use_input_stats, momentum, eps, True
    )


@_as(F.normalize)
def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    norm = torch.linalg.vector_norm(input, p, [dim], True).clamp_min(eps)
    return input / norm


@_as(F.local_response_norm)
def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    squares = (input * input).reshape([input.size(0), 1, input.size(1), -1])
    padded = F.pad(squares, [0, 0, size // 2, (size - 1) // 2])
    mean = aten.avg_pool2d(padded, [size, 1], [1, 1]).reshape(input.shape)
    return input / (mean * alpha + k) ** beta


# ---- Convolution, pooling, padding ------------------------------------------------------------


@_as(F.max_pool1d)
def max_pool1d(
    input: Tensor, kernel_size: BroadcastingList1[int],
    stride: BroadcastingList1[int] | None = None, padding: BroadcastingList1[int] = 0,
    dilation: BroadcastingList1[int] = 1, ceil_mode: bool = False, return_indices: bool = False,
) -> Tensor:  # fmt: skip
    steps: List[int] = kernel_size if stride is None else stride
    return aten.max_pool1d(input, kernel_size, steps, padding, dilation, ceil_mode)


@_as(F.max_pool2d)
def max_pool2d(
    input: Tensor, kernel_size: BroadcastingList2[int],
    stride: BroadcastingList2[int] | None = None, padding: BroadcastingList2[int] = 0,
    dilation: BroadcastingList2[int] = 1, ceil_mode: bool = False, return_indices: bool = False,
) -> Tensor:  # fmt: skip
    steps: List[int] = kernel_size if stride is None else stride
    return aten.max_pool2d(input, kernel_size, steps, padding, dilation, ceil_mode)


@_as(F.max_pool3d)
def max_pool3d(
    input: Tensor, kernel_size: BroadcastingList3[int],
    stride: BroadcastingList3[int] | None = None, padding: BroadcastingList3[int] = 0,
    dilation: BroadcastingList3[int] = 1, ceil_mode: bool = False, return_indices: bool = False,
) -> Tensor:  # fmt: skip
    steps: List[int] = kernel_size if stride is None else stride
    return aten.max_pool3d(input, kernel_size, steps, padding, dilation, ceil_mode)


@_as(F.adaptive_max_pool1d)
def adaptive_max_pool1d(
    input: Tensor, output_size: BroadcastingList1[int], return_indices: bool = False
) -> Tensor:
    return aten.adaptive_max_pool1d(input, output_size)[0]


@_as(F.adaptive_max_pool2d)
def adaptive_max_pool2d(
    input: Tensor, output_size: BroadcastingList2[int], return_indices: bool = False
) -> Tensor:
    return aten.adaptive_max_pool2d(input, output_size)[0]


@_as(F.adaptive_max_pool3d)
def adaptive_max_pool3d(
    input: Tensor, output_size: BroadcastingList3[int], return_indices: bool = False
) -> Tensor:
    return aten.adaptive_max_pool3d(input, output_size)[0]


@_as(F.unfold)
def unfold(
    input: Tensor, kernel_size: BroadcastingList2[int], dilation: BroadcastingList2[int] = 1,
    padding: BroadcastingList2[int] = 0, stride: BroadcastingList2[int] = 1,
) -> Tensor:  # fmt: skip
    return aten.im2col(input, kernel_size, dilation, padding, stride)


@_as(F.fold)
def fold(
    input: Tensor, output_size: BroadcastingList2[int], kernel_size: BroadcastingList2[int],
    dilation: BroadcastingList2[int] = 1, padding: BroadcastingList2[int] = 0,
    stride: BroadcastingList2[int] = 1,
) -> Tensor:  # fmt: skip
    return aten.col2im(input, output_size, kernel_size, dilation, padding, stride)


@_as(F.interpolate, F.upsample)
def interpolate(
    input: Tensor, size: BroadcastingList1[int] | None = None,
    scale_factor: BroadcastingList1[float] | None = None, mode: str = "nearest",
    align_corners: bool | None = None, recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:  # fmt: skip
    dims = input.dim() - 2
    sizes: List[int] | None = None
    factors: List[float] | None = None
    if size is not None:
        sizes = size * dims if len(size) == 1 else size
    if scale_factor is not None:
        scales = scale_factor * dims if len(scale_factor) == 1 else scale_factor
        if recompute_scale_factor is not None and recompute_scale_factor:
            sizes = [int(float(input.size(i + 2)) * scales[i]) for i in range(dims)]
        else:
            factors = scales
    aligned = False if align_corners is None else align_corners
    if mode == "nearest":
        if dims == 1:
            return aten.upsample_nearest1d(input, sizes, factors)
        if dims == 2:
            return aten.upsample_nearest2d(input, sizes, factors)
        return aten.upsample_nearest3d(input, sizes, factors)
    if mode == "linear":
        return aten.upsample_linear1d(input, sizes, aligned, factors)
    if mode == "bilinear":
        return aten.upsample_bilinear2d(input, sizes, aligned, factors)
    if mode == "bicubic":
        return aten.upsample_bicubic2d(input, sizes, aligned, factors)
    if mode == "trilinear":
        return aten.upsample_trilinear3d(input, sizes, aligned, factors)
    raise NotImplementedError(f"interpolate of mode {mode} isn't scripted")


@_as(F.grid_sample)
def grid_sample(
    input: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:  # fmt: skip
    modes: Dict[str, int] = {"bilinear": 0, "nearest": 1, "bicubic": 2}
    paddings: Dict[str, int] = {"zeros": 0, "border": 1, "reflection": 2}
    aligned = False if align_corners is None else align_corners
    return aten.grid_sampler(input, grid, modes[mode], paddings[padding_mode], aligned)


def averaged_norm(averages: Tensor, norm_type: float, count: int) -> Tensor:
    return (torch.sign(averages) * torch.relu(averages.abs())).mul(count).pow(1.0 / norm_type)


@_as(F.lp_pool1d)
def lp_pool1d(
    input: Tensor, norm_type: float, kernel_size: int,
    stride: BroadcastingList1[int] | None = None, ceil_mode: bool = False,
) -> Tensor:  # fmt: skip
    window: List[int] = [kernel_size]
    steps = window if stride is None else stride
    found = aten.avg_pool1d(input.pow(norm_type), window, steps, 0, ceil_mode)
    return averaged_norm(found, norm_type, kernel_size)


@_as(F.lp_pool2d)
def lp_pool2d(
    input: Tensor, norm_type: float, kernel_size: BroadcastingList2[int],
    stride: BroadcastingList2[int] | None = None, ceil_mode: bool = False,
) -> Tensor:  # fmt: skip
    steps = kernel_size if stride is None else stride
    found = aten.avg_pool2d(input.pow(norm_type), kernel_size, steps, 0, ceil_mode)
    return averaged_norm(found, norm_type, kernel_size[0] * kernel_size[1])


@_as(F.lp_pool3d)
def lp_pool3d(
    input: Tensor, norm_type: float, kernel_size: BroadcastingList3[int],
    stride: BroadcastingList3[int] | None = None, ceil_mode: bool = False,
) -> Tensor:  # fmt: skip
    steps = kernel_size if stride is None else stride
    found = aten.avg_pool3d(input.pow(norm_type), kernel_size, steps, 0, ceil_mode)
    return averaged_norm(found, norm_type, kernel_size[0] * kernel_size[1] * kernel_size[2])


# ---- Embeddings, linear algebra -----------------------------------------------------------------
@_as(F.embedding)
def embedding(
    input: Tensor, weight: Tensor, padding_idx: int | None = None,
    max_norm: float | None = None, norm_type: float = 2.0, scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:  # fmt: skip
    row = -1
    if padding_idx is not None:
        row = padding_idx if padding_idx >= 0 else weight.size(0) + padding_idx
    if max_norm is not None:
        aten.embedding_renorm_(weight.detach(), input, max_norm, norm_type)
    return torch.embedding(weight, input, row, scale_grad_by_freq, sparse)


@_as(torch.norm)
def norm(
    input: Tensor, p: float | None = 2, dim: BroadcastingList1[int] | None = None,
    keepdim: bool = False, dtype: int | None = None,
) -> Tensor:  # fmt: skip
    order = 2.0 if p is None else p
    return torch.linalg.vector_norm(input, order, dim, keepdim, dtype=dtype)


# ---- Losses ---------------------------------------------------------------------------------
def reduction_code(reduction: str) -> int:
    if reduction == "none":
        return 0
    if reduction == "mean":
        return 1
    if reduction == "sum":
        return 2
    raise ValueError(f"{reduction} is not a valid value for reduction")


@_as(F.mse_loss)
def mse_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    return aten.mse_loss(input, target, reduction_code(reduction))


@_as(F.l1_loss)
def l1_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    return aten.l1_loss(input, target, reduction_code(reduction))


@_as(F.smooth_l1_loss)
def smooth_l1_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean", beta: float = 1.0,
) -> Tensor:  # fmt: skip
    return aten.smooth_l1_loss(input, target, reduction_code(reduction), beta)


@_as(F.huber_loss)
def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0
) -> Tensor:
    return aten.huber_loss(input, target, reduction_code(reduction), delta)


@_as(F.binary_cross_entropy)
def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None,
    size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    return aten.binary_cross_entropy(input, target, weight, reduction_code(reduction))


@_as(F.binary_cross_entropy_with_logits)
def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Tensor | None = None,
    size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    return aten.binary_cross_entropy_with_logits(
        input, target, weight, pos_weight, reduction_code(reduction)
    )


@_as(F.nll_loss)
def nll_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None,
    size_average: bool | None = None, ignore_index: int = -100, reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    return aten.nll_loss_nd(input, target, weight, reduction_code(reduction), ignore_index)


@_as(F.cross_entropy)
def cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None,
    size_average: bool | None = None, ignore_index: int = -100, reduce: bool | None = None,
    reduction: str = "mean", label_smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    return aten.cross_entropy_loss(
        input, target, weight, reduction_code(reduction), ignore_index, label_smoothing
    )


@_as(F.kl_div)
def kl_div(
    input: Tensor, target: Tensor, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean", log_target: bool = False,
) -> Tensor:  # fmt: skip
    code = 2 if reduction == "batchmean" else reduction_code(reduction)
    found = aten.kl_div(input, target, code, log_target=log_target)
    if reduction == "batchmean" and input.dim() != 0:
        found = found / input.size(0)
    return found


@_as(F.soft_margin_loss)
def soft_margin_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    return aten.soft_margin_loss(input, target, reduction_code(reduction))


@_as(F.cosine_embedding_loss)
def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0,
    size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    return aten.cosine_embedding_loss(input1, input2, target, margin, reduction_code(reduction))


@_as(F.margin_ranking_loss)
def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0,
    size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    return aten.margin_ranking_loss(input1, input2, target, margin, reduction_code(reduction))


@_as(F.hinge_embedding_loss)
def hinge_embedding_loss(
    input: Tensor, target: Tensor, margin: float = 1.0, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    return aten.hinge_embedding_loss(input, target, margin, reduction_code(reduction))


@_as(F.multi_margin_loss)
def multi_margin_loss(
    input: Tensor, target: Tensor, p: int = 1, margin: float = 1.0,
    weight: Tensor | None = None, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    return aten.multi_margin_loss(input, target, p, margin, weight, reduction_code(reduction))


@_as(F.multilabel_margin_loss)
def multilabel_margin_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    return aten.multilabel_margin_loss(input, target, reduction_code(reduction))


@_as(F.triplet_margin_loss)
def triplet_margin_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2,
    eps: float = 1e-6, swap: bool = False, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    code = reduction_code(reduction)
    return aten.triplet_margin_loss(anchor, positive, negative, margin, p, eps, swap, code)


@_as(F.poisson_nll_loss)
def poisson_nll_loss(
    input: Tensor, target: Tensor, log_input: bool = True, full: bool = False,
    size_average: bool | None = None, eps: float = 1e-8, reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    return aten.poisson_nll_loss(input, target, log_input, full, eps, reduction_code(reduction))


def reduced(values: Tensor, reduction: str) -> Tensor:
    if reduction == "mean":
        return values.mean()
    if reduction == "sum":
        return values.sum()
    return values


@_as(F.gaussian_nll_loss)
def gaussian_nll_loss(
    input: Tensor, target: Tensor, var: Tensor, full: bool = False, eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    if var.dim() + 1 == input.dim():
        var = var.unsqueeze(-1)
    clamped = var.detach().clamp(min=eps)
    var = var + (clamped - var.detach())
    loss = 0.5 * (var.log() + (input - target) ** 2 / var)
    if full:
        loss = loss + 0.9189385332046727  # log(2 pi) / 2
    return reduced(loss, reduction)


@_as(F.multilabel_soft_margin_loss)
def multilabel_soft_margin_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None,
    size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    loss = -(target * aten.log_sigmoid(input) + (1 - target) * aten.log_sigmoid(-input))
    if weight is not None:
        loss = loss * weight
    return reduced(loss.mean(-1), reduction)


# ---- Modes ----------------------------------------------------------------------------------
class no_grad:
    """``with torch.no_grad():``"""

    def __init__(self):
        self.prev = False

    def __enter__(self) -> None:
        self.prev = torch.is_grad_enabled()
        torch.set_grad_enabled(False)

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        torch.set_grad_enabled(self.prev)


class enable_grad:
    """``with torch.enable_grad():``"""

    def __init__(self):
        self.prev = False

    def __enter__(self) -> None:
        self.prev = torch.is_grad_enabled()
        torch.set_grad_enabled(True)

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        torch.set_grad_enabled(self.prev)


CLASSES[torch.no_grad], CLASSES[torch.enable_grad] = no_grad, enable_grad
