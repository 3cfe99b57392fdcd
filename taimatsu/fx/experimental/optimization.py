"""Graphs for inference: `fuse` puts batch norms into the convolutions before them."""

from __future__ import annotations

import copy
from typing import Any

from taimatsu import fx, nn
from taimatsu.nn.utils.fusion import fuse_conv_bn_eval

__all__ = ["fuse", "remove_dropout"]

_PAIRS = (
    (nn.Conv1d, nn.BatchNorm1d), (nn.Conv2d, nn.BatchNorm2d), (nn.Conv3d, nn.BatchNorm3d),
)  # fmt: skip


def _put(model: nn.Module, target: str, module: nn.Module) -> None:
    owner, _, name = target.rpartition(".")
    setattr(model.get_submodule(owner), name, module)


def _traced(model: nn.Module, inplace: bool) -> fx.GraphModule:
    model = model if inplace else copy.deepcopy(model)
    return model if isinstance(model, fx.GraphModule) else fx.symbolic_trace(model)


def fuse(model: nn.Module, inplace: bool = False, no_trace: bool = False) -> fx.GraphModule:
    """A model in eval mode with each batch norm that follows a convolution alone put into it.

    >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).eval()
    >>> [n.op for n in fuse(model).graph.nodes]
    ['placeholder', 'call_module', 'output']
    """
    traced = _traced(model, inplace)
    modules = dict(traced.named_modules())
    for node in traced.graph.nodes:
        before = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module":
            continue
        conv, norm = modules[before.target], modules[node.target]
        fits = any(type(conv) is c and type(norm) is n for c, n in _PAIRS)
        if fits and len(before.users) == 1 and norm.track_running_stats:
            _put(traced, before.target, fuse_conv_bn_eval(conv, norm))
            node.replace_all_uses_with(before)
            traced.graph.erase_node(node)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced


def remove_dropout(model: nn.Module) -> nn.Module:
    """A model without its dropout layers."""
    traced = fx.symbolic_trace(model)
    modules: dict[str, Any] = dict(traced.named_modules())
    for node in traced.graph.nodes:
        if node.op == "call_module" and isinstance(modules[node.target], nn.Dropout):
            node.replace_all_uses_with(node.args[0])
            traced.graph.erase_node(node)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced
