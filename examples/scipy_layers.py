"""Layers around SciPy: a spectral filter by its FFT, and a convolution, both with learnt weights.

    python examples/scipy_layers.py

An `autograd.Function` computes with the arrays behind the tensors, which share their memory, and
says what the gradients are. `gradcheck` compares those with finite differences. It runs under
PyTorch unchanged but for the import.
"""

from __future__ import annotations

import scipy.fft
import scipy.signal

import taimatsu as torch
from taimatsu import nn
from taimatsu.autograd import Function, gradcheck
from taimatsu.autograd.function import once_differentiable


class SpectralFilter(Function):
    """Signals times a filter, in the frequency domain: irfft(rfft(x) * h)."""

    @staticmethod
    def forward(ctx, x, h):
        n = x.shape[-1]
        spectrum = scipy.fft.rfft(x.numpy())
        ctx.save_for_backward(h)
        ctx.spectrum = spectrum
        return torch.from_numpy(scipy.fft.irfft(spectrum * h.numpy(), n))

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        (h,) = ctx.saved_tensors
        n = g.shape[-1]
        transformed = scipy.fft.rfft(g.numpy())
        gx = scipy.fft.irfft(transformed * h.numpy().conj(), n)
        # Each frequency but the first, and the last of even sizes, stands for two.
        gh = transformed * ctx.spectrum.conj() * 2 / n
        gh[..., 0] /= 2
        gh[..., n // 2 + 1 - (n % 2 == 0) :] /= 2
        return torch.from_numpy(gx), torch.from_numpy(gh.reshape(-1, gh.shape[-1]).sum(0))


class Convolution(Function):
    """Images correlated with a filter, where it fits, plus a bias."""

    @staticmethod
    def forward(ctx, image, filter, bias):
        ctx.save_for_backward(image, filter)
        found = scipy.signal.correlate2d(image.numpy(), filter.numpy(), mode="valid")
        return torch.from_numpy(found + bias.numpy())

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        image, filter = (t.numpy() for t in ctx.saved_tensors)
        g_image = scipy.signal.convolve2d(g.numpy(), filter, mode="full")
        g_filter = scipy.signal.correlate2d(image, g.numpy(), mode="valid")
        return torch.from_numpy(g_image), torch.from_numpy(g_filter), g.sum()


class ScipyConv2d(nn.Module):
    """`Convolution` with a filter and a bias of its own."""

    def __init__(self, height: int, width: int):
        super().__init__()
        self.filter = nn.Parameter(torch.randn(height, width, dtype=torch.float64) / 3)
        self.bias = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, image):
        return Convolution.apply(image, self.filter, self.bias)


def check() -> None:
    """The gradients are those of finite differences, for even and odd sizes."""
    for n in (8, 7):
        x = torch.randn(2, n, dtype=torch.float64, requires_grad=True)
        h = torch.randn(n // 2 + 1, dtype=torch.complex128, requires_grad=True)
        assert gradcheck(SpectralFilter.apply, (x, h))
    image = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    layer = ScipyConv2d(3, 2)
    assert gradcheck(Convolution.apply, (image, layer.filter, layer.bias))


def learn_an_edge_filter(steps: int = 200) -> float:
    """The loss after learning Sobel's filter from images and their edges."""
    torch.manual_seed(0)
    sobel = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]], dtype=torch.float64)
    layer = ScipyConv2d(3, 3)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    for _ in range(steps):
        image = torch.randn(12, 12, dtype=torch.float64)
        edges = torch.from_numpy(scipy.signal.correlate2d(image, sobel, mode="valid"))
        loss = nn.functional.mse_loss(layer(image), edges)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


if __name__ == "__main__":
    check()
    print(f"gradients are right; loss after learning: {learn_an_edge_filter():.2e}")
