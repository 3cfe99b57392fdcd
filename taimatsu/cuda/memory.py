"""The memory of GPUs: figures of the caching allocator, pools, limits.

Nothing is in use, and all figures are 0, before the first tensor.
"""

from __future__ import annotations

import contextlib
import typing
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from taimatsu._core import OutOfMemoryError as OutOfMemoryError

from ._driver import core, driver_or_none, index_of
from ._history import _dump_snapshot as _dump_snapshot
from ._history import _record_memory_history as _record_memory_history
from ._history import _snapshot as _snapshot
from .streams import _here

# Blocks of any size may be split, so there are none that are too large for it.
_UNLIMITED = {"max_split_size": -1} | {
    f"oversize_{what}.{key}": 0
    for what in ("allocations", "segments")
    for key in ("allocated", "current", "freed", "peak")
}


def _figures(device: Any) -> dict[str, int]:
    """The allocator's; none where nothing was ever allocated."""
    cuda = driver_or_none()
    return {} if cuda is None else cuda.figures(index_of(device)) | _UNLIMITED


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    nest: dict[str, Any] = {}
    for key, value in flat.items():
        *path, last = key.split(".")
        at = nest
        for part in path:
            at = at.setdefault(part, {})
        at[last] = value
    return nest


def memory_stats(device: Any = None) -> dict[str, Any]:
    """The allocator's figures, by names such as ``"allocated_bytes.all.peak"``.

    ``allocation``, ``allocated_bytes``: blocks in use by tensors; ``requested_bytes``: what was
    asked for; ``active``: blocks in use, or freed while another stream still uses them;
    ``segment``, ``reserved_bytes``: memory from the driver; ``inactive_split``: free blocks of
    segments in use. Each for ``all``, ``large_pool``, ``small_pool``: ``current``, ``peak``,
    ``allocated`` and ``freed`` in all. And ``num_alloc_retries``, ``num_ooms``.
    """
    return OrderedDict(sorted(_figures(device).items()))


def memory_stats_as_nested_dict(device: Any = None) -> dict[str, Any]:
    """`memory_stats`, with a dict for each dot."""
    return _nested(_figures(device))


def _reader(name: str, key: str, doc: str) -> Any:
    def read(device: Any = None) -> int:
        return _figures(device).get(key, 0)

    read.__name__ = read.__qualname__ = name
    read.__doc__ = doc
    return read


memory_allocated = _reader(
    "memory_allocated", "allocated_bytes.all.current", "Bytes in use by tensors."
)
max_memory_allocated = _reader(
    "max_memory_allocated", "allocated_bytes.all.peak",
    "The most bytes that were in use by tensors, since `reset_peak_memory_stats`.",
)  # fmt: skip
memory_reserved = _reader(
    "memory_reserved", "reserved_bytes.all.current", "Bytes taken from the driver."
)
max_memory_reserved = _reader(
    "max_memory_reserved", "reserved_bytes.all.peak",
    "The most bytes that were taken from the driver, since `reset_peak_memory_stats`.",
)  # fmt: skip


def memory_cached(device: Any = None) -> int:
    """The old name of `memory_reserved`."""
    return memory_reserved(device)


def max_memory_cached(device: Any = None) -> int:
    """The old name of `max_memory_reserved`."""
    return max_memory_reserved(device)


def reset_peak_memory_stats(device: Any = None) -> None:
    """Peaks are from now on of what is in use from now on."""
    cuda = driver_or_none()
    if cuda is not None:
        cuda.reset_peak(index_of(device))


def reset_max_memory_allocated(device: Any = None) -> None:
    """The old name of `reset_peak_memory_stats`."""
    reset_peak_memory_stats(device)


def reset_max_memory_cached(device: Any = None) -> None:
    """The old name of `reset_peak_memory_stats`."""
    reset_peak_memory_stats(device)


def reset_accumulated_memory_stats(device: Any = None) -> None:
    """Counts of all that was ever allocated and freed start again at 0."""
    cuda = driver_or_none()
    if cuda is not None:
        cuda.reset_accumulated(index_of(device))


def host_memory_stats() -> dict[str, Any]:
    """Figures of pinned memory."""
    cuda = driver_or_none()
    return OrderedDict() if cuda is None else OrderedDict(sorted(cuda.host_figures().items()))


def host_memory_stats_as_nested_dict() -> dict[str, Any]:
    """`host_memory_stats`, with a dict for each dot."""
    return _nested(host_memory_stats())


def reset_peak_host_memory_stats() -> None:
    """Peaks of pinned memory are from now on of what is in use from now on."""
    cuda = driver_or_none()
    if cuda is not None:
        cuda.reset_host_figures()


def reset_accumulated_host_memory_stats() -> None:
    """Kept for programs that call it: `reset_peak_host_memory_stats`."""
    reset_peak_host_memory_stats()


