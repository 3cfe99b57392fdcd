"""Parametrizations that are often wanted: weight norm, spectral norm, orthogonal matrices."""

from __future__ import annotations

from typing import Any

import taimatsu as torch
from taimatsu import Tensor

from .. import functional as F
from ..module import Module
from . import parametrize

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]


def norm_except(v: Tensor, dim: int | None) -> Tensor:
    """The 2-norm of v over all dims but one, which stays; over all if it is None."""
    if dim is None or dim == -1:
        return torch.linalg.vector_norm(v)
    kept = dim % v.dim()
    return torch.linalg.vector_norm(v, 2, [d for d in range(v.dim()) if d != kept], True)


class _WeightNorm(Module):
    """g * v / |v|, from a length and a direction."""

    def __init__(self, dim: int | None = 0):
        super().__init__()
        self.dim = dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        return weight_v * (weight_g / norm_except(weight_v, self.dim))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return norm_except(weight, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Separates a weight's length, along all dims but ``dim``, from its direction.

    ``original0`` is the length, ``original1`` the direction. ``dim=None``: one length for all.

    >>> m = weight_norm(torch.nn.Linear(20, 40))
    >>> m.parametrizations.weight.original0.shape
    torch.Size([40, 1])
    """
    return parametrize.register_parametrization(module, name, _WeightNorm(dim), unsafe=True)


class _SpectralNorm(Module):
    """The weight divided by its largest singular value, which power iteration keeps track of."""

    _u: Tensor
    _v: Tensor

    def __init__(self, weight: Tensor, n_power_iterations: int, dim: int, eps: float):
        super().__init__()
        if not -weight.dim() <= dim < weight.dim():
            raise IndexError(f"spectral_norm: dim {dim} is not one of {weight.dim()}")
        if n_power_iterations <= 0:
            raise ValueError(
                "Expected n_power_iterations to be positive, but got n_power_iterations="
                f"{n_power_iterations}"
            )
        self.dim = dim % weight.dim()
        self.eps = eps
        if weight.dim() > 1:
            self.n_power_iterations = n_power_iterations
            matrix = self._matrix(weight.detach())
            u, v = (matrix.new_empty(n).normal_(0, 1) for n in matrix.shape)
            self.register_buffer("_u", F.normalize(u, dim=0, eps=eps))
            self.register_buffer("_v", F.normalize(v, dim=0, eps=eps))
            self._iterate(matrix, 15)

    def _matrix(self, weight: Tensor) -> Tensor:
        return weight.movedim(self.dim, 0).flatten(1)

    def _iterate(self, matrix: Tensor, times: int) -> None:
        with torch.no_grad():
            for _ in range(times):
                u = F.normalize(torch.mv(matrix, self._v), dim=0, eps=self.eps)
                self._u.copy_(u)
                self._v.copy_(F.normalize(torch.mv(matrix.mT, u), dim=0, eps=self.eps))

    def forward(self, weight: Tensor) -> Tensor:
        if weight.dim() == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        matrix = self._matrix(weight)
        if self.training:
            self._iterate(matrix.detach(), self.n_power_iterations)
        u, v = self._u.clone(), self._v.clone()
        return weight / torch.dot(u, torch.mv(matrix, v))

    def right_inverse(self, value: Tensor) -> Tensor:
        return value  # of a weight whose norm may be another: the value is scaled when it is used


def _output_dim(module: Module) -> int:
    """Which dim of a weight counts the outputs: the second of transposed convolutions."""
    return int("ConvTranspose" in parametrize.type_before_parametrizations(module).__name__)


def spectral_norm(
    module: Module,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Module:
    """Divides a weight by its largest singular value, which a power iteration on each access in
    training estimates. ``dim``: that of the outputs.

    >>> layer = nn.utils.parametrizations.spectral_norm(nn.Linear(3, 2))
    >>> bool(torch.linalg.matrix_norm(layer.weight, 2) < 1.5)
    True
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    dim = _output_dim(module) if dim is None else dim
    norm = _SpectralNorm(weight, n_power_iterations, dim, eps)
    return parametrize.register_parametrization(module, name, norm)


# ---- orthogonal ---------------------------------------------------------------------------------

_MAPS = ("matrix_exp", "cayley", "householder")


class _Orthogonal(Module):
    """A matrix with orthonormal columns (rows of a wide one), from an unconstrained one."""

    base: Tensor

    def __init__(self, weight: Tensor, orthogonal_map: str, use_trivialization: bool):
        super().__init__()
        if weight.is_complex() and orthogonal_map == "householder":
            raise ValueError("The householder parametrization does not support complex tensors.")
        self.shape, self.map = weight.shape, orthogonal_map
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, X: Tensor) -> Tensor:
        n, k = X.size(-2), X.size(-1)
        wide = n < k
        if wide:
            X, n, k = X.mT, k, n
        if self.map == "householder":
            Q = _householder_columns(X)
        else:
            A: Any = X.tril()
            if n != k:
                A = torch.cat([A, A.new_zeros(*A.shape[:-2], n, n - k)], -1)
            A = A - A.mH
            if self.map == "matrix_exp":
                Q = A.matrix_exp()
            else:
                half = torch.eye(n, dtype=A.dtype, device=A.device)
                Q = torch.linalg.solve(half + A * -0.5, half + A * 0.5)
            Q = Q[..., :k]
        base = getattr(self, "base", None)
        if base is not None:
            Q = base @ Q
        return Q.mT if wide else Q

    def right_inverse(self, Q: Tensor) -> Tensor:
        if Q.shape != self.shape:
            raise ValueError(
                f"Expected a matrix or batch of matrices of shape {self.shape}. Got {Q.shape}."
            )
        wide = Q.size(-2) < Q.size(-1)
        if wide:
            Q = Q.mT
        n, k = Q.size(-2), Q.size(-1)
        if "base" not in self._buffers:
            if self.map in ("cayley", "matrix_exp"):
                raise NotImplementedError(
                    "It is not possible to assign to the matrix exponential or the Cayley "
                    "parametrizations when use_trivialization=False."
                )
            raise NotImplementedError(
                "It is not possible to assign to the householder parametrization without "
                "use_trivialization"
            )
        if n != k or not _is_orthogonal(Q):
            Q = torch.linalg.qr(Q, mode="complete" if n != k else "reduced")[0]
        self.base = Q.detach().clone()
        zero = torch.zeros_like(Q[..., :k])
        if self.map == "householder":
            # The sign of each column: reflections by no more than the diagonal negate it.
            zero = -torch.eye(n, k, dtype=Q.dtype, device=Q.device).expand(zero.shape)
        return zero.mT if wide else zero


