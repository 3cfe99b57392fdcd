"""Functions of functions, by the names that PyTorch's graphs have for them."""

import sys

from taimatsu._lazy import submodules

from . import control
from .associative_scan import associative_scan
from .control import cond, map, scan, while_loop

__getattr__ = submodules(__name__)


__all__ = ["associative_scan", "cond", "map", "scan", "while_loop"]

# PyTorch has each of them in a module of its own, by which programs import them too.
sys.modules |= {f"{__name__}.{function}": control for function in control.__all__}
