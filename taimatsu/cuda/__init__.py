"""``cuda``: NVIDIA's GPUs. The driver is all they need; it is looked for when first asked about.

Where there is none, `is_available` is False and `device_count` 0; seeding and emptying caches do
nothing; what needs a GPU raises AssertionError, as in PyTorch's builds for the CPU, and says why.
"""

from __future__ import annotations

import types as _types
from typing import TYPE_CHECKING, Any

from taimatsu import _core
from taimatsu._absent import Absent
from taimatsu._lazy import submodules

from ._driver import core as _gpu
from ._driver import device_count, index_of, is_available, why_absent

_absent = Absent(globals(), "CUDA", why=why_absent)

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


def check_error(res: int) -> None:
    """CudaError for a code that isn't success."""
    _gpu("check_error")
    if res != cudaStatus.SUCCESS:
        raise CudaError(res)


# ---- Devices ------------------------------------------------------------------------------------


def init() -> None:
    """Makes the current GPU's context, which is else made by the first tensor there."""
    _gpu("init").initialize()


def is_initialized() -> bool:
    """Whether the current GPU is in use by this process."""
    return is_available() and not _gpu().forked() and _gpu().has_context(_gpu().current_device())


def _is_in_bad_fork() -> bool:
    """Whether this process was forked from one that used CUDA: then it can't."""
    return hasattr(_core, "_cuda") and _core._cuda.forked()


def _lazy_init() -> None:
    init()


def current_device() -> int:
    """The index of the current GPU, of this thread."""
    return _gpu("current_device").current_device()


def set_device(device: Any) -> None:
    """Makes a GPU the current one, of this thread. Nothing for a negative index."""
    if isinstance(device, int) and device < 0:
        return
    index = index_of(device, "set_device")
    _gpu().set_device(index)


class device:
    """A context in which ``device`` is the current GPU: nothing for None and for -1."""

    def __init__(self, device: Any):
        index = getattr(device, "index", device)
        if isinstance(index, str):
            index = int(index.rpartition(":")[2]) if ":" in index else 0
        self.idx = -1 if index is None else index
        self.prev_idx = -1

    def __enter__(self) -> None:
        if self.idx >= 0:
            self.prev_idx = current_device()
            set_device(self.idx)

    def __exit__(self, *exc: object) -> None:
        if self.prev_idx >= 0:
            set_device(self.prev_idx)


class device_of(device):
    """A context in which a tensor's GPU is the current one: nothing for tensors of the CPU."""

    def __init__(self, obj: Any):
        super().__init__(obj.get_device() if obj.is_cuda else -1)


def synchronize(device: Any = None) -> None:
    """Waits for all work of a GPU; raises what its kernels have reported."""
    index = index_of(device, "synchronize")
    _gpu().synchronize(index)


class _CudaDeviceProperties(_types.SimpleNamespace):
    """What a GPU is: ``name``, ``major`` and ``minor`` capability, ``total_memory`` in bytes ..."""

    name: str
    major: int
    minor: int
    total_memory: int
    multi_processor_count: int
    L2_cache_size: int

    def __repr__(self) -> str:
        return (
            f"_CudaDeviceProperties(name='{self.name}', major={self.major}, minor={self.minor}, "
            f"total_memory={self.total_memory >> 20}MB, "
            f"multi_processor_count={self.multi_processor_count}, uuid={self.uuid}, "
            f"pci_bus_id={self.pci_bus_id}, pci_device_id={self.pci_device_id}, "
            f"pci_domain_id={self.pci_domain_id}, L2_cache_size={self.L2_cache_size >> 20}MB)"
        )


_properties: dict[int, _CudaDeviceProperties] = {}


def get_device_properties(device: Any = None) -> _CudaDeviceProperties:
    """What a GPU is."""
    index = index_of(device, "get_device_properties")
    found = _properties.get(index)
    if found is None:
        import uuid

        if not 0 <= index < device_count():
            raise AssertionError("Invalid device id")
        about = _gpu().properties(index)
        about["uuid"] = uuid.UUID(bytes=about["uuid"])
        about["gcnArchName"] = about["name"]
        found = _properties[index] = _CudaDeviceProperties(**about)
    return found


def get_device_name(device: Any = None) -> str:
    """The name of a GPU."""
    _gpu("get_device_name")
    return get_device_properties(device).name


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """A GPU's compute capability: (9, 0) of an H100."""
    _gpu("get_device_capability")
    about = get_device_properties(device)
    return about.major, about.minor


def can_device_access_peer(device: Any, peer_device: Any) -> bool:
    """Whether a GPU reaches another's memory without the host."""
    index = index_of(device, "can_device_access_peer")
    other = index_of(peer_device)
    for i in (index, other):
        if not 0 <= i < device_count():
            raise AssertionError(f"Invalid device id: {i}")
    return _gpu().can_access_peer(index, other)


def get_arch_list() -> list[str]:
    """What kernels are generated for: the targets of code generation. Empty without a GPU."""
    if not is_available():
        return []
    from taimatsu.codegen import ptx

    return list(ptx.TARGETS)


