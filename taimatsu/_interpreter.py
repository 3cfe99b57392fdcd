"""Interpreters: who sees the calls of ops before they are carried out, the innermost first.

An op call goes to the innermost interpreter of the thread, with the op's table entry, its arguments
in the schema's order, and the tensors it has to write to, if any. Whatever ops the interpreter
calls in turn go to the next one further out; the outermost one's calls are recorded by the tape and
computed. Autocast, vmap, forward-mode and the profiler are all interpreters, so they nest in any
order. `TorchDispatchMode` is one below the tape: a second stack, which a call meets where the
kernel would be, and after it the classes of tensors that carry ops out (`_dispatch`).
"""

from __future__ import annotations

import threading
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from . import _core

if TYPE_CHECKING:
    from .ops.table import Op

__all__ = ["Interpreter", "elements", "followed", "frames", "without"]

_BITS = {False: 1, True: 8}  # of the core's flag, above and below the tape


class _Stack(threading.local):
    def __init__(self) -> None:
        self.frames: list[Interpreter] = []
        self.below: list[Interpreter] = []  # the tape


_stack = _Stack()


def frames() -> list[Interpreter]:
    """The thread's interpreters, the innermost last."""
    return _stack.frames


def _frames(below_tape: bool) -> list[Interpreter]:
    return _stack.below if below_tape else _stack.frames


@contextmanager
def without(start: int = 0, below_tape: bool = False) -> Iterator[list[Interpreter]]:
    """Inside, interpreters from the ``start``-th on inwards see nothing; gives them."""
    stack = _frames(below_tape)
    away = stack[start:]
    del stack[start:]
    _core.interpose(_BITS[below_tape], bool(stack))
    try:
        yield away
    finally:
        stack.extend(away)
        _core.interpose(_BITS[below_tape], bool(stack))


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

    below_tape = False

    def __enter__(self) -> typing.Self:
        stack = _frames(self.below_tape)
        outer = len(stack)
        try:
            stack.append(self)
            _core.interpose(_BITS[self.below_tape], True)
        except BaseException:  # an interrupt: nobody will call __exit__
            del stack[outer:]
            _core.interpose(_BITS[self.below_tape], bool(stack))
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        stack = _frames(self.below_tape)
        try:
            top = stack.pop()
        finally:
            _core.interpose(_BITS[self.below_tape], bool(stack))
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

    @contextmanager
    def again(self) -> Iterator[None]:
        """Inside of `call`: ops of this block are seen too."""
        Interpreter.__enter__(self)  # not a subclass's, for whom this is no new block
        try:
            yield
        finally:
            Interpreter.__exit__(self)

    def descend(self, op: Op, args: tuple, targets: tuple | None = None) -> Any:
        """A composite's formula, whose ops this interpreter sees."""
        with self.again():
            if targets is None:
                return op.formula(*args)
            given = args
            if targets[0] is args[0] and _core.is_grad_enabled():
                given = (args[0].clone(), *args[1:])  # its ops may save what is then written to
            result = op.formula(*given)
            results = result if isinstance(result, (tuple, list)) else (result,)
            for target, value in zip(targets, results, strict=True):
                if target is value:
                    continue
                if target is not args[0] and target.shape != value.shape:
                    target.resize_(value.shape)
                target.copy_(value)
        return targets[0] if len(targets) == 1 else targets


def _dispatch(op: Op, args: tuple, targets: tuple | None, below_tape: bool = False) -> Any:
    stack = _frames(below_tape)
    top, depth = stack[-1], len(stack)
    try:
        stack.pop()
        if not stack:
            _core.interpose(_BITS[below_tape], False)
        return top.call(op, args, targets)
    finally:
        if len(stack) < depth:
            stack.append(top)
        _core.interpose(_BITS[below_tape], True)


def _dispatch_below(op: Op, args: tuple, targets: tuple | None) -> Any:
    if _stack.below:
        return _dispatch(op, args, targets, below_tape=True)
    from ._dispatch import by_class

    return by_class(op, args, targets)


def apply_function(cls: Any, args: tuple) -> Any:
    """A custom Function's call, for the innermost interpreter."""
    with without(-1) as (top,):
        return top.function(cls, args)


def _detach(x: Any) -> Any:
    from ._dispatch import detach

    return detach(x)


def _item(x: Any) -> Any:
    from ._dispatch import item

    return item(x)


_core.set_interpreter(_dispatch)
_core._set_dispatchers(_dispatch_below, _detach, _item)
