"""Modules that hold modules or parameters: in sequence, in a list, in a dict."""

from __future__ import annotations

import operator
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

from taimatsu import Tensor

from .module import Module, _indent
from .parameter import Parameter

__all__ = ["Container", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Sequential"]


def _position(index: Any, n: int, what: str) -> int:
    """``index`` from the start; IndexError if there is no such entry."""
    index = operator.index(index)
    if not -n <= index < n:
        raise IndexError(f"{what}: index {index} is out of range; it has {n} entries")
    return index % n


class Container(Module):
    """A module that holds those given by name; deprecated: any `Module` does."""

    def __init__(self, **kwargs: Any):
        super().__init__()
        warnings.warn(
            "nn.Container is deprecated. All of its functionality is now implemented in nn.Module. "
            "Subclass that instead.",
            FutureWarning,
            stacklevel=2,
        )
        for name, module in kwargs.items():
            self.add_module(name, module)


class _ModuleSequence(Module):
    """What `Sequential` and `ModuleList` share: children named "0", "1", ..."""

    if TYPE_CHECKING:  # what they define

        def __getitem__(self, index: Any) -> Any: ...

    def _renumber(self, modules: Iterable[Module]) -> None:
        self._modules = {str(i): module for i, module in enumerate(modules)}

    def _name(self, index: int) -> str:
        names = list(self._modules)
        return names[_position(index, len(names), type(self).__name__)]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, self._name(index), module)

    def __delitem__(self, index: int | slice) -> None:
        names = list(self._modules)
        chosen = names[index] if isinstance(index, slice) else [self._name(index)]
        for name in chosen:
            delattr(self, name)
        self._renumber(list(self._modules.values()))

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.isdigit()]

    def pop(self, index: int = -1) -> Module:
        """Remove the module at ``index`` and give it."""
        module = self[index]
        del self[index]
        return module

    def append(self, module: Module):
        """Add ``module`` at the end."""
        self.add_module(str(len(self)), module)
        return self

    def insert(self, index: int, module: Module):
        """Put ``module`` before ``index``."""
        if not isinstance(module, Module):
            raise AssertionError(f"module should be of type: {Module}")
        n = len(self)
        if not -n <= index <= n:
            raise IndexError(f"Index out of range: {index}")
        modules = list(self)
        modules.insert(index + n if index < 0 else index, module)
        self._renumber(modules)
        return self

    def extend(self, modules: Iterable[Module]):
        """Add all of ``modules`` at the end."""
        if not isinstance(modules, Iterable):
            raise TypeError(f"{type(self).__name__}.extend: needs an iterable; got {modules!r}")
        for module in list(modules):
            self.append(module)
        return self


class Sequential(_ModuleSequence):
    """Modules in a row: each takes what the one before gives.

    ``Sequential(a, b)`` names its children "0", "1"; ``Sequential(OrderedDict(first=a))`` by key.

    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> net(torch.zeros(1, 4)).shape
    torch.Size([1, 2])
    """

    def __init__(self, *args: Any):
        super().__init__()
        if len(args) == 1 and isinstance(args[0], OrderedDict):
            named: Iterable[tuple[str, Any]] = args[0].items()
        else:
            named = ((str(i), module) for i, module in enumerate(args))
        for name, module in named:
            self.add_module(name, module)

    def forward(self, input: Any) -> Any:
        for module in self._modules.values():
            input = module(input)
        return input

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(OrderedDict(list(self._modules.items())[index]))
        return self._modules[self._name(index)]

    def __add__(self, other: Sequential) -> Sequential:
        if not isinstance(other, Sequential):
            raise ValueError(f"Sequential +: needs another Sequential; got {type(other)}")
        return Sequential(*self, *other)

    def __iadd__(self, other: Sequential) -> Sequential:
        if not isinstance(other, Sequential):
            raise ValueError(f"Sequential +=: needs another Sequential; got {type(other)}")
        return self.extend(other)

    def __mul__(self, times: int) -> Sequential:
        if not isinstance(times, int):
            raise TypeError(f"Sequential *: needs an int; got {type(times)}")
        if times <= 0:
            raise ValueError(f"Sequential *: needs a positive int; got {times}")
        return Sequential(*chain.from_iterable([list(self)] * times))

    __rmul__ = __mul__

    def __imul__(self, times: int) -> Sequential:
        for module in list(self * times)[len(self) :]:
            self.append(module)
        return self