def _is_orthogonal(Q: Tensor) -> bool:
    k = Q.size(-1)
    eye = torch.eye(k, dtype=Q.dtype, device=Q.device)
    eps = 10.0 * k * torch.finfo(Q.dtype).eps
    return bool(torch.allclose((Q.mH @ Q), eye.expand(*Q.shape[:-2], k, k), atol=eps))


def _householder_columns(X: Tensor) -> Tensor:
    """The product of the reflections by the columns below the diagonal, and a sign per column."""
    n, k = X.size(-2), X.size(-1)
    A = X.tril(-1)
    tau = 2.0 / (1.0 + (A * A).sum(-2))
    eye = torch.eye(n, k, dtype=X.dtype, device=X.device).expand(X.shape)
    Q = eye
    for j in reversed(range(k)):
        v = A[..., j] + eye[..., :, j]
        Q = Q - tau[..., j, None, None] * v.unsqueeze(-1) * (v.unsqueeze(-2) @ Q)
    return Q * X.diagonal(dim1=-2, dim2=-1).int().unsqueeze(-2).to(X.dtype)


def orthogonal(
    module: Module,
    name: str = "weight",
    orthogonal_map: str | None = None,
    *,
    use_trivialization: bool = True,
) -> Module:
    """Makes a weight orthogonal: its columns are orthonormal, or its rows where it is wide.

    ``orthogonal_map``: "matrix_exp", "cayley" or "householder"; by default the first for square and
    complex matrices, the last for others. With ``use_trivialization`` the value can be assigned,
    and the map is taken around it. ValueError for tensors of fewer than 2 dims and other maps.

    >>> w = nn.utils.parametrizations.orthogonal(nn.Linear(2, 2)).weight
    >>> torch.allclose(w @ w.T, torch.eye(2), atol=1e-6)
    True
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    if weight.dim() < 2:
        raise ValueError(
            f"Expected a matrix or batch of matrices. Got a tensor of {weight.dim()} dimensions."
        )
    if orthogonal_map is None:
        square = weight.size(-2) == weight.size(-1) or weight.is_complex()
        orthogonal_map = "matrix_exp" if square else "householder"
    if orthogonal_map not in _MAPS:
        raise ValueError(
            f'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". Got: '
            f"{orthogonal_map}"
        )
    made: Any = _Orthogonal(weight, orthogonal_map, use_trivialization)
    return parametrize.register_parametrization(module, name, made, unsafe=True)
