"""``sparse``: tensors of which only some elements are kept.

Of coordinates (``torch.sparse_coo``), or by rows or columns, or blocks of them
(``sparse_csr``, ``sparse_csc``, ``sparse_bsr``, ``sparse_bsc``). A sparse tensor is a Tensor whose
`layout` says so; it is made by `torch.sparse_coo_tensor` and its kin, or by ``x.to_sparse()``, and
ops that have a sparse form take it; the others name ``.to_dense()``.

>>> a = torch.tensor([[0.0, 2.0], [3.0, 0.0]]).to_sparse()
>>> a @ torch.ones(2, 1)
tensor([[2.],
        [3.]])

SciPy's arrays share their memory with the parts:
``torch.sparse_csr_tensor(torch.from_numpy(s.indptr), torch.from_numpy(s.indices),
torch.from_numpy(s.data), s.shape)``, and back
``scipy.sparse.csr_array((x.values(), x.col_indices(), x.crow_indices()), x.shape)``.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import taimatsu as torch
from taimatsu import Tensor

from . import (
    _dispatch,  # noqa: F401  (gives the core its handlers)
    _products,
    _reduce,
)
from ._construct import spdiags
from ._parts import is_sparse
from ._products import sampled_addmm

__all__ = [
    "addmm", "as_sparse_gradcheck", "check_sparse_tensor_invariants", "log_softmax", "mm",
    "sampled_addmm", "softmax", "spdiags", "sum",
]  # fmt: skip


class check_sparse_tensor_invariants(AbstractContextManager):
    """Whether making a sparse tensor checks its parts: it always does here; kept for programs."""

    _enabled = False

    def __init__(self, enable: bool = True):
        self._enable = enable

    @classmethod
    def is_enabled(cls) -> bool:
        """What was set."""
        return cls._enabled

    @classmethod
    def enable(cls) -> None:
        """Sets it."""
        check_sparse_tensor_invariants._enabled = True

    @classmethod
    def disable(cls) -> None:
        """Unsets it."""
        check_sparse_tensor_invariants._enabled = False

    def __enter__(self) -> None:
        self._before = self.is_enabled()
        check_sparse_tensor_invariants._enabled = self._enable

    def __exit__(self, *exc: object) -> None:
        check_sparse_tensor_invariants._enabled = self._before


def mm(mat1: Tensor, mat2: Tensor, reduce: str | None = None) -> Tensor:
    """The product of two matrices, of which either may be sparse: sparse if both are.

    mat1: (n, k), mat2: (k, m). With `reduce` ("sum", "mean", "amax", "amin"), for a sparse mat1,
    the terms that there are go into that instead of a sum. Derivatives by both. RuntimeError for
    shapes or dtypes that don't go together.

    >>> a = torch.tensor([[0.0, 2.0], [3.0, 0.0]]).to_sparse()
    >>> torch.sparse.mm(a, torch.ones(2, 2))
    tensor([[2., 2.],
            [3., 3.]])
    """
    if reduce is not None:
        return _products.reduced_mm(mat1, mat2, reduce)
    return torch.mm(mat1, mat2)


def addmm(
    mat: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1.0, alpha: Any = 1.0
) -> Tensor:
    """``beta * mat + alpha * (mat1 @ mat2)``, with derivatives by all three.

    >>> torch.sparse.addmm(torch.zeros(2, 2), torch.eye(2).to_sparse(), torch.ones(2, 2))
    tensor([[1., 1.],
            [1., 1.]])
    """
    return torch.addmm(mat, mat1, mat2, beta=beta, alpha=alpha)


def sum(input: Tensor, dim: Any = None, dtype: Any = None) -> Tensor:
    """The sum of all elements, or along dims: dense where no sparse dim is left.

    >>> a = torch.tensor([[0.0, 2.0], [3.0, 0.0]]).to_sparse()
    >>> torch.sparse.sum(a)
    tensor(5.)
    """
    return torch.sum(input, dtype=dtype) if dim is None else torch.sum(input, dim, dtype=dtype)


def softmax(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """`nn.functional.softmax` where the elements that there aren't count as -inf.

    >>> torch.sparse.softmax(torch.eye(2).to_sparse(), 1).to_dense()
    tensor([[1., 0.],
            [0., 1.]])
    """
    return _of_sparse("softmax", input, dim, dtype)


def log_softmax(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """`nn.functional.log_softmax` where the elements that there aren't count as -inf.

    >>> torch.sparse.log_softmax(torch.eye(2).to_sparse(), 1).to_dense()
    tensor([[0., 0.],
            [0., 0.]])
    """
    return _of_sparse("log_softmax", input, dim, dtype)


def _of_sparse(name: str, input: Tensor, dim: int, dtype: Any) -> Tensor:
    if not is_sparse(input):
        return getattr(torch, name)(input, dim, dtype=dtype)
    return getattr(_reduce, name)(input, dim, dtype)


def as_sparse_gradcheck(gradcheck: Any) -> Any:
    """`autograd.gradcheck` of functions with sparse inputs and outputs: by their values.

    >>> gradcheck = torch.sparse.as_sparse_gradcheck(torch.autograd.gradcheck)
    >>> x = torch.eye(2, dtype=torch.float64).to_sparse().requires_grad_()
    >>> gradcheck(lambda x: x.to_dense(), x)
    True
    """
    from ._parts import make, parts

    def checked(function: Any, inputs: Any, **options: Any) -> bool:
        options.pop("masked", None)
        inputs = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
        sparse = [x if is_sparse(x) else None for x in inputs]
        leaves = [x if s is None else parts(s).values.detach().requires_grad_(s.requires_grad)
                  for x, s in zip(inputs, sparse, strict=True)]  # fmt: skip

        def of_values(*values: Any) -> Any:
            args = [v if s is None else make(parts(s).holding(v), s.shape)
                    for v, s in zip(values, sparse, strict=True)]  # fmt: skip
            found = function(*args)
            many = found if isinstance(found, (tuple, list)) else (found,)
            return tuple(parts(f).values if is_sparse(f) else f for f in many)

        return gradcheck(of_values, leaves, **options)

    return checked


def __getattr__(name: str) -> Any:
    if name.endswith("Tensor"):
        from taimatsu._tensor_types import sparse_types

        globals().update(sparse_types("cpu"))
        if name in globals():
            return globals()[name]
    raise AttributeError(f"module 'torch.sparse' has no attribute {name!r}")
