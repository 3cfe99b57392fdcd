"""Matrix products by cuBLASLt: how operands are described, and which plans are made anew."""

from __future__ import annotations

import pytest

import taimatsu as torch

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64,
          torch.complex128)  # fmt: skip


@pytest.fixture(autouse=True)
def _library(double):
    from taimatsu.cuda import _libraries

    if not _libraries.found("cublasLt"):
        pytest.skip("needs the double of cuBLASLt")


def calls(double) -> int:
    return double.calls("cublasLtMatmul")


def check(double, function, *operands, count=1):
    """One call of the library (or `count`), and what the CPU gives."""
    before = calls(double)
    found = function(*(x.cuda() for x in operands))
    assert calls(double) == before + count
    wanted = function(*operands)
    assert found.is_cuda and found.dtype == wanted.dtype and found.shape == wanted.shape
    tolerance = 4 * torch.finfo(found.dtype).eps * operands[-1].size(-1)
    assert torch.allclose(found.cpu(), wanted, rtol=tolerance, atol=8 * tolerance)


def made(*sizes, dtype=torch.float32):
    return torch.randn(*sizes, dtype=torch.promote_types(dtype, torch.float32)).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(double, dtype):
    a, b = made(5, 7, dtype=dtype), made(7, 3, dtype=dtype)
    check(double, torch.mm, a, b)
    check(double, torch.bmm, a.expand(2, 5, 7), made(2, 7, 3, dtype=dtype))
    check(double, lambda c, a, b: torch.addmm(c, a, b, beta=0.5, alpha=2), made(5, 3, dtype=dtype),
          a, b)  # fmt: skip
    check(double, torch.nn.functional.linear, made(2, 4, 7, dtype=dtype), made(3, 7, dtype=dtype),
          made(3, dtype=dtype))  # fmt: skip


def test_layouts(double):
    a, b = made(6, 8), made(8, 4)
    for x in (a, a.t().contiguous().t(), made(6, 16)[:, 3:11], made(8, 20).t()[2:8]):
        for y in (b, b.t().contiguous().t(), made(9, 5)[1:, 1:]):
            check(double, torch.mm, x, y)
    check(double, torch.mm, made(6, 16)[:, ::2], b)  # copied, then described
    check(double, torch.mm, made(1, 8).expand(6, 8), b)
    check(double, torch.mv, a, made(16)[::2])
    check(double, torch.dot, made(5), made(1).expand(5))
    check(double, torch.matmul, made(8), b)


def test_what_is_added(double):
    a, b = made(6, 8), made(8, 4)
    for c in (made(4), made(6, 1), made(1), made(6, 4), made(4, 6).t()):
        check(double, torch.addmm, c, a, b)
        check(double, lambda c, a, b: torch.addmm(c, a, b, beta=2, alpha=3), c, a, b)
    nan = torch.full([6, 4], float("nan"))
    check(double, lambda c, a, b: torch.addmm(c, a, b, beta=0), nan, a, b)
    c = made(3, 6, 4)
    check(double, torch.baddbmm, c, made(3, 6, 8), made(3, 8, 4))
    check(double, torch.baddbmm, made(4), made(3, 6, 8), made(3, 8, 4))
    x = c[0].cuda()
    assert torch.allclose(x.addmm_(a.cuda(), b.cuda()).cpu(), c[0] + a @ b, atol=1e-5)


def test_batches(double):
    heads = made(2, 5, 3, 8)  # batch, time, head, width
    query, key = heads.transpose(1, 2), made(2, 3, 6, 8)
    check(double, torch.matmul, query, key.mT, count=2)  # heads are equally far apart
    check(double, torch.matmul, made(4, 1, 5, 8), made(3, 8, 2), count=4)
    check(double, torch.matmul, made(4, 5, 8), made(8, 2))
    check(double, torch.matmul, made(4, 5, 8), made(4, 8, 2))


def test_nothing_to_sum_or_to_give():
    a = torch.ones(3, 0, device="cuda") @ torch.ones(0, 2, device="cuda")
    assert (a.cpu() == 0).all() and a.shape == (3, 2)
    assert (torch.ones(0, 3, device="cuda") @ torch.ones(3, 2, device="cuda")).shape == (0, 2)


def test_integers_are_not_the_librarys(double):
    before = calls(double)
    a = torch.arange(6, device="cuda").reshape(2, 3)
    assert (a @ a.mT).tolist() == [[5, 14], [14, 50]]
    assert calls(double) == before


def test_a_plan_serves_all_calls_alike(double):
    chosen = lambda: double.calls("cublasLtMatmulAlgoGetHeuristic")
    a, b = torch.ones(31, 33, device="cuda"), torch.ones(33, 9, device="cuda")
    a @ b
    before = chosen()
    for _ in range(5):
        (a + 1) @ b
    assert chosen() == before
    shifted = torch.ones(31 * 33 + 1, device="cuda")[1:].view(31, 33)
    assert ((shifted @ b).cpu() == 33).all() and chosen() == before + 1  # aligned otherwise


