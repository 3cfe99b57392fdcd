"""`Dim`: sizes that an exported program leaves open."""

from __future__ import annotations

from typing import Any

from taimatsu import Tensor
from taimatsu.utils._pytree import tree_flatten

__all__ = ["AdditionalInputs", "Dim", "ShapesCollection", "dims", "open_sizes"]


class _Hint:
    """A size whose limits aren't given."""

    def __init__(self, name: str, dynamic: bool):
        self.name, self.dynamic = name, dynamic

    def __repr__(self) -> str:
        return f"Dim.{self.name}"


class Dim:
    """A size that may be any number from ``min`` to ``max``; equal wherever it is named.

    ``Dim.AUTO`` and ``Dim.DYNAMIC`` stand for one of its own, ``Dim.STATIC`` for the example's.
    ValueError unless 0 <= min < max.

    >>> batch = Dim("batch", max=1024)
    """

    AUTO = _Hint("AUTO", True)
    DYNAMIC = _Hint("DYNAMIC", True)
    STATIC = _Hint("STATIC", False)

    def __init__(self, name: str, *, min: int | None = None, max: int | None = None):
        self.min = 0 if min is None else min
        self.max = 2**31 - 1 if max is None else max
        if not 0 <= self.min < self.max:
            raise ValueError(f"Dim: cannot create dim with min={min} and max={max}")
        if not name.isidentifier():
            raise ValueError(f"Dim: the name has to be an identifier; got {name!r}")
        self.name = self.__name__ = name

    def __repr__(self) -> str:
        return f"Dim('{self.name}', min={self.min}, max={self.max})"


def dims(*names: str, min: int | None = None, max: int | None = None) -> tuple[Dim, ...]:
    """Several of them, with the same limits."""
    return tuple(Dim(name, min=min, max=max) for name in names)


class ShapesCollection:
    """Which sizes are open, tensor by tensor: ``shapes[x] = {0: Dim("batch")}``."""

    def __init__(self) -> None:
        self._shapes: dict[int, Any] = {}

    def __setitem__(self, t: Tensor, shape: Any) -> None:
        self._shapes[id(t)] = shape

    def __getitem__(self, t: Tensor) -> Any:
        return self._shapes.get(id(t))

    def __len__(self) -> int:
        return len(self._shapes)

    def of_leaves(self, leaves: list[Any]) -> list[Any]:
        """The shape given for each of these, None where none is."""
        return [self._shapes.get(id(leaf)) for leaf in leaves]

    def dynamic_shapes(self, m: Any, args: tuple, kwargs: dict | None = None) -> list[Any]:
        """The same for a call, one for each tensor of its arguments."""
        return self.of_leaves(tree_flatten((tuple(args), kwargs or {}))[0])


class AdditionalInputs:
    """Further example calls: sizes that differ among them are open."""

    def __init__(self) -> None:
        self._calls: list[tuple[tuple, dict]] = []

    def add(self, args: tuple, kwargs: dict | None = None) -> None:
        """A call."""
        self._calls.append((tuple(args), kwargs or {}))

    def dynamic_shapes(self, m: Any, args: tuple, kwargs: dict | None = None) -> list[Any]:
        """The open sizes of a call's tensors."""
        leaves = tree_flatten((tuple(args), kwargs or {}))[0]
        shapes: list[Any] = [{} if isinstance(x, Tensor) else None for x in leaves]
        for call in self._calls:
            for x, y, shape in zip(leaves, tree_flatten(call)[0], shapes, strict=True):
                if isinstance(x, Tensor):
                    differ = (d for d in range(x.dim()) if x.shape[d] != y.shape[d])
                    shape.update(dict.fromkeys(differ, Dim.DYNAMIC))
        return shapes


def open_sizes(leaves: list[Any], given: list[Any]) -> dict[tuple[int, int], Dim]:
    """Which dim of which leaf is open.

    given: for each leaf None, a dict by dim, or a sequence; of `Dim`, hints, None.
    """
    found: dict[tuple[int, int], Dim] = {}
    for i, (leaf, shape) in enumerate(zip(leaves, given, strict=True)):
        if shape is None or not isinstance(leaf, Tensor):
            continue
        named = shape.items() if isinstance(shape, dict) else enumerate(shape)
        for d, size in named:
            if isinstance(size, _Hint) and size.dynamic:
                size = Dim(f"s{len(found)}")
            if isinstance(size, Dim):
                found[i, d % leaf.dim()] = size
    return found
