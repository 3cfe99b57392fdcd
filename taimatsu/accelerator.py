"""``accelerator``: the accelerator of this machine, whichever it is. There is none yet.

`current_accelerator` is None; what needs one raises RuntimeError.
"""

from __future__ import annotations

from typing import Any

from ._absent import Absent, Selected


class _NoAccelerator(Absent):
    def refusal(self, name: str = "") -> Exception:
        return RuntimeError(
            "Cannot access accelerator device when none is available. "
            "Ask torch.accelerator.is_available() first"
        )


_absent = _NoAccelerator(globals(), "ACCELERATOR", RuntimeError)
_absent.answer(bool, "is_available", "False.")
_absent.answer(int, "device_count", "0.")
_absent.refuse(
    "current_device_idx current_device_index current_stream empty_cache empty_host_cache "
    "get_device_capability get_memory_info max_memory_allocated max_memory_reserved "
    "memory_allocated memory_reserved memory_stats reset_accumulated_memory_stats "
    "reset_peak_memory_stats set_device_idx set_device_index set_stream synchronize"
)
_absent.types("Graph")


def current_accelerator(check_available: bool = False) -> Any:
    """The accelerator that this build has a driver for: None."""
    return None


class device_index(Selected):
    """A context in which the accelerator's device of this index is the current one."""

    absent = _absent


__all__ = [*_absent.names, "current_accelerator", "device_index"]
