"""Which parts of a model `FullyShardedDataParallel` wraps by themselves."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from taimatsu import nn

__all__ = [
    "CustomPolicy", "ModuleWrapPolicy", "always_wrap_policy", "enable_wrap",
    "lambda_auto_wrap_policy", "size_based_auto_wrap_policy", "transformer_auto_wrap_policy",
    "wrap",
]  # fmt: skip


def always_wrap_policy(*args: Any, **kwargs: Any) -> bool:
    """Every module."""
    return True


def lambda_auto_wrap_policy(
    module: nn.Module, recurse: bool, nonwrapped_numel: int, lambda_fn: Callable
) -> bool:
    """Modules of which ``lambda_fn(module)`` holds."""
    return recurse or lambda_fn(module)


def transformer_auto_wrap_policy(
    module: nn.Module, recurse: bool, nonwrapped_numel: int,
    transformer_layer_cls: Iterable[type[nn.Module]],
) -> bool:  # fmt: skip
    """Modules of these classes."""
    return recurse or isinstance(module, tuple(transformer_layer_cls))


def size_based_auto_wrap_policy(
    module: nn.Module, recurse: bool, nonwrapped_numel: int, min_num_params: int = int(1e8),
    force_leaf_modules: set | None = None, exclude_wrap_modules: set | None = None,
) -> bool:  # fmt: skip
    """Modules with so many elements in parameters that their parts leave."""
    exclude = exclude_wrap_modules or {nn.ModuleList, nn.ModuleDict}
    leaves = force_leaf_modules or {nn.MultiheadAttention}
    large = nonwrapped_numel >= min_num_params
    if recurse:
        return large and not isinstance(module, tuple(leaves))
    return large and not isinstance(module, tuple(exclude))


def _or_policy(
    module: nn.Module, recurse: bool, nonwrapped_numel: int, policies: list[Callable]
) -> bool:
    """Modules that any of several policies chooses."""
    return any(p(module=module, recurse=recurse, nonwrapped_numel=nonwrapped_numel)
               for p in policies)  # fmt: skip


class ModuleWrapPolicy:
    """Modules of these classes."""

    def __init__(self, module_classes: Iterable[type[nn.Module]]):
        self._classes = tuple(module_classes)

    def __call__(self, module: nn.Module, recurse: bool, *args: Any, **kwargs: Any) -> bool:
        return recurse or isinstance(module, self._classes)


class CustomPolicy:
    """Modules of which ``lambda_fn(module)`` holds, or gives the arguments to wrap them with."""

    def __init__(self, lambda_fn: Callable[[nn.Module], Any]):
        self._lambda_fn = lambda_fn

    def __call__(self, module: nn.Module, recurse: bool, *args: Any, **kwargs: Any) -> Any:
        return recurse or self._lambda_fn(module)


def wrap_parts(
    module: nn.Module, policy: Callable, wrapper: Callable[..., nn.Module], ignored: set
) -> int:
    """Wraps the parts of a module that a policy chooses; how many elements are wrapped."""
    wrapped = 0
    for name, child in module.named_children():
        if child in ignored:
            continue
        count = sum(p.numel() for p in child.parameters())
        if not policy(module=child, recurse=True, nonwrapped_numel=count):
            continue
        inner = wrap_parts(child, policy, wrapper, ignored)
        chosen = policy(module=child, recurse=False, nonwrapped_numel=count - inner)
        if chosen:
            options = chosen if isinstance(chosen, dict) else {}
            setattr(module, name, wrapper(child, **options))
            inner = count
        wrapped += inner
    return wrapped


_wrapping: tuple[Callable, dict[str, Any]] | None = None


@contextlib.contextmanager
def enable_wrap(*, wrapper_cls: Any, **wrapper_kwargs: Any) -> Iterator[None]:
    """Inside, `wrap` wraps with this class and these arguments."""
    global _wrapping
    before, _wrapping = _wrapping, (wrapper_cls, wrapper_kwargs)
    try:
        yield
    finally:
        _wrapping = before


def wrap(module: nn.Module, **wrap_overrides: Any) -> nn.Module:
    """A module, wrapped if the caller is inside of `enable_wrap`."""
    if _wrapping is None:
        return module
    wrapper, options = _wrapping
    return wrapper(module, **{**options, **wrap_overrides})
