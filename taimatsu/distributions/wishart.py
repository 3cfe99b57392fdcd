"""The Wishart distribution."""

from __future__ import annotations

import math
import warnings
from typing import Any

import taimatsu as torch
from taimatsu import Size, Tensor

from . import constraints
from ._bases import Covariance
from .chi2 import Chi2
from .exp_family import ExponentialFamily
from .multivariate_normal import half_log_det
from .utils import multivariate_digamma, standard_normal

__all__ = ["Wishart"]


class Wishart(Covariance, ExponentialFamily):
    """The sum of `df` outer products of normal vectors (*, n), of the given covariance (*, n, n).

    `df` > n - 1; one of `covariance_matrix`, `precision_matrix` and `scale_tril`. ValueError
    otherwise. (Sawyer, "Wishart distributions and inverse-Wishart sampling", 2007)

    >>> Wishart(3.0, taimatsu.eye(2)).mean
    tensor([[3., 0.],
            [0., 3.]])
    """

    support = constraints.positive_definite
    has_rsample = True
    _mean_carrier_measure = 0
    _nested = ("_chi2",)

    @property
    def arg_constraints(self) -> dict[str, Any]:
        return {**self._MATRICES, "df": constraints.greater_than(self.event_shape[-1] - 1)}

    def __init__(
        self,
        df: Any,
        covariance_matrix: Tensor | None = None,
        precision_matrix: Tensor | None = None,
        scale_tril: Tensor | None = None,
        validate_args: bool | None = None,
    ):
        name, matrix = self._given_matrix(covariance_matrix, precision_matrix, scale_tril)
        if not isinstance(df, Tensor):
            df = torch.tensor(df, dtype=matrix.dtype, device=matrix.device)
        batch_shape = torch.broadcast_shapes(matrix.shape[:-2], df.shape)
        self.df = df.expand(batch_shape)
        if self.df.le(matrix.shape[-1] - 1).any():
            raise ValueError(
                f"Value of df={df} expected to be greater than ndim - 1 = {matrix.shape[-1] - 1}."
            )
        self.__dict__[name] = matrix.expand(*batch_shape, -1, -1)
        self._event_shape = matrix.shape[-2:]
        super().__init__(batch_shape, matrix.shape[-2:], validate_args=validate_args)
        if self.df.lt(self.event_shape[-1]).any():
            warnings.warn(
                "Low df values detected. Singular samples are highly likely to occur for "
                "ndim - 1 < df < ndim.",
                stacklevel=2,
            )
        self._factorize(name, matrix)
        # Bartlett: the squares of the diagonal have df, df - 1, ... degrees of freedom.
        lost = torch.arange(self.event_shape[-1], dtype=matrix.dtype, device=matrix.device)
        self._chi2 = Chi2(self.df.unsqueeze(-1) - lost.expand(*batch_shape, -1))

    @property
    def mean(self) -> Tensor:
        return self.df.view(*self.batch_shape, 1, 1) * self.covariance_matrix

    @property
    def mode(self) -> Tensor:
        factor = self.df - self.covariance_matrix.shape[-1] - 1
        factor = factor.masked_fill(factor <= 0, math.nan)
        return factor.view(*self.batch_shape, 1, 1) * self.covariance_matrix

    @property
    def variance(self) -> Tensor:
        v = self.covariance_matrix
        diagonal = v.diagonal(dim1=-2, dim2=-1)
        products = diagonal.unsqueeze(-1) * diagonal.unsqueeze(-2)
        return self.df.view(*self.batch_shape, 1, 1) * (v.pow(2) + products)

    def _bartlett_sampling(self, sample_shape: Any = Size()) -> Tensor:  # noqa: B008
        noise = torch.diag_embed(self._chi2.rsample(sample_shape).sqrt())
        rows, columns = torch.tril_indices(*self.event_shape, -1, device=noise.device)
        below = standard_normal(
            Size(sample_shape) + self.batch_shape + (len(rows),), noise.dtype, noise.device
        )
        noise[..., rows, columns] = below
        scaled = self._tril @ noise
        return scaled @ scaled.mT

    def rsample(
        self,
        sample_shape: Any = Size(),  # noqa: B008
        max_try_correction: int | None = None,
    ) -> Tensor:
        """Draws; singular ones are drawn anew up to `max_try_correction` times (3).

        A draw that stays singular is given with a warning.
        """
        tries = 3 if max_try_correction is None else max_try_correction
        sample = self._bartlett_sampling(Size(sample_shape))
        singular = ~self.support.check(sample)
        for _ in range(tries):
            if not singular.any():
                break
            again = self._bartlett_sampling(Size(sample_shape))
            sample = torch.where(singular[..., None, None], again, sample)
            singular = ~self.support.check(sample)
        if singular.any():
            warnings.warn("Singular sample detected.", stacklevel=2)
        return sample

    def log_prob(self, value: Tensor) -> Tensor:
        self._checked(value)
        nu, p = self.df, self.event_shape[-1]
        trace = torch.cholesky_solve(value, self._tril).diagonal(dim1=-2, dim2=-1).sum(-1)
        return (
            -nu * (p * math.log(2) / 2 + half_log_det(self._tril))
            - torch.mvlgamma(nu / 2, p)
            + (nu - p - 1) / 2 * torch.linalg.slogdet(value).logabsdet
            - trace / 2
        )

    def entropy(self) -> Tensor:
        nu, p = self.df, self.event_shape[-1]
        return (
            (p + 1) * (p * math.log(2) / 2 + half_log_det(self._tril))
            + torch.mvlgamma(nu / 2, p)
            - (nu - p - 1) / 2 * multivariate_digamma(nu / 2, p)
            + nu * p / 2
        )

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        return -self.precision_matrix / 2, (self.df - self.event_shape[-1] - 1) / 2

    def _log_normalizer(self, x: Tensor, y: Tensor) -> Tensor:
        p = self.event_shape[-1]
        a = y + (p + 1) / 2
        log_det = torch.linalg.slogdet(-2 * x).logabsdet
        return a * (-log_det + math.log(2) * p) + torch.mvlgamma(a, p)
