"""``cuda.profiler``: starts and stops NVIDIA's profiler, which needs a GPU."""

from __future__ import annotations

from contextlib import contextmanager

from taimatsu._absent import Absent

_absent = Absent(globals(), "CUDA")
_absent.refuse("start stop")


@contextmanager
def profile():
    """A context that is profiled."""
    raise _absent.refusal("profile")
    yield


__all__ = [*_absent.names, "profile"]
