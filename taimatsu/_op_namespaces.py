"""``torch.ops.<namespace>.<op>``: ops by the names of PyTorch's dispatcher.

``torch.ops.aten`` gives this package's functions by the names that ATen has for them; other
namespaces hold what programs define by `taimatsu.library`.

>>> torch.ops.aten.add.Tensor(torch.ones(1), torch.ones(1))
tensor([2.])
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NoReturn

import taimatsu

__all__ = [
    "Namespace", "OpOverload", "OpOverloadPacket", "load_library", "namespace", "overload_of",
]  # fmt: skip

defined: dict[str, dict[str, Any]] = {}  # by namespace and name: what `library` defined
_namespaces: dict[str, Namespace] = {}

# Where ATen's name has a prefix instead of a module.
PREFIXES = {"linalg_": "linalg", "special_": "special", "fft_": "fft"}
PREFIX_OF = {module: prefix for prefix, module in PREFIXES.items()}


def _slice(*args: Any, **kwargs: Any) -> Any:
    from .ops.shape import slice_

    return slice_(*args, **kwargs)


def _index(self: Any, indices: Any) -> Any:
    return self[tuple(slice(None) if i is None else i for i in indices)]


def _to_copy(self: Any, **options: Any) -> Any:
    others = ("layout", "pin_memory")
    given = {k: v for k, v in options.items() if v is not None and k not in others}
    return self.to(**given, copy=True)


# What ATen has and PyTorch's Python interface calls otherwise.
_ATEN: dict[str, Callable] = {
    "_local_scalar_dense": lambda self: self.item(),
    "_log_softmax": lambda self, dim, half_to_float=False: self.log_softmax(dim),
    "_pin_memory": lambda self, device=None: self.pin_memory(device),
    "_softmax": lambda self, dim, half_to_float=False: self.softmax(dim),
    "_to_copy": _to_copy,
    "_unsafe_view": lambda self, size: self.view(size),
    "alias": lambda self: self.view(self.shape),
    "index": _index,
    "lift_fresh": lambda self: self,
    "scalar_tensor": lambda s, **options: taimatsu.tensor(s, **options),
    "slice": _slice,
    "sym_size": lambda self, dim: self.shape[dim],
}


_OTHER_SCHEMAS = {
    "detach": "(Tensor(a) self) -> Tensor(a)",
    "lift_fresh": "(Tensor(a) self) -> Tensor(a)",
    "_local_scalar_dense": "(Tensor self) -> Scalar",
    "_to_copy": "(Tensor self, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None,"
    " bool? pin_memory=None, bool non_blocking=False, MemoryFormat? memory_format=None) -> Tensor",
    "_softmax": "(Tensor self, int dim, bool half_to_float) -> Tensor",
    "_log_softmax": "(Tensor self, int dim, bool half_to_float) -> Tensor",
    "_unsafe_view": "(Tensor self, int[] size) -> Tensor",
    "index": "(Tensor self, Tensor[] indices) -> Tensor",
    "index_put_": "(Tensor(a!) self, Tensor[] indices, Tensor values, bool accumulate=False)"
    " -> Tensor(a!)",
    "split_with_sizes": "(Tensor(a) self, int[] split_sizes, int dim=0) -> Tensor(a)[]",
}


def _entry_of(overload: OpOverload) -> Any:
    """The entry of the op table that is this form of ATen's op, or None."""
    packet = overload.overloadpacket
    table_op = getattr(packet._function, "_table_op", None)
    if table_op is not None or packet.namespace != "aten":
        return table_op
    named = _entries()
    name = packet.__name__
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    for base in (name, name.removesuffix("_")):
        found = named.get(f"{base}.{overload._overloadname}") or named.get(base)
        if found is not None:
            return found
    return None


@functools.cache
def _entries() -> dict[str, Any]:
    from .ops.table import ENTRIES

    return {op.name: op for op in reversed(ENTRIES)}


class OpOverload:
    """One form of an op, ``torch.ops.aten.add.Tensor``. Calling it is calling the op."""

    def __init__(self, packet: OpOverloadPacket, overload: str):
        self.overloadpacket, self._overloadname = packet, overload
        self.namespace = packet.namespace
        self.__name__ = f"{packet.__name__}.{overload}"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.overloadpacket(*args, **kwargs)

    def name(self) -> str:
        """ "aten::add.Tensor"."""
        base = f"{self.namespace}::{self.overloadpacket.__name__}"
        return base if self._overloadname == "default" else f"{base}.{self._overloadname}"

    @property
    def _opname(self) -> str:
        return self.overloadpacket.__name__

    @property
    def op(self) -> Callable:
        """The function that is called."""
        return self.overloadpacket._function

    @functools.cached_property
    def _schema(self) -> Any:
        from ._function_schema import parse_schema

        return parse_schema(self._declaration)

    @property
    def _declaration(self) -> str:
        packet, overload = self.overloadpacket, self._overloadname
        own = getattr(packet._function, "_schema", None)
        name = f"{packet.namespace}::{packet.__name__}"
        name = name if overload == "default" else f"{name}.{overload}"
        if own:
            return f"{name}{own[own.index('('):]}"
        entry = _entry_of(self)
        if entry is None:
            text = _OTHER_SCHEMAS.get(packet.__name__)
            if text is None:
                raise NotImplementedError(f"{name}: its schema is not known")
            return f"{name}{text}"
        taken, arrow, given = entry.schema[len(entry.name) :].partition(" -> ")
        rest = taken[1:].partition(" ")[2]
        if packet.__name__.endswith("_") and "!" not in taken:
            return f"{name}(Tensor(a!) {rest}{arrow}Tensor(a!)"
        if overload == "out" or overload.endswith("_out"):
            star = "" if "*, " in taken else "*, "
            return f"{name}{taken[:-1]}, {star}Tensor(a!) out){arrow}Tensor(a!)"
        return name + taken + arrow + given

    @property
    def is_view(self) -> bool:
        """Whether what it returns shows the memory of an argument."""
        entry = _entry_of(self)
        if entry is not None:
            return entry.kind == "view"
        return "-> Tensor(a)" in _OTHER_SCHEMAS.get(self._opname, "")

    @property
    def tags(self) -> list:
        """Nothing is marked."""
        return []

    def redispatch(self, keyset: Any, /, *args: Any, **kwargs: Any) -> Any:
        """The call: there are no dispatch keys."""
        return self(*args, **kwargs)

    def decompose(self, *args: Any, **kwargs: Any) -> Any:
        """NotImplemented: composites have come down to other ops before they are dispatched."""
        return NotImplemented

    def __repr__(self) -> str:
        op = f"{self.namespace}.{self._opname}"
        return f"<OpOverload(op='{op}', overload='{self._overloadname}')>"

    def __str__(self) -> str:
        return f"{self.namespace}.{self.__name__}"


