"""Hooks on modules: the dicts that hold them, hooks on all modules, hooks on gradients."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import taimatsu as torch
from taimatsu import Tensor
from taimatsu.utils.hooks import RemovableHandle

__all__ = [
    "register_module_buffer_registration_hook",
    "register_module_forward_hook",
    "register_module_forward_pre_hook",
    "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook",
    "register_module_module_registration_hook",
    "register_module_parameter_registration_hook",
]

# The hook dicts of every module, and their options: sets of ids kept as dicts.
FORWARD_PRE = "_forward_pre_hooks"
FORWARD_PRE_KWARGS = "_forward_pre_hooks_with_kwargs"
FORWARD = "_forward_hooks"
FORWARD_KWARGS = "_forward_hooks_with_kwargs"
FORWARD_ALWAYS = "_forward_hooks_always_called"
BACKWARD_PRE = "_backward_pre_hooks"
BACKWARD = "_backward_hooks"
CALL_HOOKS = (FORWARD_PRE, FORWARD, BACKWARD_PRE, BACKWARD)
ALL_HOOKS = (
    *CALL_HOOKS,
    FORWARD_PRE_KWARGS,
    FORWARD_KWARGS,
    FORWARD_ALWAYS,
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)

# Hooks on every module, under the same names.
everywhere: dict[str, OrderedDict] = {name: OrderedDict() for name in ALL_HOOKS[:7]}
# Hooks on every registration: hook(module, name, value) -> value to register instead, or None.
on_registration: dict[str, OrderedDict] = {
    kind: OrderedDict() for kind in ("_parameters", "_buffers", "_modules")
}


def add(hooks: OrderedDict, hook: Callable, *options: dict, prepend: bool = False):
    """Put ``hook`` into ``hooks`` and its id into each of ``options``; gives the handle."""
    handle = RemovableHandle(hooks, extra_dict=options)
    hooks[handle.id] = hook
    for option in options:
        option[handle.id] = True
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


def any_everywhere() -> bool:
    """Whether a call hook on all modules is registered."""
    return any(everywhere[name] for name in CALL_HOOKS)


class Switch:
    """True while call hooks on all modules may exist; read on every module call."""

    on = False


def _add_everywhere(name: str, hook: Callable, *options: str) -> RemovableHandle:
    Switch.on = True
    return add(everywhere[name], hook, *(everywhere[option] for option in options))


def register_module_forward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call ``hook(module, args)`` before the forward of every module, before its own hooks."""
    return _add_everywhere(FORWARD_PRE, hook)


