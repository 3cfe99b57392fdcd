"""Large read-only data that workers have in common: lists and dicts, tensors, in shared memory.

A Python list of a million strings is a million objects, whose reference counts live in their
pages: a worker process that only reads them gets a copy of every page. Here the items are bytes in
shared memory, one after the other, and become objects again when they are asked for.
"""

from __future__ import annotations

import bisect
import io
import operator
import pickle
from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import taimatsu as torch

__all__ = ["SharedDict", "SharedList", "shared"]

T = TypeVar("T")

# How items are written: all of one list alike.
_CODECS: dict[str, tuple[Callable[[Any], bytes], Callable[[memoryview], Any]]] = {
    "str": (lambda s: s.encode("utf-8", "surrogatepass"),
            lambda b: str(b, "utf-8", "surrogatepass")),
    "bytes": (lambda b: b, bytes),
    "pickle": (lambda o: pickle.dumps(o, pickle.HIGHEST_PROTOCOL), pickle.loads),
}  # fmt: skip


def shared(data: Any) -> Any:
    """Data in memory that all workers share: a list or tuple, a dict, a tensor or array.

    What it returns reads like the original, takes a copy of each item that is asked for, and
    can't be changed; it travels to other processes as a handle. Drop the original to save its
    memory. Of a tensor or array a tensor in shared memory is returned. Items of lists and values
    of dicts may be anything that pickles; keys are strings, bytes or integers. TypeError otherwise.

    >>> names = shared(["ant", "bee", "cat"])
    >>> names[1], len(names), names[-2:]
    ('bee', 3, ['bee', 'cat'])
    """
    if isinstance(data, torch.Tensor):
        return data.share_memory_()
    if type(data).__module__ == "numpy":
        return torch.tensor(data).share_memory_()
    if isinstance(data, (SharedList, SharedDict)):
        return data
    if isinstance(data, Mapping):
        return SharedDict(data)
    if isinstance(data, (list, tuple)):
        return SharedList(data)
    raise TypeError(
        f"shared: takes a list, tuple, dict, tensor or array; got {type(data).__name__}; make a "
        "list of it"
    )


class SharedList(Sequence, Generic[T]):
    """A list in shared memory; see `shared`."""

    def __init__(self, items: Sequence[T]):
        kinds = {type(item) for item in items}
        self._codec = {frozenset([str]): "str", frozenset([bytes]): "bytes"}.get(
            frozenset(kinds), "pickle"
        )
        self._data, self._ends = _written(map(_CODECS[self._codec][0], items), len(items))
        self._open()

    def _open(self) -> None:
        self._decode = _CODECS[self._codec][1]
        self._bytes = memoryview(self._data.untyped_storage())
        self._borders = memoryview(self._ends.untyped_storage()).cast("q")

    def __getstate__(self) -> tuple:
        return self._codec, self._data, self._ends

    def __setstate__(self, state: tuple) -> None:
        self._codec, self._data, self._ends = state
        self._open()

    def __len__(self) -> int:
        return len(self._borders) - 1

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        i, n = operator.index(index), len(self._borders) - 1
        if not -n <= i < n:
            raise IndexError("list index out of range")
        i += n * (i < 0)
        return self._decode(self._bytes[self._borders[i] : self._borders[i + 1]])

    def __iter__(self) -> Iterator[T]:
        return (self[i] for i in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (list, tuple, SharedList)):
            return NotImplemented
        return len(self) == len(other) and all(map(operator.eq, self, other))

    __hash__ = None

    def __repr__(self) -> str:
        return f"SharedList of {len(self)} items, {self.nbytes} bytes"

    @property
    def nbytes(self) -> int:
        """The bytes that it takes, once."""
        return self._data.nbytes + self._ends.nbytes


def _written(items: Iterable[bytes], count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Bytes one after the other, and where each begins and the last one ends."""
    file, end = io.BytesIO(), 0
    ends = torch.empty(count + 1, dtype=torch.int64).share_memory_()
    borders = memoryview(ends.untyped_storage()).cast("q")
    borders[0] = 0
    for i, item in enumerate(items, 1):
        file.write(item)
        end += len(item)
        borders[i] = end
    data = torch.empty(end, dtype=torch.uint8).share_memory_()
    memoryview(data.untyped_storage())[:] = file.getbuffer()
    return data, ends


class SharedDict(Mapping):
    """A dict in shared memory; see `shared`. A key is looked up among the sorted ones."""

    def __init__(self, items: Mapping):
        keys = [_key(k) for k in items]
        order = sorted(range(len(keys)), key=keys.__getitem__)
        self._sorted = SharedList([keys[i] for i in order])
        self._place = torch.tensor(order, dtype=torch.int64).share_memory_()
        self._keys, self._values = SharedList(list(items)), SharedList(list(items.values()))

    def __getitem__(self, key: Any) -> Any:
        try:
            wanted = _key(key)
        except TypeError:
            raise KeyError(key) from None
        i = bisect.bisect_left(self._sorted, wanted)
        if i == len(self._sorted) or self._sorted[i] != wanted:
            raise KeyError(key)
        return self._values[int(self._place[i])]

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator:
        return iter(self._keys)

    def items(self) -> ItemsView:
        """The pairs, in the order of the original."""
        return _Items(self)

    def __repr__(self) -> str:
        return f"SharedDict of {len(self)} items"


class _Items(ItemsView):
    """Pairs without looking each key up."""

    def __iter__(self) -> Iterator:
        return zip(self._mapping._keys, self._mapping._values, strict=True)


def _key(key: Any) -> bytes:
    """A key as bytes that tell it from all others."""
    if isinstance(key, str):
        return b"s" + key.encode("utf-8", "surrogatepass")
    if isinstance(key, bytes):
        return b"b" + key
    if isinstance(key, int):
        return b"i%d" % key
    raise TypeError(f"shared: keys are strings, bytes or integers; got {type(key).__name__}")
