"""Turning ``__torch_dispatch__`` off."""

from __future__ import annotations

import typing
from typing import Any

from taimatsu import Tensor, _core

__all__ = ["all_same_mode", "no_dispatch"]


def no_dispatch() -> Any:
    """A context in which neither modes nor classes of tensors carry ops out themselves."""
    return _core._DisableTorchDispatch()


def all_same_mode(modes: typing.Iterable[Any]) -> bool:
    """Whether all are one and the same."""
    found = list(modes)
    return all(mode == found[0] for mode in found)


def is_tensor_subclass(t: Any) -> bool:
    """Whether it is a tensor of a class of its own."""
    return isinstance(t, Tensor) and type(t) is not Tensor
