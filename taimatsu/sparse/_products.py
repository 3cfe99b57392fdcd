"""Matrix products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import taimatsu as torch
from taimatsu import Tensor, _core
from taimatsu.ops.compressed import row_starts, rows_dots, rows_product, scattered

from ._convert import to_sparse
from ._parts import Coo, coalesced, coo, is_sparse, keys_of, make, parts
from ._shape import t, transpose

__all__ = ["FUNCTIONS", "addmm", "hspmm", "mm", "reduced_mm", "sampled_addmm", "smm", "sspaddmm"]


def _check(a: Tensor, b: Tensor, name: str = "mm") -> None:
    if a.dim() != 2 or b.dim() != 2:
        raise RuntimeError(
            f"{name}: matrices expected, got {a.dim()}D and {b.dim()}D tensors"
        )
    if a.shape[1] != b.shape[0]:
        raise RuntimeError(
            f"{name}: mat1 and mat2 shapes cannot be multiplied ({a.shape[0]}x{a.shape[1]} and "
            f"{b.shape[0]}x{b.shape[1]})"
        )
    if a.dtype is not b.dtype:
        raise RuntimeError(
            f"{name}: expected both operands to have the same dtype, but got: {a.dtype} != "
            f"{b.dtype}; convert one of them with .to()"
        )


def _matrix(x: Tensor, name: str = "mm") -> Coo:
    data = coo(x)
    if data.sparse_dim != 2:
        raise RuntimeError(
            f"{name}: a sparse matrix has 2 sparse dims; got one with {data.sparse_dim}; call "
            ".to_dense()"
        )
    return data


def _by_rows(data: Any) -> bool:
    """Whether natives that go row by row are for its values."""
    return data.values.dim() == 1 and data.values.dtype in (torch.float32, torch.float64)


def mm(self: Tensor, mat2: Tensor) -> Tensor:
    """Dense, but of two sparse matrices."""
    _check(self, mat2)
    if not is_sparse(self):
        return mm(t(mat2), self.t()).t()
    if is_sparse(mat2):
        return _sparse_product(self, mat2)
    data = parts(self)
    by_rows = _by_rows(data)
    if by_rows and data.layout is _core.sparse_csr:
        return rows_product(data.compressed, data.plain, data.values, mat2)
    data = _matrix(self)
    rows, columns = data.indices
    if by_rows and data.coalesced:
        return rows_product(row_starts(rows, self.shape[0]), columns, data.values, mat2)
    return scattered(data.values, mat2, columns, rows, self.shape[0])


def _sparse_product(a: Tensor, b: Tensor) -> Tensor:
    """Each element of `a` meets the row of `b` that its column names."""
    x, y = _matrix(a), coalesced(_matrix(b), b.shape)
    with torch.no_grad():
        lengths = torch.bincount(y.indices[0], minlength=b.shape[0])
        starts = lengths.cumsum(0) - lengths
        inner = x.indices[1]
        many = lengths[inner]
        left = torch.repeat_interleave(torch.arange(x.nnz, device=many.device), many)
        nth = torch.arange(left.shape[0], device=many.device) - (many.cumsum(0) - many)[left]
        right = starts[inner][left] + nth
        indices = torch.stack([x.indices[0][left], y.indices[1][right]])
    size = (a.shape[0], b.shape[1])
    found = Coo(indices, x.values[left] * y.values[right])
    result = make(coalesced(found, size), size)
    if a.layout is b.layout and a.layout is not _core.sparse_coo:
        block = parts(a).block
        return to_sparse(result, a.layout, None if block == (1, 1) else block)
    return result


def addmm(self: Tensor, mat1: Tensor, mat2: Tensor, beta: Any = 1, alpha: Any = 1) -> Tensor:
    _check(mat1, mat2, "addmm")
    product = mm(mat1, mat2) if is_sparse(mat1) or is_sparse(mat2) else torch.mm(mat1, mat2)
    if is_sparse(self) and not is_sparse(product):
        raise RuntimeError(
            "addmm: the sum of a sparse matrix and a dense product is not supported; use "
            ".to_dense()"
        )
    product = product if alpha == 1 else product * alpha
    if beta == 0:
        return product
    first = self if beta == 1 else self * beta
    if not is_sparse(product):
        return first + product
    if not is_sparse(self):
        return torch.add(first.expand(product.shape), product)
    return torch.add(first, product)


def mv(self: Tensor, vec: Tensor) -> Tensor:
    if self.dim() != 2 or vec.dim() != 1:
        raise RuntimeError(
            f"mv: a matrix and a vector are expected, got {self.dim()}D and {vec.dim()}D tensors"
        )
    if is_sparse(vec):
        vec = vec.to_dense()
    return mm(self, vec.unsqueeze(1)).squeeze(1) if is_sparse(self) else torch.mv(self, vec)


def bmm(self: Tensor, mat2: Tensor) -> Tensor:
    """Dense; `self` is the sparse one, with 3 sparse dims or batches of rows."""
    if not is_sparse(self):
        return bmm(_turned(mat2), self.transpose(1, 2)).transpose(1, 2)
    if self.dim() != 3 or mat2.dim() != 3:
        raise RuntimeError(
            f"bmm: batches of matrices expected, got {self.dim()}D and {mat2.dim()}D tensors"
        )
    if is_sparse(mat2):
        mat2 = mat2.to_dense()
    b, n, k = self.shape
    if mat2.shape[0] != b or mat2.shape[1] != k:
        raise RuntimeError(
            f"bmm: batches of shapes {tuple(self.shape)} and {tuple(mat2.shape)} cannot be "
            "multiplied"
        )
    if self.dtype is not mat2.dtype:
        raise RuntimeError(
            f"bmm: expected both operands to have the same dtype, but got: {self.dtype} != "
            f"{mat2.dtype}"
        )
    data = coo(self)
    if data.sparse_dim != 3:
        raise RuntimeError(f"bmm: needs 3 sparse dims; got {data.sparse_dim}")
    item, row, column = data.indices
    p = mat2.shape[2]
    rows = mat2.reshape(b * k, p)
    found = scattered(data.values, rows, item * k + column, item * n + row, b * n)
    return found.reshape(b, n, p)


def _turned(x: Tensor) -> Tensor:
    """Rows and columns of a batch exchanged."""
    return transpose(make(coo(x), x.shape), 1, 2)


def matmul(self: Tensor, other: Tensor) -> Tensor:
    dims = self.dim(), other.dim()
    if dims == (2, 2):
        return mm(self, other)
    if dims == (2, 1):
        return mv(self, other)
    if dims == (1, 2) and is_sparse(other):
        dense = self.to_dense() if is_sparse(self) else self
        return mv(t(other), dense)
    if dims == (3, 3):
        return bmm(self, other)
    if not is_sparse(other) and dims[1] == 2 and dims[0] == 3:
        return bmm(self, other.unsqueeze(0).expand(self.shape[0], *other.shape))
    raise NotImplementedError(
        f"matmul: of {dims[0]}D and {dims[1]}D tensors there is none where one is sparse; use "
        ".to_dense()"
    )


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if is_sparse(input) or not is_sparse(weight):
        product = mm(input, t(weight) if is_sparse(weight) else weight.t())
    else:
        rows = input.reshape(-1, input.shape[-1])
        product = mm(weight, rows.t()).t().reshape(*input.shape[:-1], weight.shape[0])
    return product if bias is None else product + bias


# ---- of torch.sparse ----------------------------------------------------------------------------


def reduced_mm(mat1: Tensor, mat2: Tensor, reduce: str) -> Tensor:
    """`mm` whose sums are means, or extremes, of the terms that there are; 0 of none."""
    _check(mat1, mat2)
    names = ("sum", "mean", "amax", "amin")
    if reduce not in names:
        raise RuntimeError(f"sparse.mm: reduce has to be one of {', '.join(names)}; got {reduce!r}")
    if not is_sparse(mat1):
        raise RuntimeError("sparse.mm: expected mat1 to be sparse where there is a reduce")
    data = _matrix(mat1)
    rows, columns = data.indices
    terms = data.values.unsqueeze(1) * mat2.index_select(0, columns)
    whole = terms.new_zeros((mat1.shape[0], mat2.shape[1]))
    at = rows.unsqueeze(1).expand(terms.shape)
    return whole.scatter_reduce(0, at, terms, reduce, include_self=False)


def _with_own(product: Tensor, values: Tensor, beta: Any, alpha: Any) -> Tensor:
    product = product if alpha == 1 else product * alpha
    return product + (values if beta == 1 else values * beta) if beta else product


def sampled_addmm(
    input: Tensor, mat1: Tensor, mat2: Tensor, beta: Any = 1.0, alpha: Any = 1.0
) -> Tensor:
    """beta * input + alpha * (mat1 @ mat2), at the places that `input` has.

    >>> torch.sparse.sampled_addmm(torch.eye(2).to_sparse_csr(), torch.ones(2, 3),
    ...     torch.ones(3, 2)).to_dense()
    tensor([[4., 0.],
            [0., 4.]])
    """
    if input.layout not in (_core.sparse_csr, _core.sparse_coo):
        raise RuntimeError(
            f"sampled_addmm: Expected self to have sparse CSR layout, but got {input.layout}"
        )
    for name, x in (("mat1", mat1), ("mat2", mat2)):
        if is_sparse(x):
            raise RuntimeError(
                f"sampled_addmm: Expected {name} to have strided layout, but got {x.layout}"
            )
        if x.dtype is not input.dtype:
            raise RuntimeError(
                f"sampled_addmm: Expected {name} and self to have the same dtype, but got "
                f"{x.dtype} and {input.dtype}"
            )
        if x.dim() < 2:
            raise RuntimeError(f"sampled_addmm: Expected {name} to be a matrix, got {x.dim()}-D")
    if (
        mat1.shape[-1] != mat2.shape[-2]
        or (*mat1.shape[:-1], mat2.shape[-1]) != tuple(input.shape)
        or mat1.shape[:-2] != mat2.shape[:-2]
    ):
        raise RuntimeError(
            f"sampled_addmm: mat1 and mat2 shapes cannot be multiplied, or are not those of self: "
            f"{tuple(mat1.shape)}, {tuple(mat2.shape)} and {tuple(input.shape)}"
        )
    own = parts(input)
    if own.layout is _core.sparse_csr and input.dim() == 2 and _by_rows(own):
        values = rows_dots(own.compressed, own.plain, mat1, mat2.mT)
        return make(own.holding(_with_own(values, own.values, beta, alpha)), input.shape)
    data = coo(input)
    *batch, r, c = data.indices
    sizes = input.shape[:-2]
    item = keys_of(torch.stack(batch), sizes) if batch else torch.zeros_like(r)
    left = mat1.flatten(0, -2)[item * mat1.shape[-2] + r]
    right = mat2.mT.flatten(0, -2)[item * mat2.shape[-1] + c]
    values = _with_own((left * right).sum(-1), data.values, beta, alpha)
    return make(own.holding(values.reshape(own.values.shape)), input.shape)


def smm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of a sparse and a dense matrix, as a sparse one of the rows that there are."""
    _check(input, mat2, "smm")
    used = coalesced(_matrix(input), input.shape).indices[0].unique()
    rows = mm(input, mat2).index_select(0, used)
    width = mat2.shape[1]
    indices = torch.stack([
        torch.repeat_interleave(used, width),
        torch.arange(width).repeat(used.shape[0]),
    ])  # fmt: skip
    return make(Coo(indices, rows.reshape(-1), True), (input.shape[0], width))


def hspmm(mat1: Tensor, mat2: Tensor) -> Tensor:
    """The same with one sparse dim: the rows that there are, dense."""
    _check(mat1, mat2, "hspmm")
    used = coalesced(_matrix(mat1), mat1.shape).indices[0].unique()
    rows = mm(mat1, mat2).index_select(0, used)
    return make(Coo(used.unsqueeze(0), rows, True), (mat1.shape[0], mat2.shape[1]))


def sspaddmm(
    input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1
) -> Tensor:
    """beta * input + alpha * (mat1 @ mat2), for sparse `input` and `mat1`: a sparse matrix."""
    product = smm(mat1, mat2)
    return (input if beta == 1 else input * beta) + (product if alpha == 1 else product * alpha)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "mm": mm, "addmm": addmm, "mv": mv, "bmm": bmm, "matmul": matmul, "linear": linear,
}  # fmt: skip
