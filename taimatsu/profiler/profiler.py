"""See `taimatsu.profiler`."""

from taimatsu.profiler import *  # noqa: F403
from taimatsu.profiler import _default_schedule_fn  # noqa: F401
