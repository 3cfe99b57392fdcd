"""Processes of the launcher."""

from taimatsu._lazy import submodules

__getattr__ = submodules(__name__)
