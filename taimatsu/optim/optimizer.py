"""``Optimizer``: parameter groups, state, hooks; the update rules are in `taimatsu.ops.optim`."""

from __future__ import annotations

import copy
import functools
import math
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from itertools import chain
from typing import TYPE_CHECKING, Any

import taimatsu as torch
from taimatsu import Tensor
from taimatsu.utils.hooks import RemovableHandle

__all__ = [
    "Optimizer",
    "register_optimizer_step_post_hook",
    "register_optimizer_step_pre_hook",
]


class _Required:
    """The default of an option that every parameter group must give."""

    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()

_step_pre_hooks_everywhere: OrderedDict[int, Callable] = OrderedDict()
_step_post_hooks_everywhere: OrderedDict[int, Callable] = OrderedDict()


def _add(hooks: OrderedDict, hook: Callable, prepend: bool = False) -> RemovableHandle:
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


def register_optimizer_step_pre_hook(hook: Callable) -> RemovableHandle:
    """Call ``hook(optimizer, args, kwargs)`` before every step of every optimizer."""
    return _add(_step_pre_hooks_everywhere, hook)


def register_optimizer_step_post_hook(hook: Callable) -> RemovableHandle:
    """Call ``hook(optimizer, args, kwargs)`` after every step of every optimizer."""
    return _add(_step_post_hooks_everywhere, hook)


def _with_hooks(step: Callable) -> Callable:
    """``step`` with the hooks around it. A hook before it may replace the arguments."""

    @functools.wraps(step)
    def hooked_step(self, *args, **kwargs):
        if "_optimizer_step_pre_hooks" not in self.__dict__:
            return step(self, *args, **kwargs)  # it stands for another, and has no groups itself
        for hook in chain(
            _step_pre_hooks_everywhere.values(), self._optimizer_step_pre_hooks.values()
        ):
            result = hook(self, args, kwargs)
            if result is None:
                continue
            if not (isinstance(result, tuple) and len(result) == 2):
                raise RuntimeError(
                    f"{type(self).__name__}.step: a pre-hook must return None or (args, kwargs); "
                    f"got {result}"
                )
            args, kwargs = result
        out = step(self, *args, **kwargs)
        for hook in chain(
            self._optimizer_step_post_hooks.values(), _step_post_hooks_everywhere.values()
        ):
            hook(self, args, kwargs)
        return out

    return hooked_step


