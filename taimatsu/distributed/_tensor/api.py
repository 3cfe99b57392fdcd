"""`distributed.tensor`, by its old name."""

from __future__ import annotations

from ..tensor import *  # noqa: F403
from ..tensor import __all__ as __all__
