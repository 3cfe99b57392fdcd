"""Passes over graphs: what sizes values have, parts of a graph as modules of their own."""

from taimatsu._lazy import submodules

__getattr__ = submodules(__name__)
