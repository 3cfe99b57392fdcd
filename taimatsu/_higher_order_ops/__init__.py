"""Functions of functions, by the names that PyTorch's graphs have for them."""

from .associative_scan import associative_scan

__all__ = ["associative_scan"]
