"""Functions of functions, by the names that PyTorch's graphs have for them."""

from taimatsu._lazy import submodules

from .associative_scan import associative_scan

__getattr__ = submodules(__name__)


__all__ = ["associative_scan"]
