"""``ao``: quantization. Models are prepared as in PyTorch; they can't be converted yet."""

from taimatsu._lazy import submodules

__getattr__ = submodules(__name__)
