"""``mps``: Apple's GPUs. There is no driver for them: `is_available` is False."""

from __future__ import annotations

from ._absent import Absent

_absent = Absent(globals(), "MPS", RuntimeError)
_absent.answer(bool, "is_available", "False.")
_absent.answer(int, "device_count", "0.")
_absent.refuse(
    "compile_shader current_allocated_memory driver_allocated_memory empty_cache get_rng_state "
    "load_metallib manual_seed recommended_max_memory seed set_per_process_memory_fraction "
    "set_rng_state synchronize"
)
_absent.types("Event")

__all__ = list(_absent.names)
