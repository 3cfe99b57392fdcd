"""Powers, bits and counts: NumPy's."""

import numpy as np

import taimatsu as torch


def _hash(x, dim=(), *, keepdim=False):
    words = x.astype(np.float64).view(np.uint64) if x.dtype.kind == "f" else \
        x.astype(np.int64).view(np.uint64)
    axes = dim if isinstance(dim, int) else tuple(dim) or None
    return np.bitwise_xor.reduce(words, axis=axes, keepdims=keepdim)


def _histogramdd(x, bins, range=None, weight=None, density=False):
    pairs = None if range is None else list(zip(range[::2], range[1::2], strict=True))
    hist, edges = np.histogramdd(x, bins, pairs, density, weight)
    return [hist, *edges]


ORACLES = {
    "frexp": np.frexp, "lcm": np.lcm, "logaddexp2": np.logaddexp2,
    "ldexp": lambda x, y: np.asarray(x, np.float64 if x.dtype.kind in "biu" else x.dtype)
    * np.exp2(y.astype(np.float64)),
    "float_power": np.float_power,
    "hash_tensor": _hash,
    "range": lambda start, end, step=1, dtype=None: np.arange(start, end + step / 2, step),
    "histogramdd": _histogramdd,
}

HINTS = {
    "lcm": lambda t: [(t(3, 4), t(4))],
    "range": lambda t: [(1, 6, 2, {"dtype": t.dtype})] if t.dtype != torch.bool else [(1, 4)],
    "hash_tensor": lambda t: [(t(3, 5),), (t(3, 5), 1), (t(2, 3, 4), (0, 2), {"keepdim": True})],
    "histogramdd": lambda t: [
        (t(12, 2), [3, 4]),
        (t(9, 2), [2, 2], {"range": [-1.0, 1.0, -2.0, 2.0], "density": True}),
        (t(12, 1), [torch.sort(t(4))[0]]),
    ],
}  # fmt: skip

# Whole exponents and counts: steps, whose derivative PyTorch has as none.
NO_GRADIENT = dict.fromkeys(("histogramdd", "hash_tensor"), True)
