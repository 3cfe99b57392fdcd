"""Copies between tensors whose elements are neighbours along different dims."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

import taimatsu as torch

SIZES = ((8, 8), (100, 256), (17, 9), (3, 33, 65), (2, 3, 130, 67))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64", "complex128"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_of_every_order(dtype, sizes):
    a = np.random.default_rng(0).integers(0, 200, sizes).astype(dtype)
    for order in permutations(range(len(sizes))):
        x, expected = torch.from_numpy(a).permute(order), a.transpose(order)
        np.testing.assert_array_equal(x.contiguous().numpy(), expected)
        margins = torch.full([n + 2 for n in expected.shape], 7, dtype=x.dtype)
        margins[tuple(slice(1, -1) for _ in order)] = x
        np.testing.assert_array_equal(margins.numpy(), np.pad(expected, 1, constant_values=7))


def test_onto_itself():
    x = torch.arange(64.0 * 64).reshape(64, 64)
    expected = x.numpy().T.copy()
    x.copy_(x.t())
    np.testing.assert_array_equal(x.numpy(), expected)


def test_of_fewer_bits_is_converted_as_well():
    x = torch.arange(20.0 * 30).reshape(20, 30) + 0.5
    y = torch.empty(30, 20, dtype=torch.int64)
    y.copy_(x.t())
    np.testing.assert_array_equal(y.numpy(), x.numpy().T.astype(np.int64))


@pytest.mark.parametrize("threads", [1, 3])
def test_by_several_threads(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        x = torch.arange(700 * 500).reshape(700, 500)
        np.testing.assert_array_equal(x.t().contiguous().numpy(), x.numpy().T)
    finally:
        torch.set_num_threads(before)
