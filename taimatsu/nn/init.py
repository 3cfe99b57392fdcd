"""Initialisers: fill a tensor in place, outside the tape, and give it back.

The names end in ``_`` since they write. Fans: a weight of shape (out, in, *kernel) has
fan_in = in * prod(kernel) and fan_out = out * prod(kernel).
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import taimatsu as torch
from taimatsu import Tensor

__all__ = [
    "calculate_gain",
    "constant_",
    "dirac_",
    "eye_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "sparse_",
    "trunc_normal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]

_LINEAR = (
    "linear",
    "sigmoid",
    *(f"conv{t}{d}d" for t in ("", "_transpose") for d in (1, 2, 3)),
)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps the variance through ``nonlinearity``.

    linear, sigmoid and convolutions 1, tanh 5/3, relu sqrt(2), selu 3/4, leaky_relu
    sqrt(2 / (1 + param**2)) with the slope ``param`` (0.01 if None).
    Raises ValueError for another name or a slope that is no number.

    >>> nn.init.calculate_gain("relu")
    1.4142135623730951
    """
    if nonlinearity in _LINEAR:
        return 1
    if nonlinearity == "tanh":
        return 5.0 / 3
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "selu":
        return 3.0 / 4
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, (int, float)):
            raise ValueError(f"calculate_gain: negative_slope must be a number; got {param!r}")
        return math.sqrt(2.0 / (1 + slope**2))
    raise ValueError(f"calculate_gain: unsupported nonlinearity {nonlinearity!r}")


def _fans(name: str, tensor: Tensor) -> tuple[int, int]:
    if tensor.dim() < 2:
        raise ValueError(
            f"{name}: fan in and fan out need at least 2 dimensions; got shape "
            f"{tuple(tensor.shape)}"
        )
    field = math.prod(tensor.shape[2:])
    return tensor.size(1) * field, tensor.size(0) * field


def _fan(name: str, tensor: Tensor, mode: str) -> int:
    if mode.lower() not in ("fan_in", "fan_out"):
        raise ValueError(f"{name}: mode must be 'fan_in' or 'fan_out'; got {mode!r}")
    return _fans(name, tensor)[mode.lower() == "fan_out"]


def _is_empty(name: str, tensor: Tensor) -> bool:
    if 0 not in tensor.shape:
        return False
    warnings.warn(f"{name}: the tensor has no elements; nothing to do", stacklevel=3)
    return True


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator=None) -> Tensor:
    """Fill with U(a, b).

    >>> nn.init.uniform_(torch.empty(100), 2.0, 3.0).min() >= 2
    tensor(True)
    """
    with torch.no_grad():
        return tensor.uniform_(a, b, generator=generator)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator=None) -> Tensor:
    """Fill with N(mean, std**2).

    >>> nn.init.normal_(torch.empty(5), mean=3.0, std=0.1).round()
    tensor([3., 3., 3., 3., 3.])
    """
    with torch.no_grad():
        return tensor.normal_(mean, std, generator=generator)


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator=None,
) -> Tensor:
    """Fill with N(mean, std**2) restricted to [a, b] (bounds in the tensor's units).

    By rejection: of normal numbers those outside, or, where fewer than three in ten are inside, of
    uniform ones by the ratio of the densities. All are drawn anew until each has been accepted.

    >>> nn.init.trunc_normal_(torch.empty(100), a=-1.0, b=1.0).abs().max() <= 1
    tensor(True)
    """
    if (mean < a - 2 * std) or (mean > b + 2 * std):
        warnings.warn(
            f"trunc_normal_: mean {mean} is more than 2 std from [{a}, {b}]; the distribution "
            "may be inaccurate",
            stacklevel=2,
        )
    if tensor.is_meta:
        return tensor

    def cdf(x: float) -> float:
        return (1.0 + math.erf((x - mean) / std / math.sqrt(2.0))) / 2.0

    normal_proposals = cdf(b) - cdf(a) > 0.3
    low, high = (tensor.new_tensor(bound, device="cpu").item() for bound in (a, b))
    peak = -0.5 * ((max(a, min(mean, b)) - mean) / std) ** 2
    pending = None
    with torch.no_grad():
        while pending is None or pending.any():
            draw = torch.empty_like(tensor)
            if normal_proposals:
                draw.normal_(mean, std, generator=generator)
                rejected = (draw < low) | (draw > high)
            else:
                draw.uniform_(a, b, generator=generator)
                log_ratio = ((draw - mean) / std).pow_(2).mul_(-0.5).sub_(peak)
                rejected = torch.empty_like(draw).uniform_(generator=generator).log_() > log_ratio
            tensor.copy_(draw if pending is None else torch.where(pending, draw, tensor))
            pending = rejected if pending is None else pending & rejected
    return tensor


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with ``val``.

    >>> nn.init.constant_(torch.empty(2), 0.5)
    tensor([0.5000, 0.5000])
    """
    with torch.no_grad():
        return tensor.fill_(val)


def ones_(tensor: Tensor) -> Tensor:
    """Fill with 1.

    >>> nn.init.ones_(torch.empty(2))
    tensor([1., 1.])
    """
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with 0.

    >>> nn.init.zeros_(torch.empty(2))
    tensor([0., 0.])
    """
    return constant_(tensor, 0.0)


