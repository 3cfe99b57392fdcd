"""The multivariate normal distribution."""

from __future__ import annotations

import math
from typing import Any

import taimatsu as torch
from taimatsu import Size, Tensor

from . import constraints
from ._bases import Covariance
from .distribution import Distribution  # noqa: F401  (BoTorch imports it from here)
from .utils import standard_normal

__all__ = ["MultivariateNormal"]


def batch_mv(matrix: Tensor, vector: Tensor) -> Tensor:
    """Products of matrices (*, n, m) and vectors (*, m), which broadcast."""
    return torch.matmul(matrix, vector.unsqueeze(-1)).squeeze(-1)


def batch_mahalanobis(tril: Tensor, vector: Tensor) -> Tensor:
    """|L^-1 x|^2 of L (*batch, n, n) and x (*samples, *batch, n)."""
    batch = tril.shape[:-2]
    shape = torch.broadcast_shapes(vector.shape[:-1], batch)
    samples = shape[: len(shape) - len(batch)]
    # The samples of one L are columns of one system.
    columns = vector.expand(*shape, vector.shape[-1]).reshape(samples.numel(), -1, vector.shape[-1])
    columns = columns.permute(1, 2, 0)
    rows = tril.expand(*shape[len(samples) :], -1, -1).reshape(-1, *tril.shape[-2:])
    solved = torch.linalg.solve_triangular(rows, columns, upper=False)
    return solved.square().sum(-2).T.reshape(shape)


def half_log_det(tril: Tensor) -> Tensor:
    """log det L = log det(L L^T) / 2."""
    return tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)


class MultivariateNormal(Covariance):
    """The normal distribution of vectors of mean `loc` (*, n).

    One of `covariance_matrix`, `precision_matrix` (its inverse) and `scale_tril` (its lower
    Cholesky factor; the cheapest), each (*, n, n), is given: ValueError otherwise.

    >>> MultivariateNormal(taimatsu.zeros(2), taimatsu.eye(2)).log_prob(taimatsu.zeros(2))
    tensor(-1.8379)
    """

    arg_constraints = {"loc": constraints.real_vector, **Covariance._MATRICES}
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self,
        loc: Tensor,
        covariance_matrix: Tensor | None = None,
        precision_matrix: Tensor | None = None,
        scale_tril: Tensor | None = None,
        validate_args: bool | None = None,
    ):
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        name, matrix = self._given_matrix(covariance_matrix, precision_matrix, scale_tril)
        batch_shape = torch.broadcast_shapes(matrix.shape[:-2], loc.shape[:-1])
        self.__dict__[name] = matrix.expand(*batch_shape, -1, -1)
        self.loc = loc.expand(*batch_shape, -1)
        super().__init__(batch_shape, self.loc.shape[-1:], validate_args=validate_args)
        self._factorize(name, matrix)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return self._tril.pow(2).sum(-1).expand(self._batch_shape + self._event_shape)

    def rsample(self, sample_shape: Any = Size()) -> Tensor:  # noqa: B008
        shape = self._extended_shape(sample_shape)
        eps = standard_normal(shape, self.loc.dtype, self.loc.device)
        return self.loc + batch_mv(self._tril, eps)

    def log_prob(self, value: Tensor) -> Tensor:
        self._checked(value)
        distance = batch_mahalanobis(self._tril, value - self.loc)
        constant = self.event_shape[0] * math.log(2 * math.pi)
        return -0.5 * (constant + distance) - half_log_det(self._tril)

    def entropy(self) -> Tensor:
        constant = 0.5 * self.event_shape[0] * (1.0 + math.log(2 * math.pi))
        return (constant + half_log_det(self._tril)).expand(self.batch_shape)
