"""Mixtures of one family."""

from __future__ import annotations

from typing import Any

import taimatsu as torch
from taimatsu import Size, Tensor

from . import constraints
from .categorical import Categorical
from .distribution import Distribution

__all__ = ["MixtureSameFamily"]


class MixtureSameFamily(Distribution):
    """A mixture of the distributions along the last batch dim of `component_distribution`.

    `mixture_distribution` is a `Categorical` of their probabilities. ValueError for another, or for
    batch shapes that don't match.

        MixtureSameFamily(Categorical(torch.ones(5)), Normal(torch.randn(5), torch.rand(5)))

    >>> MixtureSameFamily(Categorical(taimatsu.ones(2)), Normal(taimatsu.tensor([0.0, 4.0]),
    ...     1.0)).mean
    tensor(2.)
    """

    arg_constraints: Any = {}
    has_rsample = False

    def __init__(
        self,
        mixture_distribution: Categorical,
        component_distribution: Distribution,
        validate_args: bool | None = None,
    ):
        self._mixture_distribution = mixture_distribution
        self._component_distribution = component_distribution
        if not isinstance(mixture_distribution, Categorical):
            raise ValueError(
                "The Mixture distribution needs to be an instance of "
                "taimatsu.distributions.Categorical"
            )
        if not isinstance(component_distribution, Distribution):
            raise ValueError(
                "The Component distribution need to be an instance of "
                "taimatsu.distributions.Distribution"
            )
        mixtures, components = mixture_distribution.batch_shape, component_distribution.batch_shape
        for m, c in zip(reversed(mixtures), reversed(components[:-1]), strict=False):
            if m != 1 and c != 1 and m != c:
                raise ValueError(
                    f"`mixture_distribution.batch_shape` ({mixtures}) is not compatible with "
                    f"`component_distribution.batch_shape` ({components})"
                )
        count = mixture_distribution.logits.shape[-1]
        if count != components[-1]:
            raise ValueError(
                f"`mixture_distribution component` ({count}) does not equal "
                f"`component_distribution.batch_shape[-1]` ({components[-1]})"
            )
        self._num_component = count
        self._event_ndims = len(component_distribution.event_shape)
        super().__init__(
            components[:-1], component_distribution.event_shape, validate_args=validate_args
        )

    _kept = ("_num_component", "_event_ndims")

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = self._copy(_instance)
        batch_shape = Size(batch_shape)
        new._component_distribution = self.component_distribution.expand(
            batch_shape + Size((self._num_component,))
        )
        new._mixture_distribution = self.mixture_distribution.expand(batch_shape)
        new._batch_shape = batch_shape
        return new

    @constraints.dependent_property
    def support(self) -> Any:
        return constraints.MixtureSameFamilyConstraint(self._component_distribution.support)

    @property
    def mixture_distribution(self) -> Categorical:
        """The distribution of the components' indices."""
        return self._mixture_distribution

    @property
    def component_distribution(self) -> Distribution:
        """The components, along the last batch dim."""
        return self._component_distribution

    def _over_components(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape + (1,) * self._event_ndims)

    @property
    def _components_dim(self) -> int:
        return -1 - self._event_ndims

    @property
    def mean(self) -> Tensor:
        probs = self._over_components(self.mixture_distribution.probs)
        return torch.sum(probs * self.component_distribution.mean, dim=self._components_dim)

    @property
    def variance(self) -> Tensor:
        """The mean of the variances and the variance of the means."""
        probs = self._over_components(self.mixture_distribution.probs)
        dim = self._components_dim
        within = torch.sum(probs * self.component_distribution.variance, dim=dim)
        off = self.component_distribution.mean - self.mean.unsqueeze(dim)
        return within + torch.sum(probs * off.pow(2.0), dim=dim)

    def cdf(self, x: Tensor) -> Tensor:
        cdf = self.component_distribution.cdf(x.unsqueeze(self._components_dim))
        return torch.sum(cdf * self.mixture_distribution.probs, dim=-1)

    def log_prob(self, x: Tensor) -> Tensor:
        self._checked(x)
        components = self.component_distribution.log_prob(x.unsqueeze(self._components_dim))
        mixture = torch.log_softmax(self.mixture_distribution.logits, dim=-1)
        return torch.logsumexp(components + mixture, dim=-1)

    def sample(self, sample_shape: Any = Size()) -> Tensor:  # noqa: B008
        with torch.no_grad():
            index = self.mixture_distribution.sample(sample_shape)
            drawn = self.component_distribution.sample(sample_shape)
            dim = len(sample_shape) + len(self.batch_shape)
            index = index.reshape(index.shape + (1,) * (self._event_ndims + 1))
            index = index.expand(*index.shape[: dim + 1], *self.event_shape)
            return torch.gather(drawn, dim, index).squeeze(dim)

    def __repr__(self) -> str:
        parts = ",\n  ".join(
            repr(d) for d in (self.mixture_distribution, self.component_distribution)
        )
        return f"MixtureSameFamily(\n  {parts})"
