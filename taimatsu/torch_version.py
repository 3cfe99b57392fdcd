"""`TorchVersion`: a version that compares as versions do, with text and tuples too."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["TorchVersion"]

_RELEASE = re.compile(r"v?((?:\d+\.)*\d+)\W*([a-z]*)\W*(\d*)")


def _key(version: Any) -> tuple:
    """What versions are ordered by: the numbers, then a1 < b1 < rc1 < none < post1."""
    if isinstance(version, (tuple, list)):
        version = ".".join(map(str, version))
    found = _RELEASE.match(str(version).partition("+")[0].lower())
    if found is None:
        raise ValueError(f"Invalid version: {version!r}")
    numbers = [int(n) for n in found[1].split(".")]
    while numbers and not numbers[-1]:  # 2.0 is 2
        numbers.pop()
    word = found[2]
    stage = 0 if word == "dev" else 3 if word == "post" else 1 if word else 2
    return tuple(numbers), stage, word, int(found[3] or 0)


class TorchVersion(str):
    """A version's text. ``<``, ``==`` and the others compare release by release, not letters.

    >>> TorchVersion("2.13.0") > "2.2", TorchVersion("2.13.0") >= (2, 13)
    (True, True)
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return _key(self) == _key(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __lt__(self, other: Any) -> bool:
        return _key(self) < _key(other)

    def __le__(self, other: Any) -> bool:
        return _key(self) <= _key(other)

    def __gt__(self, other: Any) -> bool:
        return _key(self) > _key(other)

    def __ge__(self, other: Any) -> bool:
        return _key(self) >= _key(other)

    __hash__ = str.__hash__
