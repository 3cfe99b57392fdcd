"""`ModuleTracker`: which modules are running, in forward and in backward."""

from __future__ import annotations

import weakref
from typing import Any

import taimatsu as torch
from taimatsu.nn.hooks import register_module_forward_hook, register_module_forward_pre_hook

__all__ = ["ModuleTracker"]


class ModuleTracker:
    """A context in which ``parents`` holds the names of the modules that are running.

    Names begin with the class of the outermost module; "Global" is always among them. During
    backward the modules are tracked through their results and arguments.

    >>> with torch.utils.module_tracker.ModuleTracker() as tracker:
    ...     _ = model[0].register_forward_pre_hook(lambda *_: print(sorted(tracker.parents)))
    ...     _ = model(x)
    ['Global', 'Sequential', 'Sequential.0']
    """

    def __init__(self) -> None:
        self.parents: set[str] = {"Global"}
        self._names: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
        self._handles: list[Any] = []
        self._backward = False

    @property
    def is_bw(self) -> bool:
        """Whether a backward pass is running."""
        return bool(torch._core.current_backward())

    def _name(self, module: Any) -> str:
        if module not in self._names:
            root = type(module).__name__
            for name, child in module.named_modules():
                self._names.setdefault(child, f"{root}.{name}" if name else root)
        return self._names[module]

    def _watch(self, values: Any, act: Any) -> None:
        tensors = [v for v in torch.utils._pytree.tree_leaves(values) if torch.is_tensor(v)]
        tensors = [t for t in tensors if t.requires_grad]
        if tensors:
            self._handles.append(torch.autograd.graph.register_multi_grad_hook(tensors, act))

    def _enter(self, module: Any, args: Any) -> None:
        name = self._name(module)
        self.parents.add(name)
        if torch.is_grad_enabled():
            self._watch(args, lambda grads: self.parents.discard(name))

    def _leave(self, module: Any, args: Any, output: Any) -> None:
        name = self._name(module)
        self.parents.discard(name)
        if torch.is_grad_enabled():
            self._watch(output, lambda grads: self.parents.add(name))

    def __enter__(self) -> ModuleTracker:
        self._handles = [
            register_module_forward_pre_hook(self._enter),
            register_module_forward_hook(self._leave, always_call=True),
        ]
        return self

    def __exit__(self, *exc: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
