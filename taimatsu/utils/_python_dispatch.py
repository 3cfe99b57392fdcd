"""`TorchDispatchMode`: sees the ops that functions come down to, rather than the functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from taimatsu import Tensor
from taimatsu._interpreter import Interpreter

__all__ = ["OpCall", "TorchDispatchMode"]


@dataclass(frozen=True)
class OpCall:
    """One form of an op of the table, as a function of its arguments."""

    op: Any
    targets: tuple | None = None

    @property
    def __name__(self) -> str:
        return self.op.name + ("" if self.targets is None else ".out")

    @property
    def _schema(self) -> str:
        return self.op.schema

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        given = self.op.bind(args, kwargs)
        ordered = tuple(given[p.name] for p in self.op.parsed.params)
        return Interpreter().below(self.op, ordered, self.targets)


class TorchDispatchMode(Interpreter):
    """Inside its ``with`` block, sees every op that is carried out; composites fall apart first.

    A subclass defines ``__torch_dispatch__(self, func, types, args, kwargs)`` and returns what the
    op shall give; ``func(*args, **kwargs)`` carries it out. In-place and ``out=`` forms write to
    the tensors that ``func.targets`` names.
    """

    def __torch_dispatch__(
        self, func: OpCall, types: tuple, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        raise NotImplementedError(f"{type(self).__name__}: must define __torch_dispatch__")

    def call(self, op: Any, args: tuple, targets: tuple | None) -> Any:
        if op.kind == "composite":
            return self.descend(op, args, targets)
        params = op.parsed.params
        positional = tuple(a for p, a in zip(params, args, strict=True) if not p.keyword_only)
        named = {
            p.name: a
            for p, a in zip(params, args, strict=True)
            if p.keyword_only and a != p.default
        }
        return self.__torch_dispatch__(OpCall(op, targets), (), positional, named)


def is_traceable_wrapper_subclass(t: Any) -> bool:
    """Whether a tensor is of a class that says of which tensors it is made."""
    return isinstance(t, Tensor) and is_traceable_wrapper_subclass_type(type(t))


def is_traceable_wrapper_subclass_type(t: type) -> bool:
    """Whether a class of tensors says of which tensors one is made."""
    return hasattr(t, "__tensor_flatten__") and hasattr(t, "__tensor_unflatten__")