class ModuleList(_ModuleSequence):
    """A list of modules, each registered; it has no forward of its own.

    >>> layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
    >>> len(layers[1:])
    2
    """

    def __init__(self, modules: Iterable[Module] | None = None):
        super().__init__()
        if modules is not None:
            self.extend(modules)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(list(self)[index])
        return self._modules[self._name(index)]

    def __iadd__(self, modules: Iterable[Module]) -> ModuleList:
        return self.extend(modules)

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList(chain(self, other))

    def __repr__(self) -> str:
        """As any module's, with runs of equal entries written once: ``(0-2): 3 x Linear(...)``."""
        runs: list[list] = []
        for i, text in enumerate(map(repr, self)):
            if runs and runs[-1][2] == text:
                runs[-1][1] = i
            else:
                runs.append([i, i, text])
        lines = [
            _indent(f"({a}): {t}" if a == b else f"({a}-{b}): {b - a + 1} x {t}", 2)
            for a, b, t in runs
        ]
        body = "\n  ".join(lines)
        return f"{self._get_name()}(\n  {body}\n)" if lines else f"{self._get_name()}()"


class _Mapped:
    """The dict methods of `ModuleDict` and `ParameterDict` that follow from item access."""

    if TYPE_CHECKING:  # what they define

        def __getitem__(self, key: str) -> Any: ...
        def __setitem__(self, key: str, value: Any) -> None: ...
        def __delitem__(self, key: str) -> None: ...
        def keys(self) -> Iterable[str]: ...
        def items(self) -> Iterable[tuple[str, Any]]: ...

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def pop(self, key: str) -> Any:
        """Remove the entry and give it."""
        value = self[key]
        del self[key]
        return value

    def clear(self) -> None:
        """Remove all entries."""
        for key in list(self.keys()):
            del self[key]

    def update(self, items: Any) -> None:
        """Take over the entries of a mapping or of an iterable of (key, value)."""
        if not isinstance(items, Iterable):
            raise TypeError(
                f"{type(self).__name__}.update: needs a mapping or an iterable of pairs; got "
                f"{type(items).__name__}"
            )
        if isinstance(items, (Mapping, _Mapped)):
            pairs = items.items()
        else:
            pairs = [self._pair(i, item) for i, item in enumerate(items)]
        for key, value in pairs:
            self[key] = value

    def _pair(self, i: int, item: Any) -> tuple:
        where = f"{type(self).__name__} update sequence element #{i}"
        if not isinstance(item, Iterable):
            raise TypeError(f"{where} should be Iterable; is {type(item).__name__}")
        item = tuple(item)
        if len(item) != 2:
            raise ValueError(f"{where} has length {len(item)}; 2 is required")
        return item


