"""Methods of UntypedStorage in Python: memory that others see too."""

from __future__ import annotations

import os
from typing import Any

from . import _core

Storage: Any = _core.UntypedStorage


def share_memory_(self: Any) -> Any:
    """Moves the bytes to where other processes see them; tensors over them stay valid.

    Of a GPU's memory nothing: it is handed to other processes as it is, or not at all.
    """
    if self.is_cuda:
        return self
    from .multiprocessing.shared_memory import share_storage

    return share_storage(self)


def from_file(filename: str, shared: bool = False, nbytes: int = 0) -> Any:
    """The bytes of a file: with `shared`, writes go to it, and it is made if it isn't there.

    Without, the file must have the bytes, and is not changed. RuntimeError where it hasn't.
    """
    import mmap

    fd = os.open(filename, os.O_RDWR | os.O_CREAT if shared else os.O_RDONLY, 0o666)
    try:
        if (size := os.fstat(fd).st_size) < nbytes:
            if not shared:
                raise RuntimeError(
                    f"from_file: {nbytes} bytes are asked for; {filename} has {size}; ask for "
                    "fewer, or use shared=True, which makes the file larger"
                )
            os.ftruncate(fd, nbytes)
        if nbytes == 0:
            return Storage(0)

        class MappedFile(mmap.mmap):
            """The mapping, which knows its file."""

            path = str(filename) if shared else None

        access = mmap.ACCESS_WRITE if shared else mmap.ACCESS_COPY
        return Storage._sharing(MappedFile(fd, nbytes, access=access), shared)
    finally:
        os.close(fd)


def filename(self: Any) -> str | None:
    """The file that the bytes are those of, made by `from_file` with ``shared``; else None."""
    return getattr(getattr(self._owner(), "obj", None), "path", None)


def to(self: Any, *, device: Any, non_blocking: bool = False) -> Any:
    """Itself, or a copy on the device."""
    device = _core.device(device)
    if device == self.device or (device.type == self.device.type and device.index is None):
        return self
    return Storage(self.nbytes(), device=device).copy_(self, non_blocking)


def cpu(self: Any) -> Any:
    """Itself, or a copy on the CPU."""
    return to(self, device="cpu")


def cuda(self: Any, device: Any = None, non_blocking: bool = False) -> Any:
    """Itself, or a copy on a GPU. RuntimeError where there is none."""
    return to(self, device="cuda" if device is None else device, non_blocking=non_blocking)


def is_pinned(self: Any, device: Any = None) -> bool:
    """Whether a GPU can read the memory directly."""
    native = getattr(_core, "_cuda", None)  # if no driver is in use, nothing has been pinned
    return native is not None and not self.is_cuda and native.is_pinned(self.data_ptr())


def get_device(self: Any) -> int:
    """The device's index; -1 of the CPU."""
    return self.device.index if self.is_cuda else -1


Storage.to, Storage.cpu, Storage.cuda = to, cpu, cuda
Storage.is_pinned, Storage.get_device = is_pinned, get_device
Storage.is_cuda = property(lambda self: self.device.type == "cuda")


def __reduce__(self: Any) -> tuple:
    """A plain pickle has the bytes; `multiprocessing` writes a handle instead."""
    return _of_bytes, (bytes(self.cpu()),)


def _of_bytes(data: bytes) -> Any:
    return Storage.from_buffer(data) if data else Storage(0)


def untyped(self: Any) -> Any:
    """The storage itself."""
    return self


def new(self: Any) -> Any:
    """An empty storage on the same device."""
    return Storage(0, device=self.device)


def type(self: Any, dtype: Any = None, non_blocking: bool = False) -> Any:
    """The name of its type; with a dtype, the elements' values as that type."""
    if dtype is None:
        return "torch.storage.UntypedStorage"
    return _elements(self).to(dtype).storage()


def pin_memory(self: Any, device: Any = "cuda") -> Any:
    """A copy that a GPU can copy by itself. RuntimeError without one."""
    return _elements(self).pin_memory().untyped_storage()


def byteswap(self: Any, dtype: Any) -> None:
    """Turns the order of the bytes of each element, in place."""
    size = dtype.itemsize // (2 if dtype.is_complex else 1)
    if self.nbytes() % size:
        raise RuntimeError(f"byteswap: {self.nbytes()} bytes are no elements of {dtype}")
    rows = _elements(self).view(-1, size)
    rows.copy_(rows.flip(1))


def _elements(storage: Any) -> Any:
    uint8, n = _core.uint8, storage.nbytes()
    return _core.tensor_from_storage(storage, uint8, 0, (n,), (1,))


def _converts(name: str) -> Any:
    def convert(self: Any) -> Any:
        return self.type(getattr(_core, name))

    convert.__doc__ = f"The elements' values as {name}."
    return convert


def _new_shared(cls: Any, size: int, *, device: Any = "cpu") -> Any:
    """So many bytes that other processes see: what collating functions make batches in."""
    return cls(size, device=device).share_memory_()


for _name, _dtype in {
    "bfloat16": "bfloat16", "bool": "bool", "byte": "uint8", "char": "int8", "half": "float16",
    "complex_double": "complex128", "complex_float": "complex64", "double": "float64",
    "float": "float32", "int": "int32", "long": "int64", "short": "int16",
}.items():  # fmt: skip
    setattr(Storage, _name, _converts(_dtype))
Storage._new_shared = classmethod(_new_shared)
for _function in (__reduce__, untyped, new, type, pin_memory, byteswap):
    setattr(Storage, _function.__name__, _function)
Storage.is_hpu = Storage.is_sparse = Storage.is_sparse_csr = False
Storage.share_memory_ = share_memory_
Storage.from_file = staticmethod(from_file)
Storage.filename = property(filename)
