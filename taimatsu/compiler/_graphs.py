"""Graphs of compiled functions, as far as users ask: how often, and why not."""

from __future__ import annotations

import logging

from taimatsu import _core

_log = logging.getLogger("taimatsu.cudagraphs")


def figures() -> dict[str, int]:
    """How many segments of compiled functions were recorded as CUDA graphs, how often these were
    launched, and how many segments can't be graphs."""
    return _core._graph_figures()


def refused(reason: str) -> None:
    """Called where a segment is made call by call from now on, because of `reason`."""
    from taimatsu._dynamo.utils import counters

    counters["inductor"]["cudagraph_skips"] += 1
    _log.info("not a CUDA graph: %s", reason)
