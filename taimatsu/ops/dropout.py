"""Dropout: of elements, of whole channels, and to the lower limit of `selu` instead of to zero.

What these have in common: each element (or channel) is kept with probability 1 - p, and the result
is input * factor + shift for factors and shifts of those kept and those dropped, such that the mean
stays (and for `alpha_dropout` a variance of 1).
"""

from __future__ import annotations

import math
import warnings

from taimatsu import _core

from .creation import empty_like
from .table import composite

_F = {"module": "nn.functional", "method": False}
_TOP = {"method": False, "inplace": True, "out": False}
_LIMIT = -1.7580993408473766  # of selu: -alpha * scale


def _check_probability(p: float, error: type[Exception]) -> None:
    if not 0.0 <= p <= 1.0:
        raise error(f"dropout probability has to be between 0 and 1, but got {p}")


def _kept(input, p: float, channel_dim: int | None):
    """1 with probability 1 - p, else 0; for each element, or each channel of each sample."""
    if channel_dim is None:
        return empty_like(input).bernoulli_(1 - p)
    if input.dim() < 2:
        raise RuntimeError("Feature dropout requires at least 2 dimensions in the input; got shape "
                           f"{list(input.shape)}")
    sizes = [n if d <= channel_dim else 1 for d, n in enumerate(input.shape)]
    return input.new_empty(sizes).bernoulli_(1 - p)


def _dropped(input, p: float, training: bool, inplace=False, channel_dim=None, alpha=False):
    if p == 0 or not training or input.numel() == 0:
        return input
    if p == 1:
        return input.mul_(0) if inplace else input * 0
    factor = _kept(input, p, channel_dim)
    if alpha:
        a = 1 / math.sqrt((_LIMIT * _LIMIT * p + 1) * (1 - p))
        shift = (factor - 1).mul_(-_LIMIT * a).add_(-_LIMIT * a * p)
        factor = factor.mul_(a)
        return input.mul_(factor).add_(shift) if inplace else input * factor + shift
    factor = factor.div_(1 - p)
    return input.mul_(factor) if inplace else input * factor


@composite("dropout(Tensor input, float p=0.5, bool training=True, bool inplace=False) -> Tensor",
           **_F)
def dropout(input, p, training, inplace):
    """Elements are zeroed with probability `p` and the others scaled by 1 / (1 - p) in training.

    ValueError unless 0 <= p <= 1.

    >>> taimatsu.nn.functional.dropout(taimatsu.ones(3), 0.5, training=False)
    tensor([1., 1., 1.])
    """
    _check_probability(p, ValueError)
    return _dropped(input, p, training, inplace)


@composite("alpha_dropout(Tensor input, float p=0.5, bool training=False, bool inplace=False)"
           " -> Tensor", **_F)
def alpha_dropout(input, p, training, inplace):
    """Dropout that keeps mean 0 and variance 1 of inputs that come from `selu`.

    Elements are set to its lower limit with probability `p`. ValueError unless 0 <= p <= 1.
    """
    _check_probability(p, ValueError)
    return _dropped(input, p, training, inplace, alpha=True)


@composite("feature_alpha_dropout(Tensor input, float p=0.5, bool training=False,"
           " bool inplace=False) -> Tensor", **_F)
def feature_alpha_dropout(input, p, training, inplace):
    """`alpha_dropout` of whole channels (dim 1). RuntimeError for fewer than two dims."""
    _check_probability(p, ValueError)
    return _dropped(input, p, training, inplace, 1, alpha=True)


def _unexpected(name: str, input, dims: tuple[int, ...], what: str) -> None:
    if input.dim() not in dims:
        _core.void_notes()  # each call warns
        warnings.warn(f"{name}: got {input.dim()}-D input, where {what} is expected; this is "
                      "deprecated and will be an error", stacklevel=4)


@composite("dropout1d(Tensor input, float p=0.5, bool training=True, bool inplace=False)"
           " -> Tensor", **_F)
def dropout1d(input, p, training, inplace):
    """Dropout of whole channels of (batch, channels, length) or (channels, length).

    ValueError unless 0 <= p <= 1, RuntimeError for other numbers of dims.
    """
    _check_probability(p, ValueError)
    if input.dim() not in (2, 3):
        raise RuntimeError(
            f"dropout1d: Expected 2D or 3D input, but received a {input.dim()}D input.")
    return _dropped(input, p, training, inplace, input.dim() - 2)


@composite("dropout2d(Tensor input, float p=0.5, bool training=True, bool inplace=False)"
           " -> Tensor", **_F)
def dropout2d(input, p, training, inplace):
    """Dropout of whole channels of (batch, channels, height, width); 3-D input is (batch,
    channels, length). ValueError unless 0 <= p <= 1."""
    _check_probability(p, ValueError)
    _unexpected("dropout2d", input, (3, 4), "(batch, channels, height, width)")
    return _dropped(input, p, training, inplace, 1)


@composite("dropout3d(Tensor input, float p=0.5, bool training=True, bool inplace=False)"
           " -> Tensor", **_F)
def dropout3d(input, p, training, inplace):
    """Dropout of whole channels of (batch, channels, depth, height, width) or without a batch.

    ValueError unless 0 <= p <= 1.
    """
    _check_probability(p, ValueError)
    _unexpected("dropout3d", input, (4, 5), "(batch, channels, depth, height, width)")
    return _dropped(input, p, training, inplace, 0 if input.dim() == 4 else 1)


# ---- the same at the top level: RuntimeError, no defaults ----------------------------------------


def _declare(name: str, doc: str, channel_dim: int | None, alpha: bool) -> None:
    def drop(input, p, train):
        _check_probability(p, RuntimeError)
        return _dropped(input, p, train, channel_dim=channel_dim, alpha=alpha)

    composite(f"{name}(Tensor input, float p, bool train) -> Tensor", doc=doc, **_TOP)(drop)


_declare("dropout", "`nn.functional.dropout`.", None, False)
_declare("alpha_dropout", "`nn.functional.alpha_dropout`.", None, True)
_declare("feature_dropout", "Dropout of whole channels (dim 1).", 1, False)
_declare("feature_alpha_dropout", "`nn.functional.feature_alpha_dropout`.", 1, True)


@composite("native_dropout(Tensor input, float p, bool? train) -> (Tensor, Tensor)", method=False)
def native_dropout(input, p, train):
    """`dropout`, and which elements it kept (bool)."""
    from taimatsu import bool as boolean
    from taimatsu import ones_like

    if not train or input.numel() == 0:
        return input.clone(), ones_like(input, dtype=boolean)
    if p == 1:
        return input * 0, ones_like(input, dtype=boolean).logical_not_()
    kept = _kept(input, p, None)
    return input * (kept * (1 / (1 - p))), kept.to(boolean)
