"""Bases of distributions that are alike: in how parameters are given, or in what they wrap."""

from __future__ import annotations

import math
from typing import Any

import taimatsu as torch
from taimatsu import Size, Tensor

from . import constraints
from .distribution import Distribution
from .transformed_distribution import TransformedDistribution
from .transforms import AbsTransform
from .utils import lazy_property, logits_to_probs, probs_to_logits


class ProbsOrLogits(Distribution):
    """Of `probs` and `logits` one is given, and the other computed when it is asked for."""

    @property
    def _param(self) -> Tensor:
        """The one that was given."""
        return self.__dict__["probs"] if "probs" in self.__dict__ else self.__dict__["logits"]

    @property
    def param_shape(self) -> Size:
        """The shape of the parameter; of categories, with their dim."""
        return self._param.size()


class BinaryProbs(ProbsOrLogits):
    """`probs` are of one of two outcomes."""

    def _parametrise_probs(
        self, validate_args: bool | None, probs: Any, logits: Any, **more: Any
    ) -> None:
        """Sets `probs` or `logits`, whichever is given, and what broadcasts against it."""
        if (probs is None) == (logits is None):
            raise ValueError("Either `probs` or `logits` must be specified, but not both.")
        more["logits" if probs is None else "probs"] = logits if probs is None else probs
        self._parametrise(validate_args, **more)

    @lazy_property
    def logits(self) -> Tensor:
        """The log odds of 1, or of a success."""
        return probs_to_logits(self.probs, is_binary=True)

    @lazy_property
    def probs(self) -> Tensor:
        """The probability of 1, or of a success."""
        return logits_to_probs(self.logits, is_binary=True)


def precision_to_scale_tril(precision: Tensor) -> Tensor:
    """The lower triangular L with (L L^T)^-1 = P, without inverting P."""
    flipped = torch.linalg.cholesky(torch.flip(precision, (-2, -1)))
    inverse = torch.flip(flipped, (-2, -1)).mT
    identity = torch.eye(precision.shape[-1], dtype=precision.dtype, device=precision.device)
    return torch.linalg.solve_triangular(inverse, identity.expand_as(inverse), upper=False)


class Covariance(Distribution):
    """A covariance (*, n, n), its inverse, or its lower Cholesky factor is given.

    The factor is kept not expanded, so that a batch shares its systems. Subclasses outside of this
    package compute it when it is asked for.
    """

    _kept = ("_unbroadcasted_scale_tril",)
    _MATRICES = {
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }

    @classmethod
    def _given_matrix(cls, *matrices: Tensor | None) -> tuple[str, Tensor]:
        """The matrix that isn't None, after its name; ValueError unless there is just one."""
        given = [pair for pair in zip(cls._MATRICES, matrices, strict=True) if pair[1] is not None]
        if len(given) != 1:
            raise ValueError(f"Exactly one of {' or '.join(cls._MATRICES)} may be specified.")
        ((name, matrix),) = given
        assert matrix is not None
        if matrix.dim() < 2:
            raise ValueError(
                f"{name} must be at least two-dimensional, with optional leading batch dimensions"
            )
        return name, matrix

    def _factorize(self, name: str, matrix: Tensor) -> None:
        if name == "covariance_matrix":
            matrix = torch.linalg.cholesky(matrix)
        elif name == "precision_matrix":
            matrix = precision_to_scale_tril(matrix)
        self._unbroadcasted_scale_tril = matrix

    @property
    def _tril(self) -> Tensor:
        return self._unbroadcasted_scale_tril

    def _expanded(self, matrix: Tensor) -> Tensor:
        return matrix.expand(self.batch_shape + matrix.shape[-2:])

    @lazy_property
    def scale_tril(self) -> Tensor:
        """The lower Cholesky factor of the covariance."""
        return self._expanded(self._tril)

    @lazy_property
    def covariance_matrix(self) -> Tensor:
        """The covariance of the normal vectors."""
        return self._expanded(self._tril @ self._tril.mT)

    @lazy_property
    def precision_matrix(self) -> Tensor:
        """The inverse of the covariance."""
        return self._expanded(torch.cholesky_inverse(self._tril))


class Half(TransformedDistribution):
    """|x| of x around 0."""

    arg_constraints = {"scale": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True

    def __init__(self, symmetric: Distribution, validate_args: bool | None):
        super().__init__(symmetric, AbsTransform(), validate_args=validate_args)

    @property
    def scale(self) -> Tensor:
        """The scale of x."""
        return self.base_dist.scale

    @property
    def mode(self) -> Tensor:
        return torch.zeros_like(self.scale)

    def log_prob(self, value: Tensor) -> Tensor:
        self._checked(value)
        value = torch.as_tensor(value, dtype=self.scale.dtype, device=self.scale.device)
        return torch.where(value >= 0, self.base_dist.log_prob(value) + math.log(2), -math.inf)

    def cdf(self, value: Tensor) -> Tensor:
        self._checked(value)
        return 2 * self.base_dist.cdf(value) - 1

    def icdf(self, value: Tensor) -> Tensor:
        return self.base_dist.icdf((value + 1) / 2)

    def entropy(self) -> Tensor:
        return self.base_dist.entropy() - math.log(2)


class Relaxed(TransformedDistribution):
    """Discrete draws made continuous: the nearer to discrete ones, the lower the temperature."""

    has_rsample = True

    @property
    def temperature(self) -> Tensor:
        """The temperature of the relaxation."""
        return self.base_dist.temperature

    @property
    def logits(self) -> Tensor:
        """The logits of the discrete distribution."""
        return self.base_dist.logits

    @property
    def probs(self) -> Tensor:
        """The probabilities of the discrete distribution."""
        return self.base_dist.probs
