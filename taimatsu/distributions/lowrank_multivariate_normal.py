"""Multivariate normal distributions of low-rank covariance."""

from __future__ import annotations

import math
from typing import Any

import taimatsu as torch
from taimatsu import Size, Tensor

from . import constraints
from .distribution import Distribution
from .multivariate_normal import batch_mahalanobis, batch_mv, half_log_det
from .utils import lazy_property, standard_normal

__all__ = ["LowRankMultivariateNormal"]


def capacitance_tril(w: Tensor, d: Tensor) -> Tensor:
    """The Cholesky factor of I + W^T D^-1 W, of W (*, n, k) and D (*, n)."""
    k = w.size(-1)
    capacitance = torch.matmul(w.mT / d.unsqueeze(-2), w)
    return torch.linalg.cholesky(capacitance + torch.eye(k, dtype=w.dtype, device=w.device))


def lowrank_log_det(w: Tensor, d: Tensor, capacitance: Tensor) -> Tensor:
    """log det(W W^T + D), by the matrix determinant lemma."""
    return 2 * half_log_det(capacitance) + d.log().sum(-1)


def lowrank_mahalanobis(w: Tensor, d: Tensor, x: Tensor, capacitance: Tensor) -> Tensor:
    """x^T (W W^T + D)^-1 x, by the Woodbury identity."""
    projected = batch_mv(w.mT / d.unsqueeze(-2), x)
    return (x.pow(2) / d).sum(-1) - batch_mahalanobis(capacitance, projected)


class LowRankMultivariateNormal(Distribution):
    """The normal distribution of covariance W W^T + D: `cov_factor` (*, n, k), `cov_diag` (*, n).

    Its cost grows with k, not with n^3. ValueError for shapes that don't match.

    >>> LowRankMultivariateNormal(taimatsu.zeros(2), taimatsu.ones(2, 1),
    ...     taimatsu.ones(2)).covariance_matrix
    tensor([[2., 1.],
            [1., 2.]])
    """

    arg_constraints = {
        "loc": constraints.real_vector,
        "cov_factor": constraints.independent(constraints.real, 2),
        "cov_diag": constraints.independent(constraints.positive, 1),
    }
    support = constraints.real_vector
    has_rsample = True
    _kept = ("_w", "_d", "_capacitance")  # not expanded

    def __init__(
        self,
        loc: Tensor,
        cov_factor: Tensor,
        cov_diag: Tensor,
        validate_args: bool | None = None,
    ):
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        if cov_factor.dim() < 2:
            raise ValueError(
                "cov_factor must be at least two-dimensional, with optional leading batch "
                "dimensions"
            )
        event_shape = loc.shape[-1:]
        if cov_factor.shape[-2:-1] != event_shape:
            raise ValueError(
                f"cov_factor must be a batch of matrices with shape {event_shape[0]} x m"
            )
        if cov_diag.shape[-1:] != event_shape:
            raise ValueError(f"cov_diag must be a batch of vectors with shape {event_shape}")
        try:
            batch_shape = torch.broadcast_shapes(
                loc.shape[:-1], cov_factor.shape[:-2], cov_diag.shape[:-1]
            )
        except RuntimeError as error:
            raise ValueError(
                f"Incompatible batch shapes: loc {loc.shape}, cov_factor {cov_factor.shape}, "
                f"cov_diag {cov_diag.shape}"
            ) from error
        self.loc = loc.expand(*batch_shape, -1)
        self.cov_factor = cov_factor.expand(*batch_shape, -1, -1)
        self.cov_diag = cov_diag.expand(*batch_shape, -1)
        super().__init__(batch_shape, event_shape, validate_args=validate_args)
        self._w, self._d = cov_factor, cov_diag
        self._capacitance = capacitance_tril(cov_factor, cov_diag)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @lazy_property
    def variance(self) -> Tensor:
        variance = self._w.pow(2).sum(-1) + self._d
        return variance.expand(self.batch_shape + self.event_shape)

    @lazy_property
    def scale_tril(self) -> Tensor:
        """The lower Cholesky factor of the covariance: D^(1/2) of that of I + V V^T."""
        n = self.event_shape[0]
        v = self._w / self._d.sqrt().unsqueeze(-1)
        eye = torch.eye(n, dtype=v.dtype, device=v.device)
        tril = self._d.sqrt().unsqueeze(-1) * torch.linalg.cholesky(torch.matmul(v, v.mT) + eye)
        return tril.expand(self.batch_shape + self.event_shape + self.event_shape)

    @lazy_property
    def covariance_matrix(self) -> Tensor:
        """The covariance W W^T + D."""
        covariance = torch.matmul(self._w, self._w.mT) + torch.diag_embed(self._d)
        return covariance.expand(self.batch_shape + self.event_shape + self.event_shape)

    @lazy_property
    def precision_matrix(self) -> Tensor:
        """The inverse of the covariance, by the Woodbury identity."""
        scaled = self._w.mT / self._d.unsqueeze(-2)
        a = torch.linalg.solve_triangular(self._capacitance, scaled, upper=False)
        precision = torch.diag_embed(self._d.reciprocal()) - a.mT @ a
        return precision.expand(self.batch_shape + self.event_shape + self.event_shape)

    def rsample(self, sample_shape: Any = Size()) -> Tensor:  # noqa: B008
        shape = self._extended_shape(sample_shape)
        w_shape = shape[:-1] + self.cov_factor.shape[-1:]
        eps_w = standard_normal(w_shape, self.loc.dtype, self.loc.device)
        eps_d = standard_normal(shape, self.loc.dtype, self.loc.device)
        return self.loc + batch_mv(self._w, eps_w) + self._d.sqrt() * eps_d

    def log_prob(self, value: Tensor) -> Tensor:
        self._checked(value)
        distance = lowrank_mahalanobis(self._w, self._d, value - self.loc, self._capacitance)
        log_det = lowrank_log_det(self._w, self._d, self._capacitance)
        return -0.5 * (self.event_shape[0] * math.log(2 * math.pi) + log_det + distance)

    def entropy(self) -> Tensor:
        log_det = lowrank_log_det(self._w, self._d, self._capacitance)
        constant = self.event_shape[0] * (1.0 + math.log(2 * math.pi))
        return (0.5 * (constant + log_det)).expand(self.batch_shape)
