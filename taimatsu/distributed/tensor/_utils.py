"""Sizes of parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..device_mesh import DeviceMesh
from ._redistribute import Spec, local_shape

__all__ = ["compute_local_shape_and_global_offset"]


def compute_local_shape_and_global_offset(
    global_shape: Sequence[int], mesh: DeviceMesh, placements: Sequence[Any]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The sizes of this process's part of a tensor, and where it begins in the whole."""
    return local_shape(Spec(mesh, tuple(placements), tuple(global_shape)))
