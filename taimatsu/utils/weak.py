"""Dictionaries whose keys are objects themselves, held weakly: tensors, whose ``==`` is an op."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, MutableMapping
from typing import Any

__all__ = ["TensorWeakRef", "WeakIdKeyDictionary", "WeakIdRef", "WeakTensorKeyDictionary"]


class WeakIdRef(weakref.ref):
    """A weak reference that equals another one to the same object."""

    __slots__ = ("_id",)

    def __init__(self, key: Any, callback: Any = None):
        super().__init__(key, callback)  # type: ignore[call-arg]
        self._id = id(key)

    def __hash__(self) -> int:
        return self._id

    def __eq__(self, other: object) -> bool:
        a = self()
        b = other() if isinstance(other, WeakIdRef) else None
        return a is b if a is not None and b is not None else self is other


class WeakIdKeyDictionary(MutableMapping):
    """Values of objects, by identity; an entry goes when its key does.

    >>> notes = WeakIdKeyDictionary()
    >>> x = torch.ones(2)
    >>> notes[x] = "the first"
    >>> x in notes, torch.ones(2) in notes
    (True, False)
    """

    def __init__(self, dict: Any = None, ref_type: type = WeakIdRef):
        self.ref_type = ref_type
        self.data: Any = {}
        data = self.data
        self._forget = lambda key: data.pop(key, None)
        self.update(dict or {})

    def __getitem__(self, key: Any) -> Any:
        return self.data[self.ref_type(key)]

    def __setitem__(self, key: Any, value: Any) -> None:
        self.data[self.ref_type(key, self._forget)] = value

    def __delitem__(self, key: Any) -> None:
        del self.data[self.ref_type(key)]

    def __iter__(self) -> Iterator[Any]:
        return (key for ref in list(self.data) if (key := ref()) is not None)

    def __len__(self) -> int:
        return len(self.data)

    def __contains__(self, key: object) -> bool:
        try:
            return self.ref_type(key) in self.data
        except TypeError:  # there are no weak references to it
            return False


WeakTensorKeyDictionary = WeakIdKeyDictionary

TensorWeakRef = weakref.ref  # the object of a tensor lives as long as the tensor
