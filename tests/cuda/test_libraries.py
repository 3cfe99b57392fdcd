"""NVIDIA's libraries in Python: which function an op calls, and what is kept between calls.

That results are right with them is what `test_every_op_with_libraries` says.
"""

from __future__ import annotations

import pytest

import taimatsu as torch
from taimatsu.cuda import _libraries


@pytest.fixture(autouse=True)
def _libraries_there(double):
    if not _libraries.found("cufft"):
        pytest.skip("needs the doubles of NVIDIA's libraries")


def check(double, function, call, *operands, count=1):
    """The library's function is called, and gives what the CPU gives."""
    before = double.calls(function)
    found = call(*(x.cuda() for x in operands))
    assert double.calls(function) == before + count
    wanted = call(*operands)
    for a, b in zip(*((x if isinstance(x, tuple) else (x,)) for x in (found, wanted)), strict=True):
        assert a.is_cuda and a.dtype == b.dtype and a.shape == b.shape
        assert torch.allclose(a.cpu(), b, rtol=1e-4, atol=1e-4)


def spd(*sizes, dtype=torch.float64):
    a = torch.randn(*sizes, dtype=dtype)
    return a @ a.mH + sizes[-1] * torch.eye(sizes[-1], dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64,
                                   torch.complex128])  # fmt: skip
def test_factors(double, dtype):
    a, b = spd(2, 4, 4, dtype=dtype), torch.randn(2, 4, 3, dtype=dtype)
    tall = torch.randn(5, 3, dtype=dtype)
    check(double, "cusolverDnpotrfBatched", torch.linalg.cholesky, a)
    check(double, "cusolverDnpotrfBatched", lambda x: torch.linalg.cholesky(x, upper=True), a)
    check(double, "cusolverDnXgetrf", torch.linalg.lu_factor, a[0])
    check(double, "cusolverDnXgetrs", torch.linalg.solve, a, b, count=2)
    for adjoint in (False, True):
        check(double, "cusolverDnXgetrs",
              lambda a, b, t=adjoint: torch.linalg.lu_solve(*torch.linalg.lu_factor(a), b,
                                                            adjoint=t), a[0] + 1, b[0])  # fmt: skip
    def by_ldl(a, b):
        return torch.linalg.ldl_solve(*torch.linalg.ldl_factor(a), b)

    symmetric = torch.randn(2, 6, 6, dtype=dtype)
    symmetric = symmetric + symmetric.mT
    symmetric[..., 0, 0] = 0  # so that D has blocks of two
    check(double, "cusolverDnXsytrs", by_ldl, symmetric, torch.randn(2, 6, 3, dtype=dtype), count=2)
    for mode in ("reduced", "complete"):
        check(double, "cusolverDnXgeqrf", lambda x, m=mode: torch.linalg.qr(x, m), tall)
    check(double, "cusolverDngqr",
          lambda x: torch.linalg.householder_product(*torch.geqrf(x)), tall)  # fmt: skip
    for left, transpose in ((True, False), (True, True), (False, True), (False, False)):
        check(double, "cusolverDnmqr", lambda x, y, k=left, t=transpose: torch.ormqr(
            *torch.geqrf(x), y, k, t), torch.randn(3, 3, dtype=dtype), tall.mT if left else tall)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex128])
def test_spectra(double, dtype):
    a = spd(2, 4, 4, dtype=dtype)

    def rebuilt(x):
        w, v = torch.linalg.eigh(x)
        return (v * w.unsqueeze(-2).to(v.dtype)) @ v.mH

    check(double, "cusolverDnXsyevd", rebuilt, a, count=2)
    check(double, "cusolverDnXsyevd", torch.linalg.eigvalsh, a[0])
    for x in (torch.randn(5, 3, dtype=dtype), torch.randn(3, 5, dtype=dtype)):
        for full in (False, True):
            def product(x, full=full):
                U, S, Vh = torch.linalg.svd(x, full_matrices=full)
                return (U[:, :3] * S.to(U.dtype)) @ Vh[:3]

            check(double, "cusolverDnXgesvd", product, x)
        check(double, "cusolverDnXgesvd", torch.linalg.svdvals, x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64])
def test_spectra_of_any_matrices(double, dtype):
    a = torch.randn(2, 5, 5, dtype=dtype)

    def rebuilt(x):
        w, v = torch.linalg.eig(x)
        lengths = v.abs().square().sum(-2)
        return (v * w.unsqueeze(-2)) @ torch.linalg.inv(v), lengths

    check(double, "cusolverDnXgeev", rebuilt, a, count=2)
    check(double, "cusolverDnXgeev", lambda x: torch.linalg.eigvals(x).real.sort()[0], a[0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex64])
