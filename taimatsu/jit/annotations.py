"""Types in the annotations of TorchScript."""

from __future__ import annotations

import typing

from taimatsu.futures import Future

__all__ = ["Any", "BroadcastingList1", "BroadcastingList2", "BroadcastingList3", "Future"]

Any = typing.Any


class BroadcastingList:
    """A list of a fixed length, for which one value may be given."""

    def __init__(self, length: int, item: typing.Any = None):
        self.length, self.item = length, item

    def __getitem__(self, item: typing.Any) -> BroadcastingList:
        return BroadcastingList(self.length, item)

    def __or__(self, other: None) -> typing.Any:
        return typing.Optional[self]  # noqa: UP045  (`|` is this method)

    def __call__(self) -> None:  # `typing` takes for a type what can be called
        raise TypeError("BroadcastingList is a type for annotations")


BroadcastingList1, BroadcastingList2, BroadcastingList3 = map(BroadcastingList, (1, 2, 3))


def __getattr__(name: str) -> typing.Any:
    if name in ("Dict", "List", "Optional", "Tuple", "Union"):
        return getattr(typing, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
