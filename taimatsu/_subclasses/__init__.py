"""Names of PyTorch's fake tensors; the ``meta`` device is what describes tensors here."""

from taimatsu._lazy import submodules

from .fake_tensor import FakeTensor, FakeTensorMode, is_fake

__getattr__ = submodules(__name__)


__all__ = ["FakeTensor", "FakeTensorMode", "is_fake"]
