"""``nn.functional``: the ops of the table's module "nn.functional", and composites of them.

An op with a formula of its own belongs to `taimatsu.ops`; here are functions that only combine
ops: they have no kernel and no gradient of their own.
"""
# ruff: noqa: F405  (the table's ops enter the namespace by globals().update)

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import taimatsu as torch
from taimatsu import Tensor
from taimatsu.ops import namespaces

from ._sizes import ntuple
from .functional_attention import *  # noqa: F403
from .functional_linear_loss import *  # noqa: F403
from .functional_loss import *  # noqa: F403

if TYPE_CHECKING:
    from ._functional import *  # noqa: F403  (a stub, made from the table)

# What the table has takes its place here; names of the top level that are known here too as well.
_ops = namespaces["nn.functional"]
globals().update(_ops)
globals().update({
    name: getattr(torch, name)
    for name in (
        "celu_", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
        "conv_transpose3d", "hardshrink", "relu_", "selu_", "sigmoid", "tanh",
    )
})  # fmt: skip


# ---- activations that can write to their input --------------------------------------------------


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(0, x)."""
    return torch.relu_(input) if inplace else torch.relu(input)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """scale * (max(0, x) + min(0, alpha * (exp(x) - 1)))."""
    return torch.selu_(input) if inplace else torch.selu(input)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """max(0, x) + min(0, alpha * (exp(x / alpha) - 1))."""
    return torch.celu_(input, alpha) if inplace else torch.celu(input, alpha)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(0, x), 6)."""
    return _ops["relu6_" if inplace else "relu6"](input)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x * sigmoid(x)."""
    return _ops["silu_" if inplace else "silu"](input)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * tanh(softplus(x))."""
    return _ops["mish_" if inplace else "mish"](input)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """relu6(x + 3) / 6."""
    return _ops["hardsigmoid_" if inplace else "hardsigmoid"](input)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * relu6(x + 3) / 6."""
    return _ops["hardswish_" if inplace else "hardswish"](input)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x if x > 0 else alpha * (exp(x) - 1)."""
    return _ops["elu_" if inplace else "elu"](input, alpha)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x if x > 0 else negative_slope * x."""
    return _ops["leaky_relu_" if inplace else "leaky_relu"](input, negative_slope)


def hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """x limited to [min_val, max_val]."""
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    return _ops["hardtanh_" if inplace else "hardtanh"](input, min_val, max_val)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x if x > threshold else value."""
    return _ops["threshold_" if inplace else "threshold"](input, threshold, value)


