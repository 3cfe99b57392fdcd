"""Fourier transforms: every way a length can go, accuracy, threads, derivatives, errors."""

import numpy as np
import pytest

import taimatsu as torch
from taimatsu import fft

rng = np.random.default_rng(0)

# Products of radices with and without butterflies of their own, primes below and above the largest
# radix, lines that are a matrix and lines that are lanes, lengths past what fits the lanes.
LENGTHS = (
    *range(1, 40), 49, 60, 61, 64, 67, 100, 121, 125, 128, 169, 210, 243, 256, 257, 500, 512, 1000,
    1009, 1024, 2310, 3721, 4096, 4099, 6000, 8192, 10007, 32768, 1 << 17,
)  # fmt: skip


def signal(*shape, dtype=np.complex128):
    x = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    return (x if np.issubdtype(dtype, np.complexfloating) else x.real).astype(dtype)


def error(got, want) -> float:
    """In units of the result's precision, by the 2-norm: rounding errors grow with its root."""
    got = got.numpy()
    eps = np.finfo(got.dtype).eps
    return np.linalg.norm(got - want) / (np.linalg.norm(want) or 1) / eps


@pytest.mark.parametrize("dtype", (np.complex64, np.complex128))
@pytest.mark.parametrize("n", LENGTHS)
def test_lengths(n, dtype):
    """Within sqrt(log n) of the precision, for one line and for a batch."""
    for lines in (1, 9) if n < 5000 else (2,):
        x = signal(lines, n, dtype=dtype)
        t, wide = torch.tensor(x), x.astype(np.complex128)
        allowed = 1 + np.sqrt(np.log2(n + 1))
        assert error(fft.fft(t), np.fft.fft(wide)) < allowed
        assert error(fft.ifft(t), np.fft.ifft(wide)) < allowed
        assert error(fft.irfft(t, n), np.fft.irfft(wide, n)) < allowed
        real, wide = torch.tensor(x.real.copy()), x.real.astype(np.float64)
        assert error(fft.rfft(real), np.fft.rfft(wide)) < allowed
        assert error(fft.fft(real), np.fft.fft(wide)) < allowed


@pytest.mark.parametrize("shape", ((8, 3), (125, 9), (67, 5), (64, 16, 2), (5000, 3), (3, 1, 4)))
def test_dims(shape):
    """Along a dim that is not innermost, and for tensors that are not contiguous."""
    x = signal(*shape)
    for dim in range(len(shape)):
        want = np.fft.fft(x, axis=dim)
        assert error(fft.fft(torch.tensor(x), dim=dim), want) < 5
        moved = torch.tensor(np.ascontiguousarray(x.T)).permute(*reversed(range(len(shape))))
        assert error(fft.fft(moved, dim=dim), want) < 5
        assert error(fft.rfft(moved.real, dim=dim), np.fft.rfft(x.real, axis=dim)) < 5
        n = 2 * shape[dim] - 1
        assert error(fft.irfft(moved, n, dim), np.fft.irfft(x, n, axis=dim)) < 5
    assert error(fft.fftn(torch.tensor(x)), np.fft.fftn(x)) < 5


def test_impulses_are_exact():
    """Transforms of impulses are roots of unity, rounded once."""
    for n in (7, 12, 64, 360, 1024):
        x = torch.zeros(n, dtype=torch.complex128)
        x[1] = 1
        k = np.arange(n)
        angle = 2 * np.pi * np.minimum(k, n - k).astype(np.longdouble) / n
        want = np.cos(angle) - 1j * np.where(k <= n - k, 1, -1) * np.sin(angle)
        assert np.abs(fft.fft(x).numpy() - want.astype(complex)).max() < 4e-16


def test_same_bits_for_any_number_of_threads():
    before = torch.get_num_threads()
    inputs = [signal(1 << 16), signal(40, 1000), signal(64, 300), signal(3, 10007)]
    results = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            results.append([fft.fftn(torch.tensor(x)).numpy().tobytes() for x in inputs]
                           + [fft.rfft(torch.tensor(x.real.copy())).numpy().tobytes()
                              for x in inputs])  # fmt: skip
    finally:
        torch.set_num_threads(before)
    assert results[0] == results[1]