class ModuleDict(_Mapped, Module):
    """A dict of modules, each registered under its key; it has no forward of its own.

    >>> heads = nn.ModuleDict({"age": nn.Linear(8, 1), "name": nn.Linear(8, 100)})
    >>> list(heads)
    ['age', 'name']
    """

    def __init__(self, modules: Any = None):
        super().__init__()
        if modules is not None:
            self.update(modules)

    def __getitem__(self, key: str) -> Module:
        return self._modules[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        del self._modules[key]

    def __len__(self) -> int:
        return len(self._modules)

    def __contains__(self, key: str) -> bool:
        return key in self._modules

    def keys(self) -> Iterable[str]:
        return self._modules.keys()

    def values(self) -> Iterable[Module]:
        return self._modules.values()

    def items(self) -> Iterable[tuple[str, Module]]:
        return self._modules.items()


def _describe(value: Any) -> str:
    """One line of the repr of a parameter container."""
    if not isinstance(value, Tensor):
        return f"Object of type: {type(value).__name__}"
    kind = "Parameter" if isinstance(value, Parameter) else "Tensor"
    size = "x".join(str(n) for n in value.size())
    device = "" if value.device.type == "cpu" else f" ({value.device})"
    return f"{kind} containing: [{value.dtype} of size {size}{device}]"


def _as_parameter(value: Any) -> Any:
    """A plain tensor becomes a Parameter on entering a parameter container."""
    if isinstance(value, Tensor) and not isinstance(value, Parameter):
        return Parameter(value)
    return value


class ParameterList(Module):
    """A list of parameters, each registered; plain tensors become parameters.

    >>> weights = nn.ParameterList([torch.zeros(2), torch.ones(3)])
    >>> len(list(weights.parameters()))
    2
    """

    def __init__(self, values: Iterable[Any] | None = None):
        super().__init__()
        self._size = 0
        if values is not None:
            self.extend(values)

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            out = type(self)()
            for i in range(*index.indices(len(self))):
                out.append(self[i])
            return out
        return getattr(self, str(_position(index, len(self), type(self).__name__)))

    def __setitem__(self, index: int, value: Any) -> None:
        name = str(_position(index, len(self), type(self).__name__))
        setattr(self, name, _as_parameter(value))

    def append(self, value: Any) -> ParameterList:
        """Add ``value`` at the end."""
        self._size += 1
        self[self._size - 1] = value
        return self

    def extend(self, values: Iterable[Any]) -> ParameterList:
        """Add all of ``values`` at the end."""
        if not isinstance(values, Iterable) or isinstance(values, Tensor):
            raise TypeError(
                "ParameterList.extend should be called with an iterable, but got "
                + type(values).__name__
            )
        for value in list(values):
            self.append(value)
        return self

    __iadd__ = extend

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.isdigit()]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("ParameterList should not be called.")

    def extra_repr(self) -> str:
        return "\n".join(f"  ({i}): {_describe(value)}" for i, value in enumerate(self))


class ParameterDict(_Mapped, Module):
    """A dict of parameters, each registered under its key; plain tensors become parameters.

    >>> weights = nn.ParameterDict({"left": torch.zeros(2)})
    >>> weights["left"].requires_grad
    True
    """

    def __init__(self, parameters: Any = None):
        super().__init__()
        self._keys: dict[str, None] = {}
        if parameters is not None:
            self.update(parameters)

    def __getitem__(self, key: str) -> Any:
        if key not in self._keys:
            raise KeyError(key)
        return getattr(self, str(key))

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(key, str):
            raise TypeError(
                f"Index given to ParameterDict cannot be used as a key as it is not a string "
                f"(type is '{type(key).__name__}')"
            )
        self._keys[key] = None
        setattr(self, key, _as_parameter(value))

    def __delitem__(self, key: str) -> None:
        del self._keys[key]
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    def __reversed__(self) -> Iterator[str]:
        return reversed(list(self._keys))

    def keys(self) -> Iterable[str]:
        return self._keys.keys()

    def values(self) -> Iterable[Any]:
        return (self[key] for key in self._keys)

    def items(self) -> Iterable[tuple[str, Any]]:
        return ((key, self[key]) for key in self._keys)

    def popitem(self) -> tuple[str, Any]:
        """Remove the entry added last and give (key, value)."""
        key = next(reversed(self))
        return key, self.pop(key)

    def get(self, key: str, default: Any = None) -> Any:
        """The entry, or ``default`` if there is none."""
        return self[key] if key in self else default  # noqa: SIM401  (this is what it calls)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The entry; if there is none, ``default`` is put in first."""
        if key not in self:
            self[key] = default
        return self[key]

    def copy(self) -> ParameterDict:
        """A new dict of the same parameters."""
        return ParameterDict(OrderedDict(self.items()))

    def fromkeys(self, keys: Iterable[str], default: Any = None) -> ParameterDict:
        """A new dict that maps each of ``keys`` to ``default``."""
        return ParameterDict((key, default) for key in keys)

    def __or__(self, other: ParameterDict) -> ParameterDict:
        out = self.copy()
        out.update(other)
        return out

    def __ror__(self, other: Mapping[str, Any]) -> ParameterDict:
        out = ParameterDict(other)
        out.update(self)
        return out

    def __ior__(self, other: Mapping[str, Any]) -> ParameterDict:  # type: ignore[misc]
        self.update(other)
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("ParameterDict should not be called.")

    def extra_repr(self) -> str:
        return "\n".join(f"  ({key}): {_describe(value)}" for key, value in self.items())
