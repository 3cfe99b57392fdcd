"""``nn.quantized``: the old place of `taimatsu.ao.nn.quantized`."""

from taimatsu.ao.nn.quantized import *  # noqa: F403
