"""A mode that PyTorch needs for ``x[i]`` under `vmap`; here indexing takes such an index."""

from __future__ import annotations

import contextlib

__all__ = ["TransformGetItemToIndex"]


class TransformGetItemToIndex(contextlib.nullcontext):
    """A context in which nothing changes."""
