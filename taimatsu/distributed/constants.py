"""How long collectives wait, unless told."""

from .process_group import DEFAULT_TIMEOUT

__all__ = ["default_pg_nccl_timeout", "default_pg_timeout"]

default_pg_timeout = default_pg_nccl_timeout = DEFAULT_TIMEOUT
