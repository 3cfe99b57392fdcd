"""How a tensor lies on a dim of a mesh, by the name that programs import it from."""

from __future__ import annotations

from ..placements import Partial, Placement, Replicate, Shard, _StridedShard
from ._redistribute import Spec as DTensorSpec

__all__ = ["DTensorSpec", "Partial", "Placement", "Replicate", "Shard", "_StridedShard"]
