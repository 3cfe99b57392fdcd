"""``nn.functional``: the ops of the table's module "nn.functional", and composites of them.

An op with a formula of its own belongs to `taimatsu.ops`; here are functions that only combine
ops: they have no kernel and no gradient of their own.
"""
# ruff: noqa: F405  (the table's ops enter the namespace by globals().update)

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import taimatsu as torch
from taimatsu import Tensor
from taimatsu._interpreter import elements
from taimatsu.ops import namespaces
from taimatsu.ops.embedding import embedding_renorm_
from taimatsu.ops.reduction import any_outside

from .functional_attention import *  # noqa: F403
from .functional_linear_loss import *  # noqa: F403
from .functional_loss import *  # noqa: F403
from .functional_scaled import *  # noqa: F403

if TYPE_CHECKING:
    from ._functional import *  # noqa: F403  (a stub, made from the table)

# What the table has takes its place here; names of the top level that are known here too as well.
_ops = namespaces["nn.functional"]
globals().update(_ops)
globals().update({
    name: getattr(torch, name)
    for name in (
        "avg_pool1d", "bilinear", "celu_", "channel_shuffle", "conv1d", "conv2d", "conv3d",
        "conv_tbc", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
        "cosine_similarity", "hardshrink", "native_channel_shuffle", "pairwise_distance", "pdist",
        "pixel_shuffle", "pixel_unshuffle", "prelu", "relu_", "rrelu_", "selu_", "sigmoid", "tanh",
    )
})  # fmt: skip


# ---- activations that can write to their input --------------------------------------------------


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(0, x).

    >>> F.relu(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    return torch.relu_(input) if inplace else torch.relu(input)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """scale * (max(0, x) + min(0, alpha * (exp(x) - 1))).

    >>> F.selu(torch.tensor([-1.0, 2.0]))
    tensor([-1.1113,  2.1014])
    """
    return torch.selu_(input) if inplace else torch.selu(input)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """max(0, x) + min(0, alpha * (exp(x / alpha) - 1)).

    >>> F.celu(torch.tensor([-1.0, 2.0]))
    tensor([-0.6321,  2.0000])
    """
    return torch.celu_(input, alpha) if inplace else torch.celu(input, alpha)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(0, x), 6).

    >>> F.relu6(torch.tensor([-1.0, 3.0, 9.0]))
    tensor([0., 3., 6.])
    """
    return _ops["relu6_" if inplace else "relu6"](input)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x * sigmoid(x).

    >>> F.silu(torch.tensor([-1.0, 2.0]))
    tensor([-0.2689,  1.7616])
    """
    return _ops["silu_" if inplace else "silu"](input)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * tanh(softplus(x)).

    >>> F.mish(torch.tensor([-1.0, 2.0]))
    tensor([-0.3034,  1.9440])
    """
    return _ops["mish_" if inplace else "mish"](input)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """relu6(x + 3) / 6.

    >>> F.hardsigmoid(torch.tensor([-3.0, 0.0, 3.0]))
    tensor([0.0000, 0.5000, 1.0000])
    """
    return _ops["hardsigmoid_" if inplace else "hardsigmoid"](input)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * relu6(x + 3) / 6.

    >>> F.hardswish(torch.tensor([-3.0, 1.0, 3.0]))
    tensor([-0.0000, 0.6667, 3.0000])
    """
    return _ops["hardswish_" if inplace else "hardswish"](input)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x if x > 0 else alpha * (exp(x) - 1).

    >>> F.elu(torch.tensor([-1.0, 2.0]))
    tensor([-0.6321,  2.0000])
    """
    return _ops["elu_" if inplace else "elu"](input, alpha)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x if x > 0 else negative_slope * x.

    >>> F.leaky_relu(torch.tensor([-1.0, 2.0]), 0.1)
    tensor([-0.1000,  2.0000])
    """
    return _ops["leaky_relu_" if inplace else "leaky_relu"](input, negative_slope)


def hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """x limited to [min_val, max_val].

    >>> F.hardtanh(torch.tensor([-3.0, 0.5, 3.0]))
    tensor([-1.0000,  0.5000,  1.0000])
    """
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    return _ops["hardtanh_" if inplace else "hardtanh"](input, min_val, max_val)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x if x > threshold else value.

    >>> F.threshold(torch.tensor([-1.0, 0.5, 2.0]), 1.0, 0.0)
    tensor([0., 0., 2.])
    """
    return _ops["threshold_" if inplace else "threshold"](input, threshold, value)


def rrelu(
    input: Tensor,
    lower: float = 1.0 / 8,
    upper: float = 1.0 / 3,
    training: bool = False,
    inplace: bool = False,
) -> Tensor:
    """x if x > 0 else a * x, a from U(lower, upper) for each element in training, else the mean.

    >>> F.rrelu(torch.tensor([-1.0, 2.0]), 0.1, 0.3)
    tensor([-0.2000,  2.0000])
    """
    return (torch.rrelu_ if inplace else torch.rrelu)(input, lower, upper, training)


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
    """exp(x) / sum(exp(x)) along ``dim``, after conversion to ``dtype``.

    >>> F.softmax(torch.tensor([0.0, 0.0]), dim=-1)
    tensor([0.5000, 0.5000])
    """
    return _along(torch.softmax, input, dim, dtype)


def log_softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """log(softmax(x)) along ``dim``, after conversion to ``dtype``.

    >>> F.log_softmax(torch.tensor([0.0, 0.0]), dim=-1)
    tensor([-0.6931, -0.6931])
    """
    return _along(torch.log_softmax, input, dim, dtype)


def softmin(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """softmax(-x) along ``dim``, after conversion to ``dtype``.

    >>> F.softmin(torch.tensor([0.0, 0.0]), dim=-1)
    tensor([0.5000, 0.5000])
    """
    return _along(torch.softmax, -input, dim, dtype)


def one_hot(input: Tensor, num_classes: int = -1) -> Tensor:
    """Classes (*) of int64 as rows (*, num_classes): a 1 at the class, else 0.

    >>> F.one_hot(torch.tensor([0, 2]))
    tensor([[1, 0, 0],
            [0, 0, 1]])
    """
    if input.dtype != torch.int64:
        raise RuntimeError(f"one_hot: classes must be int64; got {input.dtype}")
    if num_classes == -1:
        if input.numel() == 0:
            raise RuntimeError("one_hot: num_classes can't be found from a tensor of no elements")
        num_classes = int(input.max()) + 1
    if num_classes <= 0:
        raise RuntimeError(f"one_hot: num_classes must be positive; got {num_classes}")
    given = elements(input)
    if given.numel() and not given.is_meta and any_outside(given, 0, num_classes - 1):
        raise RuntimeError(
            f"one_hot: classes must be in [0, {num_classes}); got {int(given.min())} to "
            f"{int(given.max())}"
        )
    classes = torch.arange(num_classes, device=input.device)
    return (input.unsqueeze(-1) == classes).to(torch.int64)


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
    scaled down in place to that norm. With ``sparse`` the gradient is a sparse tensor of the rows
    that were used. Raises IndexError for an index outside of the table.

    >>> F.embedding(torch.tensor([1, 0, 1]), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([[3., 4.],
            [1., 2.],
            [3., 4.]])
    """
    if weight.dim() != 2:
        raise RuntimeError(
            f"embedding: 'weight' must be 2-D; got a tensor of shape {tuple(weight.shape)}"
        )
    n = weight.size(0)
    if padding_idx is not None:
        if not -n <= padding_idx < n:
            raise AssertionError(f"embedding: {n} rows have no padding_idx {padding_idx}")
        padding_idx %= n
    if max_norm is not None:
        embedding_renorm_(weight.detach(), input, max_norm, norm_type)
    index = -1 if padding_idx is None else padding_idx
    return torch.embedding(weight, input, index, scale_grad_by_freq, sparse)


# ---- random choices ------------------------------------------------------------------------------


def gumbel_softmax(
    logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    """Draw from the relaxed categorical distribution of ``logits`` (Jang et al., 2017).

    ``hard``: one-hot values, with the gradient of the soft ones.

    >>> F.gumbel_softmax(torch.zeros(4, 3), hard=True).sum(1)
    tensor([1., 1., 1., 1.])
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
    """input / max(norm_p(input), eps) along ``dim``.

    >>> F.normalize(torch.tensor([[3.0, 4.0]]))
    tensor([[0.6000, 0.8000]])
    """
    norm = torch.linalg.vector_norm(input, p, dim, keepdim=True).clamp_min(eps)
    if out is None:
        return input / norm
    return torch.div(input, norm.expand_as(input), out=out)


def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """input / (k + alpha * mean of squares over ``size`` neighbouring channels) ** beta.

    >>> F.local_response_norm(torch.ones(1, 4, 3), 2).shape
    torch.Size([1, 4, 3])
    """
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
