"""``nn.quantized``: the old place of `taimatsu.ao.nn.quantized`."""

from taimatsu.ao.nn.quantized import FloatFunctional

__all__ = ["FloatFunctional"]
