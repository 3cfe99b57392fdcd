"""Norms under older names; new code takes `linalg.vector_norm` and `linalg.matrix_norm`."""

from __future__ import annotations

from .reduction import vector_norm
from .spectrum import svdvals
from .table import composite

_DIMS = "int[1] dim, bool keepdim=False"


@composite(f"frobenius_norm(Tensor self, {_DIMS}) -> Tensor", method=False, out=True)
def frobenius_norm(self, dim, keepdim):
    """The square root of the sum of squares, along one or two dims."""
    if len(dim) > 2:
        raise RuntimeError(f"frobenius_norm: expected at most 2 dims; got {list(dim)}")
    return vector_norm(self, 2, list(dim) or None, keepdim)


@composite("nuclear_norm(Tensor self, int[2]? dim=None, bool keepdim=False) -> Tensor",
           method=False, out=True)
def nuclear_norm(self, dim, keepdim):
    """The sum of the singular values of a matrix, or of those that two dims are.

    RuntimeError for other tensors and numbers of dims.
    """
    if (dim is None and self.dim() != 2) or (dim is not None and len(dim) != 2):
        raise RuntimeError("nuclear_norm: expected a matrix, or two dims; got sizes "
                           f"{tuple(self.shape)} and dim {dim}")
    rows, columns = dim or (0, 1)
    total = svdvals(self.movedim((rows, columns), (-2, -1))).sum(-1)
    if not keepdim:
        return total
    ones = {rows % self.dim(), columns % self.dim()}
    return total.reshape([1 if d in ones else n for d, n in enumerate(self.shape)])


@composite("native_norm(Tensor self, Number p=2) -> Tensor", method=False)
def native_norm(self, p):
    """The p-norm of all elements."""
    return vector_norm(self, p)
