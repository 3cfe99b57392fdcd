"""Modules whose activations are computed again in backward, or kept in main memory."""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable
from typing import Any

from taimatsu import nn
from taimatsu.autograd.graph import save_on_cpu
from taimatsu.distributed._wrapper import Wrapper, with_wrapper, without_wrapper
from taimatsu.utils.checkpoint import checkpoint

__all__ = [
    "ActivationWrapper", "CheckpointImpl", "CheckpointWrapper", "OffloadWrapper",
    "apply_activation_checkpointing", "checkpoint_wrapper", "offload_wrapper",
]  # fmt: skip

_WRAPPED = "_checkpoint_wrapped_module"


class CheckpointImpl(enum.Enum):
    """See ``use_reentrant`` of `utils.checkpoint.checkpoint`."""

    REENTRANT = enum.auto()
    NO_REENTRANT = enum.auto()


class ActivationWrapper(Wrapper):
    """A wrapper whose state dict has the names of the bare module."""

    INSIDE = _WRAPPED

    def __init__(self, mod: nn.Module):
        super().__init__()
        setattr(self, _WRAPPED, mod)
        self._register_state_dict_hook(without_wrapper)
        self.register_load_state_dict_pre_hook(with_wrapper)

    @property
    def wrapped(self) -> nn.Module:
        """The module."""
        return getattr(self, _WRAPPED)

    def named_parameters(self, *args: Any, **kwargs: Any) -> Any:
        """By the names of the bare module."""
        for name, param in super().named_parameters(*args, **kwargs):
            yield name.replace(f"{_WRAPPED}.", ""), param


class OffloadWrapper(ActivationWrapper):
    """A module whose activations are kept in main memory."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The module's."""
        with save_on_cpu(pin_memory=True):
            return self.wrapped(*args, **kwargs)


class CheckpointWrapper(ActivationWrapper):
    """A module that is computed again in backward."""

    def __init__(
        self, mod: nn.Module, checkpoint_impl: CheckpointImpl = CheckpointImpl.NO_REENTRANT,
        checkpoint_fn: Callable | None = None, **checkpoint_fn_kwargs: Any,
    ):  # fmt: skip
        super().__init__(mod)
        self.checkpoint_impl = checkpoint_impl
        self.checkpoint_fn = functools.partial(checkpoint_fn, **checkpoint_fn_kwargs) if (
            checkpoint_fn
        ) else functools.partial(
            checkpoint, use_reentrant=checkpoint_impl is CheckpointImpl.REENTRANT,
            **checkpoint_fn_kwargs,
        )  # fmt: skip

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The module's."""
        if self.checkpoint_impl is CheckpointImpl.REENTRANT and kwargs:
            names, count = list(kwargs), len(args)

            def positional(*values: Any) -> Any:
                return self.wrapped(*values[:count], **dict(zip(names, values[count:],
                                                                strict=True)))  # fmt: skip

            return self.checkpoint_fn(positional, *args, *kwargs.values())
        return self.checkpoint_fn(self.wrapped, *args, **kwargs)


def checkpoint_wrapper(
    module: nn.Module, checkpoint_impl: CheckpointImpl = CheckpointImpl.NO_REENTRANT,
    checkpoint_fn: Callable | None = None, **checkpoint_fn_kwargs: Any,
) -> nn.Module:  # fmt: skip
    """A module that is computed again in backward; ``checkpoint_fn_kwargs`` as of `checkpoint`.

    >>> layer = checkpoint_wrapper(nn.Linear(2, 2))
    >>> list(layer.state_dict())
    ['weight', 'bias']
    """
    return CheckpointWrapper(module, checkpoint_impl, checkpoint_fn, **checkpoint_fn_kwargs)


def offload_wrapper(module: nn.Module) -> nn.Module:
    """A module whose activations are kept in main memory."""
    return OffloadWrapper(module)


def apply_activation_checkpointing(
    model: nn.Module, checkpoint_wrapper_fn: Callable[[nn.Module], nn.Module] = checkpoint_wrapper,
    check_fn: Callable[[nn.Module], bool] = lambda _: True,
    auto_wrap_policy: Callable | None = None,
) -> None:  # fmt: skip
    """Wraps the parts of a model of which ``check_fn`` holds, or that a policy of
    `distributed.fsdp.wrap` chooses."""
    from ...fsdp.wrap import lambda_auto_wrap_policy, wrap_parts

    policy = auto_wrap_policy or functools.partial(lambda_auto_wrap_policy, lambda_fn=check_fn)
    wrap_parts(model, policy, checkpoint_wrapper_fn, set())
