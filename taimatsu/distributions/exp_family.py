"""Exponential families: densities exp(t(x) . theta - F(theta) + k(x)) (Nielsen and Nock, 2010)."""

from __future__ import annotations

from typing import Any

import taimatsu as torch
from taimatsu import Tensor

from .distribution import Distribution
from .utils import sum_rightmost

__all__ = ["ExponentialFamily"]


class ExponentialFamily(Distribution):
    """A family given by its natural parameters theta and log normaliser F.

    The entropy, and the divergence of two members, follow from F and its gradient.
    """

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        raise NotImplementedError

    def _log_normalizer(self, *natural_params: Any) -> Tensor:
        raise NotImplementedError

    @property
    def _mean_carrier_measure(self) -> Any:
        """The expected value of k(x)."""
        raise NotImplementedError

    def _normalizer_and_gradients(self) -> tuple[list[Tensor], Tensor, tuple[Tensor, ...]]:
        """The natural parameters, F and its gradient there, which can be derived again."""
        theta = [p.detach().requires_grad_() for p in self._natural_params]
        normalizer = self._log_normalizer(*theta)
        gradients = torch.autograd.grad(normalizer.sum(), theta, create_graph=True)
        return theta, normalizer, gradients

    def entropy(self) -> Tensor:
        with torch.enable_grad():
            theta, normalizer, gradients = self._normalizer_and_gradients()
        result = normalizer - self._mean_carrier_measure
        for parameter, gradient in zip(theta, gradients, strict=True):
            product = parameter * gradient
            result = result - sum_rightmost(product, product.dim() - len(self.batch_shape))
        return result
