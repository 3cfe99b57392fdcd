"""What the allocator did, and where in the program: for https://pytorch.org/memory_viz.

The core tells each step to `_note`; the stacks of Python are looked up here.
"""

from __future__ import annotations

import collections
import os
import pickle
import sys
import time
from typing import Any

from ._driver import core, device_count, driver_or_none, index_of

__all__ = ["_dump_snapshot", "_record_memory_history", "_snapshot"]

_LEVELS = ("state", "alloc", "all")  # of what stacks are kept: each has those before too
_OWN = os.path.dirname(__file__)


class _Recording:
    """What is kept of the history, and what was."""

    def __init__(self, enabled: str, context: str | None, most: int, skip: frozenset[str]):
        self.everything = enabled == "all"
        self.depth = -1 if context is None else _LEVELS.index(context)
        self.skip = skip
        self.traces = [collections.deque[dict](maxlen=most) for _ in range(device_count())]

    def note(
        self, action: str, device: int, address: int, size: int, stream: int, pool: int
    ) -> None:
        """A step of the allocator."""
        needed = {"alloc": 0, "segment_alloc": 1, "segment_map": 1, "oom": 1}.get(action, 2)
        frames = _frames() if self.depth >= needed else []
        if action == "alloc":
            _live[address] = frames
        elif action == "free_completed":
            _live.pop(address, None)
        if not self.everything or action in self.skip:
            return
        entry = {
            "action": action, "size": size, "stream": stream, "frames": frames,
            "time_us": time.time_ns() // 1000, "device": device, "pool_id": (0, pool),
        }  # fmt: skip
        entry["device_free" if action == "oom" else "addr"] = address
        self.traces[device].append(entry)


_recording: _Recording | None = None
_live: dict[int, list[dict]] = {}  # the stacks of blocks in use, by address


def _frames() -> list[dict]:
    frames, frame = [], sys._getframe(2)
    while frame is not None:
        code = frame.f_code
        if not code.co_filename.startswith(_OWN):
            frames.append(
                {"filename": code.co_filename, "line": frame.f_lineno, "name": code.co_name}
            )
        frame = frame.f_back  # type: ignore[assignment]
    return frames


def _record_memory_history(
    enabled: str | bool | None = "all", context: str | None = "all", stacks: str = "all",
    max_entries: int = sys.maxsize, device: Any = None, clear_history: bool = False,
    compile_context: bool = False, global_record_annotations: bool = False,
    skip_actions: list[str] | None = None,
) -> None:  # fmt: skip
    """Begins to note what the allocator does, or ends it with ``enabled=None``.

    ``enabled``: "state" keeps where blocks in use come from, "all" every step as well.
    ``context``: the stacks that are kept: None of none, "state" of blocks in use, "alloc" of
    allocations, "all" of what frees memory too. ``max_entries``: so many of the latest steps of a
    GPU are kept. ``clear_history``: those before are forgotten. ``skip_actions``: kinds of steps
    that are not noted. Stacks are those of Python, whatever ``stacks`` says.

    ValueError for other values. See `_snapshot`.

    >>> torch.cuda.memory._record_memory_history()
    >>> train(); torch.cuda.memory._dump_snapshot("memory.pickle")
    """
    global _recording
    cuda = core("_record_memory_history")
    if isinstance(enabled, bool):
        enabled = "all" if enabled else None
    if enabled not in (None, "state", "all"):
        raise ValueError(f"enabled must be None, 'state' or 'all'; got {enabled!r}")
    if context not in (None, *_LEVELS):
        raise ValueError(f"context must be None or one of {_LEVELS}; got {context!r}")
    if stacks not in ("python", "all"):
        raise ValueError(f"stacks must be 'python' or 'all'; got {stacks!r}")
    before, _recording = _recording, None
    if enabled is not None:
        _recording = _Recording(
            enabled, context, min(max_entries, sys.maxsize), frozenset(skip_actions or ())
        )
        for trace, old in zip(_recording.traces, before.traces if before else (), strict=False):
            trace.extend([] if clear_history else old)
    elif before is not None:
        _finished[:] = [list(t) for t in before.traces]
        _live.clear()
    cuda.set_recorder(_recording.note if _recording else None)


_finished: list[list[dict]] = []  # of a recording that has ended


def _snapshot(device: Any = None, augment_with_fx_traces: bool = False) -> dict[str, Any]:
    """All memory of the allocator, and what was noted of its steps.

    ``segments``: as `memory_snapshot` gives them, each block with the ``frames`` it comes from.
    ``device_traces``: for each GPU the steps, with ``action`` ("alloc", "free_requested",
    "free_completed", "segment_alloc", "segment_free", "segment_map", "segment_unmap", "oom",
    "snapshot"), ``addr``, ``size``, ``stream``, ``time_us`` and ``frames``.
    """
    cuda = driver_or_none()
    segments = [] if cuda is None else cuda.snapshot()
    for segment in segments:
        for block in segment["blocks"]:
            if block["state"] != "inactive":
                block["frames"] = _live.get(block["address"], [])
    if cuda is not None and _recording is not None:
        _recording.note("snapshot", index_of(device), 0, 0, 0, 0)
    traces = [list(t) for t in _recording.traces] if _recording else _finished
    settings = {"PYTORCH_CUDA_ALLOC_CONF": os.environ.get("PYTORCH_CUDA_ALLOC_CONF", ""),
                "expandable_segments": any(s["is_expandable"] for s in segments)}  # fmt: skip
    return {
        "segments": segments,
        "device_traces": traces or [[] for _ in range(device_count())],
        "allocator_settings": settings,
        "external_annotations": [],
    }


def _dump_snapshot(
    filename: str = "dump_snapshot.pickle", augment_with_fx_traces: bool = False
) -> None:
    """Writes `_snapshot` to a file, which https://pytorch.org/memory_viz shows."""
    with open(filename, "wb") as file:
        pickle.dump(_snapshot(), file)
