"""`distributed.fsdp`, by its old name."""

from __future__ import annotations

from ...fsdp import *  # noqa: F403
from ...fsdp import __all__ as __all__
