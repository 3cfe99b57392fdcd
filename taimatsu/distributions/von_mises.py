"""The von Mises distribution."""

from __future__ import annotations

import math
from typing import Any

import taimatsu as torch
from taimatsu import Size, Tensor

from . import constraints
from .distribution import Distribution
from .utils import broadcast_all, lazy_property

__all__ = ["VonMises"]


class VonMises(Distribution):
    """Angles in radians of density proportional to exp(concentration cos(x - loc)).

    Drawn by rejection from a wrapped Cauchy distribution (Best and Fisher, 1979), in double
    precision.

    >>> VonMises(0.0, 1.0).mean
    tensor(0.)
    """

    arg_constraints = {"loc": constraints.real, "concentration": constraints.positive}
    support = constraints.real
    has_rsample = False

    def __init__(self, loc: Any, concentration: Any, validate_args: bool | None = None):
        self.loc, self.concentration = broadcast_all(loc, concentration)
        super().__init__(self.loc.shape, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        self._checked(value)
        return (
            self.concentration * (torch.cos(value - self.loc) - 1)
            - math.log(2 * math.pi)
            - torch.special.i0e(self.concentration).log()
        )

    @lazy_property
    def _proposal_r(self) -> Tensor:
        kappa = self.concentration.double()
        tau = 1 + (1 + 4 * kappa**2).sqrt()
        rho = (tau - (2 * tau).sqrt()) / (2 * kappa)
        r = (1 + rho**2) / (2 * rho)
        # for small concentrations by Taylor's formula, where the quotients cancel
        return torch.where(kappa < 1e-5, 1 / kappa + kappa, r)

    def sample(self, sample_shape: Any = Size()) -> Tensor:  # noqa: B008
        shape = self._extended_shape(sample_shape)
        with torch.no_grad():
            loc, kappa, r = (
                t.double().expand(shape) for t in (self.loc, self.concentration, self._proposal_r)
            )
            x = torch.empty(shape, dtype=torch.float64, device=self.loc.device)
            done = torch.zeros(shape, dtype=torch.bool, device=self.loc.device)
            while not done.all():
                u1, u2, u3 = torch.rand(
                    (3, *shape), dtype=torch.float64, device=self.loc.device
                ).unbind()
                f = torch.cos(math.pi * u1)
                g = (1 + r * f) / (r + f)
                c = kappa * (r - g)
                accept = ((c * (2 - c) - u2) > 0) | ((c / u2).log() + 1 - c >= 0)
                x = torch.where(accept, (u3 - 0.5).sign() * g.acos(), x)
                done = done | accept
            return ((x + math.pi + loc) % (2 * math.pi) - math.pi).to(self.loc.dtype)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @lazy_property
    def variance(self) -> Tensor:
        """The circular variance, 1 - I_1 / I_0."""
        ratio = torch.special.i1e(self.concentration) / torch.special.i0e(self.concentration)
        return 1 - ratio
