"""Rounding to a grid."""

import numpy as np


def _fake(x, scale, zero_point, low, high):
    level = np.rint(np.asarray(x) / scale) + zero_point
    return (np.clip(level, low, high) - zero_point) * scale


def _by_channel(x, scale, zero_point, axis, low, high):
    along = [1] * x.ndim
    along[axis] = -1
    return _fake(x, scale.reshape(along), zero_point.reshape(along), low, high)


ORACLES = {
    "fake_quantize_per_tensor_affine": _fake,
    "fake_quantize_per_channel_affine": _by_channel,
}

# Scales of which the reciprocal is exact, so that no number is near the middle of two levels.
HINTS = {
    "fake_quantize_per_tensor_affine": lambda t: [
        (t(3, 4), 0.25, 3, 0, 15), (t(2, 3), 0.125, 0, -8, 7),
    ],
    "fake_quantize_per_channel_affine": lambda t: [
        (t(3, 4), t(3, low=0, high=0) + 0.25, t.i(1, 3), 0, -8, 7),
    ],
}  # fmt: skip

NO_SECOND = dict.fromkeys(ORACLES, True)  # straight through, or nothing
NO_GRADIENT = dict.fromkeys(ORACLES, True)  # straight through: not that of the function
