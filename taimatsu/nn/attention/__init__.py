"""``nn.attention``: which routine computes `scaled_dot_product_attention`.

There is one on the CPU, that works block by block, so the choice is kept and has no effect there.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["SDPBackend", "sdpa_kernel"]


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


_enabled = [backend for backend in SDPBackend if backend >= 0]


@contextmanager
def sdpa_kernel(
    backends: list[SDPBackend] | SDPBackend, set_priority: bool = False
) -> Iterator[dict]:
    """Allow only these backends inside the block; in their order with ``set_priority``.

    >>> with sdpa_kernel(SDPBackend.MATH):
    ...     out = F.scaled_dot_product_attention(query, key, value)
    """
    global _enabled
    if isinstance(backends, SDPBackend):
        backends = [backends]
    if not isinstance(backends, list) or not all(isinstance(b, SDPBackend) for b in backends):
        raise AssertionError(
            f"sdpa_kernel: needs an SDPBackend or a list of them; got {backends!r}"
        )
    before, _enabled = _enabled, list(dict.fromkeys(backends))
    try:
        yield {}
    finally:
        _enabled = before