def get_gencode_flags() -> str:
    """`get_arch_list` as a compiler's options; the empty text without a GPU."""
    return " ".join(
        f"-gencode compute={a.replace('sm', 'compute')},code={a}" for a in get_arch_list()
    )


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether bfloat16 can be used on the current GPU; without emulation: from sm_80 on."""
    if not is_available():
        return False
    return including_emulation or get_device_capability() >= (8, 0)


def is_tf32_supported() -> bool:
    """Whether the current GPU multiplies in TF32: from sm_80 on."""
    return is_available() and get_device_capability() >= (8, 0)


def ipc_collect() -> None:
    """Gives memory up that was sent to other processes, where they have let go of it.

    It happens by itself when something is sent, and before there is too little memory.
    """
    _gpu("ipc_collect")
    from taimatsu.multiprocessing import gpu

    gpu.collect()


def current_blas_handle() -> int:
    """RuntimeError: products are cuBLASLt's, which keeps no handle for others to use."""
    _gpu("current_blas_handle")
    raise RuntimeError("cuda.current_blas_handle: there is none; products are cuBLASLt's")


def current_solver_handle() -> int:
    """RuntimeError: cuSOLVER's handles are not for others to use."""
    _gpu("current_solver_handle")
    raise RuntimeError("cuda.current_solver_handle: there is none for others to use")


_sync_debug_mode = 0


def set_sync_debug_mode(debug_mode: int | str) -> None:
    """0 "default", 1 "warn", 2 "error": kept for programs that set it, waits are not reported."""
    global _sync_debug_mode
    _gpu("set_sync_debug_mode")
    modes = ("default", "warn", "error")
    if isinstance(debug_mode, str):
        if debug_mode not in modes:
            raise RuntimeError(
                "invalid value of debug_mode, expected one of `default`, `warn`, `error`"
            )
        debug_mode = modes.index(debug_mode)
    _sync_debug_mode = debug_mode


def get_sync_debug_mode() -> int:
    """What `set_sync_debug_mode` has set."""
    _gpu("get_sync_debug_mode")
    return _sync_debug_mode


class _Cudart:
    """The few functions of CUDA's runtime that programs call by this way. 0 is success."""

    cudaError = cudaStatus

    def cudaMemGetInfo(self, device: int) -> tuple[int, int]:
        return _gpu().memory_info(device)

    def cudaHostRegister(self, ptr: int, size: int, flags: int = 0) -> int:
        _gpu().host_register(ptr, size)
        return 0

    def cudaHostUnregister(self, ptr: int) -> int:
        _gpu().host_unregister(ptr)
        return 0

    def cudaProfilerStart(self) -> int:
        _gpu().profiler(True)
        return 0

    def cudaProfilerStop(self) -> int:
        _gpu().profiler(False)
        return 0

    def cudaGetErrorString(self, code: int) -> str:
        return f"CUDA error {code}"


def cudart() -> _Cudart:
    """Functions of CUDA's runtime."""
    _gpu("cudart")
    return _Cudart()


from taimatsu._tensor_types import legacy_types as _legacy_types  # noqa: E402

_legacy = _legacy_types("cuda")
globals().update(_legacy)

from . import _nvml, amp, graphs, memory, nvtx, profiler, random, streams  # noqa: E402
from ._nvml import *  # noqa: E402, F403
from .graphs import *  # noqa: E402, F403
from .green_contexts import GreenContext  # noqa: E402
from .memory import *  # noqa: E402, F403
from .random import *  # noqa: E402, F403
from .streams import *  # noqa: E402, F403

_submodule = submodules(__name__)
_LATER = ("jiterator", "nccl", "sparse", "tunable")  # that `import *` gives too

if TYPE_CHECKING:
    default_generators: tuple

    def __getattr__(name: str) -> Any: ...

else:

    def __getattr__(name: str) -> Any:
        if name == "default_generators":  # made when the driver is there
            return tuple(random.generator_of(i) for i in range(device_count()))
        if name == "_initialized":
            return is_initialized()
        return _submodule(name)


__all__ = [
    *_LATER, *_legacy, *_nvml.__all__, *graphs.__all__, *memory.__all__, *random.__all__,
    *streams.__all__,
    "CudaError", "DeferredCudaCallError", "GreenContext", "amp", "can_device_access_peer",
    "check_error", "cudaStatus", "cudart", "current_blas_handle", "current_device",
    "current_solver_handle", "default_generators", "device", "device_count", "device_of",
    "get_arch_list", "get_device_capability", "get_device_name", "get_device_properties",
    "get_gencode_flags", "get_sync_debug_mode", "graphs", "has_half", "has_magma", "init",
    "ipc_collect", "is_available", "is_bf16_supported", "is_initialized", "is_tf32_supported",
    "memory", "nvtx", "profiler", "random", "set_device", "set_sync_debug_mode", "streams",
    "synchronize",
]  # fmt: skip
