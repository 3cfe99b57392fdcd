"""``nn.Module``: a tree of parameters and buffers with a forward function.

Parameters, buffers and submodules live in the dicts ``_parameters``, ``_buffers`` and
``_modules``. Each is a `Registry`: a dict that also makes its entries plain attributes of the
module, so that ``self.weight`` costs what any attribute costs and no ``__getattr__`` is needed.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import taimatsu as torch
from taimatsu import Tensor
from taimatsu.utils.hooks import RemovableHandle

from . import hooks as _hooks
from .hooks import Switch
from .parameter import Buffer, Parameter
from .state_dict import StateDict

__all__ = ["Module"]

REGISTRIES = ("_parameters", "_buffers", "_modules")


class Registry(dict):
    """A dict whose entries are attributes of the module that owns it.

    Writing to the dict writes the attribute, whoever writes. A name that the owner's class
    defines is not shadowed, and a class with a ``__getattr__`` of its own is asked for all entries.
    The owner is held weakly, so a module dies with its last reference.
    """

    __slots__ = ("owner",)

    def __init__(self, owner: Module, items: Mapping[str, Any] | None = None):
        super().__init__()
        self.owner = weakref.ref(owner)
        if items:
            self.update(items)

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, value)
        owner = self.owner()
        if owner is None:
            return
        kind = type(owner)
        if kind.__getattr__ in PLAIN_GETATTR and not hasattr(kind, name):
            owner.__dict__[name] = value

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name)
        owner = self.owner()
        if owner is not None:
            owner.__dict__.pop(name, None)

    _missing = object()

    def pop(self, name, default=_missing):
        if name not in self and default is not Registry._missing:
            return default
        value = self[name]
        del self[name]
        return value

    def popitem(self):
        name = next(reversed(self))
        return name, self.pop(name)

    def clear(self):
        for name in list(self):
            del self[name]

    def update(self, *args, **kwargs):
        for name, value in dict(*args, **kwargs).items():
            self[name] = value

    def setdefault(self, name, default=None):
        if name not in self:
            self[name] = default
        return self[name]

    def __ior__(self, other):  # type: ignore[misc]
        self.update(other)
        return self

    def copy(self):
        return dict(self)

    def __reduce__(self):
        return dict, (dict(self),)  # __setstate__ of the module makes it a Registry again


def _indent(text: str, n: int) -> str:
    return text.replace("\n", "\n" + " " * n)


class Module(StateDict):
    """Base class of all neural network modules.

    Assign parameters, buffers and other modules to attributes in ``__init__`` (after
    ``super().__init__()``) and define ``forward``. Calling the module runs hooks and ``forward``.

    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.fc = nn.Linear(4, 2)
    ...     def forward(self, x):
    ...         return self.fc(x).relu()
    >>> [name for name, _ in Net().named_parameters()]
    ['fc.weight', 'fc.bias']
    """

    training: bool
    _version: int = 1
    call_super_init: bool = False
    dump_patches: bool = False
    T_destination = TypeVar("T_destination", bound=dict[str, Any])
    _hooked = False  # whether call hooks may exist: the one flag that __call__ reads

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if not self.call_super_init and (args or kwargs):
            given = f"{len(args)} positional, keywords {sorted(kwargs)}"
            raise TypeError(
                f"{type(self).__name__}.__init__: nn.Module takes no arguments; got {given}; "
                "call super().__init__() without them, or set call_super_init = True"
            )
        fields = self.__dict__
        fields["training"] = True
        for name in REGISTRIES:
            fields[name] = Registry(self)
        fields["_non_persistent_buffers_set"] = set()
        for name in _hooks.ALL_HOOKS:
            fields[name] = OrderedDict()
        if self.call_super_init:
            super().__init__(*args, **kwargs)

    # ---- calling -----------------------------------------------------------------------------

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Calls of this module are compiled from now on; the arguments are `torch.compile`'s."""
        self.__dict__["forward"] = torch.compile(self.forward, *args, **kwargs)

    def forward(self, *input: Any) -> Any:
        """What the module computes; every subclass defines it."""
        raise NotImplementedError(
            f'Module [{type(self).__name__}] is missing the required "forward" function'
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._hooked or Switch.on:
            return self._call_impl(*args, **kwargs)
        return self.forward(*args, **kwargs)

    def _call_impl(self, *args: Any, **kwargs: Any) -> Any:
        """The call with hooks: pre-hooks, forward, hooks, and the boundaries of the backward."""
        _hooks.Switch.on = _hooks.any_everywhere()
        self._hooked = any(getattr(self, name) for name in _hooks.CALL_HOOKS)
        everywhere, always_done = _hooks.everywhere, set()
        try:
            for source in (everywhere, self.__dict__):
                with_kwargs = source[_hooks.FORWARD_PRE_KWARGS]
                for key, hook in list(source[_hooks.FORWARD_PRE].items()):
                    if key in with_kwargs:
                        args, kwargs = self._pre_hook_result(hook(self, args, kwargs), args, kwargs)
                    elif (result := hook(self, args)) is not None:
                        args = result if isinstance(result, tuple) else (result,)
            boundary = self._backward_boundary()
            if boundary is not None:
                args = boundary.enter(args)
            output = self.forward(*args, **kwargs)
            for key, hook, with_kwargs in self._forward_hook_list():
                always_done.add(key)
                call = (args, kwargs, output) if with_kwargs else (args, output)
                if (result := hook(self, *call)) is not None:
                    output = result
            return output if boundary is None else boundary.leave(output)
        except Exception:
            always = {**everywhere[_hooks.FORWARD_ALWAYS], **self._forward_hooks_always_called}
            for key, hook, with_kwargs in self._forward_hook_list():
                if key in always and key not in always_done:
                    self._call_after_failure(hook, (args, kwargs) if with_kwargs else (args,))
            raise

    def _pre_hook_result(self, result: Any, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        if result is None:
            return args, kwargs
        if isinstance(result, tuple) and len(result) == 2:
            return result
        raise RuntimeError(
            f"forward pre-hook of {type(self).__name__}: with_kwargs=True must return None or a "
            f"tuple (new args, new kwargs); got {result}"
        )

    def _forward_hook_list(self) -> list[tuple[int, Callable, bool]]:
        return [
            (key, hook, key in source[_hooks.FORWARD_KWARGS])
            for source in (_hooks.everywhere, self.__dict__)
            for key, hook in source[_hooks.FORWARD].items()
        ]

    def _call_after_failure(self, hook: Callable, call: tuple) -> None:
        try:
            hook(self, *call, None)
        except Exception as error:  # the forward's own exception is the one to show
            torch_warn(f"forward hook with always_call=True raised after a failed forward: {error}")

    def _backward_boundary(self) -> _hooks.BackwardHooks | None:
        found = [
            [*_hooks.everywhere[name].values(), *getattr(self, name).values()]
            for name in (_hooks.BACKWARD, _hooks.BACKWARD_PRE)
        ]
        return _hooks.BackwardHooks(self, *found) if any(found) else None

    # ---- hooks -------------------------------------------------------------------------------

    def register_forward_pre_hook(
        self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, args)`` before forward; a result replaces the arguments.

        With ``with_kwargs``: ``hook(module, args, kwargs)`` giving None or both.
        """
        self._hooked = True
        options = [self._forward_pre_hooks_with_kwargs] * with_kwargs
        return _hooks.add(self._forward_pre_hooks, hook, *options, prepend=prepend)

    def register_forward_hook(
        self,
        hook: Callable,
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Call ``hook(module, args, output)`` after forward; a result replaces the output.

        With ``with_kwargs``: ``hook(module, args, kwargs, output)``. With ``always_call`` the
        hook runs (its output None) even when forward raises.
        """
        self._hooked = True
        options = [self._forward_hooks_with_kwargs] * with_kwargs
        options += [self._forward_hooks_always_called] * always_call
        return _hooks.add(self._forward_hooks, hook, *options, prepend=prepend)

    def register_full_backward_pre_hook(
        self, hook: Callable, prepend: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, grad_output)`` before the backward; a result replaces it."""
        self._hooked = True
        return _hooks.add(self._backward_pre_hooks, hook, prepend=prepend)

    def register_full_backward_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)`` once the inputs' gradients are known.

        A result replaces ``grad_input``. Keyword arguments have no part in ``grad_input``.
        """
        self._hooked = True
        return _hooks.add(self._backward_hooks, hook, prepend=prepend)

    def register_backward_hook(self, hook: Callable) -> RemovableHandle:
        """The deprecated name of `register_full_backward_hook`."""
        return self.register_full_backward_hook(hook)

    def register_state_dict_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(module, prefix, keep_vars)`` before ``state_dict``."""
        return _hooks.add(self._state_dict_pre_hooks, hook)

    def register_state_dict_post_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata)``, to change it in place."""

        def in_place(module, state_dict, prefix, local_metadata):
            if hook(module, state_dict, prefix, local_metadata) is not None:
                raise RuntimeError("state_dict post-hook: must change the dict and return None")

        return _hooks.add(self._state_dict_hooks, in_place)

    def _register_state_dict_hook(self, hook: Callable) -> RemovableHandle:
        """As `register_state_dict_post_hook`, but a result replaces the state dict."""
        return _hooks.add(self._state_dict_hooks, hook)

    def register_load_state_dict_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata, strict, missing_keys,
        unexpected_keys, error_msgs)`` before this module loads its part."""
        return self._register_load_state_dict_pre_hook(hook, with_module=True)

    def _register_load_state_dict_pre_hook(
        self, hook: Callable, with_module: bool = False
    ) -> RemovableHandle:
        if with_module:
            unbound, ref = hook, weakref.ref(self)

            def hook(*args):
                return unbound(ref(), *args)

        return _hooks.add(self._load_state_dict_pre_hooks, hook)

    def register_load_state_dict_post_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(module, incompatible_keys)`` after loading; it may change the lists."""
        return _hooks.add(self._load_state_dict_post_hooks, hook)

    # ---- registration ------------------------------------------------------------------------

    def _registry(self, kind: str) -> dict:
        """The dict ``kind``, linked to this module again if a foreign ``__setstate__`` cut it."""
        registry = self.__dict__.get(kind)
        if registry is None:
            noun = kind[1:]
            raise AttributeError(
                f"{type(self).__name__}: cannot assign {noun} before Module.__init__() call; "
                "call super().__init__() first"
            )
        if type(registry) in (dict, OrderedDict):
            registry = self.__dict__[kind] = Registry(self, registry)
        return registry

    def _register(self, kind: str, name: str, value: Any) -> None:
        registry = self._registry(kind)
        noun = kind[1:-1]
        if not isinstance(name, str):
            raise TypeError(f"{noun} name should be a string. Got {torch_typename(name)}")
        if "." in name:
            raise KeyError(f'{noun} name can\'t contain ".", got: {name}')
        if name == "":
            raise KeyError(f'{noun} name can\'t be empty string ""')
        if name not in registry and hasattr(self, name):
            raise KeyError(f"attribute '{name}' already exists")
        self._enter(kind, name, value)

    def _enter(self, kind: str, name: str, value: Any) -> None:
        for hook in _hooks.on_registration[kind].values():
            result = hook(self, name, value)
            value = value if result is None else result
        self._registry(kind)[name] = value

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter; None reserves the name and is no part of ``state_dict``.

        Raises TypeError if it is not a Parameter, KeyError if the name can't be used, ValueError
        if it is not a leaf of the graph.
        """
        if param is not None:
            if not isinstance(param, Parameter):
                raise TypeError(
                    f"cannot assign '{torch_typename(param)}' object to parameter '{name}' "
                    "(torch.nn.Parameter or None required)"
                )
            if param.grad_fn is not None:
                raise ValueError(
                    f"register_parameter: '{name}' must be a leaf; it has grad_fn "
                    f"{param.grad_fn}; detach it, or compute it in forward()"
                )
        self._register("_parameters", name, param)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a buffer, a tensor that is state but no parameter.

        ``persistent=False`` keeps it out of ``state_dict``.
        """
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{torch_typename(tensor)}' object to buffer '{name}' "
                "(torch Tensor or None required)"
            )
        self._register("_buffers", name, tensor)
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a child module under ``name``."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{torch_typename(module)} is not a Module subclass")
        self._register("_modules", name, module)

    def register_module(self, name: str, module: Module | None) -> None:
        """The same as `add_module`."""
        self.add_module(name, module)

    def __getattr__(self, name: str) -> Any:
        # Reached for what isn't there; and by subclasses' own, for members too.
        for kind in REGISTRIES:
            if name in self.__dict__.get(kind, ()):
                return self.__dict__[kind][name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        fields = self.__dict__
        if isinstance(value, Tensor) and isinstance(value, Parameter):
            kind = "_parameters"
        elif isinstance(value, Module):
            kind = "_modules"
        elif name in fields.get("_parameters", ()):
            kind = "_parameters"
        elif name in fields.get("_modules", ()):
            kind = "_modules"
        elif name in fields.get("_buffers", ()) or isinstance(value, Buffer):
            kind = "_buffers"
        elif name in REGISTRIES:
            self._replace_registry(name, value)
            return
        else:
            object.__setattr__(self, name, value)
            return
        self._check_assigned(kind, name, value)
        registry = self._registry(kind)
        for other in REGISTRIES:
            if other != kind and name in fields[other]:
                del self._registry(other)[name]
        if name not in registry:
            fields.pop(name, None)
        if kind == "_parameters":
            self.register_parameter(name, value)
        elif kind == "_modules":
            self._enter(kind, name, value)
        else:
            persistent = name not in self._non_persistent_buffers_set
            self.register_buffer(name, value, getattr(value, "persistent", persistent))
            return
        self._non_persistent_buffers_set.discard(name)

    def _check_assigned(self, kind: str, name: str, value: Any) -> None:
        """A registered name keeps its kind: only None or a value of that kind may replace it."""
        wanted: Any
        wanted, noun = {
            "_parameters": (Parameter, "parameter '{}' (torch.nn.Parameter or None expected)"),
            "_modules": (Module, "child module '{}' (torch.nn.Module or None expected)"),
            "_buffers": (Tensor, "buffer '{}' (torch.Tensor, torch.nn.Buffer or None expected)"),
        }[kind]
        if value is not None and not isinstance(value, wanted):
            raise TypeError(f"cannot assign '{torch_typename(value)}' as {noun.format(name)}")

    def _replace_registry(self, kind: str, registry: Any) -> None:
        """``module._parameters = {...}``: the old entries go, the new ones become attributes."""
        for name in self.__dict__.get(kind, ()):
            self.__dict__.pop(name, None)
        self.__dict__[kind] = Registry(self, registry)

    def __delattr__(self, name: str) -> None:
        for kind in REGISTRIES:
            if name in self.__dict__.get(kind, ()):
                del self._registry(kind)[name]
                self._non_persistent_buffers_set.discard(name)
                return
        object.__delattr__(self, name)

    def __setstate__(self, state: dict) -> None:
        # Pickles hold the registries as plain dicts, and may come from before a field existed.
        self.__dict__.update(state)
        for kind in REGISTRIES:
            self.__dict__[kind] = Registry(self, self.__dict__.get(kind))
        self.__dict__.setdefault("_non_persistent_buffers_set", set())
        for name in _hooks.ALL_HOOKS:
            self.__dict__.setdefault(name, OrderedDict())
        self.__dict__["_hooked"] = True  # the next call finds out

    def __dir__(self) -> list[str]:
        parts = (vars(self), *(vars(self).get(registry) or {} for registry in REGISTRIES))
        names = (k for part in parts for k in part)
        return sorted({*dir(type(self)), *(k for k in names if k.isidentifier())})

    # ---- access by path ----------------------------------------------------------------------

    def get_submodule(self, target: str) -> Module:
        """The module at the dotted path ``target`` ("" is this one); AttributeError if none."""
        module: Module = self
        for name in target.split(".") if target else ():
            if not hasattr(module, name):
                raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
            module = getattr(module, name)
            if not isinstance(module, Module):
                raise AttributeError(f"`{name}` is not an nn.Module")
        return module

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Put ``module`` at the dotted path ``target``; ``strict``: it must replace another."""
        if not target:
            raise ValueError("set_submodule: the target must be a path; got an empty string")
        if not isinstance(module, Module):
            raise ValueError(f"set_submodule: `module` must be an nn.Module; got {type(module)}")
        path, _, name = target.rpartition(".")
        parent = self.get_submodule(path)
        if strict and not hasattr(parent, name):
            raise AttributeError(f"{type(parent).__name__} has no attribute `{name}`")
        if hasattr(parent, name) and not isinstance(getattr(parent, name), Module):
            raise AttributeError(f"`{name}` is not an nn.Module")
        setattr(parent, name, module)

    def _get_tensor(self, target: str, kind: str, noun: str) -> Any:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if not hasattr(module, name):
            raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
        if name not in getattr(module, kind):
            raise AttributeError(f"`{name}` is not {noun}")
        return getattr(module, name)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at the dotted path ``target``; AttributeError if there is none."""
        return self._get_tensor(target, "_parameters", "an nn.Parameter")

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at the dotted path ``target``; AttributeError if there is none."""
        return self._get_tensor(target, "_buffers", "a buffer")

    # ---- iteration ---------------------------------------------------------------------------

    def _named_members(
        self,
        get_members: Callable[[Module], Any],
        prefix: str = "",
        recurse: bool = True,
        remove_duplicate: bool = True,
    ) -> Iterator[tuple[str, Any]]:
        seen = set()
        modules = (
            self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
            if recurse
            else [(prefix, self)]
        )
        for path, module in modules:
            for name, member in get_members(module):
                if member is None or (remove_duplicate and member in seen):
                    continue
                seen.add(member)
                yield (f"{path}.{name}" if path else name), member

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """(path, parameter) of this module and, with ``recurse``, of all below it."""
        return self._named_members(
            lambda m: m._parameters.items(), prefix, recurse, remove_duplicate
        )

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters of this module and, with ``recurse``, of all below it."""
        return (param for _, param in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """(path, buffer) of this module and, with ``recurse``, of all below it."""
        return self._named_members(lambda m: m._buffers.items(), prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers of this module and, with ``recurse``, of all below it."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) of the direct children, each module once."""
        seen = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        """The direct children, each once."""
        return (module for _, module in self.named_children())

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """(path, module) of this module and all below it, parents first."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                path = f"{prefix}.{name}" if prefix else name
                yield from module.named_modules(memo, path, remove_duplicate)

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        """This module and all below it, each once."""
        return (m for _, m in self.named_modules(remove_duplicate=remove_duplicate))

    # ---- mode --------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Module:
        """Set training mode (dropout drops, batch norm uses the batch) here and below."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Module:
        """Set evaluation mode here and below: ``train(False)``."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        """Set ``requires_grad`` of all parameters."""
        for param in self.parameters():
            param.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Reset the gradients of all parameters: to None, or to zeros in place."""
        for param in self.parameters():
            if param.grad is None:
                continue
            if set_to_none:
                param.grad = None
            elif param.grad.grad_fn is not None:
                param.grad = param.grad.detach().zero_()
            else:
                param.grad.requires_grad_(False).zero_()

    # ---- conversion --------------------------------------------------------------------------

    def apply(self, fn: Callable[[Module], None]) -> Module:
        """Call ``fn`` on every module below, children first, and on this one."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Module:
        """Replace the memory of every parameter, gradient and buffer by ``fn`` of it."""
        if recurse:
            for module in self.children():
                module._apply(fn)
        from taimatsu import __future__ as conversion

        with torch.no_grad():
            for name, param in list(self._parameters.items()):
                if param is None:
                    continue
                grad = param.grad
                if conversion.get_overwrite_module_params_on_conversion():
                    param = Parameter(fn(param), param.requires_grad)
                    setattr(self, name, param)
                elif conversion.get_swap_module_params_on_conversion():
                    torch.utils.swap_tensors(param, Parameter(fn(param), param.requires_grad))
                else:
                    param.data = fn(param.data)
                if grad is not None:  # assigned anew: its dtype and device must match
                    param.grad = fn(grad).requires_grad_(grad.requires_grad)
            for name, buffer in self._buffers.items():
                if buffer is not None:
                    self._buffers[name] = fn(buffer)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Module:
        """Move and convert in place: ``to(device)``, ``to(dtype)``, ``to(tensor)``,
        ``to(memory_format=...)``. Only floating and complex tensors change dtype.

        >>> nn.Linear(2, 2).to(torch.float64).weight.dtype
        torch.float64
        """
        device, dtype, non_blocking, memory_format = _parse_to(*args, **kwargs)

        def convert(t: Tensor) -> Tensor:
            target = dtype if t.is_floating_point() or t.is_complex() else None
            options = {"device": device, "dtype": target, "non_blocking": non_blocking}
            if memory_format is not None and t.dim() in (4, 5):
                options["memory_format"] = memory_format
            return t.to(**{k: v for k, v in options.items() if v is not None})

        return self._apply(convert)

    def _to_floating(self, dtype: Any) -> Module:
        return self._apply(lambda t: t.to(dtype) if t.is_floating_point() else t)

    def float(self) -> Module:
        """Convert floating parameters and buffers to float32."""
        return self._to_floating(torch.float32)

    def double(self) -> Module:
        """Convert floating parameters and buffers to float64."""
        return self._to_floating(torch.float64)

    def half(self) -> Module:
        """Convert floating parameters and buffers to float16."""
        return self._to_floating(torch.float16)

    def bfloat16(self) -> Module:
        """Convert floating parameters and buffers to bfloat16."""
        return self._to_floating(torch.bfloat16)

    def type(self, dst_type: Any) -> Module:
        """Convert all parameters and buffers to ``dst_type``, integers too."""
        return self._apply(lambda t: t.type(dst_type))

    def cpu(self) -> Module:
        """Move all parameters and buffers to the CPU."""
        return self._apply(lambda t: t.cpu())

    def cuda(self, device: Any = None) -> Module:
        """Move all parameters and buffers to a CUDA device."""
        return self._apply(lambda t: t.cuda(device))

    def xpu(self, device: Any = None) -> Module:
        """Move all parameters and buffers to an XPU device."""
        return self._to_device("xpu", device)

    def mtia(self, device: Any = None) -> Module:
        """Move all parameters and buffers to an MTIA device."""
        return self._to_device("mtia", device)

    def ipu(self, device: Any = None) -> Module:
        """Move all parameters and buffers to an IPU device."""
        return self._to_device("ipu", device)

    def _to_device(self, kind: str, device: Any) -> Module:
        place = f"{kind}:{device}" if isinstance(device, int) else device or kind
        return self._apply(lambda t: t.to(torch.device(place)))

    def to_empty(self, *, device: Any, recurse: bool = True) -> Module:
        """Move to ``device`` without copying: the memory is not initialised."""
        return self._apply(lambda t: torch.empty_like(t, device=device), recurse=recurse)

    def _replicate_for_data_parallel(self) -> Module:
        """A copy of the module itself, without parameters, for a device's to be put in."""
        replica = type(self).__new__(type(self))
        replica.__dict__ = {**self.__dict__, "_parameters": {}, "_is_replica": True}
        replica._buffers, replica._modules = self._buffers.copy(), self._modules.copy()
        return replica

    def share_memory(self) -> Module:
        """Move all parameters and buffers into memory that processes share."""
        return self._apply(lambda t: t.share_memory_())

    # ---- text --------------------------------------------------------------------------------

    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """What ``repr`` shows in the parentheses; to be overridden."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        children = [f"({name}): {_indent(repr(m), 2)}" for name, m in self._modules.items()]
        if len(lines) == 1 and not children:
            return f"{self._get_name()}({lines[0]})"
        if not lines and not children:
            return f"{self._get_name()}()"
        body = "\n  ".join(lines + children)
        return f"{self._get_name()}(\n  {body}\n)"


def torch_typename(value: Any) -> str:
    """The type of ``value`` as error messages name it: ``int``, ``torch.FloatTensor``."""
    if isinstance(value, Tensor):
        return value.type()
    cls = type(value)
    return cls.__name__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__name__}"


def torch_warn(message: str) -> None:
    import warnings

    warnings.warn(message, stacklevel=3)


def _parse_to(*args, device=None, dtype=None, non_blocking=False, memory_format=None, tensor=None):
    """The arguments of ``Module.to``: (device, dtype, non_blocking, memory_format)."""
    rest = list(args)
    if rest and isinstance(rest[0], Tensor):
        tensor = rest.pop(0)
    elif rest and isinstance(rest[0], torch.dtype):
        dtype = rest.pop(0)
    elif rest:
        device = rest.pop(0)
        if rest and (rest[0] is None or isinstance(rest[0], torch.dtype)):
            dtype = rest.pop(0)
    if rest:
        non_blocking = rest.pop(0)
    if rest:
        raise TypeError(f"Module.to: takes device, dtype, non_blocking; got {args}")
    if tensor is not None:
        device, dtype = tensor.device, tensor.dtype
    if dtype is not None and not (dtype.is_floating_point or dtype.is_complex):
        raise TypeError(
            "nn.Module.to only accepts floating point or complex dtypes, but got desired "
            f"dtype={dtype}"
        )
    device = torch.device(device) if device is not None else None
    return device, dtype, bool(non_blocking), memory_format

PLAIN_GETATTR: set[Any] = {Module.__getattr__}  # those that needn't be asked for members
PLAIN_GETATTR = {Module.__getattr__}  # those that needn't be asked for members
