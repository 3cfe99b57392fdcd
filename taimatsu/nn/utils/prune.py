"""Pruning: parameters with a mask of zeros, chosen by size, at random, or given.

Pruning ``weight`` moves the parameter to ``weight_orig``, keeps the mask as the buffer
``weight_mask``, and computes their product before each call. `remove` makes it permanent.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import taimatsu as torch
from taimatsu import Tensor

from ..module import Module

__all__ = [
    "BasePruningMethod",
    "CustomFromMask",
    "Identity",
    "L1Unstructured",
    "LnStructured",
    "PruningContainer",
    "RandomStructured",
    "RandomUnstructured",
    "custom_from_mask",
    "global_unstructured",
    "identity",
    "is_pruned",
    "l1_unstructured",
    "ln_structured",
    "random_structured",
    "random_unstructured",
    "remove",
]


class BasePruningMethod(ABC):
    """A hook that masks a parameter. A subclass defines `compute_mask` and ``PRUNING_TYPE``:
    "unstructured", "structured" (whole channels along ``dim``) or "global"."""

    _tensor_name: str
    PRUNING_TYPE = "unstructured"

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self._tensor_name, self.apply_mask(module))

    @abstractmethod
    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask, of the sizes of `t`: what is zero there, or in `default_mask`, is pruned."""

    def apply_mask(self, module: Module) -> Tensor:
        """The original times its mask."""
        mask = getattr(module, f"{self._tensor_name}_mask")
        original = getattr(module, f"{self._tensor_name}_orig")
        return mask.to(dtype=original.dtype) * original

    @classmethod
    def apply(
        cls, module: Module, name: str, *args: Any, importance_scores: Tensor | None = None,
        **kwargs: Any,
    ) -> BasePruningMethod:  # fmt: skip
        """Prunes the parameter `name`; where it is pruned already, what is left of it.

        ``importance_scores``: by which to choose, instead of the parameter's elements.
        """
        method: Any = cls(*args, **kwargs)
        method._tensor_name = name
        found = _hook(module, name)
        parameter: Any = getattr(module, name)
        if importance_scores is None:
            scores = parameter
        elif importance_scores.shape == parameter.shape:
            scores = importance_scores
        else:
            raise AssertionError(
                f"importance_scores should have the same shape as parameter {name} of {module}"
            )
        if found is not None:
            key, before = found
            container = PruningContainer(before)
            container.add_pruning_method(method)
            method = container
            default = getattr(module, f"{name}_mask").detach().clone()
            del module._forward_pre_hooks[key]
        else:
            default = torch.ones_like(parameter.detach())
        mask = method.compute_mask(scores.detach(), default_mask=default)
        if found is None:
            original = module._parameters.pop(name)
            module.register_parameter(f"{name}_orig", original)
            module.register_buffer(f"{name}_mask", mask)
        else:
            setattr(module, f"{name}_mask", mask)
        setattr(module, name, method.apply_mask(module))
        module.register_forward_pre_hook(method)
        return method

    def prune(
        self, t: Tensor, default_mask: Tensor | None = None,
        importance_scores: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """A pruned copy of `t`, which is no module's."""
        scores = t if importance_scores is None else importance_scores
        if scores.shape != t.shape:
            raise AssertionError("importance_scores should have the same shape as tensor t")
        default = torch.ones_like(t) if default_mask is None else default_mask
        return t * self.compute_mask(scores, default_mask=default)

    def remove(self, module: Module) -> None:
        """Makes the pruning permanent: a plain parameter again, with zeros."""
        name = self._tensor_name
        pruned = self.apply_mask(module).detach()
        original: Any = module._parameters.pop(f"{name}_orig")
        original.data = pruned
        del module._buffers[f"{name}_mask"]
        delattr(module, name)
        module.register_parameter(name, original)


def _hook(module: Module, name: str) -> tuple[int, BasePruningMethod] | None:
    for key, hook in module._forward_pre_hooks.items():
        if isinstance(hook, BasePruningMethod) and hook._tensor_name == name:
            return key, hook
    return None


class PruningContainer(BasePruningMethod):
    """Pruning methods of one parameter, one after the other on what is left."""

    def __init__(self, *args: Any):
        self._pruning_methods: tuple[BasePruningMethod, ...] = ()
        methods = args[0] if len(args) == 1 and isinstance(args[0], Iterable) else args
        for method in methods:
            if not hasattr(self, "_tensor_name"):
                self._tensor_name = method._tensor_name
            self.add_pruning_method(method)

    def add_pruning_method(self, method: BasePruningMethod) -> None:
        """Appends a method, or those of a container. TypeError for anything else, ValueError if it
        is of another parameter."""
        if isinstance(method, PruningContainer):
            for each in method:
                self.add_pruning_method(each)
            return
        if not isinstance(method, BasePruningMethod):
            raise TypeError(f"{type(method)} is not a BasePruningMethod subclass")
        if method._tensor_name != self._tensor_name:
            raise ValueError(
                "Can only add pruning methods acting on the parameter named "
                f"'{self._tensor_name}' to PruningContainer {self}. Found '{method._tensor_name}'"
            )
        self._pruning_methods += (method,)

    def __len__(self) -> int:
        return len(self._pruning_methods)

    def __iter__(self) -> Any:
        return iter(self._pruning_methods)

    def __getitem__(self, i: int) -> BasePruningMethod:
        return self._pruning_methods[i]

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """What the last method leaves of what the mask does."""
        method: Any = self._pruning_methods[-1]
        mask = default_mask.to(t.dtype)
        if method.PRUNING_TYPE == "unstructured":
            where: Any = mask == 1
        elif method.PRUNING_TYPE == "structured":
            dim = method.dim % t.dim()
            kept = mask.movedim(dim, 0).flatten(1).sum(1) != 0
            where = (slice(None),) * dim + (kept,)
        elif method.PRUNING_TYPE == "global":
            where = (slice(None),) * t.dim()
        else:
            raise ValueError(f"Unrecognized PRUNING_TYPE {method.PRUNING_TYPE}")
        mask = mask.clone()
        mask[where] = method.compute_mask(t[where], default_mask=mask[where]).to(mask.dtype)
        return mask


# ---- how much -----------------------------------------------------------------------------------


def _check_amount(amount: Any) -> None:
    if isinstance(amount, bool) or not isinstance(amount, (int, float)):
        raise TypeError(f"Invalid type for amount: {amount}. Must be int or float.")
    if amount < 0 or (isinstance(amount, float) and amount > 1):
        raise ValueError(
            f"amount={amount} should either be a float in the range [0, 1] or a non-negative "
            "integer"
        )


def _count(amount: float, size: int) -> int:
    """How many of `size`: a fraction rounded, or the number itself."""
    if isinstance(amount, float):
        return round(amount * size)
    if amount > size:
        raise ValueError(
            f"amount={amount} should be smaller than the number of parameters to prune={size}"
        )
    return amount


def _channels(t: Tensor, dim: int, name: str) -> int:
    if t.dim() <= 1:
        raise ValueError(
            f"{name}: structured pruning can only be applied to multidimensional tensors. Found "
            f"tensor of shape {tuple(t.shape)}"
        )
    if not -t.dim() <= dim < t.dim():
        raise IndexError(f"Invalid index {dim} for tensor of size {tuple(t.shape)}")
    return t.size(dim)


def _without(default_mask: Tensor, dim: int, pruned: Tensor) -> Tensor:
    """The mask with channels zeroed."""
    return default_mask.index_fill(dim, pruned, 0)


# ---- the methods --------------------------------------------------------------------------------


class Identity(BasePruningMethod):
    """Prunes nothing."""

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        return default_mask


class _Unstructured(BasePruningMethod):
    def __init__(self, amount: float):
        _check_amount(amount)
        self.amount = amount

    def _chosen(self, t: Tensor, n: int) -> Tensor:
        raise NotImplementedError

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        n = _count(self.amount, t.numel())
        mask = default_mask.clone(memory_format=torch.contiguous_format)
        if n:
            mask.view(-1)[self._chosen(t.reshape(-1), n)] = 0
        return mask


class RandomUnstructured(_Unstructured):
    """Prunes elements at random: ``amount`` of them, or that fraction."""

    def _chosen(self, t: Tensor, n: int) -> Tensor:
        return torch.rand_like(t).topk(n).indices


class L1Unstructured(_Unstructured):
    """Prunes the elements of least absolute value: ``amount`` of them, or that fraction."""

    def _chosen(self, t: Tensor, n: int) -> Tensor:
        return t.abs().topk(n, largest=False).indices


class RandomStructured(BasePruningMethod):
    """Prunes channels along ``dim`` at random."""

    PRUNING_TYPE = "structured"

    def __init__(self, amount: float, dim: int = -1):
        _check_amount(amount)
        self.amount, self.dim = amount, dim

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        channels = _channels(t, self.dim, "RandomStructured")
        n = _count(self.amount, channels)
        return _without(default_mask, self.dim, torch.randperm(channels)[:n])


class LnStructured(BasePruningMethod):
    """Prunes the channels along ``dim`` of least ``n``-norm."""

    PRUNING_TYPE = "structured"

    def __init__(self, amount: float, n: Any, dim: int = -1):
        _check_amount(amount)
        self.amount, self.n, self.dim = amount, n, dim

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        count = _count(self.amount, _channels(t, self.dim, "LnStructured"))
        if count == 0:
            return default_mask
        rows = t.movedim(self.dim, 0).flatten(1)
        norms = torch.linalg.vector_norm(rows, 2 if self.n == "fro" else float(self.n), dim=1)
        return _without(default_mask, self.dim, norms.topk(count, largest=False).indices)


class CustomFromMask(BasePruningMethod):
    """Prunes by a given mask."""

    PRUNING_TYPE = "global"

    def __init__(self, mask: Tensor):
        self.mask = mask

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        if default_mask.shape != self.mask.shape:
            raise AssertionError("mask and default_mask must have the same shape")
        return default_mask * self.mask.to(dtype=default_mask.dtype)


# ---- as functions -------------------------------------------------------------------------------


def identity(module: Any, name: str) -> Any:
    """Gives the parameter a mask of ones; gives back the module."""
    Identity.apply(module, name)
    return module


def random_unstructured(module: Any, name: str, amount: float) -> Any:
    """Prunes elements at random; gives back the module.

    >>> m = nn.utils.prune.random_unstructured(nn.Linear(4, 3), "weight", amount=5)
    >>> (m.weight == 0).sum()
    tensor(5)
    """
    RandomUnstructured.apply(module, name, amount)
    return module


def l1_unstructured(
    module: Any, name: str, amount: float, importance_scores: Tensor | None = None
) -> Any:
    """Prunes the elements of least absolute value; gives back the module.

    >>> m = torch.nn.utils.prune.l1_unstructured(torch.nn.Linear(2, 3), "weight", amount=4)
    >>> int(m.weight_mask.sum())
    2
    """
    L1Unstructured.apply(module, name, amount, importance_scores=importance_scores)
    return module


def random_structured(module: Any, name: str, amount: float, dim: int) -> Any:
    """Prunes channels along ``dim`` at random; gives back the module.

    >>> m = nn.utils.prune.random_structured(nn.Linear(4, 3), "weight", amount=1, dim=0)
    >>> m.weight_mask.sum()
    tensor(8.)
    """
    RandomStructured.apply(module, name, amount, dim)
    return module


def ln_structured(
    module: Any, name: str, amount: float, n: Any, dim: int,
    importance_scores: Tensor | None = None,
) -> Any:  # fmt: skip
    """Prunes the channels along ``dim`` of least ``n``-norm; gives back the module.

    >>> m = nn.utils.prune.ln_structured(nn.Linear(4, 3), "weight", amount=1, n=2, dim=0)
    >>> m.weight_mask.sum()
    tensor(8.)
    """
    LnStructured.apply(module, name, amount, n, dim, importance_scores=importance_scores)
    return module


def custom_from_mask(module: Any, name: str, mask: Tensor) -> Any:
    """Prunes by a mask; gives back the module.

    >>> m = nn.utils.prune.custom_from_mask(nn.Linear(2, 1), "weight", torch.tensor([[1, 0]]))
    >>> m.weight[0, 1] == 0
    tensor(True)
    """
    CustomFromMask.apply(module, name, mask)
    return module


def global_unstructured(
    parameters: Iterable[tuple[Module, str]], pruning_method: Any,
    importance_scores: dict[tuple[Module, str], Tensor] | None = None, **kwargs: Any,
) -> None:  # fmt: skip
    """Prunes several parameters, given as (module, name), as if they were one.

    TypeError for a method that isn't unstructured.

    >>> nn.utils.prune.global_unstructured([(model[0], "weight"), (model[2], "weight")],
    ...     nn.utils.prune.L1Unstructured, amount=10)
    >>> sum((m.weight == 0).sum() for m in (model[0], model[2]))
    tensor(10)
    """
    places = list(parameters)
    scores = importance_scores or {}
    flat = torch.cat([scores.get(p, getattr(*p)).detach().reshape(-1) for p in places])
    masks = [
        getattr(module, f"{name}_mask", torch.ones_like(getattr(module, name).detach()))
        for module, name in places
    ]
    container = PruningContainer()
    container._tensor_name = "temp"
    method = pruning_method(**kwargs)
    method._tensor_name = "temp"
    if method.PRUNING_TYPE != "unstructured":
        raise TypeError(
            "Only 'unstructured' PRUNING_TYPE supported for the `pruning_method`. Found method "
            f"{pruning_method} of type {method.PRUNING_TYPE}"
        )
    container.add_pruning_method(method)
    joint = container.compute_mask(flat, torch.cat([m.reshape(-1) for m in masks]))
    start = 0
    for (module, name), mask in zip(places, masks, strict=True):
        end = start + mask.numel()
        custom_from_mask(module, name, joint[start:end].reshape(mask.shape))
        start = end


def remove(module: Any, name: str) -> Any:
    """Makes the pruning of a parameter permanent; gives back the module. ValueError if there is
    none."""
    found = _hook(module, name)
    if found is None:
        raise ValueError(
            f"Parameter '{name}' of module {module} has to be pruned before pruning can be removed"
        )
    found[1].remove(module)
    del module._forward_pre_hooks[found[0]]
    return module


def is_pruned(module: Module) -> bool:
    """Whether a parameter of the module, or of one inside of it, is pruned.

    >>> nn.utils.prune.is_pruned(nn.utils.prune.identity(nn.Linear(2, 2), "weight"))
    True
    """
    return any(
        isinstance(hook, BasePruningMethod)
        for part in module.modules()
        for hook in part._forward_pre_hooks.values()
    )