class Optimizer:
    """Base class of all optimizers.

    ``params``: tensors, or (name, tensor) pairs, or dicts with "params" and options of the group.
    ``defaults``: the options of groups that don't give their own. A subclass defines ``step``.
    """

    _HOOKS = (
        "_optimizer_step_pre_hooks",
        "_optimizer_step_post_hooks",
        "_optimizer_state_dict_pre_hooks",
        "_optimizer_state_dict_post_hooks",
        "_optimizer_load_state_dict_pre_hooks",
        "_optimizer_load_state_dict_post_hooks",
    )

    OptimizerPreHook = Callable[[Any, tuple, dict], Any]
    OptimizerPostHook = Callable[[Any, tuple, dict], None]
    profile_hook_step = staticmethod(_with_hooks)  # what `step` of every subclass becomes

    if TYPE_CHECKING:  # the dicts of hooks, and what schedulers put here

        def __getattr__(self, name: str) -> Any: ...

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "step" in cls.__dict__:
            cls.step = _with_hooks(cls.step)  # type: ignore[method-assign]

    def __init__(self, params: Any, defaults: dict[str, Any]):
        self.defaults = defaults
        for name in self._HOOKS:
            setattr(self, name, OrderedDict())
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or "
                f"dicts, but got {params.type()}"
            )
        self.state: defaultdict[Tensor, Any] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters; ``closure`` recomputes the loss, which is what step gives."""
        raise NotImplementedError(f"{type(self).__name__}: must define step()")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Reset the gradients: to None, or to zeros in place."""
        for group in self.param_groups:
            for param in group["params"]:
                if set_to_none:
                    param.grad = None
                elif param.grad is not None:
                    if param.grad.grad_fn is not None:
                        param.grad = param.grad.detach()
                    param.grad.requires_grad_(False).zero_()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Optimize further parameters: a dict with "params" and options.

        Raises TypeError if they are no tensors, ValueError if they are no leaves or already in
        another group.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        params = param_group["params"]
        if isinstance(params, Tensor):
            params = [params]
        elif isinstance(params, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the "
                "ordering of tensors in sets will change between runs. Please use a list instead."
            )
        params = list(params)
        named = [isinstance(p, tuple) for p in params]
        if any(named) and not all(named):
            raise ValueError(
                "all optimizer params should be with/without names. Some param names are missing"
            )
        if any(named):
            param_group["param_names"] = [name for name, _ in params]
            params = [param for _, param in params]
        param_group["params"] = params
        for param in params:
            if not isinstance(param, Tensor):
                raise TypeError(
                    "optimizer can only optimize Tensors, but one of the params is "
                    + type(param).__name__
                )
            leaf = param.is_leaf or param.retains_grad or self.defaults.get("differentiable")
            if not leaf:
                raise ValueError("can't optimize a non-leaf Tensor")
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError(
                    "parameter group didn't specify a value of required optimization parameter "
                    + name
                )
            param_group.setdefault(name, default)
        if self.param_groups and ("param_names" in param_group) != (
            "param_names" in self.param_groups[0]
        ):
            raise ValueError("all optimizer param groups should be with/without names")
        if len(params) != len(set(params)):
            warnings.warn(
                "optimizer: a parameter group has duplicate parameters; each is updated once for "
                "every mention",
                stacklevel=3,
            )
        present = {p for group in self.param_groups for p in group["params"]}
        if not present.isdisjoint(params):
            raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append(param_group)

    # ---- hooks -------------------------------------------------------------------------------

    def register_step_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` before step; a result replaces (args, kwargs)."""
        return _add(self._optimizer_step_pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` after step."""
        return _add(self._optimizer_step_post_hooks, hook)

    def register_state_dict_pre_hook(self, hook: Callable, prepend: bool = False):
        """Call ``hook(optimizer)`` before `state_dict`."""
        return _add(self._optimizer_state_dict_pre_hooks, hook, prepend)

    def register_state_dict_post_hook(self, hook: Callable, prepend: bool = False):
        """Call ``hook(optimizer, state_dict)`` after; a result replaces the dict."""
        return _add(self._optimizer_state_dict_post_hooks, hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Callable, prepend: bool = False):
        """Call ``hook(optimizer, state_dict)`` before loading; a result replaces the dict."""
        return _add(self._optimizer_load_state_dict_pre_hooks, hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Callable, prepend: bool = False):
        """Call ``hook(optimizer)`` after loading."""
        return _add(self._optimizer_load_state_dict_post_hooks, hook, prepend)

    # ---- state -------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """{"state": by parameter number, "param_groups": with numbers for parameters}.

        Parameters are numbered in the order of the groups. Tensors are not copied.
        """
        for hook in self._optimizer_state_dict_pre_hooks.values():
            hook(self)
        numbers: dict[Tensor, int] = {}
        for group in self.param_groups:
            for param in group["params"]:
                numbers.setdefault(param, len(numbers))
        groups = [
            {
                **{key: value for key, value in group.items() if key != "params"},
                "params": [numbers[p] for p in group["params"]],
            }
            for group in self.param_groups
        ]
        state = {numbers.get(key, key): value for key, value in self.state.items()}
        result = {"state": state, "param_groups": groups}
        for hook in self._optimizer_state_dict_post_hooks.values():
            result = hook(self, result) or result
        return result

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave; state goes to its parameter's dtype and device.

        Raises ValueError if the groups differ in number or size.
        """
        state_dict = state_dict.copy()
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            state_dict = hook(self, state_dict) or state_dict
        saved = copy.deepcopy(state_dict["param_groups"])
        if len(saved) != len(self.param_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        own, loaded = ([len(g["params"]) for g in groups] for groups in (self.param_groups, saved))
        if own != loaded:
            raise ValueError(
                "loaded state dict contains a parameter group that doesn't match the size of "
                f"optimizer's group; own sizes {own}, loaded {loaded}"
            )
        params = {
            number: param
            for group, loaded in zip(self.param_groups, saved, strict=True)
            for number, param in zip(loaded["params"], group["params"], strict=True)
        }
        state: defaultdict[Any, Any] = defaultdict(dict)
        for number, value in state_dict["state"].items():
            param = params.get(number)
            state[number if param is None else param] = _for_param(param, value)
        for group, loaded in zip(self.param_groups, saved, strict=True):
            loaded["params"] = group["params"]
            if "param_names" in group and "param_names" not in loaded:
                loaded["param_names"] = group["param_names"]
        self.__setstate__({"state": state, "param_groups": saved})
        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("defaults", "state", "param_groups")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for name in self._HOOKS:
            self.__dict__.setdefault(name, OrderedDict())
        for group in self.param_groups:  # options that are younger than the checkpoint
            for name, default in self.__dict__.get("defaults", {}).items():
                group.setdefault(name, default)

    def __repr__(self) -> str:
        text = f"{type(self).__name__} ("
        for i, group in enumerate(self.param_groups):
            text += f"\nParameter Group {i}\n"
            text += "".join(f"    {k}: {group[k]}\n" for k in sorted(group) if k != "params")
        return text + ")"


def _for_param(param: Tensor | None, value: Any, key: str = "") -> Any:
    """A copy of saved state in the dtype and on the device of its parameter."""
    if isinstance(value, Tensor):
        if param is None or key == "step":  # a count, always float32 on the CPU
            return value
        dtype = param.dtype if param.is_floating_point() else value.dtype
        return value.to(dtype=dtype, device=param.device)
    if isinstance(value, dict):
        return {k: _for_param(param, v, k) for k, v in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        make: Any = type(value)
        return make(_for_param(param, v) for v in value)
    return value


# ---- what the update rules share --------------------------------------------------------------


def at_least_zero(**options: Any) -> None:
    """ValueError naming the first of ``options`` that is negative (NaN counts as such)."""
    for name, value in options.items():
        if not value >= 0.0:
            raise ValueError(f"Invalid {name} value: {value}")


def check_betas(betas: tuple) -> None:
    """ValueError if one of the two decay rates is outside [0, 1)."""
    for i in (0, 1):
        beta = betas[i]
        if not 0.0 <= beta < 1.0:
            raise ValueError(f"Invalid beta parameter at index {i}: {beta}")


def number(value: Any) -> Any:
    """A hyper-parameter as a Python number; it may be given as a tensor of one element."""
    return value.item() if isinstance(value, Tensor) else value


def check_lr(lr: Any, foreach: bool | None = None) -> None:
    """ValueError if the learning rate is negative, or a tensor of more than one element."""
    if isinstance(lr, Tensor):
        if foreach:
            raise ValueError(
                "lr as a Tensor is not supported for capturable=False and foreach=True"
            )
        if lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
    if not lr >= 0.0:
        raise ValueError(f"Invalid learning rate: {lr}")


def check_implementation(
    foreach: bool | None, fused: bool | None, differentiable: bool = False
) -> None:
    """RuntimeError if the hints exclude each other; beyond that they have no effect.

    Every step updates whole lists by one fused rule, which is what the hints ask for.
    """
    if fused and foreach:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together.")
    if fused and differentiable:
        raise RuntimeError("`fused` does not support `differentiable`")


# ---- what optimizers outside of this package are built from -----------------------------------

ParamsT = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]
_params_t = params_t = ParamsT


def _use_grad_for_differentiable(step: Callable) -> Callable:
    """``step`` with gradients of the step itself only where the optimizer is ``differentiable``."""

    @functools.wraps(step)
    def differentiable_step(self, *args, **kwargs):
        with torch.set_grad_enabled(self.defaults.get("differentiable", False)):
            return step(self, *args, **kwargs)

    return differentiable_step


def _default_to_fused_or_foreach(
    params: list[Tensor], differentiable: bool, use_fused: bool = False
) -> tuple[bool, bool]:
    """Which of the two an optimizer prefers that was told neither: none, on the CPU."""
    fast = not differentiable and all(p is None or p.is_cuda for p in params)
    return fast and use_fused, fast and not use_fused


def _group_tensors_by_device_and_dtype(
    tensorlistlist: list[list[Any]], with_indices: bool = False
) -> dict[tuple[Any, Any], tuple[list[list[Any]], list[int]]]:
    """Columns of several lists, by the device and dtype of the first list's tensors."""
    groups: dict[tuple[Any, Any], tuple[list[list[Any]], list[int]]] = {}
    for i, first in enumerate(tensorlistlist[0]):
        lists, indices = groups.setdefault(
            (first.device, first.dtype), ([[] for _ in tensorlistlist], [])
        )
        for group, values in zip(lists, tensorlistlist, strict=True):
            if values:
                group.append(values[i])
        if with_indices:
            indices.append(i)
    return groups


Optimizer._group_tensors_by_device_and_dtype = staticmethod(  # type: ignore[attr-defined]
    _group_tensors_by_device_and_dtype
)


def _get_capturable_supported_devices(supports_xla: bool = True) -> list[str]:
    """Devices whose steps can be captured."""
    return ["cuda", "xpu", "hpu", "privateuseone", *(["xla"] if supports_xla else [])]


def _view_as_real(params: list[Tensor], *state_and_grads: list[Tensor]) -> None:
    """Complex parameters, and what belongs to them, as pairs of real numbers, in the lists."""
    for i, p in enumerate(params):
        if torch.is_complex(p):
            for values in (params, *state_and_grads):
                values[i] = torch.view_as_real(values[i])


def _get_scalar_dtype(is_fused: bool | None = None) -> Any:
    """The dtype of counts of steps."""
    double = not is_fused and torch.get_default_dtype() is torch.float64
    return torch.float64 if double else torch.float32


def _get_value(x: Any) -> Any:
    """The number in a tensor, or the number."""
    return x.item() if isinstance(x, Tensor) else x


def _dispatch_sqrt(x: Any) -> Any:
    """The root of a number or a tensor."""
    return x.sqrt() if isinstance(x, Tensor) else math.sqrt(x)


def _stack_if_compiling(x: Any) -> Any:
    return x


def _disable_dynamo_if_unsupported(single_tensor_fn: Callable | None = None) -> Callable:
    """A decorator: the function itself."""
    return lambda function: function


_foreach_doc = _fused_doc = _capturable_doc = _differentiable_doc = _maximize_doc = _params_doc = ""
