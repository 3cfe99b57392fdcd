"""Modules whose calls are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taimatsu import _core
from taimatsu.nn import Module

__all__ = ["OptimizedModule"]


class OptimizedModule(Module):
    """What `compile` makes of a module, which it has as ``_orig_mod``; else it is like that one.

    >>> model = torch.compile(torch.nn.Linear(2, 3))
    >>> model(torch.ones(4, 2)).shape, model.out_features
    (torch.Size([4, 3]), 3)
    """

    _orig_mod: Module

    def __init__(
        self, module: Module, run: Callable | None = None, dynamo_ctx: Callable | None = None,
        graphs: bool = False,
    ):  # fmt: skip
        """`run` makes the calls; without it they are put off, with `graphs` to be CUDA graphs.
        `dynamo_ctx` compiles in the same way."""
        super().__init__()
        self._orig_mod = module
        self._run = None if run is module else run
        self._as_it_is = run is module
        self._graphs = graphs
        self.dynamo_ctx = dynamo_ctx
        self.training = module.training

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if self._as_it_is:
            return self._orig_mod(*args, **kwargs)
        if self._run is not None:
            return self._run(*args, **kwargs)
        return _core._deferred(self._orig_mod, args, kwargs, self._graphs)

    def __getattr__(self, name: str) -> Any:
        if name == "_orig_mod":
            return super().__getattr__(name)
        return getattr(self._orig_mod, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self._orig_mod)})
