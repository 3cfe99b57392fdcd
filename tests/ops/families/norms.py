"""Normalisations under all their names, gates, and dropout."""

import numpy as np

from .numpy_oracles import _batch_norm, _layer_norm, _normalized, _rms_norm


def _moments(x, axes, eps):
    mean = x.mean(axis=axes)
    d = x - x.mean(axis=axes, keepdims=True)
    return mean, 1 / np.sqrt((d * d).mean(axis=axes) + eps)


def _group_norm(x, groups, weight=None, bias=None, eps=1e-5):
    y = _normalized(x.reshape(x.shape[0], groups, -1), 2, eps).reshape(x.shape)
    shape = [1, -1] + [1] * (x.ndim - 2)
    y = y if weight is None else y * weight.reshape(shape)
    return y if bias is None else y + bias.reshape(shape)


def _native_group_norm(x, weight, bias, n, c, places, groups, eps):
    moments = _moments(x.reshape(n, groups, -1), 2, eps)
    return _group_norm(x, groups, weight, bias, eps), *moments


def _native_layer_norm(x, shape, weight, bias, eps):
    axes = tuple(range(-len(shape), 0))
    mean, rstd = _moments(x, axes, eps)
    kept = [*x.shape[: x.ndim - len(shape)], *[1] * len(shape)]
    return _layer_norm(x, shape, weight, bias, eps), mean.reshape(kept), rstd.reshape(kept)


def _reordered(norm):
    def of(x, weight, bias, mean, var, batch, momentum, eps, *_):
        return norm(x, mean, var, weight, bias, batch, momentum, eps)

    return of


def _native_batch_norm(x, weight, bias, mean, var, training, momentum, eps):
    y = _batch_norm(x, mean, var, weight, bias, training, momentum, eps)
    if not training:
        return y, np.empty(0), np.empty(0)
    return y, *_moments(x, (0, *range(2, x.ndim)), eps)


def _instance_norm(x, mean=None, var=None, weight=None, bias=None, batch=True, momentum=0.1,
                   eps=1e-5):
    if batch:
        return _group_norm(x, x.shape[1], weight, bias, eps)
    return _batch_norm(x, mean, var, weight, bias, False, momentum, eps)


def _prelu(x, weight):
    channels = [1] * (x.ndim == 1) + [-1] + [1] * (x.ndim - 2)
    return np.where(x > 0, x, x * (weight if weight.size == 1 else weight.reshape(channels)))


def _glu(x, dim=-1):
    a, b = np.split(x, 2, dim)
    return a / (1 + np.exp(-b))


def _bilinear(x, y, weight, bias=0):
    return np.einsum("...i,kij,...j->...k", x, weight, y) + bias


_BY_BATCH, _BY_RUNNING = (True, 0.1, 1e-3), (False, 0.1, 1e-3)

ORACLES = {
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "native_layer_norm": _native_layer_norm,
    **dict.fromkeys(("group_norm", "nn.functional.group_norm"), _group_norm),
    "native_group_norm": _native_group_norm,
    "batch_norm": _reordered(_batch_norm),
    "native_batch_norm": _native_batch_norm,
    "nn.functional.instance_norm": _instance_norm,
    "instance_norm": _reordered(_instance_norm),
    "threshold": lambda x, threshold, value: np.where(x > threshold, x, value),
    "prelu": _prelu,
    "nn.functional.glu": _glu,
    "bilinear": _bilinear,
}

ELSEWHERE = dict.fromkeys(
    ("dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout",
     *(f"nn.functional.{name}" for name in ("alpha_dropout", "feature_alpha_dropout", "dropout1d",
                                            "dropout2d", "dropout3d"))),
    "random: tests/nn/test_dropout.py",
)  # fmt: skip


def _batches(*more):
    return lambda t: [
        (t(4, 3), t(3), t(3), t(3), t(3, low=0.5), *_BY_RUNNING, *more),
        (t(4, 3, 5), t(3), None, None, None, *_BY_BATCH, *more),
    ]


def _groups(t):
    return [(t(2, 6, 5), 3), (t(3, 4, 3, 2), 2, t(4), t(4), 1e-3), (t(3, 4), 2, None, t(4))]


HINTS = {
    "layer_norm": lambda t: [(t(2, 3, 4), [3, 4], t(3, 4), t(3, 4), 1e-3)],
    "rms_norm": lambda t: [(t(2, 3, 4), [3, 4], t(3, 4), 1e-3)],
    "native_layer_norm": lambda t: [(t(2, 3, 4), [3, 4], t(3, 4), t(3, 4), 1e-3),
                                    (t(3, 4), [4], None, None, 1e-3)],
    **dict.fromkeys(("group_norm", "nn.functional.group_norm"), _groups),
    "native_group_norm": lambda t: [(t(2, 6, 5), t(6), t(6), 2, 6, 5, 3, 1e-3),
                                    (t(2, 4, 3, 2), None, None, 2, 4, 6, 1, 1e-3)],
    "batch_norm": _batches(True),
    "native_batch_norm": _batches(),
    "instance_norm": _batches(True),
    "nn.functional.instance_norm": lambda t: [
        (t(2, 3, 5),), (t(2, 3, 4, 2), None, None, t(3), t(3)),
        (t(2, 3, 5), t(3), t(3, low=0.5), t(3), None, False)],
    "threshold": lambda t: [(t(3, 4), t.number(1, 0.5), t.number())],
    "prelu": lambda t: [(t(3, 4), t(4)), (t(3, 4), t(1)), (t(2, 3, 4), t(3))],
    "nn.functional.glu": lambda t: [(t(3, 4),), (t(4, 3), 0)],
    "bilinear": lambda t: [(t(2, 3), t(2, 4), t(5, 3, 4), t(5)), (t(3), t(4), t(2, 3, 4))],
    **{name: lambda t: [(t(3, 4), 0.5, True)] for name in ELSEWHERE},
    "nn.functional.dropout2d": lambda t: [(t(2, 3, 2, 2), 0.5, True)],
    "nn.functional.dropout3d": lambda t: [(t(2, 3, 2, 2), 0.5, True)],
}  # fmt: skip

NEEDS_ALL_ELEMENTS = dict.fromkeys(
    ("batch_norm", "native_batch_norm", "instance_norm", "nn.functional.instance_norm"), True
)
# Their statistics have no gradient; that of the first result is checked in tests/nn/test_norms.py.
NO_GRADIENT = dict.fromkeys(("native_batch_norm", "native_layer_norm"), True)
# Running statistics are moved: what is differentiated has none.
GRADIENT_SAMPLES = {
    **dict.fromkeys(("batch_norm", "instance_norm"),
                    lambda t: [(t(4, 3, 2), t(3), t(3), None, None, *_BY_BATCH, True)]),
    "nn.functional.instance_norm": lambda t: [(t(2, 3, 4, 2), None, None, t(3), t(3))],
}  # fmt: skip
