"""``distributed.rpc``: calls in other processes, which are not there: `is_available` is False."""

from __future__ import annotations

__all__ = ["is_available"]


def is_available() -> bool:
    """Whether other processes can be called: False."""
    return False
