"""What NVIDIA's management library, which comes with the driver, tells of a GPU."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import taimatsu as torch

from ._driver import index_of

__all__ = ["clock_rate", "memory_usage", "power_draw", "temperature", "utilization"]

_SM_CLOCK = 1  # nvmlClockType_t
_GPU_SENSOR = 0  # nvmlTemperatureSensors_t


class _Rates(ctypes.Structure):
    _fields_ = [("gpu", ctypes.c_uint), ("memory", ctypes.c_uint)]


@cache
def _library() -> ctypes.CDLL:
    from ._libraries import _newest

    try:
        library = ctypes.CDLL(_newest("nvidia-ml") or "libnvidia-ml.so.1")
    except OSError as error:
        raise RuntimeError(
            f"cuda: the management library of NVIDIA's driver isn't found ({error}); it comes with "
            "the driver, in containers with the capability 'utility'"
        ) from None
    library.nvmlErrorString.restype = ctypes.c_char_p
    _check(library, "nvmlInit_v2", library.nvmlInit_v2())
    return library


def _check(library: ctypes.CDLL, name: str, status: int) -> None:
    if status:
        raise RuntimeError(f"cuda: {name}: {library.nvmlErrorString(status).decode()}")


def _ask(who: str, device: Any, function: str, answer: Any, *options: int) -> Any:
    index = index_of(device, who)
    library, handle = _library(), ctypes.c_void_p()
    uuid = f"GPU-{torch.cuda.get_device_properties(index).uuid}"  # of those that are visible here
    found = library.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(handle))
    _check(library, "nvmlDeviceGetHandleByUUID", found)
    status = getattr(library, function)(
        handle, *[ctypes.c_uint(o) for o in options], ctypes.byref(answer)
    )
    _check(library, function, status)
    return answer


def utilization(device: Any = None) -> int:
    """The percentage of the last second or less in which some kernel ran on a GPU."""
    return _ask("utilization", device, "nvmlDeviceGetUtilizationRates", _Rates()).gpu


def memory_usage(device: Any = None) -> int:
    """The percentage of the last second or less in which a GPU's memory was read or written."""
    return _ask("memory_usage", device, "nvmlDeviceGetUtilizationRates", _Rates()).memory


def temperature(device: Any = None) -> int:
    """A GPU's temperature in degrees Celsius."""
    return _ask("temperature", device, "nvmlDeviceGetTemperature", ctypes.c_uint(),
                _GPU_SENSOR).value  # fmt: skip


def power_draw(device: Any = None) -> int:
    """What a GPU draws, in milliwatts."""
    return _ask("power_draw", device, "nvmlDeviceGetPowerUsage", ctypes.c_uint()).value


def clock_rate(device: Any = None) -> int:
    """The clock of a GPU's multiprocessors in MHz."""
    return _ask("clock_rate", device, "nvmlDeviceGetClockInfo", ctypes.c_uint(), _SM_CLOCK).value