def empty_cache() -> None:
    """Gives memory that no tensor uses back to the driver: for other programs.

    It doesn't make more room for tensors: that happens by itself before an allocation fails.
    """
    cuda = driver_or_none()
    if cuda is not None:
        cuda.empty_cache()


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """Bytes that are free on the device, and that it has in all, of whatever program."""
    index = index_of(device, "mem_get_info")
    return core().memory_info(index)


def device_memory_used(device: Any = None) -> int:
    """Bytes in use on the device, by all programs."""
    free, total = mem_get_info(device)
    return total - free


def set_per_process_memory_fraction(fraction: float, device: Any = None) -> None:
    """At most this part of the device's memory is taken by this process.

    TypeError if it is no float, ValueError outside [0, 1].
    """
    index = index_of(device, "set_per_process_memory_fraction")
    if not isinstance(fraction, float):
        raise TypeError("Invalid type for fraction argument, must be `float`")
    if not 0 <= fraction <= 1:
        raise ValueError(f"Invalid fraction value: {fraction}. Allowed range: 0~1")
    core().set_memory_fraction(index, fraction)


def get_per_process_memory_fraction(device: Any = None) -> float:
    """What `set_per_process_memory_fraction` has set; else 1."""
    index = index_of(device, "get_per_process_memory_fraction")
    return core().memory_fraction(index)


def memory_snapshot(mempool_id: tuple[int, int] | None = None) -> list[dict[str, Any]]:
    """All memory from the driver, with the blocks that it is divided into; of a pool, or of all."""
    cuda = driver_or_none()
    every = [] if cuda is None else cuda.snapshot()
    return [s for s in every if mempool_id is None or s["segment_pool_id"] == tuple(mempool_id)]


_GROUPS = (".all", ".large_pool", ".small_pool")
_ROWS = (
    ("Allocated memory", "allocated_bytes", True, _GROUPS),
    ("Active memory", "active_bytes", True, _GROUPS),
    ("Requested memory", "requested_bytes", True, _GROUPS),
    ("GPU reserved memory", "reserved_bytes", True, _GROUPS),
    ("Non-releasable memory", "inactive_split_bytes", True, _GROUPS),
    ("Allocations", "allocation", False, _GROUPS),
    ("Active allocs", "active", False, _GROUPS),
    ("GPU reserved segments", "segment", False, _GROUPS),
    ("Non-releasable allocs", "inactive_split", False, _GROUPS),
    ("Oversize allocations", "oversize_allocations", False, ("",)),
    ("Oversize GPU segments", "oversize_segments", False, ("",)),
)
_COLUMNS = (("Cur Usage", "current"), ("Peak Usage", "peak"), ("Tot Alloc", "allocated"),
            ("Tot Freed", "freed"))  # fmt: skip


def _human(n: int, is_bytes: bool) -> str:
    units = ("B", "KiB", "MiB", "GiB", "TiB") if is_bytes else ("", "K", "M", "G", "T")
    step, scale = (1024, 0) if is_bytes else (1000, 0)
    value = float(n)
    while value >= 100 * step and scale < len(units) - 1:
        value, scale = value / step, scale + 1
    return f"{int(value)} {units[scale]}".ljust(10 if not units[scale] else 0)


def memory_summary(device: Any = None, abbreviated: bool = False) -> str:
    """`memory_stats` as a table. ``abbreviated``: without the parts of large and small blocks."""
    index = index_of(device, "memory_summary")
    core().initialize()
    stats = _figures(index)
    width = 23 + 13 * len(_COLUMNS)
    line = "=" * width
    lines = [
        f"|{line}|", f"|{f'PyTorch CUDA memory summary, device ID {index}':^{width}}|",
        f"|{'-' * width}|",
        f"|{'CUDA OOMs: {}'.format(stats['num_ooms']):^37}|"
        f"{'cudaMalloc retries: {}'.format(stats['num_alloc_retries']):^37}|",
        f"|{line}|",
        "|" + f"{'Metric':^22}" + "".join(f" | {title:<10}" for title, _ in _COLUMNS) + " |",
    ]  # fmt: skip
    for title, key, is_bytes, groups in _ROWS:
        lines.append(f"|{'-' * width}|")
        for group in groups[:1] if abbreviated else groups:
            label = f"from {group[1:].replace('_', ' ')}"
            label = f" {title:<21}" if group == groups[0] else f"{label:>21} "
            cells = (_human(stats[f"{key}{group}.{column}"], is_bytes) for _, column in _COLUMNS)
            lines.append("|" + label + "".join(f" | {cell:>10}" for cell in cells) + " |")
    lines.append(f"|{line}|")
    return "\n".join(lines) + "\n"


def list_gpu_processes(device: Any = None) -> str:
    """What this process uses of the GPU; of others, ``nvidia-smi`` tells."""
    index = index_of(device, "list_gpu_processes")
    megabytes = memory_reserved(index) / 2**20
    import os

    return f"GPU:{index}\nprocess {os.getpid():>10d} uses {megabytes:>12.3f} MB GPU memory"


