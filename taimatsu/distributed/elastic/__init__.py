"""``distributed.elastic``: what programs started by the launcher use of it."""

from taimatsu._lazy import submodules

__getattr__ = submodules(__name__)
