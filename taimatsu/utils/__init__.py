"""Utilities around training: data loading, checkpointing, hook handles, a progress bar."""

from __future__ import annotations

from typing import Any

from taimatsu._lazy import submodules

from . import hooks
from .progress import progress

__all__ = ["data", "hooks", "progress", "set_module", "swap_tensors"]

__getattr__ = submodules(__name__)  # `data` too: every module imports `hooks` from here


def set_module(obj: Any, mod: str) -> None:
    """Sets the module that a function or class says it is from."""
    if not isinstance(mod, str):
        raise TypeError("The mod argument should be a string")
    obj.__module__ = mod


def swap_tensors(t1: Any, t2: Any) -> None:
    """Exchanges what two leaf tensors are: data, gradient, class and attributes.

    RuntimeError for tensors with weak references or that aren't leaves.
    """
    import weakref

    import taimatsu as torch

    for t in (t1, t2):
        if weakref.getweakrefs(t):
            raise RuntimeError("Cannot swap a tensor because it has weakref associated with it")
        if not t.is_leaf:
            raise RuntimeError("swap_tensors: tensors must be leaves; detach() them first")
    with torch.no_grad():
        held = [(t.data, t.requires_grad, t.grad, t.__class__, dict(t.__dict__)) for t in (t1, t2)]
        for t, (data, requires_grad, grad, cls, attributes) in zip(
            (t1, t2), reversed(held), strict=True
        ):
            t.requires_grad_(False)
            t.grad = None
            t.data = data
            t.requires_grad_(requires_grad)
            t.grad = grad
            t.__class__ = cls
            t.__dict__.clear()
            t.__dict__.update(attributes)
