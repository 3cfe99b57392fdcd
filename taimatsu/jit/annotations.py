"""Types in the annotations of TorchScript."""

from __future__ import annotations

import typing

from taimatsu.futures import Future

__all__ = ["Any", "BroadcastingList1", "BroadcastingList2", "BroadcastingList3", "Future"]

Any = typing.Any
Dict, List, Optional, Tuple = typing.Dict, typing.List, typing.Optional, typing.Tuple  # noqa: UP006


class _Broadcasting:
    """A list of a fixed length, for which one value may be given."""

    def __getitem__(self, kind: typing.Any) -> None:
        return None


BroadcastingList1 = BroadcastingList2 = BroadcastingList3 = _Broadcasting()
