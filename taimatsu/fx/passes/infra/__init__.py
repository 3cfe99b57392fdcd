"""What passes are made of."""

from taimatsu._lazy import submodules

__getattr__ = submodules(__name__)
