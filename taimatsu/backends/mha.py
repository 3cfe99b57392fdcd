"""``backends.mha``: the fast path of `nn.MultiheadAttention` in evaluation."""

from __future__ import annotations

__all__ = ["get_fastpath_enabled", "set_fastpath_enabled"]

_enabled = True


def get_fastpath_enabled() -> bool:
    """What was set. Here one path computes all."""
    return _enabled


def set_fastpath_enabled(value: bool) -> None:
    """Sets it: nothing changes."""
    global _enabled
    _enabled = value
