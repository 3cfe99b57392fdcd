"""Native ops by NVIDIA's libraries: what `ops.anywhere` is to all devices, for GPUs.

Functions are registered with `computes(name, device="cuda")` and return NotImplemented where the
library is missing or doesn't take the arguments; then the op is computed as anywhere. Matrix
products are called for by the core itself (csrc/cuda/products.cpp).

Imported when a GPU first asks (`ops.anywhere.routine`).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import taimatsu as torch

from .._driver import core
from .._libraries import found

# cudaDataType_t
DATA_TYPES = {
    torch.float32: 0, torch.float64: 1, torch.float16: 2, torch.complex64: 4, torch.complex128: 5,
    torch.bfloat16: 14,
}  # fmt: skip

Pointer, Size, Int, Long = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int64


class Library:
    """Functions of a library, called with the GIL held; each status that isn't 0 is an error.

    ``functions``: the types of the parameters by name; a name with "?" may be missing.
    ``unsupported``: statuses that say no more than that: NotImplementedError, for others
    RuntimeError.
    """

    def __init__(self, stem: str, functions: Mapping[str, Sequence[Any]],
                 unsupported: range = range(0)):  # fmt: skip
        self._stem, self._functions, self._unsupported = stem, functions, unsupported
        self._loaded: bool | None = None

    def usable(self) -> bool:
        """Whether it is there; looked for the first time."""
        if self._loaded is None:
            file = found(self._stem)
            self._loaded = bool(file) and self._load(ctypes.PyDLL(file))
        return self._loaded

    def _load(self, library: ctypes.PyDLL) -> bool:
        for name, parameters in self._functions.items():
            plain = name.rstrip("?")
            function = getattr(library, plain, None)
            if function is None and not name.endswith("?"):
                return False
            setattr(self, plain, function and self._checked(plain, function, parameters))
        return True

    def _checked(self, name: str, function: Any, parameters: Sequence[Any]) -> Callable:
        function.argtypes, function.restype = list(parameters), ctypes.c_int

        def call(*args: Any) -> None:
            status = function(*args)
            if status:
                error = NotImplementedError if status in self._unsupported else RuntimeError
                raise error(
                    f"CUDA error: {name} returned status {status}; see its documentation, and "
                    "CUDA_LAUNCH_BLOCKING=1 for what an earlier op did"
                )

        return call

    def __getattr__(self, name: str) -> Callable:  # before it is loaded
        if name.startswith("_") or not self.usable():
            raise AttributeError(name)
        return self.__dict__[name]


def enter(x: torch.Tensor) -> int:
    """Makes the context of a tensor's GPU the thread's; its current stream."""
    return core().enter(x.get_device())


def workspace(size: int, like: torch.Tensor) -> torch.Tensor:
    """Bytes on a tensor's GPU."""
    return torch.empty([size], dtype=torch.uint8, device=like.device)


from . import attention, convolution, fourier, solver  # noqa: E402, F401
