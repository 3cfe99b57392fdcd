"""``mtia``: Meta's accelerators. There is no driver for them: `is_available` is False."""

from __future__ import annotations

import types as _types
from typing import Any

from ._absent import Absent, Selected
from ._absent import StreamContext as _StreamContext

_absent = Absent(globals(), "MTIA")
_absent.answer(bool, "is_available is_initialized is_bf16_supported", "False.")
_absent.answer(int, "device_count max_memory_allocated memory_allocated", "0.")
_absent.answer(list, "get_rng_state_all", "An empty list.")
_absent.answer(dict, "memory_stats", "No figures.")
_absent.answer(
    _types.NoneType,
    "manual_seed manual_seed_all record_memory_history reset_peak_memory_stats seed seed_all",
    "Nothing: there is no device.",
)
_absent.refuse("init initial_seed")
_device = Absent(globals(), "MTIA", RuntimeError)
_device.refuse(
    "attach_out_of_memory_observer current_device current_stream default_stream empty_cache "
    "get_device_capability get_device_properties get_rng_state graph_pool_handle set_device "
    "set_rng_state set_rng_state_all set_stream snapshot synchronize"
)
_device.types("MTIAGraph graph")


class device(Selected):
    """A context in which ``device`` is the current one: nothing for None and for -1."""

    absent = _device


class StreamContext(_StreamContext):
    __doc__ = _StreamContext.__doc__
    absent = _device


def stream(stream: Any) -> StreamContext:
    """A context in which ``stream`` is the current one; of None, nothing."""
    return StreamContext(stream)


__all__ = [*_absent.names, *_device.names, "StreamContext", "device", "stream"]
