"""`distributed.tensor.placement_types`, by its old name."""

from __future__ import annotations

from ..tensor.placement_types import *  # noqa: F403
from ..tensor.placement_types import __all__ as __all__
