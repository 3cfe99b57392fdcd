"""State dicts of models and optimizers by parameters' names, however they are divided."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import taimatsu as torch
from taimatsu import Tensor, nn
from taimatsu.utils._pytree import tree_map_only

from .. import collectives as dist
from ..tensor._api import DTensor, distribute_tensor

__all__ = [
    "StateDictOptions", "get_model_state_dict", "get_optimizer_state_dict", "get_state_dict",
    "set_model_state_dict", "set_optimizer_state_dict", "set_state_dict",
]  # fmt: skip


@dataclass
class StateDictOptions:
    """How state dicts are made and taken.

    full_state_dict       whole tensors instead of DTensors
    cpu_offload           tensors of the CPU; with the former, only in the first process
    ignore_frozen_params  without parameters that require no gradient
    strict                what is missing or unexpected is an error
    broadcast_from_rank0  what is taken is that of the first process; others may have nothing
    flatten_optimizer_state_dict  one level: "state.weight.exp_avg", "param_groups.weight.lr"
    """

    full_state_dict: bool = False
    cpu_offload: bool = False
    ignore_frozen_params: bool = False
    keep_submodule_prefixes: bool = True
    strict: bool = True
    broadcast_from_rank0: bool = False
    flatten_optimizer_state_dict: bool = False
    dsd_fqn_modifiers: str = "_fqn_modifiers"


_WRAPPERS = ("_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "_orig_mod.")


def _clean(name: str, model: nn.Module) -> str:
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "")
    return name.removeprefix("module.") if _is_ddp(model) else name


def _is_ddp(model: nn.Module) -> bool:
    return isinstance(model, nn.parallel.DistributedDataParallel)


def _out(value: Any, options: StateDictOptions) -> Any:
    if not isinstance(value, Tensor):
        return value
    if options.full_state_dict and isinstance(value, DTensor):
        value = value.full_tensor()
    value = value.detach()
    return value.cpu() if options.cpu_offload and not isinstance(value, DTensor) else value


def _given(state: dict[str, Any], options: StateDictOptions) -> dict[str, Any]:
    """Whole state dicts on the CPU are the first process's only."""
    alone = options.full_state_dict and options.cpu_offload and dist.is_initialized()
    return {} if alone and dist.get_rank() else state


def _bare(model: nn.Module) -> nn.Module:
    return model.module if _is_ddp(model) else model


def _values(model: nn.Module) -> dict[str, Any]:
    """Parameters and buffers that are kept, by clean names."""
    found: dict[str, Any] = {}
    for path, module in _bare(model).named_modules():
        prefix = f"{path}." if path else ""
        for name, value in module._parameters.items():
            if value is not None:
                found[_clean(prefix + name, model)] = value
        for name, value in module._buffers.items():
            if value is not None and name not in module._non_persistent_buffers_set:
                found[_clean(prefix + name, model)] = value
    return found


def get_model_state_dict(
    model: nn.Module, *, submodules: set[nn.Module] | None = None,
    options: StateDictOptions | None = None,
) -> dict[str, Any]:  # fmt: skip
    """A model's state dict by the names of the bare model, whatever wraps it."""
    options = options or StateDictOptions()
    state = {
        name: _out(value, options) for name, value in _values(model).items()
        if not (options.ignore_frozen_params and isinstance(value, nn.Parameter)
                and not value.requires_grad)
    }  # fmt: skip
    if submodules:
        inside = {id(v) for m in submodules for v in (*m.parameters(), *m.buffers())}
        kept = {n for n, v in _values(model).items() if id(v) in inside}
        state = {n: v for n, v in state.items() if n in kept}
    return _given(state, options)


def _from_first(state: dict[str, Any], options: StateDictOptions) -> dict[str, Any]:
    if not options.broadcast_from_rank0:
        return state
    whole = [state]
    dist.broadcast_object_list(whole, src=0)
    return whole[0]


def _write(target: Tensor, value: Any) -> None:
    with torch.no_grad():
        target.detach().copy_(_like(value, target))


def _like(value: Any, target: Any) -> Any:
    """A value, divided as a tensor is."""
    if isinstance(target, DTensor) and not isinstance(value, DTensor):
        return distribute_tensor(value.detach().to(target.device), target.device_mesh,
                                 target.placements, src_data_rank=None)  # fmt: skip
    if isinstance(value, DTensor) and not isinstance(target, DTensor):
        return value.full_tensor()
    return value


def set_model_state_dict(
    model: nn.Module, model_state_dict: dict[str, Any], *, options: StateDictOptions | None = None
) -> Any:
    """Takes what `get_model_state_dict` gave; whole tensors are divided as the model's are.

    RuntimeError for missing or unexpected names, unless ``strict`` is False; they are returned.
    """
    options = options or StateDictOptions()
    given = _from_first(model_state_dict, options)
    own = _values(model)
    missing = [n for n in own if n not in given]
    unexpected = [n for n in given if n not in own]
    if options.strict and (missing or unexpected):
        raise RuntimeError(
            f"set_model_state_dict: missing keys {missing}, unexpected keys {unexpected}; "
            "pass StateDictOptions(strict=False) to leave them out"
        )
    for name, value in given.items():
        if name in own:
            _write(own[name], value)
    return nn.Module().load_state_dict({})._replace(
        missing_keys=missing, unexpected_keys=unexpected
    )


