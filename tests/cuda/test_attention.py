"""Attention on a GPU: by cuDNN's graph where it can, else block by block."""

from __future__ import annotations

import pytest

import taimatsu as torch
from taimatsu.cuda import _libraries
from taimatsu.nn.attention import SDPBackend, sdpa_kernel
from taimatsu.ops.anywhere import attention as blocks

attend = torch.nn.functional.scaled_dot_product_attention
EXECUTE = "cudnnBackendExecute"


@pytest.fixture(autouse=True)
def _library(double):
    if not _libraries.found("cudnn"):
        pytest.skip("needs the double of cuDNN")


def operands(query, key, value=None, dtype=torch.float16):
    return [torch.randn(*n).to(dtype) for n in (query, key, value or key)]


def check(double, xs, calls, mask=None, **settings):
    """The result and the gradients are the CPU's; cuDNN was called so often."""
    ours = []
    for device in ("cuda", "cpu"):
        before = double.calls(EXECUTE)
        there = [x.detach().to(device).requires_grad_() for x in xs]
        y = attend(*there, None if mask is None else mask.to(device), **settings)
        y.backward(torch.linspace(-1, 1, y.numel()).reshape(y.shape).to(device, y.dtype))
        ours.append([y.detach().cpu(), *(x.grad.cpu() for x in there)])
        assert double.calls(EXECUTE) == before + (calls if device == "cuda" else 0)
    eps = 8 * torch.finfo(xs[0].dtype).eps
    for a, b in zip(*ours, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        torch.testing.assert_close(a, b, rtol=eps, atol=eps)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_by_cudnn(double, dtype):
    xs = operands((2, 3, 5, 16), (2, 3, 128, 16), dtype=dtype)
    check(double, xs, 2)
    check(double, xs, 2, is_causal=True, scale=0.3)
    check(double, [x.transpose(1, 2).contiguous().transpose(1, 2) for x in xs], 2)
    check(double, [x[0] for x in xs], 2)
    check(double, [x[0, 0] for x in xs], 2)
    check(double, [x[..., 1:9] for x in xs], 2)  # not where 16 bytes start: copied
    check(double, operands((1, 2, 4, 8), (1, 2, 128, 8), (1, 2, 128, 24), dtype), 2)


def test_heads_that_share_keys(double):
    check(double, operands((2, 6, 5, 8), (2, 2, 128, 8)), 2, enable_gqa=True, is_causal=True)
    mask = torch.rand(2, 6, 5, 128) > 0.5
    mask[..., 0] = True
    check(double, operands((2, 6, 5, 8), (2, 2, 128, 8)), 2, mask, enable_gqa=True)


def test_masks(double):
    xs = operands((2, 3, 5, 16), (2, 3, 128, 16))
    for sizes in ((2, 3, 5, 128), (5, 128), (2, 1, 1, 128), (3, 5, 1)):
        check(double, xs, 2, torch.randn(*sizes).half())
        mask = torch.rand(*sizes) > 0.3
        mask[..., -1, :] = False  # a query that sees no key
        check(double, xs, 2, mask)
    odd = operands((2, 3, 5, 16), (2, 3, 13, 16))
    check(double, odd, 1, torch.rand(5, 13) > 0.5)  # rows of the mask aren't 16 bytes apart


def test_the_result_lies_as_the_query_does():
    q = torch.randn(2, 7, 3, 16, device="cuda").half().transpose(1, 2)
    assert attend(q, q, q).transpose(1, 2).is_contiguous()


def test_what_is_not_cudnns(double):
    xs = operands((2, 3, 5, 16), (2, 3, 128, 16))
    check(double, [x.float() for x in xs], 0)
    check(double, [x[..., :12] for x in xs], 0)
    check(double, operands((2, 3, 5, 16), (2, 3, 40, 16)), 1)  # the gradients of such lengths
    with torch.backends.cudnn.flags(enabled=False):
        check(double, xs, 0)
    with torch.backends.cudnn.flags(enabled=True, deterministic=True):
        check(double, xs, 1)
    with sdpa_kernel(SDPBackend.MATH):
        check(double, xs, 0)


def test_a_plan_serves_all_calls_alike(double):
    made = lambda: double.calls("cudnnBackendFinalize")
    xs = [x.cuda() for x in operands((1, 2, 3, 8), (1, 2, 8, 8))]
    attend(*xs)
    before = made()
    attend(*xs)
    assert made() == before + 1  # the pack of pointers


def test_scores_are_never_all_in_memory(monkeypatch):
    """Neither forward nor backward: by blocks, memory doesn't grow as the product of lengths."""
    monkeypatch.setattr(blocks, "_SCORES", 1 << 12)
    monkeypatch.setattr(blocks, "_KEYS", 64)
    n = 512
    xs = [torch.randn(2, n, 8, device="cuda", requires_grad=True) for _ in range(3)]
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    attend(*xs, is_causal=True).sum().backward()
    assert torch.cuda.max_memory_allocated() - before < 2 * n * n * 4 / 2


def test_who_may_compute_it():
    cuda = torch.backends.cuda
    x = torch.zeros(1, 2, 3, 8, dtype=torch.bfloat16)
    told = [cuda.can_use_cudnn_attention(cuda.SDPAParams(q, q, q, None, p, False, False))
            for q, p in ((x.cuda(), 0.0), (x.cuda(), 0.1), (x.float().cuda(), 0.0), (x, 0.0))]
    assert told == [True, False, False, False]
