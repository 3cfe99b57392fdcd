"""Parametrizations: a parameter that is computed from others by modules.

After ``register_parametrization(m, "weight", P())``, ``m.weight`` is ``P()(original)``, computed on
each access; the parameter itself is ``m.parametrizations.weight.original``. The module's class
becomes a subclass of its own, in which the name is a property.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import taimatsu as torch
from taimatsu import Tensor

from ..containers import ModuleDict, ModuleList
from ..module import Module
from ..parameter import Parameter

__all__ = [
    "ParametrizationList",
    "cached",
    "is_parametrized",
    "register_parametrization",
    "remove_parametrizations",
    "transfer_parametrizations_and_params",
    "type_before_parametrizations",
]

_caching = 0
_cache: dict[tuple[int, str], Any] = {}


@contextmanager
def cached() -> Iterator[None]:
    """Inside, each parametrized tensor is computed once."""
    global _caching
    _caching += 1
    try:
        yield
    finally:
        _caching -= 1
        if not _caching:
            _cache.clear()


def _as_parameter(x: Tensor, like: Tensor) -> Tensor:
    return Parameter(x, like.requires_grad) if isinstance(like, Parameter) else x


class ParametrizationList(ModuleList):
    """The parametrizations of one tensor, in order, and the tensors that it is computed from.

    They are ``original``, or ``original0``, ``original1`` ... where the first one's
    ``right_inverse`` gives several. ValueError if that or the result is no tensor, or of another
    dtype or other sizes (unless ``unsafe``).
    """

    original: Tensor

    def __init__(self, modules: Any, original: Tensor | Parameter, unsafe: bool = False):
        modules = list(modules)
        if not modules:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        shape, dtype = original.shape, original.dtype
        with torch.no_grad():
            new: Any = original
            for module in reversed(self):
                if hasattr(module, "right_inverse"):
                    with suppress(NotImplementedError):
                        new = module.right_inverse(new)
        self.is_tensor = isinstance(new, Tensor)
        if not self.is_tensor and not isinstance(new, (tuple, list)):
            raise ValueError(
                "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). "
                f"Got {type(new).__name__}"
            )
        parts = [new] if self.is_tensor else list(new)
        self.ntensors = len(parts)
        for i, part in enumerate(parts):
            if not isinstance(part, Tensor):
                raise ValueError(f"'right_inverse' must give tensors; got {type(part).__name__}")
            if not unsafe and self.is_tensor and part.dtype != dtype:
                raise ValueError(
                    f"'right_inverse' must keep the dtype {dtype}; got {part.dtype}, or use unsafe"
                )
            name = "original" if self.is_tensor else f"original{i}"
            if self.is_tensor:
                # The parameter keeps its identity, which optimizers know it by.
                with torch.no_grad():
                    if part is not original:
                        original.data = part.detach().clone() if part.is_set_to(original) else part
                part = original
            else:
                part = _as_parameter(part.detach(), original)
            if isinstance(part, Parameter):
                self.register_parameter(name, part)
            else:
                self.register_buffer(name, part)
        if not unsafe:
            result = self()
            if not isinstance(result, Tensor):
                raise ValueError(
                    f"A parametrization must return a tensor. Got {type(result).__name__}."
                )
            if result.dtype != dtype or result.shape != shape:
                raise ValueError(
                    "Registering a parametrization may not change the dtype or the shape of the "
                    f"tensor, unless the `unsafe` flag is enabled: {dtype} {tuple(shape)} became "
                    f"{result.dtype} {tuple(result.shape)}"
                )

    def _originals(self) -> list[Tensor]:
        if self.is_tensor:
            return [self.original]
        return [getattr(self, f"original{i}") for i in range(self.ntensors)]

    def right_inverse(self, value: Tensor) -> None:
        """Sets the originals so that the tensor becomes ``value``.

        RuntimeError if a parametrization has no ``right_inverse``.
        """
        with torch.no_grad():
            new: Any = value
            for module in reversed(self):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(
                        f"parametrization {type(module).__name__} does not implement right_inverse."
                    )
                new = module.right_inverse(new)
            parts = [new] if self.is_tensor else list(new)
            if len(parts) != self.ntensors:
                raise ValueError(
                    f"'right_inverse' must give {self.ntensors} tensors; got {len(parts)}"
                )
            for original, part in zip(self._originals(), parts, strict=True):
                if part.dtype != original.dtype:
                    raise ValueError(
                        f"'right_inverse' must keep the dtype {original.dtype}; got {part.dtype}"
                    )
                original.data = part.detach().clone()

    def forward(self) -> Tensor:
        first, *rest = list(self)
        x = first(*self._originals())
        for module in rest:
            x = module(x)
        return x


def _inject_class(module: Module) -> None:
    """Gives the module a class of its own, whose instances copy and pickle as themselves."""
    cls = type(module)

    def __deepcopy__(self: Any, memo: dict) -> Any:
        if id(self) in memo:
            return memo[id(self)]
        replica = memo[id(self)] = self.__new__(self.__class__)
        replica.__dict__ = copy.deepcopy(self.__dict__, memo)
        return replica

    def __getstate__(self: Any) -> Any:
        raise RuntimeError(
            "Serialization of parametrized modules is only supported through state_dict()."
        )

    body: dict[str, Any] = {"__getstate__": __getstate__, "__module__": cls.__module__}
    if not hasattr(cls, "__deepcopy__"):
        body["__deepcopy__"] = __deepcopy__
    module.__class__ = type(f"Parametrized{cls.__name__}", (cls,), body)


def _inject_property(module: Module, name: str) -> None:
    def get(self: Any) -> Tensor:
        parametrization = self.parametrizations[name]
        if not _caching:
            return parametrization()
        key = (id(self), name)
        if key not in _cache:
            _cache[key] = parametrization()
        return _cache[key]

    def put(self: Any, value: Tensor) -> None:
        self.parametrizations[name].right_inverse(value)

    setattr(module.__class__, name, property(get, put))


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Makes ``module.tensor_name``, a parameter or buffer, what ``parametrization`` computes from
    it; further ones are applied to that. Gives back ``module``.

    A parametrization with a ``right_inverse`` keeps the tensor's value, and makes it assignable.
    ValueError if there is no such tensor, or if its dtype or sizes change and not ``unsafe``.

    >>> m = nn.Linear(2, 2)
    >>> _ = nn.utils.parametrize.register_parametrization(m, "weight", nn.ReLU())
    >>> bool((m.weight >= 0).all())
    True
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        lists: Any = module.parametrizations
        existing = lists[tensor_name]
        if not unsafe:
            x = getattr(module, tensor_name)
            y = parametrization(x)
            if not isinstance(y, Tensor) or y.dtype != x.dtype or y.shape != x.shape:
                raise ValueError(
                    "Registering a parametrization may not change the type, dtype or shape of the "
                    "tensor, unless the `unsafe` flag is enabled"
                )
            if hasattr(parametrization, "right_inverse"):
                try:
                    z = parametrization.right_inverse(x)
                except NotImplementedError:
                    pass
                else:
                    if not isinstance(z, Tensor) or z.dtype != x.dtype or z.shape != x.shape:
                        raise ValueError(
                            "parametrization.right_inverse must give a tensor of the same dtype "
                            "and shape, unless the `unsafe` flag is enabled"
                        )
        existing.append(parametrization)
        existing.unsafe |= unsafe
        return module
    if tensor_name not in module._parameters and tensor_name not in module._buffers:
        raise ValueError(
            f"Module '{type(module).__name__}' does not have a parameter, a buffer, or a "
            f"parametrized element with name '{tensor_name}'"
        )
    listed = ParametrizationList([parametrization], getattr(module, tensor_name), unsafe)
    delattr(module, tensor_name)
    if not is_parametrized(module):
        _inject_class(module)
        module.parametrizations = ModuleDict()
    _inject_property(module, tensor_name)
    lists = module.parametrizations
    lists[tensor_name] = listed
    return module


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether the module has a parametrization, or the tensor of this name has.

    >>> nn.utils.parametrize.is_parametrized(nn.Linear(2, 2))
    False
    """
    lists = module.__dict__.get("_modules", {}).get("parametrizations")
    if not isinstance(lists, ModuleDict):
        return False
    return len(lists) > 0 if tensor_name is None else tensor_name in lists