class OpOverloadPacket:
    """An op with all its forms. Calling it calls the one that fits the arguments."""

    def __init__(self, namespace: str, name: str, function: Callable):
        self.namespace, self.__name__, self._function = namespace, name, function
        self._overloads: dict[str, OpOverload] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    def __getattr__(self, overload: str) -> OpOverload:
        if overload.startswith("_"):
            raise AttributeError(overload)
        return self._overloads.setdefault(overload, OpOverload(self, overload))

    def overloads(self) -> list[str]:
        """The names of the forms that were asked for; "default" is always one."""
        return ["default", *(n for n in self._overloads if n != "default")]

    def __repr__(self) -> str:
        return f"<OpOverloadPacket(op='{self.namespace}.{self.__name__}')>"

    def __str__(self) -> str:
        return f"{self.namespace}.{self.__name__}"


def _aten(name: str) -> Callable | None:
    """The function that ATen calls ``name``."""
    if name in _ATEN:
        return _ATEN[name]
    for prefix, module in PREFIXES.items():
        if name.startswith(prefix):
            found = getattr(getattr(taimatsu, module), name.removeprefix(prefix), None)
            return found if callable(found) else None
    for place in (taimatsu, taimatsu.nn.functional, taimatsu.Tensor):
        found = getattr(place, name, None)
        if callable(found) and not isinstance(found, type):
            return found
    inside = name.startswith("_") or name.endswith("_backward")  # derivatives are the tape's here
    return _private(name) if inside else None


def _private(name: str) -> Callable:
    """For programs that name an op of PyTorch's inside, to compare with, not to call."""

    def refuse(*args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(f"aten::{name} is private to PyTorch, and isn't here")

    return refuse


class Namespace:
    """The ops of a namespace, as attributes."""

    def __init__(self, name: str):
        self.__name__ = name
        self._packets: dict[str, OpOverloadPacket] = {}

    def __getattr__(self, name: str) -> OpOverloadPacket:
        if name in self._packets:
            return self._packets[name]
        space = self.__name__
        function = defined.get(space, {}).get(name)
        if function is None and space == "aten" and not name.startswith("__"):
            function = _aten(name)
        if function is None:
            raise AttributeError(f"'_OpNamespace' '{space}' object has no attribute '{name}'")
        return self._packets.setdefault(name, OpOverloadPacket(space, name, function))

    def _add(self, name: str, function: Callable) -> OpOverloadPacket:
        """A packet of this name, or of a similar one where another function has it."""
        while name in self._packets:
            name += "_"
        return self._packets.setdefault(name, OpOverloadPacket(self.__name__, name, function))

    def forget(self, name: str) -> None:
        """An op that isn't defined any more."""
        self._packets.pop(name, None)

    def __dir__(self) -> list[str]:
        return sorted({*self._packets, *defined.get(self.__name__, ())})

    def __repr__(self) -> str:
        return f"<torch.ops.{self.__name__}>"


def namespace(name: str) -> Namespace:
    """The namespace of this name; it may be empty."""
    return _namespaces.setdefault(name, Namespace(name))


def overload_of(op: Any, inplace: bool) -> OpOverload | None:
    """The form of ATen's op that a call of an op of the table is, if there is one."""
    base, _, overload = op.name.partition(".")
    name = base + "_" if inplace and not base.endswith("_") else base
    packet = getattr(namespace("aten"), name, None)
    return packet and getattr(packet, overload or _overload(op.parsed.params))


def _overload(params: Any) -> str:
    """ATen's name of the form for tensors or numbers alike, where there is one."""
    names = [p.name for p in params[:2] if p.type == "Tensor"]
    return "Tensor" if names == ["self", "other"] and params[1].number else "default"


def load_library(path: str) -> None:
    """Loads an extension that `utils.cpp_extension` built: its ops are in `torch.ops` then.

    OSError for what isn't one: a library for PyTorch itself has to be built against our headers.
    """
    from .utils.cpp_extension import load_members

    try:
        load_members(path)
    except RuntimeError as error:
        raise OSError(str(error)) from None