def test_a_line_does_not_depend_on_its_company():
    for n in (16, 60, 64, 500):
        x = signal(21, n)
        whole = fft.fft(torch.tensor(x)).numpy()
        for rows in (slice(0, 1), slice(3, 5), slice(4, 21)):
            part = fft.fft(torch.tensor(x[rows])).numpy()
            np.testing.assert_allclose(part, whole[rows], rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", (1, 2, 5, 6))
def test_complex_gradients(n):
    """The adjoint, by the inner product: <y, F x> = <F* y, x>."""
    for name, real in (("fft", False), ("ifft", False), ("rfft", True), ("ihfft", True),
                       ("irfft", False), ("hfft", False)):  # fmt: skip
        f = getattr(fft, name)
        x = torch.tensor(signal(3, n, dtype=np.float64 if real else np.complex128))
        x.requires_grad_()
        y = f(x, n) if name in ("irfft", "hfft") else f(x)
        v = torch.tensor(signal(*y.shape, dtype=y.detach().numpy().dtype))
        (g,) = torch.autograd.grad(y, x, v)
        d = torch.tensor(signal(3, n, dtype=np.float64 if real else np.complex128))
        step = f(d, n) if name in ("irfft", "hfft") else f(d)
        left = (v.conj() * step).sum().real if v.is_complex() else (v * step).sum()
        right = (g.conj() * d).sum().real if g.is_complex() else (g * d).sum()
        assert float(left) == pytest.approx(float(right))


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda x: fft.fft(x, 0), RuntimeError),
        (lambda x: fft.fft(x, dim=2), IndexError),
        (lambda x: fft.fft(x, norm="none"), RuntimeError),
        (lambda x: fft.fft(x.half()), RuntimeError),
        (lambda x: fft.rfft(x + 0j), RuntimeError),
        (lambda x: fft.irfft(x[:, :1]), RuntimeError),
        (lambda x: fft.fft(torch.tensor(1.0)), IndexError),
        (lambda x: fft.fftn(x, (2, 3, 4)), RuntimeError),
        (lambda x: fft.fftn(x, (2, 3), (0,)), RuntimeError),
        (lambda x: fft.fftn(x, dim=(0, 0)), RuntimeError),
        (lambda x: fft.rfftn(x, dim=()), RuntimeError),
        (lambda x: fft.fft2(x[0]), IndexError),
        (lambda x: fft.fft([1.0]), TypeError),
        (lambda x: fft.fftfreq(4, dtype=torch.int64), RuntimeError),
        (lambda x: fft.fft(x, out=torch.empty(4, 6)), RuntimeError),
        (lambda x: torch.stft(x, 4), RuntimeError),
        (lambda x: torch.stft(x, 0, return_complex=True), RuntimeError),
        (lambda x: torch.stft(x, 4, 0, return_complex=True), RuntimeError),
        (lambda x: torch.stft(x + 0j, 4, onesided=True), RuntimeError),
        (lambda x: torch.istft(x, 4), RuntimeError),
        (lambda x: torch.istft(x + 0j, 5), RuntimeError),
        (lambda x: torch.istft(x[:3] + 0j, 4, window=torch.zeros(4)), RuntimeError),
        (lambda x: torch.hann_window(-1), RuntimeError),
        (lambda x: torch.hann_window(3, dtype=torch.int64), RuntimeError),
        (lambda x: torch.signal.windows.hann(-1), ValueError),
        (lambda x: torch.signal.windows.hann(3, dtype=torch.float16), ValueError),
        (lambda x: torch.signal.windows.gaussian(3, std=0), ValueError),
        (lambda x: torch.signal.windows.exponential(3, center=1.0), ValueError),
        (lambda x: torch.signal.windows.general_cosine(3, a=()), ValueError),
    ],
)
def test_errors(call, kind):
    with pytest.raises(kind):
        call(torch.ones(4, 6))


def test_stft_and_back():
    x = torch.tensor(signal(2, 100, dtype=np.float64))
    for options in ({}, {"normalized": True}, {"hop_length": 5}, {"win_length": 12}):
        w = torch.hann_window(options.get("win_length", 16), dtype=torch.float64)
        spectrum = torch.stft(x, 16, window=w, return_complex=True, **options)
        back = torch.istft(spectrum, 16, window=w, length=100, **options)
        np.testing.assert_allclose(back.numpy(), x.numpy(), atol=1e-12)


@pytest.mark.parametrize("M", (1, 2, 7, 8))
@pytest.mark.parametrize("sym", (True, False))
def test_windows(M, sym):
    windows = pytest.importorskip("scipy.signal.windows")
    cases = {
        "bartlett": (), "blackman": (), "cosine": (), "hamming": (), "hann": (),
        "nuttall": None, "general_hamming": {"alpha": 0.4},
        "general_cosine": {"a": [0.2, 0.5, 0.3]},
        "gaussian": {"std": 1.5}, "exponential": {"tau": 2.0}, "kaiser": {"beta": 3.0},
    }  # fmt: skip
    for name, options in cases.items():
        ours = getattr(torch.signal.windows, name)
        got = ours(M, sym=sym, dtype=torch.float64, **dict(options or {}))
        if name == "nuttall":
            name, options = "general_cosine", {"a": [0.3635819, 0.4891775, 0.1365995, 0.0106411]}
        want = getattr(windows, name)(M, sym=sym, **dict(options))
        np.testing.assert_allclose(got.numpy(), want, atol=1e-12)
