"""``distributed.algorithms``: hooks of communication."""

from taimatsu._lazy import submodules

__getattr__ = submodules(__name__)
