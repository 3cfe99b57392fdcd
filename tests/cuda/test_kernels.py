"""The kernels that ops are made of on GPUs, as they are asked for: they assemble (with `ptxas`)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import taimatsu as torch
from taimatsu.codegen import ptx

sys.path.insert(0, str(Path(__file__).parents[1] / "codegen"))
import gpu_table

F = torch.nn.functional
TARGETS = ("sm_80", "sm_90")


def floats(*sizes, dtype=torch.float32):
    return torch.randn(*sizes).to(dtype).cuda()


def indices(high, *sizes):
    return torch.randint(high, sizes).cuda()


def products(dtype):
    a, b = floats(2, 40, 33, dtype=dtype), floats(33, 70, dtype=dtype)
    return a[0] @ b, a @ b, b.t() @ b


def attention(dtype):
    q, k, v = (floats(1, 2, 24, 16, dtype=dtype).requires_grad_() for _ in range(3))
    for causal in (False, True):
        F.scaled_dot_product_attention(q, k, v, is_causal=causal).float().sum().backward()


def scatter(dtype):
    x, y, places = floats(9, 4, dtype=dtype), floats(70, 4, dtype=dtype), indices(9, 70, 4)
    x.scatter_add(0, places, y)
    x.scatter_reduce(0, places, y, "amax")
    x.scatter_reduce(0, places, y, "mean", include_self=False)
    x.index_put((places[:, 0],), y, accumulate=True)
    x.index_add(0, places[:, 0], y)
    y.gather(0, places)
    places[:, 0].bincount()


OPS = {
    "sort": lambda t: (floats(3, 700, dtype=t).sort(), floats(2000, dtype=t).sort(stable=True)),
    "argsort down": lambda t: floats(5, 30, dtype=t).argsort(0, descending=True),
    "topk": lambda t: (floats(3, 700, dtype=t).topk(5), floats(40, dtype=t).topk(3, largest=False)),
    "kthvalue": lambda t: (floats(3, 99, dtype=t).kthvalue(4), floats(9, dtype=t).median()),
    "scans": lambda t: (floats(3, 700, dtype=t).cumsum(1), floats(700, 3, dtype=t).cumprod(0),
                        floats(3, 70, dtype=t).cummax(1), floats(70, 3, dtype=t).logcumsumexp(0)),
    "unique": lambda t: (indices(9, 300).to(t).unique(return_inverse=True, return_counts=True),
                         indices(3, 50, 2).to(t).unique(dim=0),
                         indices(2, 90).to(t).unique_consecutive(return_counts=True)),
    "nonzero": lambda t: (indices(2, 30, 7).to(t).nonzero(),
                          floats(90, dtype=t)[indices(2, 90) > 0]),
    "scatter": scatter,
    "products": products,
    "attention": attention,
}  # fmt: skip


@pytest.fixture
def asked_for(double, monkeypatch):
    """(nest, classes, rows) of the kernels that were rendered in the test, without libraries."""
    found, kernel = [], ptx.kernel
    heuristic = "cublasLtMatmulAlgoGetHeuristic"

    def noted(nest, classes, target, rows="whole"):
        found.append((nest, tuple(classes), rows))
        return kernel(nest, classes, target, rows)

    monkeypatch.setattr(ptx, "kernel", noted)
    monkeypatch.setattr(ptx, "recall", lambda name: None)
    double.fail(heuristic, 15, times=10**6)
    with torch.backends.cudnn.flags(enabled=False):
        yield found
    double.fail(heuristic, 0, times=0)


HALF = pytest.param(torch.float16, marks=pytest.mark.slow)


@pytest.mark.parametrize("dtype", [torch.float32, HALF], ids=str)
@pytest.mark.parametrize("op", OPS)
def test_they_assemble(asked_for, op, dtype):
    if ptx.assembler() is None:
        pytest.skip("needs ptxas")
    OPS[op](dtype)
    assert asked_for
    work = [
        gpu_table.Work(f"{nest.name} {classes} {target}", nest, classes, rows, target)
        for nest, classes, rows in asked_for
        for target in TARGETS
    ]
    _, failures, _ = gpu_table.check(work, jobs=2)
    assert not failures, "\n".join(failures)
