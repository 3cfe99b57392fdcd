"""Methods of UntypedStorage in Python: memory that others see too."""

from __future__ import annotations

import os
from typing import Any

from . import _core

Storage: Any = _core.UntypedStorage


def share_memory_(self: Any) -> Any:
    """Moves the bytes to where other processes see them; tensors over them stay valid."""
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


Storage.share_memory_ = share_memory_
Storage.from_file = staticmethod(from_file)
Storage.filename = property(filename)
