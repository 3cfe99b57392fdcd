"""What becomes of a compiled function's calls, to look at: see `compiler.explain`."""

from __future__ import annotations

import os
import traceback
import typing
from collections.abc import Callable, Sequence
from typing import Any

from taimatsu import _core
from taimatsu.graph import fuse

__all__ = ["Explanation", "Segment", "explanation"]

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class Segment(typing.NamedTuple):
    """Calls that were made together.

    ``kernels`` names the ops of each kernel, or of each call that stays one; ``at`` is the line of
    the program that needed a value, or at which the function ended.
    """

    kernels: list[list[str]]
    at: str


class Explanation:
    """What `explain` found, segment by segment. Printed, it tells it all."""

    def __init__(self, segments: list[Segment]) -> None:
        self.segments = segments
        self.graph_count = len(segments)
        self.graph_break_count = max(0, len(segments) - 1)
        self.break_reasons = [s.at for s in segments[:-1]]
        self.ops_per_graph = [[op for kernel in s.kernels for op in kernel] for s in segments]
        self.op_count = sum(map(len, self.ops_per_graph))

    def __str__(self) -> str:
        kernels = sum(len(s.kernels) for s in self.segments)
        lines = [f"{self.op_count} calls in {kernels} kernels, {self.graph_count} segments"]
        for number, s in enumerate(self.segments, 1):
            lines.append(f"segment {number}, made at {s.at}")
            lines += ["  " + ", ".join(ops) for ops in s.kernels]
        return "\n".join(lines)


def _here() -> str:
    """The innermost line that isn't this package's."""
    for frame in reversed(traceback.extract_stack()):
        if not os.path.abspath(frame.filename).startswith(_OURS):
            return f"{frame.filename}:{frame.lineno}: {frame.line or '?'}"
    return "?"


def explanation(function: Callable, args: tuple, kwargs: dict[str, Any]) -> Explanation:
    """Of a call, which is made three times: what comes for the second time is planned, and the
    first backward pass is not like the others."""
    segments: list[Segment] = []

    def note(names: Sequence[str], groups: Sequence[Sequence[int]]) -> None:
        segments.append(Segment([[names[i] for i in group] for group in groups], _here()))

    _core._forget_plans()
    fuse.watching.append(note)
    try:
        for _ in range(3):
            _core._deferred(function, args, kwargs, False)
    finally:
        fuse.watching.remove(note)
    return Explanation(segments)
