"""Interpreters: who sees the calls of ops before they are carried out, the innermost first.

An op call goes to the innermost interpreter of the thread, with the op's table entry, its arguments
in the schema's order, and the tensors it has to write to, if any. Whatever ops the interpreter
calls in turn go to the next one further out; the outermost one's calls are recorded by the tape and
computed. Autocast, vmap, forward-mode, the profiler and `TorchDispatchMode` are all interpreters,
so they nest in any order.
"""

from __future__ import annotations

import threading
import typing
from typing import TYPE_CHECKING, Any

from . import _core

if TYPE_CHECKING:
    from .ops.table import Op

__all__ = ["Interpreter", "elements", "followed", "frames"]

_INTERPRETERS = 1  # the bit of the core's flag


class _Stack(threading.local):
    def __init__(self) -> None:
        self.frames: list[Interpreter] = []


_stack = _Stack()


def frames() -> list[Interpreter]:
    """The thread's interpreters, the innermost last."""
    return _stack.frames


def followed(x: Any) -> bool:
    """Whether derivatives by x are asked for: by the tape, or at a level of forward mode."""
    if x.requires_grad and _core.is_grad_enabled():
        return True
    return any(f.tangent(x) is not None for f in _stack.frames if hasattr(f, "tangent"))


def elements(x: Any) -> Any:
    """The tensor that x stands for under `vmap`, if it does: for checks of elements."""
    while hasattr(x, "owner"):
        x = x.value
    return x


class Interpreter:
    """Sees the calls of ops inside its ``with`` block. A subclass defines `call`."""

    def __enter__(self) -> typing.Self:
        stack = _stack.frames
        outer = len(stack)
        try:
            stack.append(self)
            _core.interpose(_INTERPRETERS, True)
        except BaseException:  # an interrupt: nobody will call __exit__
            del stack[outer:]
            _core.interpose(_INTERPRETERS, bool(stack))
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        stack = _stack.frames
        try:
            top = stack.pop()
        finally:
            _core.interpose(_INTERPRETERS, bool(stack))
        assert top is self, f"left {self} before {top}, which is inside of it"

    def call(self, op: Op, args: tuple, targets: tuple | None) -> Any:
        """Carries out one call. `targets`: of the in-place form (the first argument) or of out=."""
        return self.below(op, args, targets)

    def below(self, op: Op, args: tuple, targets: tuple | None = None) -> Any:
        """The call, as those further out see it: only from inside of `call`."""
        if targets is None:
            return _core.call(op, *args)
        return _core.call_into(op, targets, *args)

    def became(self, x: Any, view: Any) -> None:
        """`x` is from now on what its `view` is: for frames that know tensors by their identity."""

    def function(self, cls: Any, args: tuple) -> Any:
        """Carries out a call of a custom autograd Function."""
        return self.function_below(cls, args)

    def function_below(self, cls: Any, args: tuple) -> Any:
        """The call of a Function, as those further out see it."""
        return apply_function(cls, args) if _stack.frames else _core.apply_function(cls, *args)

    def descend(self, op: Op, args: tuple, targets: tuple | None = None) -> Any:
        """A composite's formula, whose ops this interpreter sees."""
        with self:
            result = op.formula(*args)
            if targets is None:
                return result
            results = result if isinstance(result, (tuple, list)) else (result,)
            for target, value in zip(targets, results, strict=True):
                if target is value:
                    continue
                if target is not args[0] and target.shape != value.shape:
                    target.resize_(value.shape)
                target.copy_(value)
        return targets[0] if len(targets) == 1 else targets


def _dispatch(op: Op, args: tuple, targets: tuple | None) -> Any:
    stack = _stack.frames
    top, depth = stack[-1], len(stack)
    try:
        stack.pop()
        if not stack:
            _core.interpose(_INTERPRETERS, False)
        return top.call(op, args, targets)
    finally:
        if len(stack) < depth:
            stack.append(top)
        _core.interpose(_INTERPRETERS, True)


def apply_function(cls: Any, args: tuple) -> Any:
    """A custom Function's call, for the innermost interpreter."""
    stack = _stack.frames
    top = stack.pop()
    _core.interpose(_INTERPRETERS, bool(stack))
    try:
        return top.function(cls, args)
    finally:
        stack.append(top)
        _core.interpose(_INTERPRETERS, True)


_core.set_interpreter(_dispatch)
