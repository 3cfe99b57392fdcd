"""Wrappers that leave a module's class and names as they are."""

from __future__ import annotations

from ..fsdp import fully_shard

__all__ = ["fully_shard"]
