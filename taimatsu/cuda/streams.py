"""``cuda.streams``: see `taimatsu.cuda`."""
# ruff: noqa: F401

from taimatsu.cuda import Event, ExternalStream, Stream
