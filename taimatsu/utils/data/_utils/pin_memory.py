"""Batches in pinned memory, from which copies to a GPU needn't wait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["pin_memory"]


def pin_memory(data: Any, device: Any = None) -> Any:
    """`data` with its tensors pinned: in mappings, sequences and what has a ``pin_memory()``.

    Containers keep their type where it can be made from their items; else the data is as it was.
    """
    if hasattr(data, "pin_memory"):
        return data.pin_memory()
    if isinstance(data, (str, bytes)):
        return data
    if isinstance(data, tuple) and hasattr(data, "_fields"):  # a named tuple
        return type(data)(*(pin_memory(x) for x in data))
    try:
        if isinstance(data, Mapping):
            return type(data)({k: pin_memory(v) for k, v in data.items()})  # type: ignore[call-arg]
        if isinstance(data, Sequence):
            return type(data)([pin_memory(x) for x in data])  # type: ignore[call-arg]
    except TypeError:  # it is made in another way
        pass
    return data