def rrelu(
    input: Tensor,
    lower: float = 1.0 / 8,
    upper: float = 1.0 / 3,
    training: bool = False,
    inplace: bool = False,
) -> Tensor:
    """x if x > 0 else a * x, a from U(lower, upper) for each element in training, else the mean."""
    return (torch.rrelu_ if inplace else torch.rrelu)(input, lower, upper, training)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x if x > 0 else weight * x, one weight or one for each channel (dim 1)."""
    channels = input.size(1) if input.dim() > 1 else 1
    if weight.dim() > 1:
        raise RuntimeError(
            "prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = "
            f"{weight.dim()}; reshape it to (-1,)"
        )
    if weight.numel() not in (1, channels):
        raise RuntimeError(
            f"prelu: needs one weight or as many as channels; got {weight.numel()} for input of "
            f"shape {tuple(input.shape)}"
        )
    if weight.numel() == 1:
        weight = weight.reshape(())
    else:
        weight = weight.reshape(-1, *[1] * (input.dim() - 2))
    return torch.where(input > 0, input, weight * input)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """a * sigmoid(b), a and b the halves of the input along ``dim``."""
    if input.dim() == 0:
        raise RuntimeError("glu does not support 0-dimensional tensors")
    if input.size(dim) % 2:
        raise RuntimeError(
            f"glu: the size of dim {dim} must be even; got shape {tuple(input.shape)}"
        )
    a, b = input.chunk(2, dim)
    return a * torch.sigmoid(b)


# ---- along a dim --------------------------------------------------------------------------------


def _implicit_dim(name: str, n_dims: int) -> int:
    """The dim of a softmax that was not given one: 0 for 0, 1 or 3 dims, else 1; deprecated."""
    warnings.warn(
        f"{name}: the implicit choice of dim is deprecated; give dim explicitly", stacklevel=4
    )
    return 0 if n_dims in (0, 1, 3) else 1


def _along(function: Callable, input: Tensor, dim: int | None, dtype: Any) -> Tensor:
    if dim is None:
        dim = _implicit_dim(function.__name__, input.dim())
    return function(input if dtype is None else input.to(dtype), dim)


def softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """exp(x) / sum(exp(x)) along ``dim``, after conversion to ``dtype``."""
    return _along(torch.softmax, input, dim, dtype)


def log_softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """log(softmax(x)) along ``dim``, after conversion to ``dtype``."""
    return _along(torch.log_softmax, input, dim, dtype)


def softmin(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """softmax(-x) along ``dim``, after conversion to ``dtype``."""
    return _along(torch.softmax, -input, dim, dtype)


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Classes (*) of int64 as rows (*, num_classes): a 1 at the class, else 0."""
    if tensor.dtype != torch.int64:
        raise RuntimeError(f"one_hot: classes must be int64; got {tensor.dtype}")
    if num_classes == -1:
        if tensor.numel() == 0:
            raise RuntimeError("one_hot: num_classes can't be found from a tensor of no elements")
        num_classes = int(tensor.max()) + 1
    if num_classes <= 0:
        raise RuntimeError(f"one_hot: num_classes must be positive; got {num_classes}")
    if tensor.numel() and not 0 <= int(tensor.min()) <= int(tensor.max()) < num_classes:
        raise RuntimeError(
            f"one_hot: classes must be in [0, {num_classes}); got {int(tensor.min())} to "
            f"{int(tensor.max())}"
        )
    classes = torch.arange(num_classes, device=tensor.device)
    return (tensor.unsqueeze(-1) == classes).to(torch.int64)


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows of ``weight`` (n, d) by index: (*) -> (*, d).

    The row ``padding_idx`` gets no gradient. With ``max_norm`` the rows that are used are first
    scaled down in place to that norm. Raises IndexError for an index outside of the table.
    """
    n = weight.size(0)
    if padding_idx is not None:
        if not -n <= padding_idx < n:
            raise AssertionError(f"embedding: {n} rows have no padding_idx {padding_idx}")
        padding_idx %= n
    if max_norm is not None:
        with torch.no_grad():
            used = input.reshape(-1).unique()
            rows = weight[used]
            norms = torch.linalg.vector_norm(rows, norm_type, 1, keepdim=True)
            scale = torch.where(norms > max_norm, max_norm / (norms + 1e-7), torch.ones_like(norms))
            weight[used] = rows * scale
    index = -1 if padding_idx is None else padding_idx
    return torch.embedding(weight, input, index, scale_grad_by_freq, sparse)


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise (N, C, *) over groups of channels, then scale and shift each channel."""
    if input.dim() < 2:
        raise RuntimeError(
            f"group_norm: Expected at least 2 dimensions; got shape {tuple(input.shape)}"
        )
    n, channels, *rest = input.shape
    if num_groups <= 0 or channels % num_groups:
        raise RuntimeError(
            "group_norm: Expected number of channels in input to be divisible by num_groups; got "
            f"{channels} and {num_groups}"
        )
    if n * channels // num_groups * math.prod(rest) == 1:
        raise ValueError(
            "Expected more than 1 value per channel when training, got input size "
            f"{list(input.shape)}"
        )
    rows = input.reshape(n, num_groups, channels // num_groups * math.prod(rest))
    out = layer_norm(rows, rows.shape[-1:], None, None, eps).reshape(input.shape)
    shape = (1, channels, *[1] * len(rest))
    if weight is not None:
        out = out * weight.reshape(shape)
    return out if bias is None else out + bias.reshape(shape)


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


def _per_channel(input: Tensor, channel_dim: int) -> Tensor:
    """An element for each channel of each sample."""
    return input.new_empty([n if d <= channel_dim else 1 for d, n in enumerate(input.shape)])


def _channel_dropout(input, p, training, inplace, channel_dim) -> Tensor:
    _check_probability(p)
    if not training or p == 0.0 or input.numel() == 0:
        return input
    if p == 1.0:
        return _into(input, input * 0.0, inplace)
    mask = _per_channel(input, channel_dim).bernoulli_(1 - p).div_(1 - p)
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


def _alpha_dropout(input, noise, p, inplace) -> Tensor:
    """Set dropped elements to SELU's lower limit, then keep the mean at 0 and the variance at 1."""
    if p == 1.0:
        return _into(input, input * 0.0, inplace)
    limit = 1.7580993408473766  # alpha * scale of SELU
    a = 1.0 / math.sqrt((limit * limit * p + 1) * (1 - p))
    noise = noise.bernoulli_(1 - p)
    shift = noise.add(-1).mul_(limit * a).add_(limit * a * p)
    noise = noise.mul_(a)
    return input.mul_(noise).add_(shift) if inplace else input * noise + shift


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace=False) -> Tensor:
    """Dropout that keeps mean 0 and variance 1 of inputs that come from `selu`."""
    _check_probability(p)
    if not training or p == 0.0 or input.numel() == 0:
        return input
    return _alpha_dropout(input, torch.empty_like(input), p, inplace)


def feature_alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace=False
) -> Tensor:
    """`alpha_dropout` of whole channels (dim 1)."""
    _check_probability(p)
    if not training or p == 0.0 or input.numel() == 0:
        return input
    return _alpha_dropout(input, _per_channel(input, 1), p, inplace)


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
    chosen = one_hot(soft.argmax(dim), soft.size(dim)).movedim(-1, dim).to(soft.dtype)
    return chosen - soft.detach() + soft


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
                if running is not None and batch is not None:
                    running.copy_(batch.reshape(n, channels).mean(0))
    return out.reshape(input.shape)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """x1 . x2 / (max(|x1|, eps) * max(|x2|, eps)) along ``dim``; the inputs broadcast."""
    x1, x2 = torch.broadcast_tensors(x1, x2)
    norm1 = torch.linalg.vector_norm(x1, 2, dim, keepdim=True).clamp_min(eps)
    norm2 = torch.linalg.vector_norm(x2, 2, dim, keepdim=True).clamp_min(eps)
    return ((x1 / norm1) * (x2 / norm2)).sum(dim)


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
    stride = kernel_size if stride is None else stride
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
