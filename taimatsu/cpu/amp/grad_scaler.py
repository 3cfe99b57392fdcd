"""See `taimatsu.cpu.amp`."""

from . import *  # noqa: F403
