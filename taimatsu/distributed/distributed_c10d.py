"""PyTorch's place of the collectives; see `collectives`."""

from . import *  # noqa: F403
from .collectives import _world as _get_default_group
from .constants import default_pg_nccl_timeout, default_pg_timeout

__all__ = ["_get_default_group", "default_pg_nccl_timeout", "default_pg_timeout"]