def caching_allocator_alloc(size: int, device: Any = None, stream: Any = None) -> int:
    """The address of `size` bytes, for another library; `caching_allocator_delete` frees them."""
    index = index_of(device, "caching_allocator_alloc")
    handle = core().current_stream(index) if stream is None else stream
    handle = getattr(handle, "cuda_stream", handle)
    if not isinstance(handle, int):
        raise TypeError(
            "Invalid type for stream argument, must be `torch.cuda.Stream` or `int` representing a "
            f"pointer to a existing stream, got {type(stream).__name__}"
        )
    return core().allocate(index, size, handle)


def caching_allocator_delete(mem_ptr: int) -> None:
    """Frees what `caching_allocator_alloc` gave."""
    core("caching_allocator_delete").deallocate(mem_ptr)


def caching_allocator_enable(value: bool = True) -> None:
    """Kept for programs that call it: the cache is always on."""


@contextlib.contextmanager
def caching_allocator_disabled() -> Iterator[None]:
    """Kept for programs that call it: the cache is always on."""
    yield


def get_allocator_backend() -> str:
    """``"native"``: the caching allocator."""
    core("get_allocator_backend")
    return "native"


class CUDAPluggableAllocator:
    """An allocator from a library of one's own. RuntimeError: there is none but the caching one."""

    def __init__(self, path_to_so_file: str, alloc_fn_name: str, free_fn_name: str):
        _here("CUDAPluggableAllocator")
        raise RuntimeError(
            f"CUDAPluggableAllocator: allocators from libraries ({path_to_so_file}) are not "
            "supported; MemPool keeps memory apart, set_per_process_memory_fraction limits it"
        )


def change_current_allocator(allocator: Any) -> None:
    """RuntimeError: the caching allocator can't be exchanged."""
    core("change_current_allocator")
    raise RuntimeError(
        f"change_current_allocator: the caching allocator can't be exchanged; got {allocator!r}"
    )


def _set_allocator_settings(settings: str) -> None:
    """RuntimeError: ``PYTORCH_CUDA_ALLOC_CONF`` is read once, before the first allocation."""
    core("_set_allocator_settings")
    raise RuntimeError(
        "_set_allocator_settings: set PYTORCH_CUDA_ALLOC_CONF before the program starts; it knows "
        f"expandable_segments:False; got {settings!r}"
    )


class MemPool:
    """Memory apart from the rest: of allocations inside `use_mem_pool`.

    RuntimeError where there is no GPU.
    """

    def __init__(self, allocator: Any = None, use_on_oom: bool = False, no_split: bool = False):
        self._core = _here("MemPool")
        if allocator is not None:
            raise RuntimeError("MemPool: other allocators are not supported; leave it out")
        self._number = self._core.new_pool()
        self._core.retain_pool(self._number)

    @property
    def id(self) -> tuple[int, int]:
        """Its identity, as `CUDAGraph.capture_begin` takes it."""
        return (0, self._number)

    @property
    def allocator(self) -> None:
        """None: the caching allocator."""
        return None

    def use_count(self) -> int:
        """How many hold it: this object, contexts, graphs."""
        return self._core.pool_users(self._number)

    def snapshot(self) -> list[dict[str, Any]]:
        """`memory_snapshot` of the pool."""
        return memory_snapshot(self.id)

    def __del__(self) -> None:
        if hasattr(self, "_number"):
            self._core.release_pool(self._number)


@contextlib.contextmanager
def use_mem_pool(pool: MemPool, device: Any = None) -> Iterator[None]:
    """A context in which this thread's tensors on a device get their memory from a pool."""
    index = index_of(device, "use_mem_pool")
    number = pool.id[1]
    core().use_pool(index, number)
    try:
        yield
    finally:
        core().leave_pool(index, number)


if typing.TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...


__all__ = [
    "CUDAPluggableAllocator", "MemPool", "OutOfMemoryError", "caching_allocator_alloc",
    "caching_allocator_delete", "caching_allocator_disabled", "caching_allocator_enable",
    "change_current_allocator", "device_memory_used", "empty_cache", "get_allocator_backend",
    "get_per_process_memory_fraction", "host_memory_stats", "host_memory_stats_as_nested_dict",
    "list_gpu_processes", "max_memory_allocated", "max_memory_cached", "max_memory_reserved",
    "mem_get_info", "memory_allocated", "memory_cached", "memory_reserved", "memory_snapshot",
    "memory_stats", "memory_stats_as_nested_dict", "memory_summary",
    "reset_accumulated_host_memory_stats", "reset_accumulated_memory_stats",
    "reset_max_memory_allocated", "reset_max_memory_cached", "reset_peak_host_memory_stats",
    "reset_peak_memory_stats", "set_per_process_memory_fraction", "use_mem_pool",
]  # fmt: skip
