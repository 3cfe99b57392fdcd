"""``torch._foreach_*``: an op on each tensor of lists, ``_foreach_add_(params, grads, alpha=-lr)``.

Each name stands for the function or method of that name, called once for each tensor. An argument
that is a list gives each call its own value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import taimatsu
from taimatsu import Tensor

__all__ = ["foreach"]

_OTHERWISE: dict[str, Callable] = {
    "norm": lambda x, ord=2, dtype=None: taimatsu.linalg.vector_norm(x, ord, dtype=dtype),
    "maximum": lambda x, y: x.clamp_min(y),
    "minimum": lambda x, y: x.clamp_max(y),
    "maximum_": lambda x, y: x.clamp_min_(y),
    "minimum_": lambda x, y: x.clamp_max_(y),
    "copy": lambda x, y, non_blocking=False: x.clone().copy_(y),
    "max": lambda x: x.max(),
    "powsum": lambda x, ord=2, dtype=None: x.abs().pow(ord).sum(dtype=dtype),
}

# What the parameter scalar, or scalars, is called by the op, where it isn't the second operand.
_SCALED = {"addcmul": "value", "addcdiv": "value", "lerp": "weight"}


def foreach(name: str) -> Callable | None:
    """The function called ``_foreach_<name>``, or None if there is no op of that name."""
    op = _OTHERWISE.get(name) or getattr(Tensor, name, None)
    if not callable(op):
        return None

    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        if name == "pow" and not isinstance(self, (list, tuple)):  # a number to powers
            return tuple(taimatsu.pow(self, t) for t in args[0])
        tensors = list(self)
        if (factor := next((k for k in ("scalar", "scalars") if k in kwargs), None)) is not None:
            value = kwargs.pop(factor)
            if name.removesuffix("_") in _SCALED:
                kwargs[_SCALED[name.removesuffix("_")]] = value
            else:
                args = (*args, value)
        if not all(isinstance(t, Tensor) for t in tensors):
            raise TypeError(f"_foreach_{name}: expected a list of tensors")
        given = {k: _each(k, v, len(tensors)) for k, v in kwargs.items()}
        lists = [_each(f"argument {i}", a, len(tensors)) for i, a in enumerate(args, 1)]
        results = [
            op(t, *(a[i] for a in lists), **{k: v[i] for k, v in given.items()})
            for i, t in enumerate(tensors)
        ]
        return None if name.endswith("_") else tuple(results)

    def _each(what: str, value: Any, n: int) -> list:
        if not isinstance(value, (list, tuple)):
            return [value] * n
        if len(value) != n:
            raise RuntimeError(
                f"_foreach_{name}: {what} must have as many items as there are tensors; "
                f"got {len(value)} for {n}"
            )
        return list(value)

    run.__name__ = run.__qualname__ = f"_foreach_{name}"
    run.__doc__ = f"`{name}` of each tensor in a list."
    return run
