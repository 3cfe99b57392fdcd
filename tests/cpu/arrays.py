"""Between NumPy and tensors, bfloat16 included."""

import numpy as np

import taimatsu as torch

FLOATS = (torch.float32, torch.float64)
COMPLEX = (torch.complex64, torch.complex128)
HALVES = (torch.float16, torch.bfloat16)
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
NUMBERS = (*FLOATS, *COMPLEX, *HALVES, *INTEGERS)


def tensor(array, dtype=None):
    x = torch.from_numpy(np.array(array))  # a copy: nothing is shared between tests
    return x if dtype is None else x.to(dtype)


def array(x):
    x = x.detach()
    return (x.to(torch.float32) if x.dtype in HALVES else x).numpy()


def random_tensor(rng, sizes, dtype):
    """Small numbers that the dtype holds, and products of a few hundred of them as well."""
    if dtype in INTEGERS:
        return tensor(rng.integers(0, 5, sizes), dtype)
    values = rng.standard_normal(sizes)
    if dtype in COMPLEX:
        values = values + 1j * rng.standard_normal(sizes)
    return tensor(values, dtype)


def tolerance(dtype):
    exact = {torch.float16: 4e-3, torch.bfloat16: 3e-2, torch.float32: 2e-5, torch.complex64: 2e-5}
    return exact.get(dtype, 1e-11)


def same(x, expected, dtype=None):
    """Equal up to the rounding that the dtype allows."""
    scale = max(1.0, float(np.abs(expected).max())) if expected.size else 1.0
    assert tuple(x.shape) == expected.shape
    np.testing.assert_allclose(array(x), expected, rtol=0, atol=scale * tolerance(dtype or x.dtype))
