"""Tensors of a module by name: PyTorch's private names for reaching its parameters and buffers."""

from __future__ import annotations

from taimatsu import Tensor

from ..module import Module

_MISSING: Tensor = object()  # type: ignore[assignment]


def swap_tensor(module: Module, name: str, tensor: Tensor, allow_missing: bool = False) -> Tensor:
    """Puts `tensor` in the place of the parameter, buffer or attribute `name`; gives back that one.

    What is put among parameters or buffers needn't be a Parameter. ``allow_missing``: gives back,
    and takes for `tensor`, what stands for none. AttributeError where there is none; KeyError of a
    name with dots; TypeError of what isn't a tensor.
    """
    if not isinstance(module, Module):
        raise TypeError(f"swap_tensor: needs a Module; got {module}")
    if tensor is not _MISSING and tensor is not None and not isinstance(tensor, Tensor):
        raise TypeError(f"swap_tensor: {name!r} is to be a tensor; got {tensor}")
    if "." in name or not name:
        raise KeyError(f"swap_tensor: needs the name of a tensor of this module; got {name!r}")
    kinds = (module._parameters, module._buffers, vars(module))
    place = next((kind for kind in kinds if name in kind), None)
    if place is None and not allow_missing:
        raise AttributeError(f"swap_tensor: {type(module).__name__} has no attribute {name!r}")
    if place is None:
        place = vars(module)
    before = place.get(name, _MISSING)
    if before is not _MISSING and before is not None and not isinstance(before, Tensor):
        raise TypeError(f"swap_tensor: {name!r} is {before}, which is no tensor")
    if tensor is _MISSING:
        place.pop(name, None)
    else:
        place[name] = tensor
    return before  # type: ignore[return-value]


def set_tensor(module: Module, name: str, tensor: Tensor) -> None:
    """Puts `tensor` in the place of the parameter or buffer `name`, or makes an attribute of it."""
    swap_tensor(module, name, tensor, allow_missing=True)
