"""Every op on another device than the CPU: values, and gradients as the CPU has them.

    TAIMATSU_TEST_DEVICE=cuda pytest tests/ops

runs the whole matrix there; `tests/cuda/test_double.py` runs this file and the forms of every op on
the double of CUDA's driver, and with `-m slow` the matrix.
"""

from __future__ import annotations

import numpy as np
import pytest

import taimatsu as torch

from .samples import DEVICE, PUBLIC, each, lookup, samples, tensors, wide
from .test_gradients import DIFFERENTIABLE, NO_SECOND, problems
from .test_values import COMPARED, compare, supported


@pytest.mark.parametrize("name", COMPARED)
def test_value(name):
    """In single precision and in integers."""
    takes = supported(name)
    for dtype in {next(d for d in (torch.float32, *takes) if d in takes), torch.int64} & {*takes}:
        for args, kwargs in samples(name, dtype):
            given = each((args, kwargs), lambda x: x.clone())
            result = PUBLIC[name](*args, **kwargs)
            compare(name, *given, result)
            if "device" not in kwargs and PUBLIC[name].name not in ("cpu", "to"):
                assert {x.device.type for x in tensors(result)} <= {DEVICE.type}


def gradients(function, inputs, second):
    """Of weighted sums of the results; `second`: of such sums of those."""
    found = []
    for _ in range(1 + second):
        results = [y for y in function(*inputs) if y.requires_grad] if not found else [
            g for g in found if g is not None and g.requires_grad]  # fmt: skip
        if not results:
            break
        weights = [torch.linspace(0.5, 1.5, y.numel(), dtype=torch.float64).reshape(y.shape)
                   for y in results]  # fmt: skip
        weights = [w.to(y.device, y.dtype) for w, y in zip(weights, results, strict=True)]
        found = torch.autograd.grad(results, inputs, weights, allow_unused=True,
                                    create_graph=second and not found)  # fmt: skip
    return found


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradient(name):
    compare_gradients(name, second=False)


@pytest.mark.parametrize("name", [n for n in DIFFERENTIABLE if lookup(NO_SECOND, n) is None])
def test_second_gradient(name):
    compare_gradients(name, second=True)


def compare_gradients(name, second):
    for (there, xs), (here, ys) in zip(problems(name), problems(name, torch.device("cpu")),
                                       strict=True):  # fmt: skip
        for a, b in zip(gradients(there, xs, second), gradients(here, ys, second), strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                assert a.device == xs[0].device
                scale = float(np.abs(wide(b)).max(initial=1))
                np.testing.assert_allclose(wide(a), wide(b), rtol=1e-9, atol=1e-10 * scale)
