"""Tracing of tensors rather than of Python: there is none, and nothing is ever traced so."""

from __future__ import annotations

__all__ = ["get_proxy_mode"]


def get_proxy_mode() -> None:
    """The tracer of tensors that is active: None."""
