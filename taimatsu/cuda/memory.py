"""The memory of GPUs: none is in use."""

from __future__ import annotations

import types as _types
from collections import OrderedDict
from contextlib import contextmanager

from taimatsu._absent import Absent
from taimatsu._core import OutOfMemoryError as OutOfMemoryError

_absent = Absent(globals(), "CUDA")
_absent.answer(
    int,
    "max_memory_allocated max_memory_cached max_memory_reserved memory_allocated memory_cached "
    "memory_reserved",
    "0 bytes.",
)
_absent.answer(OrderedDict, "host_memory_stats memory_stats", "No figures.")
_absent.answer(dict, "host_memory_stats_as_nested_dict memory_stats_as_nested_dict", "No figures.")
_absent.answer(list, "memory_snapshot", "No segments.")
_absent.answer(
    _types.NoneType,
    "caching_allocator_enable empty_cache reset_accumulated_host_memory_stats "
    "reset_accumulated_memory_stats reset_max_memory_allocated reset_max_memory_cached "
    "reset_peak_host_memory_stats reset_peak_memory_stats",
    "Nothing: there is no memory of a GPU in use.",
)
_absent.refuse(
    "caching_allocator_alloc caching_allocator_delete change_current_allocator "
    "get_allocator_backend get_per_process_memory_fraction list_gpu_processes mem_get_info "
    "memory_summary set_per_process_memory_fraction use_mem_pool"
)
_absent.types("CUDAPluggableAllocator MemPool")


@contextmanager
def caching_allocator_disabled():
    """A context without the cache of the GPU's memory: nothing changes."""
    yield


__all__ = [*_absent.names, "caching_allocator_disabled"]
