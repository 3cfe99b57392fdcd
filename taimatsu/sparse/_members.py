"""Tensor's attributes and methods where the tensor is sparse, and those that it has alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import taimatsu as torch
from taimatsu import Tensor, _core

from ._convert import coo_of_dense, values_at
from ._convert import sparse_mask as _sparse_mask
from ._convert import to_dense as _to_dense
from ._convert import to_sparse as _to_sparse
from ._parts import (
    BLOCK_LAYOUTS,
    ROW_LAYOUTS,
    Compressed,
    Coo,
    coalesced,
    coo,
    is_sparse,
    make,
    parts,
    replace,
)

__all__ = ["MEMBERS", "detach"]

# ---- history: that of the values ----------------------------------------------------------------


def detach(self: Tensor) -> Tensor:
    data = parts(self)
    return make(data.holding(data.values.detach()), self.shape)


def detach_(self: Tensor) -> Tensor:
    data = parts(self)
    return replace(self, data.holding(data.values.detach()))


def set_requires_grad(self: Tensor, required: bool) -> Tensor:
    data = parts(self)
    if data.values.requires_grad == required:
        return self
    if not data.values.is_leaf:
        data.values.requires_grad_(required)  # raises
    fresh = data.values.detach().requires_grad_(required)  # others may see the values
    return replace(self, data.holding(fresh))


def requires_grad_(self: Tensor, requires_grad: bool = True) -> Tensor:
    set_requires_grad(self, requires_grad)
    return self


def with_values(self: Tensor, values: Tensor) -> Tensor:
    """The sparse tensor of the same places: what a gradient of the values is to the caller."""
    return make(parts(self).holding(values), self.shape)


def grad(self: Tensor) -> Tensor | None:
    found = parts(self).values.grad
    return None if found is None else with_values(self, found)


def set_grad(self: Tensor, value: Tensor | None) -> None:
    values = parts(self).values
    values.grad = None if value is None else grad_values(self, value)


def grad_values(self: Tensor, gradient: Tensor) -> Tensor:
    """What of a gradient, sparse or dense, belongs to the values."""
    own = parts(self)
    found = values_at(gradient, coo(self))
    return found.reshape(own.values.shape)


def set_data(self: Tensor, value: Tensor) -> None:
    data = parts(value)
    if data is None:
        raise RuntimeError("data: a sparse tensor's data is sparse; got a strided tensor")
    replace(self, data.holding(data.values.detach()), value.shape)


def _refuse(name: str, error: type[Exception], why: str) -> Callable[..., Any]:
    def member(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        raise error(f"{name}: {why}; use .to_dense(), or the indices and values")

    return member


def new_like(self: Tensor) -> Tensor:
    """A copy for `copy.deepcopy`: a leaf if this is one."""
    data = parts(self)
    copied = data.rebuilt([t.detach().clone() for t in data.tensors()])
    found = make(copied, self.shape)
    return found.requires_grad_(self.requires_grad)


def deepcopy(self: Tensor, memo: dict[int, Any]) -> Tensor:
    found = new_like(self)
    memo[id(self)] = found
    if self.grad is not None:
        found.grad = copy.deepcopy(self.grad, memo)
    return found


MEMBERS: dict[str, Callable[..., Any]] = {
    "layout": lambda self: parts(self).layout,
    "is_sparse": lambda self: parts(self).layout is _core.sparse_coo,
    "is_sparse_csr": lambda self: parts(self).layout is _core.sparse_csr,
    "requires_grad": lambda self: parts(self).values.requires_grad,
    "is_leaf": lambda self: parts(self).values.is_leaf,
    "grad_fn": lambda self: parts(self).values.grad_fn,
    "output_nr": lambda self: parts(self).values.output_nr,
    "grad": grad,
    "data": detach,
    "detach": detach,
    "detach_": detach_,
    "requires_grad_": requires_grad_,
    "set_requires_grad": set_requires_grad,
    "set_grad": set_grad,
    "set_data": set_data,
    "grad_values": grad_values,
    "with_values": with_values,
    "_values": lambda self: parts(self).values,
    "nbytes": lambda self: sum(t.nbytes for t in parts(self).tensors()),
}


# ---- methods of their own -----------------------------------------------------------------------


def _coordinates(self: Tensor, name: str) -> Coo:
    data = parts(self)
    if not isinstance(data, Coo):
        raise RuntimeError(
            f"{name} expected sparse coordinate tensor layout but got {self.layout}; call "
            ".to_sparse()"
        )
    return data


def coalesce(self: Tensor) -> Tensor:
    data = _coordinates(self, "coalesce")
    return self if data.coalesced else make(coalesced(data, self.shape), self.shape)


def is_coalesced(self: Tensor) -> bool:
    return _coordinates(self, "is_coalesced").coalesced


def _coalesced_(self: Tensor, coalesced: bool) -> Tensor:
    data = _coordinates(self, "_coalesced_")
    found = Coo(data.indices, data.values)
    found.coalesced = coalesced
    return replace(self, found)


def indices(self: Tensor) -> Tensor:
    data = _coordinates(self, "indices")
    if not data.coalesced:
        raise RuntimeError(
            "Cannot get indices on an uncoalesced tensor, please call .coalesce() first"
        )
    return data.indices


def _indices(self: Tensor) -> Tensor:
    return _coordinates(self, "_indices").indices


def values(self: Tensor) -> Tensor:
    data = parts(self)
    if data is None:
        raise RuntimeError(
            f"values expected sparse tensor layout but got {self.layout}; call .to_sparse()"
        )
    if isinstance(data, Coo) and not data.coalesced:
        raise RuntimeError(
            "Cannot get values on an uncoalesced tensor, please call .coalesce() first"
        )
    return data.values


def _values(self: Tensor) -> Tensor:
    return _coordinates(self, "_values").values


def _nnz(self: Tensor) -> int:
    if not is_sparse(self):
        raise NotImplementedError("_nnz: of sparse tensors only; call .to_sparse()")
    return parts(self).nnz


def sparse_dim(self: Tensor) -> int:
    data = parts(self)
    return 0 if data is None else data.sparse_dim if isinstance(data, Coo) else 2


def dense_dim(self: Tensor) -> int:
    data = parts(self)
    if data is None:
        return self.dim()
    if isinstance(data, Coo):
        return data.values.dim() - 1
    return data.values.dim() - data.batch_dim - 1 - 2 * (data.layout in BLOCK_LAYOUTS)


def _lines(by_rows: bool, name: str, which: str) -> Callable[[Tensor], Tensor]:
    def member(self: Tensor) -> Tensor:
        data = parts(self)
        if not isinstance(data, Compressed) or data.by_rows != by_rows:
            what = "row" if by_rows else "column"
            raise RuntimeError(
                f"{name} expected sparse {what} compressed tensor layout but got {self.layout}"
            )
        return getattr(data, which)

    return member


crow_indices = _lines(True, "crow_indices", "compressed")
col_indices = _lines(True, "col_indices", "plain")
ccol_indices = _lines(False, "ccol_indices", "compressed")
row_indices = _lines(False, "row_indices", "plain")


def to_dense(self: Tensor, dtype: Any = None, *, masked_grad: bool | None = None) -> Tensor:
    return _to_dense(self, dtype)


def to_sparse(
    self: Tensor, sparse_dim: int | None = None, *, layout: Any = None, blocksize: Any = None,
    dense_dim: int | None = None, sparseDims: int | None = None,
) -> Tensor:  # fmt: skip
    sparse_dim = sparseDims if sparse_dim is None else sparse_dim
    if sparse_dim is not None and not is_sparse(self):
        return coo_of_dense(self, sparse_dim)
    if sparse_dim is not None:
        if sparse_dim != globals()["sparse_dim"](self) or self.layout is not _core.sparse_coo:
            raise RuntimeError(
                "to_sparse: a sparse tensor keeps its sparse dims; call .to_dense() first"
            )
        return self
    return _to_sparse(self, layout, blocksize, dense_dim)


def _to_layout(name: str) -> Callable[..., Tensor]:
    layout = getattr(_core, f"sparse_{name}")
    if layout in BLOCK_LAYOUTS:

        def blocks(self: Tensor, blocksize: Any, dense_dim: int | None = None) -> Tensor:
            return _to_sparse(self, layout, blocksize, dense_dim)

        return blocks

    def lines(self: Tensor, dense_dim: int | None = None) -> Tensor:
        return _to_sparse(self, layout, None, dense_dim)

    return lines


to_sparse_csr, to_sparse_csc = _to_layout("csr"), _to_layout("csc")
to_sparse_bsr, to_sparse_bsc = _to_layout("bsr"), _to_layout("bsc")


def to_sparse_coo(self: Tensor) -> Tensor:
    return _to_sparse(self)


def sparse_mask(self: Tensor, mask: Tensor) -> Tensor:
    return _sparse_mask(self, mask)


def sparse_resize_(self: Tensor, size: Any, sparse_dim: int, dense_dim: int) -> Tensor:
    data = _coordinates(self, "sparse_resize_")
    if len(size) != sparse_dim + dense_dim:
        raise RuntimeError(
            f"number of dimensions must be sparse_dim ({sparse_dim}) + dense_dim ({dense_dim}), "
            f"but got {len(size)}"
        )
    if data.nnz and (sparse_dim != data.sparse_dim or dense_dim != data.values.dim() - 1):
        raise RuntimeError(
            "sparse_resize_: changing the number of sparse or dense dims of a non-empty sparse "
            "tensor is not supported"
        )
    if data.nnz and any(n < m for n, m in zip(size, self.shape, strict=True)):
        raise RuntimeError(
            "sparse_resize_: shrinking the size of a non-empty sparse tensor is not supported; "
            "call sparse_resize_and_clear_()"
        )
    if not data.nnz:
        return sparse_resize_and_clear_(self, size, sparse_dim, dense_dim)
    grown = data.values.new_zeros((data.nnz, *size[sparse_dim:]))
    grown[tuple(slice(n) for n in data.values.shape)] = data.values
    return replace(self, data.holding(grown), size)


def sparse_resize_and_clear_(self: Tensor, size: Any, sparse_dim: int, dense_dim: int) -> Tensor:
    _coordinates(self, "sparse_resize_and_clear_")
    if len(size) != sparse_dim + dense_dim:
        raise RuntimeError(
            f"number of dimensions must be sparse_dim ({sparse_dim}) + dense_dim ({dense_dim}), "
            f"but got {len(size)}"
        )
    from ._construct import empty

    fresh = empty(size, self.dtype, self.device, sparse_dim=sparse_dim)
    return replace(self, parts(fresh), size)


def resize_as_sparse_(self: Tensor, other: Tensor) -> Tensor:
    return sparse_resize_(self, other.shape, sparse_dim(other), dense_dim(other))


def smm(self: Tensor, mat: Tensor) -> Tensor:
    from ._products import smm as product

    return product(self, mat)


def sspaddmm(self: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    from ._products import sspaddmm as sum_of_products

    return sum_of_products(self, mat1, mat2, beta=beta, alpha=alpha)


def reduce(self: Tensor) -> tuple:
    """How PyTorch writes one to a file: the layout and the parts."""
    from taimatsu._utils import _rebuild_sparse_tensor

    data = parts(self)
    fields: tuple
    if isinstance(data, Coo):
        fields = (data.indices, data.values.detach(), self.shape, data.coalesced)
    else:
        fields = (data.compressed, data.plain, data.values.detach(), self.shape)
    return _rebuild_sparse_tensor, (data.layout, fields)


def rebuild(layout: Any, fields: tuple) -> Tensor:
    """The inverse of `reduce`."""
    if layout is _core.sparse_coo:
        indices, values, size, *flag = fields
        return torch.sparse_coo_tensor(indices, values, size, is_coalesced=bool(flag and flag[0]))
    starts, plain, values, size = fields
    return torch.sparse_compressed_tensor(starts, plain, values, size, layout=layout)


def text(self: Tensor) -> tuple[str, list[str]]:
    """Of ``repr``: the parts, and what follows them."""
    from taimatsu._tensor_str import _elements, _has_default_dtype

    def part(label: str, x: Tensor) -> str:
        indent = len("tensor(") + len(label) + 1 + len("tensor(")
        inner = _elements(x.detach(), indent) if x.numel() else "[]"
        shape = f", size={tuple(x.shape)}" if not x.numel() else ""
        return f"{label}=tensor({inner}{shape})"

    data = parts(self)
    if isinstance(data, Coo):
        names = {"indices": data.indices, "values": data.values}
    else:
        rows = data.layout in ROW_LAYOUTS
        names = {
            "crow_indices" if rows else "ccol_indices": data.compressed,
            "col_indices" if rows else "row_indices": data.plain,
            "values": data.values,
        }
    texts = [part(name, x) for name, x in names.items()]
    facts = [f"size={tuple(self.shape)}", f"nnz={data.nnz}"]
    if not _has_default_dtype(self.dtype):
        facts.append(f"dtype={self.dtype}")
    facts.append(f"layout={data.layout}")
    margin = ",\n" + " " * len("tensor(")
    return margin.join(texts), facts


_dimI, _dimV = sparse_dim, dense_dim
