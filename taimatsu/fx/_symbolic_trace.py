"""PyTorch's place of the tracer; see `taimatsu.fx.proxy`."""

from taimatsu.fx import symbolic_trace
from taimatsu.fx.proxy import Tracer, wrap

__all__ = ["Tracer", "is_fx_tracing", "symbolic_trace", "wrap"]


def is_fx_tracing() -> bool:
    """Whether the caller is being traced by PyTorch's exporter: False."""
    return False