def remove_parametrizations(
    module: Module, tensor_name: str, leave_parametrized: bool = True
) -> Module:
    """Makes the tensor a plain one again: of its present value, or, with
    ``leave_parametrized=False``, the original. ValueError if it isn't parametrized, or was computed
    from several tensors and shall be the original.

    >>> m = nn.Linear(2, 2)
    >>> _ = nn.utils.parametrize.register_parametrization(m, "weight", nn.ReLU())
    >>> nn.utils.parametrize.remove_parametrizations(m, "weight")
    Linear(in_features=2, out_features=2, bias=True)
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    lists: Any = module.parametrizations
    listed = lists[tensor_name]
    originals = listed._originals()
    if not leave_parametrized and not listed.is_tensor:
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is "
            "parametrized in terms of a sequence of tensors."
        )
    original = originals[0]
    with torch.no_grad():
        value = getattr(module, tensor_name) if leave_parametrized else original
    if listed.is_tensor:
        if leave_parametrized:
            original.data = value.detach().clone()
        kept: Tensor = original
    else:
        kept = _as_parameter(value.detach().clone(), original)
    delattr(module.__class__, tensor_name)
    del lists[tensor_name]
    if isinstance(kept, Parameter):
        module.register_parameter(tensor_name, kept)
    else:
        module.register_buffer(tensor_name, kept)
    if not is_parametrized(module):
        delattr(module, "parametrizations")
        module.__class__ = module.__class__.__bases__[0]
    return module


def type_before_parametrizations(module: Module) -> type:
    """The module's class without what parametrizing made of it."""
    return module.__class__.__bases__[0] if is_parametrized(module) else type(module)


def transfer_parametrizations_and_params(
    from_module: Module, to_module: Module, tensor_name: str | None = None
) -> Module:
    """Gives ``to_module`` the parametrizations of ``from_module``, all or those of one tensor, with
    copies of the originals. Gives back ``to_module``."""
    if not is_parametrized(from_module):
        return to_module
    lists: Any = from_module.parametrizations
    for name in [tensor_name] if tensor_name is not None else list(lists):
        if name not in lists:
            raise ValueError(f"{type(from_module).__name__} has no parametrization of {name!r}")
        if not hasattr(to_module, name):
            setattr(to_module, name, copy.deepcopy(getattr(from_module, name).detach()))
        for parametrization in lists[name]:
            register_parametrization(to_module, name, copy.deepcopy(parametrization), unsafe=True)
        target: Any = to_module.parametrizations
        for mine, theirs in zip(target[name]._originals(), lists[name]._originals(), strict=True):
            mine.data = theirs.detach().clone()
    return to_module
