"""Modules as functions of their parameters and buffers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import taimatsu as torch
from taimatsu import Tensor, nn
from taimatsu.nn.norm import _BatchNorm

__all__ = ["functional_call", "replace_all_batch_norm_modules_", "stack_module_state"]


def _tied(module: nn.Module, given: dict[str, Any]) -> dict[str, Any]:
    """`given`, also under the other names of parameters that have several."""
    names: dict[int, list[str]] = {}
    for kind in (module.named_parameters, module.named_buffers):
        for name, value in kind(remove_duplicate=False):
            names.setdefault(id(value), []).append(name)
    complete = dict(given)
    for group in names.values():
        values = {id(given[n]): given[n] for n in group if n in given}
        if len(values) > 1:
            raise ValueError(
                f"functional_call: the names {', '.join(group)} are of one tensor, and were given "
                "different values"
            )
        complete.update(dict.fromkeys(group, *values.values()) if values else {})
    return complete


def _owner(module: nn.Module, name: str) -> tuple[dict[str, Any], str]:
    """The dict of parameters or buffers that a dotted name is in, and its key there."""
    path, _, key = name.rpartition(".")
    owner = module.get_submodule(path)
    for values in (owner._parameters, owner._buffers):
        if key in values:
            return values, key
    raise AttributeError(f"functional_call: {type(module).__name__} has no parameter {name!r}")


@contextmanager
def swapped(module: nn.Module, values: Mapping[str, Any], tie_weights: bool, strict: bool) -> Any:
    """Inside, the module has these parameters and buffers in place of its own.

    What is written to them by assignment (a buffer's new value) lands in `values`.
    """
    names = {n for n, _ in module.named_parameters(remove_duplicate=False)}
    names |= {n for n, _ in module.named_buffers(remove_duplicate=False)}
    unknown = [n for n in values if n not in names]
    given = _tied(module, dict(values)) if tie_weights else dict(values)
    if strict and (unknown or names - given.keys()):
        raise RuntimeError(
            f"functional_call: unexpected names {sorted(unknown)}, missing names "
            f"{sorted(names - given.keys())}; with strict=False only those given are replaced"
        )
    places = [(*_owner(module, n), value, n) for n, value in given.items()]
    before = [(place, key, place[key]) for place, key, _, _ in places]
    try:
        for place, key, value, _ in places:
            place[key] = value
        yield
    finally:
        for place, key, value, name in places:
            if place[key] is not value and isinstance(values, dict) and name in values:
                values[name] = place[key]
        for place, key, value in reversed(before):
            place[key] = value


def functional_call(
    module: nn.Module,
    parameter_and_buffer_dicts: Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """``module(*args, **kwargs)`` with these parameters and buffers in place of its own.

    ``parameter_and_buffer_dicts``: by dotted names, one dict or several of disjoint names.
    ``tie_weights``: a parameter that has several names is replaced under all. ``strict``:
    RuntimeError unless all are given, and no others.

    >>> layer = torch.nn.Linear(2, 1, bias=False)
    >>> torch.func.functional_call(layer, {"weight": torch.ones(1, 2)}, torch.ones(2))
    tensor([2.])
    """
    if isinstance(parameter_and_buffer_dicts, Mapping):
        values: Any = parameter_and_buffer_dicts
    elif isinstance(parameter_and_buffer_dicts, Sequence):
        values = {}
        for part in parameter_and_buffer_dicts:
            if not isinstance(part, Mapping):
                raise ValueError(
                    "functional_call: expected all elements of parameter_and_buffer_dicts to be "
                    f"dictionaries; got {type(part).__name__}"
                )
            twice = sorted(values.keys() & part.keys())
            if twice:
                raise ValueError(f"functional_call: {twice} appears in multiple dictionaries")
            values.update(part)
    else:
        raise ValueError(
            "functional_call: expected parameter_and_buffer_dicts to be a dict, or a list or tuple "
            f"of dicts; got {type(parameter_and_buffer_dicts).__name__}"
        )
    args = () if args is None else args if isinstance(args, tuple) else (args,)
    with swapped(module, values, tie_weights, strict):
        return module(*args, **(kwargs or {}))


def stack_module_state(
    models: Sequence[nn.Module],
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The parameters and the buffers of models of one kind, stacked, for `vmap` over an ensemble.

    RuntimeError for no models, for models of several classes, or not all in training or all in
    evaluation mode.

    >>> models = [torch.nn.Linear(2, 3) for _ in range(4)]
    >>> params, buffers = torch.func.stack_module_state(models)
    >>> params["weight"].shape
    torch.Size([4, 3, 2])
    """
    models = list(models)
    if not models:
        raise RuntimeError("stack_module_state: expected at least one model; got 0")
    if len({m.training for m in models}) > 1:
        raise RuntimeError("stack_module_state: expected all models to be in one mode")
    if len({type(m) for m in models}) > 1:
        raise RuntimeError("stack_module_state: expected all models to be of the same class")

    def stacked(named: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        result = {}
        for name in named[0]:
            column = [values[name] for values in named]
            required = {t.requires_grad for t in column}
            if len(required) > 1:
                raise RuntimeError(
                    f"stack_module_state: expected {name} to have one requires_grad in all models"
                )
            leaf = torch.stack([t.detach() for t in column]) if column[0].is_leaf else None
            result[name] = (
                torch.stack(column) if leaf is None else leaf.requires_grad_(required.pop())
            )
        return result

    return (
        stacked([dict(m.named_parameters()) for m in models]),
        stacked([dict(m.named_buffers()) for m in models]),
    )


def replace_all_batch_norm_modules_(root: nn.Module) -> nn.Module:
    """Makes all batch norms in `root` use the batch's own statistics and keep none: a running mean
    can't be updated under `vmap`. Gives back `root`.

    >>> torch.func.replace_all_batch_norm_modules_(nn.BatchNorm1d(3))
    BatchNorm1d(3, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=False)
    """
    for module in root.modules():
        if isinstance(module, _BatchNorm):
            module.running_mean = module.running_var = None
            module.num_batches_tracked = None
            module.track_running_stats = False
    return root
