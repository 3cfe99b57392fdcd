"""Storages: the memory under tensors, as bytes (`UntypedStorage`) and as elements of a dtype.

``tensor.untyped_storage()`` gives the bytes. The typed kind, ``tensor.storage()``, is PyTorch's
older interface, kept for the programs that use it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import taimatsu as torch

from . import _core
from ._core import UntypedStorage

__all__ = ["TypedStorage", "UntypedStorage"]


class TypedStorage:
    """A storage seen as elements of one dtype. Deprecated in favour of `UntypedStorage`.

    ``TypedStorage(n, dtype=...)`` is uninitialised, ``TypedStorage(sequence, dtype=...)`` holds the
    sequence, ``TypedStorage(wrap_storage=untyped, dtype=...)`` shares memory.

    >>> s = torch.tensor([1.0, 2.0]).storage()
    >>> s[1], len(s), s.dtype
    (2.0, 2, torch.float32)
    """

    dtype: Any = None
    device: Any = None

    def __init__(
        self, *args: Any, wrap_storage: Any = None, dtype: Any = None, device: Any = None,
        _internal: bool = False,
    ):  # fmt: skip
        dtype = dtype or type(self).dtype or torch.get_default_dtype()
        if wrap_storage is not None:
            if args:
                raise RuntimeError("TypedStorage: wrap_storage takes no positional arguments")
            if not isinstance(wrap_storage, UntypedStorage):
                raise TypeError(
                    "TypedStorage: wrap_storage must be an UntypedStorage; "
                    f"got {type(wrap_storage).__name__}"
                )
            untyped = wrap_storage
        elif len(args) > 1:
            raise RuntimeError(f"TypedStorage: takes one argument; got {len(args)}")
        elif args and isinstance(args[0], Sequence):
            untyped = torch.tensor(args[0], dtype=dtype, device=device).untyped_storage()
        else:
            untyped = UntypedStorage((args[0] if args else 0) * dtype.itemsize, device=device)
        self._untyped_storage, self.dtype = untyped, dtype
        self.device = untyped.device

    def _tensor(self) -> torch.Tensor:
        """A tensor over the elements."""
        n = len(self)
        return _core.tensor_from_storage(self._untyped_storage, self.dtype, 0, (n,), (1,))

    def untyped(self) -> UntypedStorage:
        """The bytes."""
        return self._untyped_storage

    def __len__(self) -> int:
        return self._untyped_storage.nbytes() // self.dtype.itemsize

    size = __len__

    def nbytes(self) -> int:
        """The number of bytes."""
        return self._untyped_storage.nbytes()

    def element_size(self) -> int:
        """Bytes of an element."""
        return self.dtype.itemsize

    @property
    def _cdata(self) -> int:
        return self._untyped_storage._cdata

    def data_ptr(self) -> int:
        """The address."""
        return self._untyped_storage.data_ptr()

    def tolist(self) -> list:
        """The elements."""
        return self._tensor().tolist()

    def __iter__(self) -> Iterator:
        return iter(self.tolist())

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            raise RuntimeError("slices are only supported in UntypedStorage.__getitem__")
        return self._tensor()[index].item()

    def __setitem__(self, index: Any, value: Any) -> None:
        self._tensor()[index] = value

    def fill_(self, value: Any) -> TypedStorage:
        """Sets all elements."""
        self._tensor().fill_(value)
        return self

    def copy_(self, source: Any, non_blocking: bool = False) -> TypedStorage:
        """Copies the elements of another storage, converting them."""
        self._tensor().copy_(TypedStorage._tensor(source))
        return self

    def resize_(self, size: int) -> TypedStorage:
        """Changes the number of elements."""
        self._untyped_storage.resize_(size * self.dtype.itemsize)
        return self

    def clone(self) -> TypedStorage:
        """A copy."""
        return self._wrap(self._untyped_storage.clone(), self.dtype)

    def _new_shared(self, size: int, device: Any = None) -> TypedStorage:
        untyped = UntypedStorage(size * self.dtype.itemsize, device=device or self.device)
        return self._wrap(untyped, self.dtype).share_memory_()

    def _wrap(self, untyped: Any, dtype: Any) -> TypedStorage:
        return TypedStorage(wrap_storage=untyped, dtype=dtype)

    def type(self, dtype: Any = None, non_blocking: bool = False) -> Any:
        """The name of its class, or the elements converted to a dtype."""
        if dtype is None:
            return f"torch.{self._legacy_name()}"
        dtype = getattr(dtype, "dtype", dtype)
        return self._wrap(self._tensor().to(dtype).clone().untyped_storage(), dtype)

    def _legacy_name(self) -> str:
        from ._utils import STORAGE_NAMES, dtype_name

        return STORAGE_NAMES.get(dtype_name(self.dtype), "storage.TypedStorage")

    def pickle_storage_type(self) -> str:
        """The name of its class in checkpoints."""
        return self._legacy_name()

    def cpu(self) -> TypedStorage:
        """Itself, or a copy on the CPU."""
        return self if self.device.type == "cpu" else self._wrap(
            self._tensor().cpu().untyped_storage(), self.dtype
        )  # fmt: skip

    def to(self, *, device: Any, non_blocking: bool = False) -> TypedStorage:
        """Itself, or a copy on the device."""
        return self._wrap(self._tensor().to(device).untyped_storage(), self.dtype)

    def cuda(self, device: Any = None, non_blocking: bool = False) -> TypedStorage:
        """A copy on a GPU. RuntimeError where there is none."""
        return self.to(device=torch.device("cuda") if device is None else device)

    def share_memory_(self) -> TypedStorage:
        """Moves the elements into memory that processes share."""
        whole: Any = self._tensor()
        whole.share_memory_()
        return self

    def is_shared(self) -> bool:
        """Whether other processes see the memory."""
        return self._untyped_storage.is_shared()

    def is_pinned(self, device: Any = None) -> bool:
        """Whether a GPU can read the memory directly."""
        return self._untyped_storage.is_pinned()

    def get_device(self) -> int:
        """The device's index; -1 of the CPU."""
        return self._tensor().get_device()

    is_cuda = property(lambda self: self.device.type == "cuda")
    is_sparse = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TypedStorage) and self.data_ptr() == other.data_ptr()

    __hash__ = object.__hash__

    def __copy__(self) -> TypedStorage:
        return self.clone()

    def __deepcopy__(self, memo: dict) -> TypedStorage:
        import copy

        return self._wrap(copy.deepcopy(self._untyped_storage, memo), self.dtype)

    def __reduce__(self) -> tuple:
        return _of_tensor, (self._tensor(),)

    def __repr__(self) -> str:
        lines = "".join(f" {v}\n" for v in self.tolist())
        kind = f"torch.storage.TypedStorage(dtype={self.dtype}, device={self.device})"
        return f"{lines}[{kind} of size {len(self)}]"


def _conversion(name: str, dtype: Any) -> None:
    def convert(self: TypedStorage) -> TypedStorage:
        return self.type(dtype)

    convert.__name__, convert.__doc__ = name, f"The elements converted to {dtype}."
    setattr(TypedStorage, name, convert)


for _name in ("bfloat16", "bool", "double", "float", "half", "int", "long", "short"):
    _conversion(_name, getattr(_core, _name))
for _name, _dtype in (
    ("byte", "uint8"), ("char", "int8"), ("complex_double", "complex128"),
    ("complex_float", "complex64"),
):  # fmt: skip
    _conversion(_name, getattr(_core, _dtype))


def _of_tensor(tensor: torch.Tensor) -> TypedStorage:
    return TypedStorage(wrap_storage=tensor.untyped_storage(), dtype=tensor.dtype)


class _LegacyStorageType(type):
    def __instancecheck__(cls, obj: Any) -> bool:
        if "dtype" not in vars(cls):
            return super().__instancecheck__(obj)
        kind = vars(cls)["dtype"], vars(cls)["place"]
        return isinstance(obj, TypedStorage) and (obj.dtype, obj.device.type) == kind


class _LegacyStorage(TypedStorage, metaclass=_LegacyStorageType):
    """A typed storage by the name of its dtype: ``torch.FloatStorage``."""

    place = "cpu"

    @staticmethod
    def of(name: str, dtype: Any, place: str) -> type:
        """The class of this dtype on this device."""
        module = "torch" if place == "cpu" else f"torch.{place}"
        fields = {"dtype": dtype, "place": place, "__module__": module}
        return _LegacyStorageType(name, (_LegacyStorage,), fields)

    @classmethod
    def from_buffer(cls, buffer: Any, byte_order: str = sys.byteorder, **span: Any) -> TypedStorage:
        """The elements that the bytes of `buffer` are, copied; ``span``: `count` and `offset`.

        >>> torch.ByteStorage.from_buffer(b"ab").tolist()
        [97, 98]
        """
        if byte_order not in ("native", sys.byteorder):
            raise ValueError(f"from_buffer: only this machine's byte order; got {byte_order!r}")
        elements = torch.frombuffer(bytearray(buffer), dtype=cls.dtype, **span).clone()
        return TypedStorage(wrap_storage=elements.untyped_storage(), dtype=cls.dtype)

    _from_buffer = from_buffer

    def __new__(cls, *args: Any, wrap_storage: Any = None, **kwargs: Any) -> Any:
        if cls.place != "cpu":
            raise AssertionError(f"Torch not compiled with {cls.place.upper()} enabled")
        return TypedStorage(*args, wrap_storage=wrap_storage, dtype=cls.dtype)
