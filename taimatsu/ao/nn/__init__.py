"""``ao.nn``: modules of quantized models."""

from taimatsu._lazy import submodules

__getattr__ = submodules(__name__)
