"""The types of tensors before there were dtypes: ``torch.FloatTensor``, ``torch.cuda.LongTensor``.

Each stands for a dtype and a device: calling it makes tensors, `isinstance` asks for both, and
`Tensor.type` takes it.

>>> torch.LongTensor([1, 2])
tensor([1, 2])
>>> isinstance(torch.ones(2), torch.FloatTensor)
True
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import taimatsu as torch

from . import _core
from ._utils import STORAGE_DTYPES

__all__ = ["legacy_types", "set_default_tensor_type", "tensortype"]


class tensortype(type):
    """The type of the types."""

    dtype: Any
    place: str  # the device's type

    def __new__(cls, name: str, dtype: Any, place: str):
        module = "torch" if place == "cpu" else f"torch.{place}"
        made = super().__new__(cls, name, (), {"__module__": module, "__slots__": ()})
        made.dtype, made.place = dtype, place
        return made

    def __init__(cls, *args: Any):
        pass

    @property
    def is_cuda(cls) -> bool:
        return cls.place == "cuda"

    is_sparse = False

    def __instancecheck__(cls, obj: Any) -> bool:
        is_tensor = isinstance(obj, torch.Tensor)
        return is_tensor and obj.dtype is cls.dtype and obj.device.type == cls.place

    def __call__(cls, *args: Any, device: Any = None) -> Any:
        """A tensor: of these sizes, uninitialised, or of the data of a sequence."""
        if cls.place == "cuda" and torch.cuda.is_available():
            device = device or "cuda"
        elif cls.place != "cpu":
            raise TypeError(
                f"type {cls.__module__}.{cls.__name__} not available. "
                f"Torch not compiled with {cls.place.upper()} enabled."
            )
        if args and isinstance(args[0], torch.Tensor) and args[0].dtype is not cls.dtype:
            raise TypeError(
                f"{cls.__name__}: expected a tensor of {cls.dtype}; got {args[0].dtype}; "
                f"convert it by .to({cls.dtype})"
            )
        return _core.tensor([], dtype=cls.dtype, device=device).new(*args, device=device)


def legacy_types(place: str) -> dict[str, type]:
    """The types of tensors and of storages on a device, by name."""
    from .storage import _LegacyStorage

    found: dict[str, type] = {}
    for storage, name in STORAGE_DTYPES.items():
        dtype = getattr(_core, name)
        found[storage] = _LegacyStorage.of(storage, dtype, place)
        if not dtype.is_complex:
            tensor = storage.replace("Storage", "Tensor")
            found[tensor] = tensortype(tensor, dtype, place)
    return found


def set_default_tensor_type(t: Any) -> None:
    """Makes the dtype and the device of a type, or of its name, the default for new tensors.

    Deprecated: see `set_default_dtype` and `set_default_device`. TypeError if it isn't a floating
    type that is available.
    """
    warnings.warn(
        "torch.set_default_tensor_type() is deprecated as of PyTorch 2.1, please use "
        "torch.set_default_dtype() and torch.set_default_device() as alternatives.",
        UserWarning,
        stacklevel=2,
    )
    if isinstance(t, str):
        module, _, name = t.rpartition(".")
        t = legacy_types(module.partition(".")[2] or "cpu").get(name, t)
    if not isinstance(t, tensortype):
        raise TypeError(f"set_default_tensor_type: expected a type such as FloatTensor; got {t!r}")
    t()  # TypeError where the device isn't there
    torch.set_default_dtype(t.dtype)
    torch.set_default_device(t.place)


globals().update(legacy_types("cpu"))

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...