def test_tf32_where_it_is_allowed(double):
    a = torch.ones(17, 17, device="cuda")
    chosen = lambda: double.calls("cublasLtMatmulAlgoGetHeuristic")
    before = chosen()
    try:
        for allowed in (False, True, False):
            torch.backends.cuda.matmul.allow_tf32 = allowed
            assert torch.get_float32_matmul_precision() == ("high" if allowed else "highest")
            a @ a
    finally:
        torch.set_float32_matmul_precision("highest")
    assert chosen() == before + 2


def test_precisions_by_level(double):
    backends = torch.backends
    a, chosen = torch.ones(18, 18, device="cuda"), []
    try:
        backends.cuda.matmul.fp32_precision = "none"
        for level, precision in ((backends, "tf32"), (backends.cuda.matmul, "ieee"),
                                 (backends.cuda.matmul, "none"), (backends, "ieee")):  # fmt: skip
            level.fp32_precision = precision
            a @ a
            chosen.append(torch.get_float32_matmul_precision())
        assert chosen == ["high", "highest", "high", "highest"]
        assert backends.cudnn.fp32_precision == backends.cudnn.conv.fp32_precision == "ieee"
        backends.cudnn.conv.fp32_precision = "tf32"
        assert backends.cudnn.rnn.fp32_precision == "ieee"
        with pytest.raises(RuntimeError, match="Unknown precision"):
            backends.cuda.matmul.fp32_precision = "bf16"
    finally:
        for level in (backends, backends.cudnn.conv, backends.cuda.matmul):
            level.fp32_precision = "none"
    assert backends.cudnn.conv.fp32_precision == "tf32"


def test_it_runs_on_the_current_stream(double):
    a = torch.full([8, 8], 2.0, device="cuda")
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        y = a @ a
        assert not side.query()
    torch.cuda.current_stream().wait_stream(side)
    y.record_stream(torch.cuda.current_stream())
    assert (y.cpu() == 32).all()


def test_in_a_graph(double):
    a = torch.ones(4, 4, device="cuda")
    a @ a
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = a @ a
    a.fill_(2)
    graph.replay()
    assert (y.cpu() == 16).all()


def test_gradients(double):
    before = calls(double)
    w, x = torch.randn(4, 6), torch.randn(5, 6)
    ours = []
    for device in ("cuda", "cpu"):
        net = torch.nn.Linear(6, 4).to(device)
        with torch.no_grad():
            net.weight.copy_(w)
            net.bias.fill_(1)
        y = x.to(device).requires_grad_()
        net(y).square().sum().backward()
        ours.append((net.weight.grad.cpu(), net.bias.grad.cpu(), y.grad.cpu()))
    assert calls(double) == before + 3
    for a, b in zip(*ours, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-4)


def test_an_error_of_the_library_names_it(double):
    a = torch.ones(12, 12, device="cuda")
    a @ a
    double.fail("cublasLtMatmul", 13)
    with pytest.raises(RuntimeError, match="cublasLtMatmul returned status 13"):
        a @ a
    assert ((a @ a).cpu() == 12).all()


def test_what_it_has_no_algorithm_for_is_computed_otherwise(double):
    a = torch.ones(13, 5, device="cuda")
    double.fail("cublasLtMatmulAlgoGetHeuristic", 15)
    before = calls(double)
    assert ((a @ a.mT).cpu() == 5).all()
    assert calls(double) == before


@pytest.mark.parametrize("formats", [(torch.float8_e4m3fn, torch.float8_e4m3fn),
                                     (torch.float8_e5m2, torch.float8_e4m3fn)])  # fmt: skip
def test_8_bit_floats(double, formats):
    a, b = torch.randn(5, 32).to(formats[0]), torch.randn(48, 32).to(formats[1]).t()
    half, rows, columns = torch.tensor(0.5), torch.rand(5, 1), torch.rand(1, 48)

    def scaled(dtype, *scales, bias=(), **settings):
        product = lambda a, b, s, t, *bias: torch._scaled_mm(
            a, b, s, t, *bias, out_dtype=dtype, **settings)  # fmt: skip
        before = calls(double)
        there = product(*(x.cuda() for x in (a, b, *scales, *bias)))
        assert calls(double) == before + 1
        here = product(a, b, *scales, *bias)
        assert there.dtype == here.dtype == dtype
        assert torch.allclose(there.cpu().float(), here.float(), rtol=2e-2, atol=2e-2)

    scaled(torch.bfloat16, half, half)
    scaled(torch.float32, half, half, use_fast_accum=True)
    scaled(torch.float16, rows, columns)
    scaled(torch.bfloat16, half, half, bias=[made(48, dtype=torch.bfloat16)])
    scaled(torch.float32, half, half, bias=[made(48)])
    scaled(torch.float8_e4m3fn, half, half)
    a, b = a[:, :24], b[:24]
    scaled(torch.bfloat16, half, half)  # a product of float32 instead
