"""See `taimatsu.cuda.amp`."""

from . import *  # noqa: F403
