"""``backends.nnpack``: a library for phones' CPUs, which isn't used."""

from __future__ import annotations

from contextlib import contextmanager

__all__ = ["flags", "is_available", "set_flags"]

_enabled = False


def is_available() -> bool:
    """False."""
    return False


def set_flags(_enabled_now: bool) -> tuple[bool]:
    """Sets whether it may be used; what was set before."""
    global _enabled
    before, _enabled = _enabled, _enabled_now
    return (before,)


@contextmanager
def flags(enabled: bool = False):
    """A setting that holds inside the block."""
    before = set_flags(enabled)
    try:
        yield
    finally:
        set_flags(*before)
