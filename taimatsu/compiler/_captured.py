"""Functions that a backend of the user's compiles: it is given graphs of `taimatsu.fx.capture`."""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable
from typing import Any

import taimatsu as torch
from taimatsu.fx.capture import ValueRead, capture
from taimatsu.nn import Module
from taimatsu.utils import _pytree as pytree

__all__ = ["Captured"]

_CONSTANTS = (type(None), bool, int, float, complex, str, bytes, type, enum.Enum, torch.dtype,
              torch.device, torch.Generator)  # fmt: skip


class Captured:
    """A function in the hands of a backend, which gets a graph, and the tensors that are its
    arguments, for each kind of call: structure, numbers and texts, sizes, strides, dtypes and
    devices of tensors, modes, parameters. It returns a function of these tensors.

    What can't be a graph runs as it is: calls that look at elements, and arguments that aren't
    tensors, constants, or containers of them.
    """

    def __init__(self, function: Callable, backend: Callable, fullgraph: bool):
        functools.update_wrapper(self, function)
        self.function, self.backend, self.fullgraph = function, backend, fullgraph
        self.made: dict[Any, tuple[Callable, pytree.TreeSpec] | None] = {}
        self.kept: list[Any] = []  # what keys name by id

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        leaves, spec = pytree.tree_flatten((args, kwargs))
        key = (repr(spec), *map(_kind, leaves), *_surroundings(self.function))
        if key not in self.made:
            strange = [x for x in leaves if not isinstance(x, (torch.Tensor, *_CONSTANTS))]
            self.kept += (*_closed_over(self.function), *strange)
            self.made[key] = self._make(args, kwargs, leaves, strange)
        made = self.made[key]
        if made is None:
            return self.function(*args, **kwargs)
        compiled, result = made
        return pytree.tree_unflatten(list(compiled(*_tensors(leaves))), result)

    def __get__(self, owner: Any, cls: Any = None) -> Any:
        return self if owner is None else functools.partial(self, owner)

    def _make(
        self, args: tuple, kwargs: dict[str, Any], leaves: list, strange: list
    ) -> tuple[Callable, pytree.TreeSpec] | None:
        from taimatsu._dynamo import exc

        try:
            if strange:
                raise ValueRead(
                    "compile: a graph takes tensors, constants, and containers of them; got "
                    f"{type(strange[0]).__name__}"
                )
            module, result = capture(self.function, args, kwargs)
        except ValueRead as error:
            if self.fullgraph:
                raise exc.Unsupported(str(error)) from error
            return None
        try:
            return self.backend(module, _tensors(leaves)), result
        except Exception as error:
            given = getattr(self.backend, "func", self.backend)
            name = getattr(given, "__name__", type(given).__name__)
            raise exc.BackendCompilerFailed(
                f"backend={name!r} raised:\n{type(error).__name__}: {error}"
            ) from error


def _tensors(leaves: list) -> list:
    return [x for x in leaves if isinstance(x, torch.Tensor)]


def _kind(leaf: Any) -> Any:
    """What a graph depends on of an argument."""
    if isinstance(leaf, torch.Tensor):
        return (type(leaf), leaf.dtype, leaf.shape, leaf.stride(), leaf.device, leaf.requires_grad)
    return type(leaf), leaf if isinstance(leaf, _CONSTANTS) else id(leaf)


def _surroundings(function: Any) -> tuple:
    """What else it depends on."""
    modes = (torch.is_grad_enabled(), torch.is_inference_mode_enabled(),
             torch.is_autocast_enabled())  # fmt: skip
    if isinstance(function, Module):
        state = (*function.parameters(), *function.buffers())
        return (*modes, *((id(t), t.requires_grad) for t in state),
                *(m.training for m in function.modules()))  # fmt: skip
    return (*modes, *map(id, _closed_over(function)))


def _closed_over(function: Any) -> list[Any]:
    """The contents of a function's cells; an empty one stands for itself."""
    found = []
    for cell in getattr(function, "__closure__", None) or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:
            found.append(cell)
    return found
