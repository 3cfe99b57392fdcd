"""PyTorch's place of the tracer; see `taimatsu.fx.proxy`."""

from typing import Any

from taimatsu.fx import symbolic_trace
from taimatsu.fx.proxy import Tracer, wrap

__all__ = ["Tracer", "is_fx_tracing", "symbolic_trace", "wrap"]


def is_fx_tracing() -> bool:
    """Whether the caller is being traced by PyTorch's exporter: False."""
    return False


def _assert_is_none(value: Any, message: str) -> None:
    """AssertionError unless a value is None."""
    if value is not None:
        raise AssertionError(message)
