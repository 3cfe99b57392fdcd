"""Tensors without data: `FakeTensorMode`, in which programs run for their sizes alone."""

from taimatsu._lazy import submodules

from .fake_tensor import (
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
    UnsupportedFakeTensorException,
    is_fake,
)

__getattr__ = submodules(__name__)


__all__ = [
    "DynamicOutputShapeException", "FakeTensor", "FakeTensorMode",
    "UnsupportedFakeTensorException", "is_fake",
]  # fmt: skip
