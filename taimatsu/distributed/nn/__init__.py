"""``distributed.nn``: collectives that can be differentiated; see `functional`."""

from taimatsu._lazy import submodules

from .functional import all_gather, all_reduce, broadcast, reduce_scatter

__getattr__ = submodules(__name__)


__all__ = ["all_gather", "all_reduce", "broadcast", "reduce_scatter"]
