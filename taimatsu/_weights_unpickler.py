"""A pickle machine that only builds data: the default of `load`.

It knows the opcodes that checkpoints use and calls nothing but what is on a list: the functions
that rebuild tensors, plain containers, and what the user added. Whatever else a file asks for is
an UnpicklingError that names it. It never imports a module.
"""

from __future__ import annotations

import pickletools
from collections import Counter, OrderedDict
from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any

__all__ = ["Unpickler"]

_CONSTANTS = {
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
}
_PUSH = frozenset((
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "INT", "LONG", "BINFLOAT", "FLOAT",
    "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8", "BINSTRING", "SHORT_BINSTRING", "STRING",
))  # fmt: skip
_EMPTY = {
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": set,
}
_MARK = object()


def _encode(text: str, encoding: str) -> bytes:
    """What ``_codecs.encode`` is for in pickles: bytes, written as latin-1 text."""
    return text.encode(encoding)


BUILTINS: dict[str, Any] = {
    "collections.OrderedDict": OrderedDict,
    "collections.Counter": Counter,
    "_codecs.encode": _encode,
    "builtins.bytearray": bytearray,
    "builtins.complex": complex,
    "builtins.set": set,
    "__builtin__.bytearray": bytearray,
    "__builtin__.complex": complex,
    "__builtin__.set": set,
}


class Unpickler:
    """Reads one pickle from ``file`` and leaves the position after it.

    ``find`` gives the object for a global's full name, or None if it is not allowed; ``callables``
    tells which of them may be called, ``settable`` which instances may get state; and
    ``persistent_load`` resolves persistent ids.
    """

    def __init__(
        self,
        file: Any,
        find: Callable[[str], Any],
        persistent_load: Callable[[Any], Any],
        settable: Callable[[Any], bool],
    ):
        self._file = file
        self._find = find
        self._persistent_load = persistent_load
        self._settable = settable
        self._found: list[Any] = []  # globals, by identity: nothing else is called

    def load(self) -> Any:
        """The object; UnpicklingError if it is damaged or asks for what is not allowed."""
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        try:
            for opcode, argument, _ in pickletools.genops(self._file):
                if opcode.name == "STOP":
                    return self._stack.pop()
                self._run(opcode.name, argument)
        except (IndexError, KeyError, ValueError, AttributeError, TypeError) as error:
            raise UnpicklingError(f"load: the pickle is damaged: {error!r}") from error
        raise UnpicklingError("load: the pickle ends before its end")

    def _run(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _PUSH:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self._memo[int(argument)] = stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self._memo[int(argument)])
        elif name in ("PROTO", "FRAME"):
            pass
        else:
            method = getattr(self, "_op_" + name.lower(), None)
            if method is None:
                raise UnpicklingError(f"load: unsupported opcode {name} with weights_only=True")
            method(argument)

    def _since_mark(self) -> list:
        stack = self._stack
        for i in range(len(stack) - 1, -1, -1):
            if stack[i] is _MARK:
                values = stack[i + 1 :]
                del stack[i:]
                return values
        raise ValueError("no mark on the stack")

    def _op_mark(self, _: Any) -> None:
        self._stack.append(_MARK)

    def _op_pop(self, _: Any) -> None:
        self._stack.pop()

    def _op_dup(self, _: Any) -> None:
        self._stack.append(self._stack[-1])

    def _op_tuple(self, _: Any) -> None:
        self._stack.append(tuple(self._since_mark()))

    def _last(self, n: int) -> None:
        values = tuple(self._stack[-n:])
        del self._stack[-n:]
        self._stack.append(values)

    def _op_tuple1(self, _: Any) -> None:
        self._last(1)

    def _op_tuple2(self, _: Any) -> None:
        self._last(2)

    def _op_tuple3(self, _: Any) -> None:
        self._last(3)

    def _op_list(self, _: Any) -> None:
        self._stack.append(self._since_mark())

    def _op_dict(self, _: Any) -> None:
        values = self._since_mark()
        self._stack.append(dict(zip(values[::2], values[1::2], strict=True)))

    def _op_append(self, _: Any) -> None:
        value = self._stack.pop()
        list.append(self._stack[-1], value)

    def _op_appends(self, _: Any) -> None:
        values = self._since_mark()
        list.extend(self._stack[-1], values)

    def _op_additems(self, _: Any) -> None:
        values = self._since_mark()
        set.update(self._stack[-1], values)

    def _set_items(self, values: list) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict):
            raise UnpicklingError(f"load: items can't be set on {type(target)}")
        for key, value in zip(values[::2], values[1::2], strict=True):
            target[key] = value

    def _op_setitem(self, _: Any) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set_items([key, value])

    def _op_setitems(self, _: Any) -> None:
        self._set_items(self._since_mark())

    def _op_global(self, argument: str) -> None:
        self._push_global(*argument.split(" "))

    def _op_stack_global(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._push_global(module, name)

    def _push_global(self, module: str, name: str) -> None:
        full = f"{module}.{name}"
        value = BUILTINS.get(full) or self._find(full)
        if value is None:
            raise UnpicklingError(
                f"Weights only load failed: the file refers to {full}, which is not an allowed "
                "global. If you trust the file, allow it with "
                f"torch.serialization.add_safe_globals([{name}]), or pass weights_only=False, "
                "which can run any code in the file."
            )
        self._found.append(value)
        self._stack.append(value)

    def _called(self, function: Any, arguments: Any) -> Any:
        if not isinstance(arguments, tuple) or not any(function is f for f in self._found):
            raise UnpicklingError(f"load: {function!r} is not allowed to be called")
        return function(*arguments)

    def _op_reduce(self, _: Any) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        self._stack.append(self._called(function, arguments))

    def _op_newobj(self, _: Any) -> None:
        arguments, cls = self._stack.pop(), self._stack.pop()
        if not any(cls is f for f in self._found) or not isinstance(cls, type):
            raise UnpicklingError(f"load: no instance of {cls!r} is allowed to be made")
        self._stack.append(cls.__new__(cls, *arguments))

    def _op_build(self, _: Any) -> None:
        state, instance = self._stack.pop(), self._stack[-1]
        if isinstance(instance, OrderedDict):
            instance.__dict__.update(state)
        elif self._settable(instance):
            if hasattr(instance, "__setstate__"):
                instance.__setstate__(state)
            else:
                instance.__dict__.update(state)
        else:
            raise UnpicklingError(f"load: state can't be set on {type(instance)}")

    def _op_binpersid(self, _: Any) -> None:
        self._stack.append(self._persistent_load(self._stack.pop()))