# ---- optimizers ---------------------------------------------------------------------------------
def _optimizers(optimizers: Any) -> list[Any]:
    return [optimizers] if isinstance(optimizers, torch.optim.Optimizer) else list(optimizers)


def _names(model: nn.Module) -> dict[int, str]:
    return {id(p): n for n, p in _values(model).items() if isinstance(p, nn.Parameter)}


def get_optimizer_state_dict(
    model: nn.Module, optimizers: Any, *, submodules: set[nn.Module] | None = None,
    options: StateDictOptions | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The state dict of optimizers by the parameters' names."""
    options = options or StateDictOptions()
    names = _names(model)
    state: dict[str, Any] = {}
    groups = []
    for optimizer in _optimizers(optimizers):
        for group in optimizer.param_groups:
            own = [names[id(p)] for p in group["params"]]
            groups.append({**{k: v for k, v in group.items() if k != "params"}, "params": own})
            for name, p in zip(own, group["params"], strict=True):
                if p in optimizer.state:
                    state[name] = tree_map_only(
                        Tensor, lambda t: _out(t, options), dict(optimizer.state[p])
                    )
    whole: dict[str, Any] = {"state": state, "param_groups": groups}
    if options.flatten_optimizer_state_dict:
        whole = {f"state.{n}.{k}": v for n, values in state.items() for k, v in values.items()}
        for group in groups:
            for name in group["params"]:
                whole |= {f"param_groups.{name}.{k}": v for k, v in group.items() if k != "params"}
    return _given(whole, options)


def _unflattened(state: dict[str, Any], model: nn.Module) -> dict[str, Any]:
    nested: dict[str, Any] = {"state": {}, "options": {}}
    for name in _names(model).values():
        for kind, target in (("state", "state"), ("param_groups", "options")):
            prefix = f"{kind}.{name}."
            found = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
            if found:
                nested[target][name] = found
    return nested


def set_optimizer_state_dict(
    model: nn.Module, optimizers: Any, optim_state_dict: dict[str, Any], *,
    options: StateDictOptions | None = None,
) -> None:  # fmt: skip
    """Takes what `get_optimizer_state_dict` gave; whole tensors are divided as parameters are."""
    options = options or StateDictOptions()
    given = _from_first(optim_state_dict, options)
    flat = "state" not in given
    nested = _unflattened(given, model) if flat else given
    names = _names(model)
    by_name = {n: g for g in nested.get("param_groups", ()) for n in g["params"]}
    by_name |= nested.get("options", {})
    for optimizer in _optimizers(optimizers):
        params = [p for g in optimizer.param_groups for p in g["params"]]
        numbers = {id(p): i for i, p in enumerate(params)}
        state = {}
        for p in params:
            values = nested["state"].get(names[id(p)])
            if values is not None:
                divide = _divider(p)
                state[numbers[id(p)]] = tree_map_only(Tensor, divide, values)
        groups = []
        for group in optimizer.param_groups:
            first = names[id(group["params"][0])] if group["params"] else None
            found = by_name.get(first, group) if first else group
            groups.append({
                **group, **{k: v for k, v in found.items() if k in group},
                "params": [numbers[id(p)] for p in group["params"]],
            })  # fmt: skip
        optimizer.load_state_dict({"state": state, "param_groups": groups})


def _divider(param: Any) -> Callable[[Any], Any]:
    return lambda t: _like(t, param) if tuple(t.shape) == tuple(param.shape) else t


def get_state_dict(
    model: nn.Module, optimizers: torch.optim.Optimizer | Iterable[torch.optim.Optimizer], *,
    submodules: set[nn.Module] | None = None, options: StateDictOptions | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:  # fmt: skip
    """The state dicts of a model and of its optimizers.

    >>> model = nn.Linear(2, 1)
    >>> state, moments = get_state_dict(model, torch.optim.SGD(model.parameters(), 0.1))
    >>> list(state), moments["param_groups"][0]["params"]
    (['weight', 'bias'], ['weight', 'bias'])
    """
    return (
        get_model_state_dict(model, submodules=submodules, options=options),
        get_optimizer_state_dict(model, optimizers, submodules=submodules, options=options),
    )


def set_state_dict(
    model: nn.Module, optimizers: Any, *, model_state_dict: dict[str, Any],
    optim_state_dict: dict[str, Any], options: StateDictOptions | None = None,
) -> Any:  # fmt: skip
    """Takes what `get_state_dict` gave."""
    if optim_state_dict or (options and options.broadcast_from_rank0):
        set_optimizer_state_dict(model, optimizers, optim_state_dict, options=options)
    return set_model_state_dict(model, model_state_dict, options=options)
