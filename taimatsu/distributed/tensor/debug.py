"""What is sent for DTensors, and how they lie."""

from __future__ import annotations

import typing
from typing import Any

from .. import process_group
from ._api import DTensor

__all__ = ["CommDebugMode", "visualize_sharding"]

# A collective's part of `ProcessGroup`: what programs call it.
_NAMES = {
    "reduce_all": "all_reduce", "gather_all": "all_gather_into_tensor",
    "spread": "broadcast", "reduce_each": "reduce_scatter_tensor", "swap": "all_to_all_single",
}  # fmt: skip


class CommDebugMode:
    """Counts the collectives of its ``with`` block.

    >>> with CommDebugMode() as comms:
    ...     _ = x.full_tensor()  # doctest: +SKIP
    >>> comms.get_total_counts()  # doctest: +SKIP
    1
    """

    def __init__(self) -> None:
        self.comm_counts: dict[str, int] = {}

    def __enter__(self) -> typing.Self:
        self._methods = {name: getattr(process_group.ProcessGroup, name) for name in _NAMES}
        for name, method in self._methods.items():
            setattr(process_group.ProcessGroup, name, self._counting(name, method))
        return self

    def __exit__(self, *exc: object) -> None:
        for name, method in self._methods.items():
            setattr(process_group.ProcessGroup, name, method)

    def _counting(self, name: str, method: Any) -> Any:
        def counted(group: Any, *args: Any) -> Any:
            called = _NAMES[name]
            self.comm_counts[called] = self.comm_counts.get(called, 0) + 1
            return method(group, *args)

        return counted

    def get_comm_counts(self) -> dict[str, int]:
        """How many of each."""
        return dict(self.comm_counts)

    def get_total_counts(self) -> int:
        """How many in all."""
        return sum(self.comm_counts.values())


def visualize_sharding(dtensor: DTensor, header: str = "", use_rich: bool = False) -> None:
    """Prints which part of a DTensor of one or two dims this process has."""
    from ._redistribute import local_shape

    if dtensor.dim() not in (1, 2):
        raise RuntimeError("visualize sharding is only implemented for 1D or 2D DTensor")
    sizes, offsets = local_shape(dtensor._spec)
    rows = " x ".join(f"{o}:{o + n}" for n, o in zip(sizes, offsets, strict=True))
    print(f"{header}\n" if header else "", f"rank {dtensor.device_mesh.get_rank()}: [{rows}] of ",
          tuple(dtensor.shape), f" as {dtensor.placements}", sep="")  # fmt: skip
