"""The LKJ distribution of correlation matrices."""

from __future__ import annotations

import math
from typing import Any

import taimatsu as torch
from taimatsu import Size, Tensor

from . import constraints
from .beta import Beta
from .distribution import Distribution
from .utils import broadcast_all, standard_normal

__all__ = ["LKJCholesky"]


class LKJCholesky(Distribution):
    """Cholesky factors of dim x dim correlation matrices of density det^(concentration - 1).

    1: all correlation matrices are equally likely; more: those near the identity are more likely.
    Drawn by the onion method (Lewandowski, Kurowicka and Joe, 2009).

    >>> LKJCholesky(3).sample().shape
    torch.Size([3, 3])
    """

    arg_constraints = {"concentration": constraints.positive}
    support = constraints.corr_cholesky
    _kept = ("dim",)
    _nested = ("_beta",)

    def __init__(self, dim: int, concentration: Any = 1.0, validate_args: bool | None = None):
        if dim < 2:
            raise ValueError(
                f"Expected dim to be an integer greater than or equal to 2. Found dim={dim}."
            )
        self.dim = dim
        (self.concentration,) = broadcast_all(concentration)
        # The squared norm of what is off the diagonal, for each row; none for the first.
        options = {"dtype": self.concentration.dtype, "device": self.concentration.device}
        row = torch.arange(dim - 1, **options)
        row = torch.cat([row.new_zeros(1), row])
        marginal = self.concentration.unsqueeze(-1) + 0.5 * (dim - 2)
        self._beta = Beta(row + 0.5, marginal - 0.5 * row)
        super().__init__(self.concentration.size(), Size((dim, dim)), validate_args)

    def sample(self, sample_shape: Any = Size()) -> Tensor:  # noqa: B008
        shape = self._extended_shape(sample_shape)
        with torch.no_grad():
            squares = self._beta.sample(sample_shape).unsqueeze(-1)
            options = self.concentration.dtype, self.concentration.device
            u = standard_normal(shape, *options).tril(-1)
            u = u / torch.linalg.vector_norm(u, dim=-1, keepdim=True)  # on the sphere
            u[..., 0, :].fill_(0.0)
            w = torch.sqrt(squares) * u
            tiny = torch.finfo(w.dtype).tiny
            diagonal = torch.clamp(1 - torch.sum(w**2, dim=-1), min=tiny).sqrt()
            return w + torch.diag_embed(diagonal)

    def log_prob(self, value: Tensor) -> Tensor:
        self._checked(value)
        n = self.dim - 1
        diagonal = value.diagonal(dim1=-1, dim2=-2)[..., 1:]
        order = torch.arange(2, self.dim + 1, device=self.concentration.device)
        order = 2 * (self.concentration - 1).unsqueeze(-1) + self.dim - order
        unnormalized = torch.sum(order * diagonal.log(), dim=-1)
        alpha = self.concentration + 0.5 * n
        normalizer = (
            0.5 * n * math.log(math.pi)
            + torch.mvlgamma(alpha - 0.5, n)
            - torch.lgamma(alpha) * n
        )
        return unnormalized - normalizer
