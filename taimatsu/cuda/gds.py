"""``cuda.gds``: files read into a GPU's memory and written from it.

GPUDirect Storage (cuFile) is not used: bytes go through pinned memory of the host. So nothing has
to be registered, and files lie on any file system.
"""

from __future__ import annotations

import os
from typing import Any

import taimatsu as torch

__all__ = ["GdsFile", "gds_deregister_buffer", "gds_register_buffer"]


def gds_register_buffer(s: Any) -> None:
    """Kept for programs that call it: nothing has to be registered."""


def gds_deregister_buffer(s: Any) -> None:
    """Kept for programs that call it: nothing has to be registered."""


def _bytes_of(storage: Any) -> torch.Tensor:
    untyped = storage.untyped() if hasattr(storage, "untyped") else storage
    n = untyped.nbytes()
    return torch._core.tensor_from_storage(untyped, torch.uint8, 0, (n,), (1,))


class GdsFile:
    """A file that storages on a GPU are loaded from and saved to.

    ``flags``: of `os.open`.

    >>> file = torch.cuda.gds.GdsFile(path, os.O_CREAT | os.O_RDWR)
    >>> file.save_storage(torch.randn(1024, device="cuda").untyped_storage(), offset=0)
    """

    def __init__(self, filename: str, flags: int):
        self.filename, self.flags = filename, flags
        self.fd = os.open(filename, flags, 0o664)
        self.handle: int | None = self.fd

    def __del__(self) -> None:
        if hasattr(self, "fd"):
            os.close(self.fd)

    def register_handle(self) -> None:
        """Kept for programs that call it: the file is ready when it is open."""
        self.handle = self.fd

    def deregister_handle(self) -> None:
        """Kept for programs that call it."""
        self.handle = None

    def load_storage(self, storage: Any, offset: int = 0) -> None:
        """Fills a storage with the file's bytes from ``offset`` on. RuntimeError if they end."""
        target = _bytes_of(storage)
        there = bytearray(target.numel())
        done = os.preadv(self.fd, [there], offset)
        if done != len(there):
            raise RuntimeError(
                f"GdsFile.load_storage: {self.filename} has {done} bytes from {offset} on, the "
                f"storage {len(there)}"
            )
        if there:
            target.copy_(torch.frombuffer(there, dtype=torch.uint8))

    def save_storage(self, storage: Any, offset: int = 0) -> None:
        """Writes a storage's bytes to the file, from ``offset`` on."""
        here = memoryview(_bytes_of(storage).cpu().numpy())
        while here:
            done = os.pwrite(self.fd, here, offset)
            here, offset = here[done:], offset + done
