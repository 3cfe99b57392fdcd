"""What all of `taimatsu.cuda` stands on: the core's functions, where there is a GPU.

Nothing is loaded before the first call that asks. Where there is no GPU, `core` raises what
PyTorch's builds for the CPU raise, and says why there is none.
"""

from __future__ import annotations

import typing
from typing import Any

from taimatsu import _core
from taimatsu._absent import Absent

_native = getattr(_core, "_cuda", None)  # not in builds with USE_CUDA=0


def why_absent() -> str:
    """Why there is no GPU: empty where there is one."""
    if _native is None:
        return "this build has none of CUDA (USE_CUDA=0)"
    return _native.unavailable()


absent = Absent(globals(), "CUDA", why=why_absent)


def device_count() -> int:
    """The number of GPUs; 0 where there is no driver."""
    return 0 if _native is None else _native.device_count()


def is_available() -> bool:
    """Whether there is a GPU to use. Never raises; the first call looks for the driver."""
    return device_count() > 0


def core(name: str = "") -> Any:
    """The core's functions. AssertionError where there is no GPU; ``name`` is who asks."""
    if not device_count():
        error = absent.refusal()
        raise type(error)(f"cuda.{name}: {error}" if name else str(error))
    return _native


def driver_or_none() -> Any:
    """The core's functions if they have been in use: without a context there is nothing to tell."""
    used = _native is not None and device_count() and _native.has_context(_native.current_device())
    return _native if used else None


def index_of(device: Any, name: str = "") -> int:
    """The GPU that `device` means: an int, a string, a torch.device, None for the current one.

    ValueError for a device that is no GPU.
    """
    cuda = core(name)
    if device is None:
        return cuda.current_device()
    if isinstance(device, str):
        device = _core.device(device)
    if isinstance(device, _core.device):
        if device.type != "cuda":
            raise ValueError(f"Expected a cuda device, but got: {device}")
        return cuda.current_device() if device.index is None else device.index
    if isinstance(device, bool) or not isinstance(device, typing.SupportsIndex):
        raise TypeError(f"cuda: a device is an int, a str or a torch.device, got {device!r}")
    index = device.__index__()
    return cuda.current_device() if index < 0 else index
