"""``nn.attention``: which routine computes `scaled_dot_product_attention`.

On GPUs there are cuDNN and one that works block by block; the latter is all that there is on the
CPU, and what computes where nothing else may or can.
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
    ...     out = F.scaled_dot_product_attention(query, key, value)
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
