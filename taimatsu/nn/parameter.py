"""Tensors that a Module registers on assignment: parameters, and buffers."""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import Any

import taimatsu as torch
from taimatsu import Tensor

__all__ = [
    "Buffer",
    "Parameter",
    "UninitializedBuffer",
    "UninitializedParameter",
    "UninitializedTensorMixin",
    "is_lazy",
]


class _ParameterMeta(type(Tensor)):
    """``isinstance`` by mark: a Tensor subclass stays what it is and counts as a parameter too."""

    def __instancecheck__(cls, instance: object) -> bool:
        if super().__instancecheck__(instance):
            return True
        mark = cls.__dict__.get("_mark")  # of Parameter and Buffer themselves, not of subclasses
        return mark is not None and isinstance(instance, Tensor) and getattr(instance, mark, False)


class Parameter(Tensor, metaclass=_ParameterMeta):
    """A tensor that is a module's parameter: assigned to a module's attribute, it is registered.

    ``data`` may be any tensor; memory is shared with it. ``requires_grad`` defaults to True.
    Raises RuntimeError when an integer tensor is to require grad.

    >>> layer = nn.Module()
    >>> layer.scale = nn.Parameter(torch.ones(3))
    >>> [name for name, _ in layer.named_parameters()]
    ['scale']
    """

    _mark = "_is_param"
    # What ops make of a parameter is a plain tensor, at a plain tensor's speed.
    __torch_function__ = torch._core._disabled_torch_function_impl

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True) -> Parameter:
        if data is None:
            data = torch.empty(0)
        if type(data) is Tensor or type(data) is Parameter:
            return Tensor._make_subclass(cls, data, requires_grad)
        # A custom subclass keeps its own type, marked as a parameter.
        param = data.detach().requires_grad_(requires_grad)
        if type(param) is not type(data):
            raise RuntimeError(
                f"Parameter: detach() of a subclass must keep the type; it gave "
                f"{type(param).__name__} for {type(data).__name__}; override detach()"
            )
        param._is_param = True
        return param

    def __deepcopy__(self, memo: dict) -> Parameter:
        if id(self) not in memo:
            data = self.detach().clone(memory_format=torch.preserve_format)
            memo[id(self)] = type(self)(data, self.requires_grad)
        return memo[id(self)]

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()

    def __reduce_ex__(self, protocol: int) -> tuple:
        from taimatsu import _utils

        fields = (self.detach(), self.requires_grad, OrderedDict())
        if state := _utils.attributes(self):
            return _utils._rebuild_parameter_with_state, (*fields, state)
        return _utils._rebuild_parameter, fields


torch._core._set_parameter_type(Parameter)  # ops take its instances for plain tensors
if "taimatsu.multiprocessing.reductions" in sys.modules:  # it learns of them, and imports nothing
    torch.multiprocessing.init_reductions()


class Buffer(Tensor, metaclass=_ParameterMeta):
    """A tensor that is a module's buffer: state that is not trained.

    ``persistent=False`` keeps it out of ``state_dict``. The result is ``data`` itself in a new
    tensor object of the same type; only ``isinstance`` tells it apart.

    >>> m = nn.Module()
    >>> m.mean = nn.Buffer(torch.zeros(1))
    >>> list(m.state_dict())
    ['mean']
    """

    _mark = "_is_buffer"

    def __new__(cls, data: Tensor | None = None, *, persistent: bool = True) -> Tensor:
        if data is None:
            data = torch.empty(0)
        buffer = data.detach().requires_grad_(data.requires_grad)
        buffer.persistent = persistent
        buffer._is_buffer = True
        return buffer


class UninitializedTensorMixin:
    """A tensor whose shape a lazy module learns from its first input."""


    def materialize(self, shape, device=None, dtype=None) -> None:
        """Allocate memory of ``shape``, and become the initialised class."""
        data = self.data
        self.data = torch.empty(shape, device=device or data.device, dtype=dtype or data.dtype)
        self.__class__ = self.cls_to_become

    @property
    def shape(self):
        raise RuntimeError(
            f"{type(self).__name__}: has no shape before the first forward; run the module once "
            "on an example, or call materialize(shape)"
        )

    def share_memory_(self):
        raise RuntimeError(
            f"{type(self).__name__}: has no memory to share; materialise the module first"
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __reduce_ex__(self, protocol: int) -> tuple:
        return type(self), (self.requires_grad,)


def is_lazy(param: object) -> bool:
    """Whether ``param`` waits for its shape."""
    return isinstance(param, UninitializedTensorMixin)


class UninitializedParameter(UninitializedTensorMixin, Parameter):
    """A parameter of a lazy module, before the first call.

    >>> nn.LazyLinear(2).weight
    <UninitializedParameter>
    """

    _mark = None
    cls_to_become = Parameter

    def __new__(cls, requires_grad: bool = True, device: Any = None, dtype: Any = None):
        data = torch.empty(0, device=device, dtype=dtype)
        return Tensor._make_subclass(cls, data, requires_grad)

    def __deepcopy__(self, memo: dict) -> UninitializedParameter:
        if id(self) not in memo:
            data = self.data
            memo[id(self)] = type(self)(self.requires_grad, data.device, data.dtype)
        return memo[id(self)]


class UninitializedBuffer(UninitializedTensorMixin, Tensor):
    """A buffer of a lazy module, before the first call.

    >>> nn.LazyBatchNorm1d().running_mean
    <UninitializedBuffer>
    """

    cls_to_become = Tensor

    def __new__(cls, requires_grad=False, device=None, dtype=None, persistent: bool = True):
        data = torch.empty(0, device=device, dtype=dtype)
        buffer = Tensor._make_subclass(cls, data, requires_grad)
        buffer.persistent = persistent
        buffer._is_buffer = True
        return buffer


def factory_kwargs(kwargs: dict[str, Any] | None) -> dict[str, Any]:
    """The keywords of factories (device, dtype, memory_format) that a layer was given.

    Those in ``kwargs["factory_kwargs"]`` too, for a layer whose own keyword has such a name.
    TypeError for other keywords, and for one that is given twice.

    >>> nn.factory_kwargs({"dtype": torch.float64, "factory_kwargs": {"device": "cpu"}})
    {'device': 'cpu', 'dtype': torch.float64}
    """
    given = dict(kwargs or {})
    found = dict(given.pop("factory_kwargs", {}))
    for name, value in given.items():
        if name not in ("device", "dtype", "memory_format"):
            raise TypeError(f"unexpected kwargs {given.keys()}")
        if name in found:
            raise TypeError(f"{name} specified twice, in **kwargs and in factory_kwargs")
        found[name] = value
    return found
