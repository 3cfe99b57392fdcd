"""See `taimatsu.profiler`."""

from taimatsu.profiler import *  # noqa: F403
