"""Adam of the rows that gradients have: for embeddings with sparse gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import taimatsu as torch
from taimatsu import Tensor
from taimatsu.sparse import is_sparse

from .optimizer import Optimizer, check_betas, number

__all__ = ["SparseAdam"]


class SparseAdam(Optimizer):
    """Adam whose averages and parameters change only where the sparse gradient has elements.

    ValueError for parameters that are sparse themselves, RuntimeError for dense gradients.

    >>> words = nn.Embedding(1000, 16, sparse=True)
    >>> optimizer = torch.optim.SparseAdam(words.parameters(), lr=0.01)
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        maximize: bool = False,
    ):
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        if not lr > 0:
            raise ValueError(f"Invalid learning rate: {lr}")
        if not eps > 0:
            raise ValueError(f"Invalid epsilon value: {eps}")
        check_betas(betas)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize})
        sparse = self._places(is_sparse)
        if sparse:
            raise ValueError(
                f"Sparse params at indices {sparse}: SparseAdam requires dense parameter tensors"
            )
        numbers = self._places(torch.is_complex)
        if numbers:
            raise ValueError(
                f"Complex params at indices {numbers}: SparseAdam does not support complex "
                "parameters"
            )

    def _places(self, which: Callable[[Tensor], bool]) -> list[list[int]]:
        return [
            [g, p]
            for g, group in enumerate(self.param_groups)
            for p, param in enumerate(group["params"])
            if which(param)
        ]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the rows that have a gradient. ``closure`` recomputes the loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for param in group["params"]:
                grad = param.grad
                if grad is None:
                    continue
                if not grad.is_sparse:
                    raise RuntimeError(
                        "SparseAdam does not support dense gradients, please consider Adam instead"
                    )
                state = self.state[param]
                if not state:
                    state["step"] = 0
                    for name in ("exp_avg", "exp_avg_sq"):
                        state[name] = torch.zeros_like(param, memory_format=torch.preserve_format)
                state["step"] += 1
                self._update(param, -grad if group["maximize"] else grad, state, group)
        return loss

    def _update(
        self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        grad = grad.coalesce()
        if not grad.values().shape[0]:
            return
        at, g = tuple(grad.indices()), grad.values()
        beta1, beta2 = group["betas"]
        mean, square = state["exp_avg"][at], state["exp_avg_sq"][at]
        mean += (g - mean) * (1 - beta1)
        square += (g * g - square) * (1 - beta2)
        state["exp_avg"][at], state["exp_avg_sq"][at] = mean, square
        step = state["step"]
        size = number(group["lr"]) * (1 - beta2**step) ** 0.5 / (1 - beta1**step)
        param.index_put_(at, mean / (square.sqrt() + group["eps"]) * -size, accumulate=True)
