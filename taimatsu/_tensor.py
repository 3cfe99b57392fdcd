"""Methods of Tensor that need no speed: printing, copying, pickling, NumPy's and override hooks.

They are put on the native type here, on import. What every program calls often is in C++:
csrc/python and the methods that the op table makes.
"""

from __future__ import annotations

import copy
import math
from typing import Any

from . import _core
from ._core import Tensor
from ._limits import finfo, iinfo

__all__ = ["e", "finfo", "iinfo", "inf", "nan", "newaxis", "pi"]

e, inf, nan, pi = math.e, math.inf, math.nan, math.pi
newaxis = None


def _method(function: Any) -> Any:
    function.__qualname__ = f"Tensor.{function.__name__}"
    setattr(Tensor, function.__name__, function)
    return function


# ---- Text ----------------------------------------------------------------------------------------
@_method
def __repr__(self: Tensor, *, tensor_contents: str | None = None) -> str:
    from ._tensor_str import tensor_str

    return tensor_str(self, tensor_contents=tensor_contents)


@_method
def __format__(self: Tensor, spec: str) -> str:
    if self.dim() == 0 and not self.is_meta and self.__class__ is Tensor:
        return format(self.item(), spec)
    return object.__format__(self, spec)


# ---- Copies --------------------------------------------------------------------------------------
@_method
def __deepcopy__(self: Tensor, memo: dict[int, Any]) -> Tensor:
    """A copy of the memory; tensors that share memory share their copy's. RuntimeError if not leaf."""
    if not self.is_leaf:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy "
            "protocol at the moment; detach() or clone() this one first"
        )
    if id(self) in memo:
        return memo[id(self)]
    if self.is_meta:
        fresh = self.detach().clone()
    else:
        storage = copy.deepcopy(self.untyped_storage(), memo)
        fresh = _core.tensor_from_storage(
            storage, self.dtype, self.storage_offset(), self.size(), self.stride()
        )
    if self.__class__ is not Tensor:
        fresh = fresh.as_subclass(self.__class__)
    memo[id(self)] = fresh  # before the attributes, which may lead back here
    if self.grad is not None:
        fresh.grad = copy.deepcopy(self.grad, memo)
    fresh.requires_grad = self.requires_grad
    for name, value in self.__dict__.items():
        setattr(fresh, name, copy.deepcopy(value, memo))
    return fresh


@_method
def __reduce_ex__(self: Tensor, protocol: int) -> tuple:
    from ._utils import reduce_tensor

    return reduce_tensor(self, protocol)


# ---- Sequence ------------------------------------------------------------------------------------
@_method
def __reversed__(self: Tensor) -> Tensor:
    """The tensor with its first dim flipped, as ``reversed`` of it iterates."""
    return self if self.dim() == 0 else self.flip(0)


@_method
def __dir__(self: Tensor) -> list[str]:
    return sorted({*dir(self.__class__), *self.__dict__})


# ---- Types ---------------------------------------------------------------------------------------
@_method
def type(self: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:  # noqa: A001
    """The old name of the type ("torch.FloatTensor"), or the tensor converted to `dtype`.

    ``dtype`` is a torch.dtype or such a name. ValueError if it is an unknown name.
    """
    if dtype is None:
        place = "" if self.is_cpu else f"{self.device.type}."
        return f"torch.{place}{self.dtype._legacy_name}Tensor"
    if isinstance(dtype, str):
        for known in _DTYPES:
            if dtype == f"torch.{known._legacy_name}Tensor":
                return self.to(known, non_blocking=non_blocking)
        raise ValueError(f"invalid type: {dtype!r}")
    return self.to(dtype, non_blocking=non_blocking)


_DTYPES = {d for d in vars(_core).values() if isinstance(d, _core.dtype)}


@_method
def is_shared(self: Tensor) -> bool:
    """Whether other processes see the memory."""
    return self.untyped_storage().is_shared()


@_method
def is_pinned(self: Tensor) -> bool:
    """Whether a GPU can read the memory directly; memory of the CPU's allocator is not pinned."""
    return False


# ---- NumPy ---------------------------------------------------------------------------------------
@_method
def __array_wrap__(
    self: Tensor, array: Any, context: Any = None, return_scalar: bool = False
) -> Tensor:
    """What NumPy's functions of a tensor return: a tensor again, masks as uint8 like PyTorch's."""
    return _core.from_numpy(array.astype("uint8") if array.dtype == bool else array)


# ---- Overrides -----------------------------------------------------------------------------------
def _as_class(result: Any, cls: Any) -> Any:
    if isinstance(result, Tensor):
        return result if isinstance(result, cls) else result.as_subclass(cls)
    if isinstance(result, (tuple, list)):
        items = [_as_class(r, cls) for r in result]
        # Named tuples take their fields one by one; structseqs, which the core returns, all at once.
        return result.__class__(*items) if hasattr(result, "_fields") else result.__class__(items)
    return result


def __torch_function__(
    cls: Any, func: Any, types: tuple, args: tuple = (), kwargs: dict | None = None
) -> Any:
    """Runs ``func`` on plain tensors; what it returns becomes ``cls`` again.

    Subclasses override this to see the calls of ops on their instances, and call
    ``super().__torch_function__`` to carry them out.
    """
    if not all(issubclass(cls, t) for t in types):
        return NotImplemented
    with _core.DisableTorchFunctionSubclass():
        result = func(*args, **(kwargs or {}))
    return result if cls is Tensor else _as_class(result, cls)


Tensor.__torch_function__ = classmethod(__torch_function__)
