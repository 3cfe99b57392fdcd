"""``lobpcg``: the largest or smallest eigenvalues of large symmetric matrices.

Knyazev, Toward the optimal preconditioned eigensolver: locally optimal block preconditioned
conjugate gradient method, 2001.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import taimatsu as torch

Tensor = torch.Tensor


def lobpcg(
    A: Tensor,
    k: int | None = None,
    B: Tensor | None = None,
    X: Tensor | None = None,
    n: int | None = None,
    iK: Tensor | None = None,
    niter: int | None = None,
    tol: float | None = None,
    largest: bool | None = None,
    method: str | None = None,
    tracker: Callable[[Any], None] | None = None,
    ortho_iparams: dict[str, int] | None = None,
    ortho_fparams: dict[str, float] | None = None,
    ortho_bparams: dict[str, bool] | None = None,
) -> tuple[Tensor, Tensor]:
    """The `k` largest (or smallest) eigenvalues and their vectors, A x = e B x.

    A, B: (*, m, m) symmetric, B positive definite (the identity if None); X: (*, m, n) a first
    guess (random if None); k: how many (1, or n); iK: (*, m, m), near the inverse of A; niter: how
    many iterations (1000), -1 for no limit; tol: relative size of the residuals (the square root of
    eps); tracker: called with the state after every iteration, whose `E`, `X`, `R` and `istep` it
    may look at. Result: (*, k) and (*, m, k), differentiable by A and B.

    ValueError if m < 3 n. `method` and the `ortho_` parameters are there for compatibility: bases
    are always made orthonormal.

    >>> E, X = taimatsu.lobpcg(taimatsu.diag(taimatsu.arange(1.0, 10.0)), k=1)
    >>> round(E.item(), 3)
    9.0
    """
    if A.dim() < 2 or A.shape[-1] != A.shape[-2]:
        raise ValueError(f"lobpcg: A must be batches of square matrices; got {tuple(A.shape)}")
    if method not in (None, "basic", "ortho"):
        raise ValueError(f"lobpcg: method must be 'basic' or 'ortho', not {method!r}")
    m = A.shape[-1]
    k = (1 if X is None else X.shape[-1]) if k is None else k
    n = (k if X is None else X.shape[-1]) if n is None else n
    if m < 3 * n:
        raise ValueError(
            f"LOBPCG algorithm is not applicable when the number of A rows (={m}) is smaller than "
            f"3 x the number of requested eigenpairs (={n})"
        )
    if X is not None and X.shape != (*A.shape[:-2], m, n):
        raise ValueError(f"lobpcg: X must be {(*A.shape[:-2], m, n)}, got {tuple(X.shape)}")
    tol = torch.finfo(A.dtype).eps ** 0.5 if tol is None else tol
    niter = 1000 if niter is None else niter
    largest = True if largest is None else largest
    batch = A.shape[:-2]

    def each(x: Tensor | None) -> list[Any]:
        if x is None:
            return [None] * math.prod(batch)
        return list(x.reshape(-1, *x.shape[-2:]).unbind(0))

    pairs = []
    for a, b, x, preconditioner in zip(*map(each, (A, B, X, iK)), strict=True):
        with torch.no_grad():
            state = _State(a, b, x, preconditioner, n, largest)
            while state.step(tol) and not 0 <= niter <= state.istep:
                if tracker is not None:
                    tracker(state)
            values, vectors = state.E[:k], state.X[:, :k]
        if torch.is_grad_enabled() and (a.requires_grad or (b is not None and b.requires_grad)):
            values, vectors = _attached(a, b, values, vectors)
        pairs.append((values, vectors))
    E = torch.stack([p[0] for p in pairs]).reshape(*batch, k)
    return E, torch.stack([p[1] for p in pairs]).reshape(*batch, m, k)


def _times(A: Tensor | None, x: Tensor) -> Tensor:
    return x if A is None else A @ x


class _State:
    """One matrix: the current values `E`, vectors `X`, residuals `R` and search directions."""

    def __init__(self, A, B, X, iK, n, largest):
        self.A, self.B, self.iK, self.largest = A, B, iK, largest
        self.istep = 0
        self.directions: Tensor | None = None
        if X is None:
            X = torch.randn(A.shape[-1], n, dtype=A.dtype, device=A.device)
        self.X = self._best(X, n)

    def _basis(self, S: Tensor) -> Tensor:
        """The span of S, B-orthonormal; directions that depend on others fall away."""
        S = S / torch.linalg.vector_norm(S, dim=0).clamp(min=torch.finfo(S.dtype).tiny)
        for _ in range(2):  # once more, for what the first left of rounding
            sizes, turn = torch.linalg.eigh(S.mH @ _times(self.B, S))
            keep = sizes > sizes[-1] * S.shape[-1] * torch.finfo(S.dtype).eps * 10
            S = S @ (turn[:, keep] / sizes[keep].sqrt())
        return S

    def _best(self, S: Tensor, n: int) -> Tensor:
        """The n best vectors in the span of S, by Rayleigh and Ritz."""
        S = self._basis(S)
        values, turn = torch.linalg.eigh(S.mH @ (self.A @ S))
        if self.largest:
            values, turn = values.flip(0), turn.flip(1)
        self.E = values[:n]
        return S @ turn[:, :n]

    def step(self, tol: float) -> bool:
        """One iteration; False once all residuals are small."""
        AX, BX = self.A @ self.X, _times(self.B, self.X)
        self.R = AX - BX * self.E
        norm = torch.linalg.vector_norm
        scale = norm(self.A) + self.E.abs() * (1 if self.B is None else norm(self.B))
        if bool((norm(self.R, dim=0) <= tol * norm(self.X, dim=0) * scale).all()):
            return False
        self.istep += 1
        found = [self.X, _times(self.iK, self.R)]
        if self.directions is not None:
            found.append(self.directions)
        before, self.X = self.X, self._best(torch.cat(found, 1), self.X.shape[1])
        self.directions = self.X - before @ (BX.mH @ self.X)
        return True


def _attached(A, B, values, vectors):
    """The eigenpairs with their derivative by A and B.

    One step of Newton's method for A x = e B x and x B x = 1, which moves them by no more than the
    residual, and by the implicit function theorem depends on A and B as they do.
    """
    m, k = vectors.shape
    x = vectors.mT.unsqueeze(-1)  # (k, m, 1)
    e = values.reshape(k, 1, 1)
    identity = torch.eye(m, dtype=A.dtype, device=A.device)
    fixed = identity if B is None else B.detach()
    column = -(fixed @ x)
    corner = A.new_zeros((k, 1, 1))
    jacobian = torch.cat((
        torch.cat((A.detach() - e * fixed, column), -1), torch.cat((column.mT, corner), -1),
    ), -2)  # fmt: skip
    b = identity if B is None else B
    residual = torch.cat((A @ x - e * (b @ x), (1 - x.mT @ b @ x) / 2), -2)
    step = torch.linalg.solve(jacobian, residual)
    moved = x - step[:, :m]
    return values - step[:, m, 0], moved.squeeze(-1).mT
