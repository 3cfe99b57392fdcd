"""``__torch_dispatch__`` of classes: who carries out the calls of ops on their instances.

A class of tensors that defines ``__torch_dispatch__(cls, func, types, args, kwargs)`` is asked in
place of a kernel. ``func`` is an op of ATen (`_aten`), which is called on what the instances wrap;
what is returned is the op's result, and the tape records it: derivatives are above, autocast and
`vmap` too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import taimatsu as torch
from taimatsu import Tensor, _core

from . import _aten
from ._interpreter import _frames, without

__all__ = [
    "by_class", "detach", "handle", "is_dispatched", "item", "make_wrapper_subclass", "tell",
]  # fmt: skip


def _classes(args: Any, found: list[type]) -> list[type]:
    """The classes that are to be asked, subclasses before their bases, else as they stand."""
    for a in args:
        if isinstance(a, (tuple, list)):
            _classes(a, found)
        elif isinstance(a, Tensor) and _core._class_dispatches(type(a)) and type(a) not in found:
            at = next((i for i, c in enumerate(found) if issubclass(type(a), c)), len(found))
            found.insert(at, type(a))
    return found


def _ask(types: tuple[type, ...], func: Any, args: tuple, kwargs: dict, rules: Mapping = {}) -> Any:
    for cls in types:
        if cls in rules:
            result = rules[cls](cls, func, types, args, kwargs)
        else:
            result = cls.__torch_dispatch__(func, types, args, kwargs)  # type: ignore[attr-defined]
        if result is not NotImplemented:
            return result
    raise TypeError(
        f"Multiple dispatch failed for '{func}'; all __torch_dispatch__ handlers returned "
        f"NotImplemented: {', '.join(c.__name__ for c in types)}; return something else in one"
    )


def handle(ask: Callable, again: Callable, op: Any, args: tuple, targets: tuple | None) -> Any:
    """A call of an op of the table by ``ask(func, types, args, kwargs)``; of what ATen hasn't, the
    ops that it comes down to, in the context ``again()``."""
    if parts := _aten.parts(op, args, targets):
        with again():
            return parts(*args)
    func, positional, named = _aten.form(op, args, targets)
    types = tuple(_classes((positional, tuple(named.values())), []))
    return ask(func, types, positional, named)


def by_class(op: Any, args: tuple, targets: tuple | None) -> Any:
    """The call by the classes of its tensors."""

    def ask(func: Any, types: tuple[type, ...], args: tuple, kwargs: dict) -> Any:
        return _ask(types, func, args, kwargs)

    return handle(ask, nullcontext, op, args, targets)


def is_dispatched(args: Any) -> bool:
    """Whether a mode is on, or one of the tensors' classes carries ops out."""
    return not _core._dispatch_is_off() and bool(_frames(below_tape=True) or _classes(args, []))


def tell(func: Any, args: tuple, kwargs: dict, rules: Mapping = {}) -> Any:
    """``func``, which isn't an op of the table, by the innermost mode or the tensors' classes.

    ``rules``: functions of (mode or class, func, types, args, kwargs) for some of these.
    """
    types = tuple(_classes((args, tuple(kwargs.values())), []))
    if not _frames(below_tape=True):
        return _ask(types, func, args, kwargs, rules)
    with without(-1, below_tape=True) as (mode,):
        if type(mode) in rules:
            return rules[type(mode)](mode, func, types, args, kwargs)
        return mode.__torch_dispatch__(func, types, args, kwargs)  # type: ignore[attr-defined]


def detach(x: Tensor) -> Tensor:
    """``x.detach()``, as modes and the class of x see it."""
    with torch.no_grad():
        return tell(torch.ops.aten.detach.default, (x,), {})


def lift(x: Tensor) -> Tensor:
    """What ``torch.tensor`` has made, as modes see it."""
    with _core._DisableTorchDispatch():  # type: ignore[attr-defined]
        plain = x.detach()
    lifted = tell(torch.ops.aten.lift_fresh.default, (plain,), {})
    return lifted.requires_grad_() if x.requires_grad else lifted


def item(x: Tensor) -> Any:
    """``x.item()``, as modes and the class of x see it."""
    return tell(torch.ops.aten._local_scalar_dense.default, (x,), {})


def make_wrapper_subclass(
    cls: type,
    size: Sequence[int],
    strides: Sequence[int] | None = None,
    storage_offset: int | None = None,
    memory_format: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
    dispatch_sizes_strides_policy: str | None = None,
    dispatch_device: bool = False,
    dispatch_layout: bool = False,
    _extra_dispatch_keys: Any = None,
    storage_size: int | None = None,
) -> Any:
    """An instance of ``cls`` with sizes, a dtype and a device, and no memory.

    What its elements are is the business of ``cls.__torch_dispatch__``. RuntimeError for a class
    that has none, and for whoever asks for its memory.
    """
    if not _core._class_dispatches(cls):
        raise RuntimeError(
            f"_make_wrapper_subclass: {cls.__name__} must define __torch_dispatch__, which carries "
            "ops on its instances out"
        )
    if memory_format is not None and strides is None:
        strides = torch.empty(size, device="meta", memory_format=memory_format).stride()
    made = _core._make_wrapper(
        cls, tuple(size), None if strides is None else tuple(strides), storage_offset or 0,
        torch.get_default_dtype() if dtype is None else dtype,
        torch.device("cpu" if device is None else device),
    )  # fmt: skip
    return made.requires_grad_() if requires_grad else made
