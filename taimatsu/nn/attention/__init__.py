"""``nn.attention``: which routine computes `scaled_dot_product_attention`.

On GPUs there are cuDNN and one that works block by block; the latter is all that there is on the
CPU, and what computes where nothing else may or can.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from taimatsu._lazy import submodules

__all__ = [
    "WARN_FOR_UNFUSED_KERNELS", "SDPBackend", "activate_flash_attention_impl",
    "current_flash_attention_impl", "list_flash_attention_impls", "register_flash_attention_impl",
    "restore_flash_attention_impl", "sdpa_kernel",
]  # fmt: skip

__getattr__ = submodules(__name__)  # bias, flex_attention, varlen
WARN_FOR_UNFUSED_KERNELS = False  # there is one routine, and it is fused


class SDPBackend(enum.IntEnum):
    """Implementations of scaled dot-product attention, as PyTorch names them."""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4

    def __repr__(self) -> str:
        return f"<SDPBackend.{self.name}: {self.value}>"


_SWITCHES = {  # of `backends.cuda`
    SDPBackend.MATH: "math",
    SDPBackend.FLASH_ATTENTION: "flash",
    SDPBackend.EFFICIENT_ATTENTION: "mem_efficient",
    SDPBackend.CUDNN_ATTENTION: "cudnn",
}


@contextmanager
def sdpa_kernel(
    backends: list[SDPBackend] | SDPBackend, set_priority: bool = False
) -> Iterator[dict]:
    """Allow only these backends inside the block; in their order with ``set_priority``.

    >>> with sdpa_kernel(SDPBackend.MATH):
    ...     F.scaled_dot_product_attention(*torch.ones(3, 1, 2, 4))[0, 0]
    tensor([1., 1., 1., 1.])
    """
    if isinstance(backends, SDPBackend):
        backends = [backends]
    if not isinstance(backends, list) or not all(isinstance(b, SDPBackend) for b in backends):
        raise AssertionError(
            f"sdpa_kernel: needs an SDPBackend or a list of them; got {backends!r}"
        )
    from taimatsu.backends import cuda

    with cuda.sdp_switched({name: b in backends for b, name in _SWITCHES.items()}):
        yield {}


# ---- implementations by others --------------------------------------------------------------

_implementations: dict[str, Callable[..., Any]] = {}
_active: tuple[str, Any] | None = None


def register_flash_attention_impl(impl: str, *, register_fn: Callable[..., Any]) -> None:
    """Tells how an implementation of attention is put in place of the usual one.

    ``register_fn()`` does it, when `activate_flash_attention_impl` is called; it may give an object
    whose ``remove()`` takes it away again.
    """
    _implementations[impl] = register_fn


def activate_flash_attention_impl(impl: str) -> None:
    """Puts a registered implementation in place. ValueError if there is none of this name."""
    global _active
    if impl not in _implementations:
        raise ValueError(
            f"Unknown flash attention impl '{impl}'. Available implementations: "
            f"{list_flash_attention_impls()}"
        )
    if _active is not None and _active[0] == impl:
        return
    restore_flash_attention_impl()
    _active = impl, _implementations[impl]()


def list_flash_attention_impls() -> list[str]:
    """The names that were registered."""
    return sorted(_implementations)


def current_flash_attention_impl() -> str | None:
    """The name of the one in place; None: the usual one."""
    return _active and _active[0]


def restore_flash_attention_impl(_raise_warn: bool = True) -> None:
    """Puts the usual one in place again."""
    global _active
    if _active is not None and _active[1] is not None:
        _active[1].remove()
    _active = None