def eye_(tensor: Tensor) -> Tensor:
    """Make a matrix the identity (ones on the diagonal if it is not square).

    >>> nn.init.eye_(torch.empty(2, 3))
    tensor([[1., 0., 0.],
            [0., 1., 0.]])
    """
    if tensor.dim() != 2:
        raise ValueError(f"eye_: needs 2 dimensions; got shape {tuple(tensor.shape)}")
    with torch.no_grad():
        tensor.zero_().diagonal().fill_(1)
    return tensor


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Make a convolution's weight (3 to 5 dimensions) pass as many channels as it can unchanged.

    >>> nn.init.dirac_(torch.empty(1, 1, 3))
    tensor([[[0., 1., 0.]]])
    """
    if tensor.dim() not in (3, 4, 5):
        raise ValueError(f"dirac_: needs 3, 4 or 5 dimensions; got shape {tuple(tensor.shape)}")
    out_channels, in_channels, *kernel = tensor.shape
    if out_channels % groups:
        raise ValueError(f"dirac_: dim 0 ({out_channels}) must be divisible by groups ({groups})")
    per_group = out_channels // groups
    centre = tuple(k // 2 for k in kernel)
    with torch.no_grad():
        tensor.zero_()
        for g in range(groups):
            for c in range(min(per_group, in_channels)):
                tensor[(g * per_group + c, c, *centre)] = 1
    return tensor


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator=None) -> Tensor:
    """Fill with U(-a, a), a = gain * sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010).

    >>> nn.init.xavier_uniform_(torch.empty(5, 1)).abs().max() <= 1
    tensor(True)
    """
    std = gain * math.sqrt(2.0 / sum(_fans("xavier_uniform_", tensor)))
    bound = math.sqrt(3.0) * std
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator=None) -> Tensor:
    """Fill with N(0, std**2), std = gain * sqrt(2 / (fan_in + fan_out)).

    >>> nn.init.xavier_normal_(torch.empty(5, 3)).shape
    torch.Size([5, 3])
    """
    std = gain * math.sqrt(2.0 / sum(_fans("xavier_normal_", tensor)))
    return normal_(tensor, 0.0, std, generator)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator=None,
) -> Tensor:
    """Fill with U(-b, b), b = gain * sqrt(3 / fan) (He et al., 2015); ``a`` is the slope.

    >>> nn.init.kaiming_uniform_(torch.empty(5, 3)).abs().max() < 2**0.5
    tensor(True)
    """
    if _is_empty("kaiming_uniform_", tensor):
        return tensor
    fan = _fan("kaiming_uniform_", tensor, mode)
    bound = math.sqrt(3.0) * (calculate_gain(nonlinearity, a) / math.sqrt(fan))
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator=None,
) -> Tensor:
    """Fill with N(0, std**2), std = gain / sqrt(fan) (He et al., 2015); ``a`` is the slope.

    >>> nn.init.kaiming_normal_(torch.empty(5, 3)).shape
    torch.Size([5, 3])
    """
    if _is_empty("kaiming_normal_", tensor):
        return tensor
    fan = _fan("kaiming_normal_", tensor, mode)
    return normal_(tensor, 0.0, calculate_gain(nonlinearity, a) / math.sqrt(fan), generator)


def orthogonal_(tensor: Tensor, gain: float = 1, generator=None) -> Tensor:
    """Fill with a (semi-)orthogonal matrix times ``gain``; dims after the first are flattened.

    >>> w = nn.init.orthogonal_(torch.empty(2, 4))
    >>> torch.allclose(w @ w.T, torch.eye(2), atol=1e-6)
    True
    """
    if tensor.dim() < 2:
        raise ValueError(
            f"orthogonal_: needs at least 2 dimensions; got shape {tuple(tensor.shape)}"
        )
    if tensor.numel() == 0:
        return tensor
    rows = tensor.size(0)
    shape = (rows, tensor.numel() // rows)
    with torch.no_grad():
        normal = tensor.new_empty(shape).normal_(0, 1, generator=generator)
        q, r = torch.linalg.qr(normal.t() if shape[0] < shape[1] else normal)
        q = q * torch.sign(torch.diagonal(r))  # makes the distribution uniform
        q = q.t() if shape[0] < shape[1] else q
        return tensor.copy_(q.reshape(tensor.shape)).mul_(gain)


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator=None) -> Tensor:
    """Fill a matrix with N(0, std**2), then a share ``sparsity`` of each column with zeros.

    >>> (nn.init.sparse_(torch.empty(10, 3), 0.2) == 0).sum(0)
    tensor([2, 2, 2])
    """
    if tensor.dim() != 2:
        raise ValueError(f"sparse_: needs 2 dimensions; got shape {tuple(tensor.shape)}")
    rows, columns = tensor.shape
    zeros = math.ceil(sparsity * rows)
    with torch.no_grad():
        tensor.normal_(0, std, generator=generator)
        for column in range(columns):
            tensor[torch.randperm(rows)[:zeros], column] = 0
    return tensor


def _deprecated(name: str) -> Any:
    """The old name of an initialiser, without the underscore."""
    function = globals()[f"{name}_"]

    def old(*args: Any, **kwargs: Any) -> Any:
        warnings.warn(
            f"nn.init.{name} is deprecated; use nn.init.{name}_", FutureWarning, stacklevel=2
        )
        return function(*args, **kwargs)

    old.__name__ = old.__qualname__ = name
    old.__doc__ = f"The old name of `{name}_`; deprecated."
    return old


_OLD_NAMES = (
    "constant", "dirac", "eye", "kaiming_normal", "kaiming_uniform", "normal", "orthogonal",
    "sparse", "uniform", "xavier_normal", "xavier_uniform",
)  # fmt: skip
globals().update({name: _deprecated(name) for name in _OLD_NAMES})


# ---- PyTorch's helpers, which libraries of layers import --------------------------------------


def _calculate_fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    return _fans("_calculate_fan_in_and_fan_out", tensor)


def _calculate_correct_fan(tensor: Tensor, mode: str) -> int:
    return _fan("_calculate_correct_fan", tensor, mode)


_no_grad_uniform_, _no_grad_normal_, _no_grad_trunc_normal_ = uniform_, normal_, trunc_normal_
