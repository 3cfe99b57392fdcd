"""``xpu``: Intel's GPUs. There is no driver for them: `is_available` is False."""

from __future__ import annotations

import types as _types
from collections import OrderedDict
from typing import Any

from ._absent import Absent, Selected
from ._absent import StreamContext as _StreamContext

_absent = Absent(globals(), "XPU")
_absent.answer(bool, "is_available is_initialized is_bf16_supported is_tf32_supported", "False.")
_absent.answer(
    int, "device_count max_memory_allocated max_memory_reserved memory_allocated memory_reserved",
    "0.",
)  # fmt: skip
_absent.answer(list, "get_arch_list get_rng_state_all memory_snapshot", "An empty list.")
_absent.answer(str, "get_gencode_flags", "The empty text.")
_absent.answer(OrderedDict, "memory_stats", "No figures.")
_absent.answer(dict, "memory_stats_as_nested_dict", "No figures.")
_absent.answer(
    _types.NoneType,
    "empty_cache manual_seed manual_seed_all reset_accumulated_memory_stats "
    "reset_peak_memory_stats seed seed_all set_rng_state_all",
    "Nothing: there is no device.",
)
_absent.refuse(
    "can_device_access_peer change_current_allocator clock_rate current_device current_stream "
    "device_memory_used get_device_capability get_device_name get_device_properties "
    "get_per_process_memory_fraction get_rng_state get_stream_from_external graph_pool_handle init "
    "initial_seed is_current_stream_capturing make_graphed_callables mem_get_info memory_usage "
    "power_draw set_device set_per_process_memory_fraction set_rng_state set_stream synchronize "
    "temperature use_mem_pool utilization"
)
_absent.types("Event MemPool Stream XPUGraph XPUPluggableAllocator graph")

default_generators: tuple = ()


class device(Selected):
    """A context in which ``device`` is the current one: nothing for None and for -1."""

    absent = _absent


class device_of(device):
    """A context in which a tensor's device is the current one: nothing for the CPU's."""

    def __init__(self, obj: Any):
        super().__init__(obj.get_device() if obj.device.type == "xpu" else -1)


class StreamContext(_StreamContext):
    __doc__ = _StreamContext.__doc__
    absent = _absent


def stream(stream: Any) -> StreamContext:
    """A context in which ``stream`` is the current one; of None, nothing."""
    return StreamContext(stream)


__all__ = [*_absent.names, "StreamContext", "default_generators", "device", "device_of", "stream"]