def test_least_squares(double, dtype):
    b = torch.randn(5, 2, dtype=dtype)
    for driver, function in (("gels", "cusolverDnXgeqrf"), ("gelsd", "cusolverDnXgesvd")):
        solved = lambda a, b, d=driver: torch.linalg.lstsq(a, b, driver=d).solution
        check(double, function, solved, torch.randn(5, 3, dtype=dtype), b)
        check(double, function, solved, torch.randn(5, 8, dtype=dtype), b)
    with pytest.raises(torch.linalg.LinAlgError, match="full rank"):
        torch.linalg.lstsq(torch.zeros(3, 2, device="cuda"), torch.ones(3, 1, device="cuda"),
                           driver="gels")  # fmt: skip


def test_what_is_singular_is_told():
    with pytest.raises(torch.linalg.LinAlgError, match="singular"):
        torch.linalg.solve(torch.zeros(2, 2, device="cuda"), torch.ones(2, 1, device="cuda"))
    with pytest.raises(torch.linalg.LinAlgError, match="positive-definite"):
        torch.linalg.cholesky(-torch.eye(2, device="cuda"))


def test_transforms(double):
    x, z = torch.randn(3, 4, 6), torch.randn(3, 4, 6, dtype=torch.complex128)
    one = lambda *args, **kwargs: check(double, "cufftXtExec", *args, **kwargs)
    one(lambda z: torch.fft.fft(z, dim=1), z)
    one(lambda z: torch.fft.fft2(z, norm="ortho"), z)
    one(torch.fft.ifftn, z)
    one(torch.fft.rfft, x)
    one(lambda z: torch.fft.irfft(z, n=9, dim=2), z)
    one(torch.fft.fft, x)
    one(lambda x: torch.fft.fftn(x, dim=(0, 2)), z)
    many = torch.randn(2, 3, 2, 3, 2, dtype=torch.complex64)
    one(torch.fft.fftn, many, count=2)


def test_plans_are_kept_and_can_be_bounded(double):
    cache = torch.backends.cuda.cufft_plan_cache
    x = torch.randn(8, 3, device="cuda", dtype=torch.complex64)
    made = lambda: double.calls("cufftXtMakePlanMany")
    cache.clear()
    torch.fft.fft(x, dim=0)
    before = made()
    torch.fft.fft(x, dim=0)
    assert made() == before and cache.size == cache[0].size == 1
    limit = cache.max_size
    try:
        cache.max_size = 2
        for n in (2, 3, 4):
            torch.fft.fft(x[:n], dim=0)
        assert cache.size == 2
        with pytest.raises(RuntimeError, match="negative"):
            cache.max_size = -1
    finally:
        cache.max_size = limit
    with pytest.raises(RuntimeError, match="no GPU 7"):
        cache[7]


def test_a_library_runs_on_the_current_stream():
    side = torch.cuda.Stream()
    x = torch.ones(4, device="cuda", dtype=torch.complex64)
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        y = torch.fft.fft(x)
        assert not side.query()
    side.synchronize()
    assert y[0].item() == 4


def test_an_error_of_a_library_names_the_function(double):
    x = torch.ones(5, device="cuda", dtype=torch.complex64)
    double.fail("cufftXtExec", 4)
    with pytest.raises(RuntimeError, match="cufftXtExec returned status 4"):
        torch.fft.fft(x)
    assert torch.fft.fft(x)[0].item() == 5


def test_convolutions(double):
    cudnn = torch.backends.cudnn
    assert cudnn.is_available() and cudnn.version() == 91300
    x, w = torch.randn(2, 4, 7, 6), torch.randn(6, 2, 3, 3)
    conv = torch.nn.functional.conv2d
    check(double, "cudnnBackendExecute", lambda x, w: conv(x, w, stride=2, padding=1, groups=2), x,
          w)  # fmt: skip
    y = conv(x.cuda().contiguous(memory_format=torch.channels_last), w.cuda(), groups=2)
    assert y.is_contiguous(memory_format=torch.channels_last)
    before = double.calls("cudnnBackendExecute")
    with cudnn.flags(enabled=False):
        conv(x.cuda(), w.cuda(), groups=2)
    assert double.calls("cudnnBackendExecute") == before


def test_what_is_missing_is_told_with_the_command():
    text = _libraries.missing("nccl", "init_process_group")
    assert "NCCL is not found" in text and "pip install nvidia-nccl-cu13" in text
    assert _libraries.command("cublasLt") == "pip install nvidia-cublas"
