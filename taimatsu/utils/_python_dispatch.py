"""``__torch_dispatch__``: modes and helpers for what carries ops out below the tape.

A class of tensors takes part by defining ``__torch_dispatch__(cls, func, types, args, kwargs)``;
see `Tensor._make_wrapper_subclass` for one whose instances have no memory of their own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from taimatsu import Tensor, _core
from taimatsu._interpreter import Interpreter, _frames, without

from ._pytree import tree_map_only

__all__ = [
    "BaseTorchDispatchMode", "TorchDispatchMode", "is_traceable_wrapper_subclass",
    "return_and_correct_aliasing", "transform_subclass",
]  # fmt: skip


class TorchDispatchMode(Interpreter):
    """Inside its ``with`` block, sees every op that is carried out, below the tape.

    A subclass defines ``__torch_dispatch__(self, func, types, args, kwargs)`` and returns what the
    op shall give; ``func(*args, **kwargs)`` carries it out, for modes further out to see.

    >>> class Log(TorchDispatchMode):
    ...     def __torch_dispatch__(self, func, types, args=(), kwargs=None):
    ...         print(func)
    ...         return func(*args, **(kwargs or {}))
    >>> with Log():
    ...     _ = torch.ones(2) + 1
    aten.ones.default
    aten.add.Tensor
    """

    below_tape = True

    def __init__(self, _dispatch_key: Any = None):
        super().__init__()

    def __torch_dispatch__(
        self, func: Any, types: tuple, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        raise NotImplementedError(f"{type(self).__name__}: must define __torch_dispatch__")

    def call(self, op: Any, args: tuple, targets: tuple | None) -> Any:
        from taimatsu._dispatch import handle

        return handle(self.__torch_dispatch__, self.again, op, args, targets)

    @classmethod
    def push(cls, *args: Any, **kwargs: Any) -> Any:
        """The old spelling of ``cls(...)``."""
        return cls(*args, **kwargs)


class BaseTorchDispatchMode(TorchDispatchMode):
    """A mode that changes nothing."""

    def __torch_dispatch__(
        self, func: Any, types: tuple, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        return func(*args, **(kwargs or {}))


# ---- the stack of modes -------------------------------------------------------------------------


def _get_current_dispatch_mode() -> TorchDispatchMode | None:
    """The innermost mode, or None."""
    stack = _frames(below_tape=True)
    return stack[-1] if stack else None  # type: ignore[return-value]


def _get_current_dispatch_mode_stack() -> list[Any]:
    """The modes, the innermost last."""
    return list(_frames(below_tape=True))


@contextlib.contextmanager
def _disable_current_modes() -> Iterator[list[Any]]:
    """Inside, no mode sees ops; gives those that would."""
    with without(below_tape=True) as modes:
        yield modes


@contextlib.contextmanager
def _pop_mode_temporarily(k: Any = None) -> Iterator[Any]:
    """Inside, the innermost mode, which is given, sees nothing."""
    with without(-1, below_tape=True) as (mode,):
        yield mode


# ---- wrappers -----------------------------------------------------------------------------------


def is_traceable_wrapper_subclass(t: Any) -> bool:
    """Whether a tensor is of a class that says of which tensors it is made."""
    return isinstance(t, Tensor) and is_traceable_wrapper_subclass_type(type(t))


def is_traceable_wrapper_subclass_type(t: type) -> bool:
    """Whether a class of tensors says of which tensors one is made."""
    return hasattr(t, "__tensor_flatten__") and hasattr(t, "__tensor_unflatten__")


def transform_subclass(
    t: Any, callback: Callable[[str, Any], Any], outer_size: Any = None, outer_stride: Any = None
) -> Any:
    """The same kind of wrapper around ``callback(name, inner)`` of each tensor that t is made of.

    ``outer_size`` and ``outer_stride``: those of the result, else of t.
    """
    names, context = t.__tensor_flatten__()
    inner = {name: callback(name, getattr(t, name)) for name in names}
    return type(t).__tensor_unflatten__(
        inner, context, t.size() if outer_size is None else outer_size,
        t.stride() if outer_stride is None else outer_stride,
    )  # fmt: skip


def return_and_correct_aliasing(func: Any, args: tuple, kwargs: dict, out: Any) -> Any:
    """What a wrapper's ``__torch_dispatch__`` is to return for an op that gave ``out``.

    The arguments themselves, where the op writes to them; ``out`` else, whose views share the
    storage, and the count of writes, of what they are views of.
    """
    written = [
        kwargs.get(a.name, args[i] if i < len(args) else None)
        for i, a in enumerate(func._schema.arguments)
        if a.alias_info is not None and a.alias_info.is_write
    ]
    if written:
        return written[0] if len(written) == 1 else tuple(written)
    if func.is_view:
        source = args[0]

        def share(view: Tensor) -> Tensor:
            if view is not source:
                _core._share_storage(view, source)
            return view

        return tree_map_only(Tensor, share, out)
    return out
