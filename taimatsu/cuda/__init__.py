"""``cuda``: NVIDIA's GPUs. This build has no driver for them yet, and says so.

`is_available` is False and `device_count` 0; seeding and emptying caches do nothing; what needs a
GPU raises AssertionError, as in PyTorch's builds for the CPU.
"""

from __future__ import annotations

import types as _types
from typing import TYPE_CHECKING, Any

from taimatsu._absent import Absent, Selected
from taimatsu._absent import StreamContext as _StreamContext

_absent = Absent(globals(), "CUDA")
_absent.answer(bool, "is_available is_initialized is_bf16_supported is_tf32_supported", "False.")
_absent.answer(int, "device_count", "0.")
_absent.answer(list, "get_arch_list get_rng_state_all", "An empty list.")
_absent.answer(str, "get_gencode_flags", "The empty text.")
_absent.answer(
    _types.NoneType, "manual_seed manual_seed_all seed seed_all set_rng_state_all",
    "Nothing: there is no generator of a GPU.",
)  # fmt: skip
_absent.refuse(
    "can_device_access_peer check_error clock_rate cudart current_blas_handle current_device "
    "current_solver_handle current_stream default_stream device_memory_used get_device_capability "
    "get_device_name get_device_properties get_rng_state get_stream_from_external "
    "get_sync_debug_mode graph_pool_handle init initial_seed ipc_collect "
    "is_current_stream_capturing make_graphed_callables memory_usage power_draw set_device "
    "set_rng_state set_stream set_sync_debug_mode synchronize temperature utilization"
)
_absent.types("CUDAGraph Event ExternalStream GreenContext Stream graph")

default_generators: tuple = ()
has_half = True
has_magma = False


class CudaError(RuntimeError):
    """An error that CUDA returned, by its code."""

    def __init__(self, code: int):
        super().__init__(f"CUDA error {code}")


class DeferredCudaCallError(Exception):
    """An error of a call that was put off until CUDA was needed."""


class cudaStatus:
    """Codes that CUDA's functions return."""

    SUCCESS = 0
    ERROR_NOT_READY = 34


class device(Selected):
    """A context in which ``device`` is the current GPU: nothing for None and for -1."""

    absent = _absent


class device_of(device):
    """A context in which a tensor's GPU is the current one: nothing for tensors of the CPU."""

    def __init__(self, obj: Any):
        super().__init__(obj.get_device() if obj.is_cuda else -1)


class StreamContext(_StreamContext):
    __doc__ = _StreamContext.__doc__
    absent = _absent


def stream(stream: Any) -> StreamContext:
    """A context in which ``stream`` is the current one; of None, nothing."""
    return StreamContext(stream)


from taimatsu._tensor_types import legacy_types as _legacy_types  # noqa: E402

_legacy = _legacy_types("cuda")
globals().update(_legacy)

from . import amp, graphs, memory, nccl, nvtx, profiler, random, streams  # noqa: E402
from .memory import *  # noqa: E402, F403

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...

OutOfMemoryError = memory.OutOfMemoryError

__all__ = [
    *_absent.names, *memory.__all__, *_legacy, "CudaError", "DeferredCudaCallError",
    "StreamContext", "amp", "cudaStatus", "default_generators", "device", "device_of", "graphs",
    "has_half", "has_magma", "memory", "nccl", "nvtx", "profiler", "random", "stream", "streams",
]  # fmt: skip
