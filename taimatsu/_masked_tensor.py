"""`MaskedTensor`: a tensor of which a mask tells what is there; public as `taimatsu.masked`."""

from __future__ import annotations

import functools
from typing import Any

import taimatsu as torch
from taimatsu import Tensor, _core

__all__ = ["MaskedTensor", "as_masked_tensor", "is_masked_tensor", "masked_tensor"]

# Of what is there; the mask of a result tells of which rows anything is.
_REDUCTIONS = {"sum", "mean", "prod", "amax", "amin", "argmax", "argmin", "std", "var", "norm"}
_ALONG = {"softmax", "log_softmax"}
# What moves elements moves the mask's too.
_MOVES = {
    "__getitem__", "cat", "clone", "contiguous", "detach", "expand", "expand_as", "flatten",
    "narrow", "permute", "reshape", "select", "split", "squeeze", "stack", "t", "transpose",
    "unbind", "unsqueeze", "view", "view_as",
}  # fmt: skip
_CONVERSIONS = {"to", "float", "double", "half", "bfloat16", "int", "long", "bool", "cpu"}
# About the tensor itself.
_DIRECT = {
    "__get__", "__set__", "as_subclass", "backward", "dim", "is_complex", "is_floating_point",
    "numel", "register_hook", "requires_grad_", "retain_grad", "size", "stride",
}  # fmt: skip

# Of Python's operators, those that have no op's name.
_OPERATORS = {"div", "rdiv", "truediv", "rtruediv", "floordiv", "rfloordiv", "mod", "rmod", "rpow"}


@functools.cache
def _pointwise() -> frozenset[str]:
    """The names of the table's pointwise ops."""
    from taimatsu.ops.table import ENTRIES

    found = [op for op in ENTRIES if op.kind == "pointwise"]
    return frozenset(n for op in found for n in (op.name.partition(".")[0], *op.names)) | _OPERATORS


def _plain(value: Any) -> Any:
    """The data of masked tensors, in lists too."""
    if isinstance(value, MaskedTensor):
        return value.get_data()
    return type(value)(map(_plain, value)) if type(value) in (list, tuple) else value


def _mask(value: Any) -> Any:
    """The masks of masked tensors, in lists too."""
    if isinstance(value, MaskedTensor):
        return value.get_mask()
    return type(value)(map(_mask, value)) if type(value) in (list, tuple) else value


def _common_mask(values: Any) -> Tensor:
    masks = [v.get_mask() for v in values if isinstance(v, MaskedTensor)]
    if any(not torch.equal(m, masks[0]) for m in masks[1:]):
        raise ValueError("Input masks must match: combine tensors that are there in one place")
    return masks[0]


