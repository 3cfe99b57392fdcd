"""``accelerator``: the accelerator of this machine, whichever it is: CUDA, where there is a GPU.

Where there is none, `current_accelerator` is None and what needs one raises RuntimeError.
"""

from __future__ import annotations

from typing import Any

from . import _core, cuda
from ._absent import Absent

_absent = Absent(globals(), "ACCELERATOR", RuntimeError)
_absent.types("Graph")

# What is CUDA's under another name, or the same.
_OF_CUDA = {
    "current_device_idx": "current_device", "current_device_index": "current_device",
    "current_stream": "current_stream", "empty_cache": "empty_cache",
    "get_memory_info": "mem_get_info", "max_memory_allocated": "max_memory_allocated",
    "max_memory_reserved": "max_memory_reserved", "memory_allocated": "memory_allocated",
    "memory_reserved": "memory_reserved", "memory_stats": "memory_stats",
    "reset_accumulated_memory_stats": "reset_accumulated_memory_stats",
    "reset_peak_memory_stats": "reset_peak_memory_stats", "set_device_idx": "set_device",
    "set_device_index": "set_device", "set_stream": "set_stream", "synchronize": "synchronize",
}  # fmt: skip


def _cuda() -> Any:
    if not cuda.is_available():
        raise RuntimeError(
            "Cannot access accelerator device when none is available. "
            "Ask torch.accelerator.is_available() first"
        )
    return cuda


def _define(name: str, of_cuda: str) -> None:
    def function(*args: Any, **kwargs: Any) -> Any:
        return getattr(_cuda(), of_cuda)(*args, **kwargs)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"`cuda.{of_cuda}`. RuntimeError where there is no accelerator."
    globals()[name] = function


for _name, _other in _OF_CUDA.items():
    _define(_name, _other)


def is_available() -> bool:
    """Whether there is one."""
    return cuda.is_available()


def device_count() -> int:
    """How many devices it has: 0 where there is none."""
    return cuda.device_count()


def current_accelerator(check_available: bool = False) -> Any:
    """The kind of device; None where there is none."""
    return _core.device("cuda") if cuda.is_available() else None


def empty_host_cache() -> None:
    """Unpins host memory that is not in use."""
    _cuda()
    _core._cuda.empty_host_cache()


def get_device_capability(device: Any = None) -> dict[str, Any]:
    """What a device can do: ``{"supported_dtypes": {...}}``."""
    _cuda().get_device_properties(device)
    return {"supported_dtypes": {v for v in vars(_core).values() if isinstance(v, _core.dtype)}}


class device_index:
    """A context in which the device of this index is the current one; of None, nothing.

    RuntimeError where there is no accelerator.
    """

    def __init__(self, device: int | None):
        self.idx = -1 if device is None else device

    def __enter__(self) -> None:
        self._context = _cuda().device(self.idx) if self.idx >= 0 else None
        if self._context:
            self._context.__enter__()

    def __exit__(self, *exc: object) -> None:
        if self._context:
            self._context.__exit__(*exc)


__all__ = [
    *_absent.names, *_OF_CUDA, "current_accelerator", "device_count", "device_index",
    "empty_host_cache", "get_device_capability", "is_available",
]  # fmt: skip
