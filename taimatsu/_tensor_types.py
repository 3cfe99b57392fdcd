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

__all__ = ["legacy_types", "set_default_tensor_type", "sparse_types", "tensortype"]


class tensortype(type):
    """The type of the types."""

    dtype: Any
    place: str  # the device's type
    is_sparse: bool  # of coordinates

    def __new__(cls, name: str, dtype: Any, place: str, is_sparse: bool = False):
        module = "torch" if place == "cpu" else f"torch.{place}"
        module += ".sparse" if is_sparse else ""
        made = super().__new__(cls, name, (), {"__module__": module, "__slots__": ()})
        made.dtype, made.place, made.is_sparse = dtype, place, is_sparse
        return made

    def __init__(cls, *args: Any, **options: Any):
        pass

    @property
    def is_cuda(cls) -> bool:
        return cls.place == "cuda"

    def __instancecheck__(cls, obj: Any) -> bool:
        if not isinstance(obj, torch.Tensor) or obj.is_sparse != cls.is_sparse:
            return False
        return obj.dtype is cls.dtype and obj.device.type == cls.place

    def __call__(cls, *args: Any, device: Any = None) -> Any:
        """A tensor: of these sizes, uninitialised, or of the data of a sequence."""
        if cls.place == "cuda" and torch.cuda.is_available():
            device = device or "cuda"
        elif cls.place != "cpu":
            raise TypeError(
                f"type {cls.__module__}.{cls.__name__} not available. "
                f"Torch not compiled with {cls.place.upper()} enabled."
            )
        if cls.is_sparse:
            return cls._of_coordinates(args, device)
        if args and isinstance(args[0], torch.Tensor) and args[0].dtype is not cls.dtype:
            raise TypeError(
                f"{cls.__name__}: expected a tensor of {cls.dtype}; got {args[0].dtype}; "
                f"convert it by .to({cls.dtype})"
            )
        return _core.tensor([], dtype=cls.dtype, device=device).new(*args, device=device)

    def _of_coordinates(cls, args: tuple, device: Any) -> Any:
        """Of indices, values and perhaps sizes, or of sizes: without elements."""
        if not (args and isinstance(args[0], torch.Tensor)):
            sizes = args[0] if args and not isinstance(args[0], int) else args
            args = (sizes or (0,),)
        return torch.sparse_coo_tensor(*args, dtype=cls.dtype, device=device)


def sparse_types(place: str) -> dict[str, type]:
    """The types of sparse tensors on a device, by name: ``torch.sparse.FloatTensor``.

    >>> torch.sparse.FloatTensor(torch.tensor([[0, 2]]), torch.ones(2), torch.Size([4])).to_dense()
    tensor([1., 0., 1., 0.])
    """
    return {
        name: tensortype(name, kind.dtype, place, is_sparse=True)
        for name, kind in legacy_types(place).items()
        if isinstance(kind, tensortype)
    }


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