def register_module_forward_hook(
    hook: Callable[..., Any], *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """Call ``hook(module, args, output)`` after the forward of every module, before its own."""
    options = [FORWARD_KWARGS] * with_kwargs + [FORWARD_ALWAYS] * always_call
    return _add_everywhere(FORWARD, hook, *options)


def register_module_full_backward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call ``hook(module, grad_output)`` before the backward of every module."""
    return _add_everywhere(BACKWARD_PRE, hook)


def register_module_full_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call ``hook(module, grad_input, grad_output)`` after the backward of every module."""
    return _add_everywhere(BACKWARD, hook)


def register_module_parameter_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call ``hook(module, name, parameter)`` on every registration; a result replaces it."""
    return add(on_registration["_parameters"], hook)


def register_module_buffer_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call ``hook(module, name, buffer)`` on every registration; a result replaces it."""
    return add(on_registration["_buffers"], hook)


def register_module_module_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call ``hook(module, name, submodule)`` on every registration; a result replaces it."""
    return add(on_registration["_modules"], hook)


class _Boundary(torch.autograd.Function):
    """The identity with one tape node over all its tensors: where a module begins or ends."""

    @staticmethod
    def forward(ctx, *tensors):
        ctx.set_materialize_grads(False)
        passed = tuple(t.view_as(t) for t in tensors)
        fixed = [p for p, t in zip(passed, tensors, strict=True) if not t.requires_grad]
        ctx.mark_non_differentiable(*fixed)
        return passed

    @staticmethod
    def backward(ctx, *grads):
        return grads


def _through_boundary(values: tuple) -> tuple[tuple, list[int], Any]:
    """``values`` with their tensors led through one node: (values, positions, node or None)."""
    positions = [i for i, v in enumerate(values) if isinstance(v, Tensor)]
    tensors = [values[i] for i in positions]
    if not (torch.is_grad_enabled() and any(t.requires_grad for t in tensors)):
        return values, positions, None
    led = list(values)
    passed = _Boundary.apply(*tensors)
    for i, tensor in zip(positions, passed, strict=True):
        led[i] = tensor
    return tuple(led), positions, next(t.grad_fn for t in passed if t.requires_grad)


def _spread(values: tuple, positions: list[int], n: int) -> tuple:
    """``values`` at ``positions`` of a tuple of length ``n``, None elsewhere."""
    out: list = [None] * n
    for i, value in zip(positions, values, strict=False):
        out[i] = value
    return tuple(out)


class BackwardHooks:
    """One call's backward hooks: catches the gradients at the module's outputs and inputs.

    Order in the backward pass: the gradients of the outputs arrive (pre-hooks may replace them),
    the module's own backward runs, the gradients of the inputs arrive, and the hooks are called
    with both and may replace the gradients of the inputs. If no input requires grad, the hooks
    are called as soon as the outputs' gradients are known.
    """

    def __init__(self, module: Any, hooks: list[Callable], pre_hooks: list[Callable]):
        self.module, self.hooks, self.pre_hooks = module, hooks, pre_hooks
        self.grad_output: tuple | None = None
        self.inputs_require_grad = False

    def enter(self, args: tuple) -> tuple:
        """Lead the tensors of ``args`` through a node that ends the module's backward."""
        args, positions, node = _through_boundary(args)
        self.n_inputs = len(args)
        if node is not None:
            self.inputs_require_grad = True
            node.register_hook(lambda grads, _: self._inputs_done(grads, positions))
        return args

    def leave(self, output: Any) -> Any:
        """Lead the tensors of ``output`` through a node that begins the module's backward."""
        values = output if isinstance(output, tuple) else (output,)
        values, positions, node = _through_boundary(values)
        if node is not None:
            n = len(values)
            node.register_prehook(lambda grads: self._outputs_known(grads, positions, n))
        if not isinstance(output, tuple):
            return values[0]
        # A named tuple is rebuilt by position.
        return type(output)(*values) if hasattr(output, "_fields") else values

    def _outputs_known(self, grads: tuple, positions: list[int], n: int) -> tuple:
        self.grad_output = _spread(grads, positions, n)
        for hook in self.pre_hooks:
            replaced = hook(self.module, self.grad_output)
            if replaced is not None:
                self.grad_output = self._checked(replaced, n, "pre hook", "grad_output")
        grads = tuple(self.grad_output[i] for i in positions)
        if not self.inputs_require_grad:
            self._call_hooks((None,) * self.n_inputs)
        return grads

    def _inputs_done(self, grads: tuple, positions: list[int]) -> tuple | None:
        if self.grad_output is None:  # backward started inside the module
            return None
        grad_input = self._call_hooks(_spread(grads, positions, self.n_inputs))
        return tuple(grad_input[i] for i in positions)

    def _call_hooks(self, grad_input: tuple) -> tuple:
        for hook in self.hooks:
            replaced = hook(self.module, grad_input, self.grad_output)
            if replaced is not None:
                if not self.inputs_require_grad:
                    raise RuntimeError(
                        f"backward hook of {type(self.module).__name__}: returned a gradient, but "
                        "no input requires grad; return None"
                    )
                grad_input = self._checked(replaced, self.n_inputs, "hook", "grad_input")
        self.grad_output = None
        return grad_input

    def _checked(self, grads: Any, n: int, kind: str, name: str) -> tuple:
        grads = grads if isinstance(grads, tuple) else (grads,)
        if len(grads) != n:
            raise RuntimeError(
                f"backward {kind} of {type(self.module).__name__}: must return as many values as "
                f"{name} has; got {len(grads)}, expected {n}"
            )
        return grads
