"""``ao.nn.quantized``: arithmetic as modules, so that a conversion finds it."""

from __future__ import annotations

from typing import Any

import taimatsu as torch
from taimatsu.nn import Identity, Module

__all__ = ["FloatFunctional"]


class FloatFunctional(Module):
    """Sums and products of a model that may be quantized: of floating-point tensors, as they are.

    Each result goes through ``activation_post_process``, where observers are put.
    """

    def __init__(self) -> None:
        super().__init__()
        self.activation_post_process = Identity()

    def forward(self, x: Any) -> Any:
        raise RuntimeError(
            "FloatFunctional is not intended to use the 'forward'. Please use the underlying "
            "operation"
        )

    def add(self, x: Any, y: Any) -> Any:
        """x + y."""
        return self.activation_post_process(x + y)

    add_scalar = add

    def mul(self, x: Any, y: Any) -> Any:
        """x * y."""
        return self.activation_post_process(x * y)

    mul_scalar = mul

    def matmul(self, x: Any, y: Any) -> Any:
        """x @ y."""
        return self.activation_post_process(x @ y)

    def add_relu(self, x: Any, y: Any) -> Any:
        """relu(x + y)."""
        return self.activation_post_process(torch.relu(x + y))

    def cat(self, x: Any, dim: int = 0) -> Any:
        """`taimatsu.cat`."""
        return self.activation_post_process(torch.cat(x, dim))
