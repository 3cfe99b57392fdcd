"""How a tensor lies on a dim of a device mesh."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Partial", "Placement", "Replicate", "Shard"]


class Placement:
    """A way to lie on a dim of a mesh."""

    def is_shard(self, dim: int | None = None) -> bool:
        """Whether each device has a chunk of the tensor (along ``dim``)."""
        return isinstance(self, Shard) and dim in (None, self.dim)

    def is_replicate(self) -> bool:
        """Whether each device has the whole tensor."""
        return isinstance(self, Replicate)

    def is_partial(self, reduce_op: str | None = None) -> bool:
        """Whether the tensor is what the devices' tensors reduce to (by ``reduce_op``)."""
        return isinstance(self, Partial) and reduce_op in (None, self.reduce_op)


@dataclass(frozen=True)
class Shard(Placement):
    """A chunk of the tensor along ``dim`` on each device.

    >>> Shard(0).is_shard(0), str(Shard(1))
    (True, 'S(1)')
    """

    dim: int

    def __str__(self) -> str:
        return f"S({self.dim})"

    @staticmethod
    def local_shard_size_and_offset(
        curr_local_size: int, num_chunks: int, rank: int
    ) -> tuple[int, int]:
        """The size of a rank's chunk and where it begins; the last chunks may be smaller or empty.

        >>> Shard.local_shard_size_and_offset(10, 4, 3)
        (1, 9)
        """
        whole = -(-curr_local_size // num_chunks)
        begin = min(rank * whole, curr_local_size)
        return min(whole, curr_local_size - begin), begin


@dataclass(frozen=True)
class _StridedShard(Placement):
    """Of ``split_factor`` chunks along ``dim`` a chunk of each."""

    dim: int
    split_factor: int

    def __repr__(self) -> str:
        return f"_StridedShard(dim={self.dim}, sf={self.split_factor})"

    def __str__(self) -> str:
        return f"_S({self.dim}, {self.split_factor})"


@dataclass(frozen=True)
class Replicate(Placement):
    """The whole tensor on each device."""

    def __str__(self) -> str:
        return "R"


@dataclass(frozen=True)
class Partial(Placement):
    """A summand (or another share, by ``reduce_op``) of the tensor on each device."""

    reduce_op: str = "sum"

    def __repr__(self) -> str:
        return f"Partial({self.reduce_op})"

    def __str__(self) -> str:
        return f"P({self.reduce_op})"