class MaskedTensor(Tensor):
    """A tensor, and a mask of its sizes that is True where an element is there.

    Elementwise functions keep the mask, of operands that have one and the same; reductions skip
    what isn't there; functions that move elements move the mask's too. TypeError for other
    functions: take `get_data` or `to_tensor`.

    >>> from taimatsu.masked import masked_tensor
    >>> masked_tensor(torch.ones(3), torch.tensor([True, False, True])).sum()
    MaskedTensor(  2.0000, True)
    """

    _masked: Tensor

    def __new__(cls, data: Tensor, mask: Tensor, requires_grad: bool = False) -> MaskedTensor:
        for name, given in (("data", data), ("mask", mask)):
            if isinstance(given, MaskedTensor) or not isinstance(given, Tensor):
                raise TypeError(f"{name} must be a Tensor")
        if mask.dtype is not torch.bool:
            raise TypeError("mask must have dtype bool.")
        if data.dim() != mask.dim():
            raise ValueError("data.dim() must equal mask.dim()")
        if data.shape != mask.shape:
            raise ValueError("data.size() must equal mask.size()")
        made = _wrapped(data.detach().clone(), mask)
        return made.requires_grad_() if requires_grad else made

    def get_data(self) -> Tensor:
        """All elements, with those that aren't there."""
        return self.as_subclass(Tensor)

    def get_mask(self) -> Tensor:
        """Which elements are there."""
        return self._masked

    def to_tensor(self, value: float) -> Tensor:
        """The elements, and ``value`` where they aren't there."""
        return self.get_data().masked_fill(~self._masked, value)

    @property
    def grad(self) -> MaskedTensor | None:  # type: ignore[override]
        """The gradient, where the elements are there."""
        found = _grad_of(self)
        return None if found is None else _wrapped(found.as_subclass(Tensor), self._masked)

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        name, kwargs = func.__name__, kwargs or {}
        if name in _DIRECT:
            with _core.DisableTorchFunctionSubclass():
                return func(*args, **kwargs)
        if name in _MOVES:
            moved = func(*_plain(args), **kwargs)
            masks = func(*_mask(args), **kwargs)
            if isinstance(moved, Tensor):
                return _wrapped(moved, masks)
            return tuple(map(_wrapped, moved, masks))
        if name in _ALONG:
            mask = args[0].get_mask()
            result = getattr(torch.masked, name)(*_plain(args), **kwargs, mask=mask)
            return _wrapped(result, mask)
        if name in _CONVERSIONS:
            return _wrapped(func(*_plain(args), **kwargs), args[0].get_mask())
        if name in _REDUCTIONS:
            return _reduced(name, *args, **kwargs)
        inplace = name.endswith("_") and not name.endswith("__")
        base = name.removesuffix("_") if inplace else name.strip("_")
        if base in _pointwise() or base in ("where", "masked_fill"):
            mask = _common_mask([*args, *kwargs.values()])
            result = func(*_plain(args), **{k: _plain(v) for k, v in kwargs.items()})
            return args[0] if inplace else _wrapped(result, mask)
        if name in ("numpy", "tolist", "item"):
            raise RuntimeError(f"{name}: not supported for MaskedTensor; use to_tensor(value)")
        raise TypeError(
            f"no implementation found for '{name}' on types that implement __torch_function__: "
            "[MaskedTensor]; use get_data() or to_tensor(value)"
        )

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        data, mask = self.get_data().detach(), self._masked
        if not data.dim():
            shown = f"  {_number(data.item())}" if mask.item() and data.is_floating_point() else (
                _number(data.item()) if mask.item() else "--"
            )  # fmt: skip
            return f"MaskedTensor({shown}, {bool(mask)})"
        rows = _rows(data.tolist(), mask.tolist(), "  ")
        return f"MaskedTensor(\n{rows}\n)"


_grad_of: Any = vars(Tensor)["grad"].__get__


def _wrapped(data: Tensor, mask: Tensor) -> MaskedTensor:
    made = data.as_subclass(MaskedTensor)
    made._masked = mask
    return made


def _reduced(name: str, input: MaskedTensor, dim: Any = None, *args: Any, **kwargs: Any) -> Any:
    mask = input.get_mask()
    if name == "norm":
        result = torch.masked.norm(input.get_data(), dim or 2.0, *args, mask=mask, **kwargs)
        return _wrapped(result, mask.any() if not result.dim() else mask.any(*args))
    result = getattr(torch.masked, name)(input.get_data(), dim, *args, mask=mask, **kwargs)
    if dim is None:
        return _wrapped(result, mask.any().reshape(result.shape))
    return _wrapped(result, mask.any(dim, kwargs.get("keepdim", bool(args and args[0]))))


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _rows(data: list, mask: list, indent: str) -> str:
    if isinstance(data[0], list) if data else False:
        inner = [_rows(d, m, indent + "  ") for d, m in zip(data, mask, strict=True)]
        return f"{indent}[\n" + ",\n".join(inner) + f"\n{indent}]"
    shown = [
        (_number(d).rjust(8) if isinstance(d, float) else _number(d)) if m else "--".rjust(8)
        for d, m in zip(data, mask, strict=True)
    ]
    return f"{indent}[{', '.join(shown)}]"


def masked_tensor(data: Tensor, mask: Tensor, requires_grad: bool = False) -> MaskedTensor:
    """A `MaskedTensor` of a copy of the data. TypeError, ValueError for a mask that doesn't fit."""
    return MaskedTensor(data, mask, requires_grad)


def as_masked_tensor(data: Tensor, mask: Tensor) -> MaskedTensor:
    """A `MaskedTensor` of the data, through which gradients flow to them."""
    MaskedTensor(data.detach(), mask)  # its checks
    return _wrapped(data, mask)


def is_masked_tensor(obj: Any, /) -> bool:
    """Whether it is a `MaskedTensor`."""
    return isinstance(obj, MaskedTensor)
