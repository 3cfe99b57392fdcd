"""The multinomial distribution."""

from __future__ import annotations

import math
from typing import Any

import taimatsu as torch
from taimatsu import Size, Tensor

from . import constraints
from .binomial import Binomial
from .categorical import Categorical, CategoricalVectors
from .utils import broadcast_all

__all__ = ["Multinomial"]


class Multinomial(CategoricalVectors):
    """How often each of K outcomes occurs in `total_count` trials, an int.

    >>> Multinomial(10, taimatsu.tensor([0.2, 0.8])).mean
    tensor([2., 8.])
    """

    total_count: int
    _kept = ("total_count",)
    _nested = ("_categorical", "_binomial")

    def __init__(
        self,
        total_count: int = 1,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ):
        if not isinstance(total_count, int):
            raise NotImplementedError("inhomogeneous total_count is not supported")
        self.total_count = total_count
        super().__init__(Categorical(probs, logits), validate_args)
        self._binomial = Binomial(total_count, self.probs)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> Any:
        return constraints.multinomial(self.total_count)

    @property
    def mean(self) -> Tensor:
        return self.probs * self.total_count

    @property
    def variance(self) -> Tensor:
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = Size()) -> Tensor:  # noqa: B008
        sample_shape = Size(sample_shape)
        drawn = self._categorical.sample(Size((self.total_count,)) + sample_shape)
        drawn = drawn.permute(*range(1, drawn.dim()), 0)  # the trials last
        counts = self._param.new_zeros(self._extended_shape(sample_shape))
        return counts.scatter_add_(-1, drawn, torch.ones_like(drawn).to(counts))

    def entropy(self) -> Tensor:
        n = torch.tensor(self.total_count, dtype=self._param.dtype, device=self._param.device)
        outcomes = self._categorical.entropy()
        counts = self._binomial.enumerate_support(expand=False)[1:]
        probs = torch.exp(self._binomial.log_prob(counts))
        orders = (probs * torch.lgamma(counts + 1)).sum([0, -1])
        return n * outcomes - torch.lgamma(n + 1) + orders

    def log_prob(self, value: Tensor) -> Tensor:
        self._checked(value)
        logits, value = broadcast_all(self.logits, value)
        logits = logits.masked_fill((value == 0) & (logits == -math.inf), 0)
        ways = torch.lgamma(value.sum(-1) + 1) - torch.lgamma(value + 1).sum(-1)
        return ways + (logits * value).sum(-1)
