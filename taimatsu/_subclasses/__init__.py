"""Names of PyTorch's fake tensors; the ``meta`` device is what describes tensors here."""

from .fake_tensor import FakeTensor, FakeTensorMode, is_fake

__all__ = ["FakeTensor", "FakeTensorMode", "is_fake"]
