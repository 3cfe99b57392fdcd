"""The methods of Tensor for sparse tensors: what they do is in `sparse/_members.py`."""

from __future__ import annotations

import functools
from typing import Any

from ._core import Tensor
from ._tensor import _method

__all__: list[str] = []

_METHODS = {
    "to_sparse": "The elements as a sparse tensor: of `layout` (coordinates by default), or with "
                 "`sparse_dim` sparse dims.",
    "to_sparse_coo": "`to_sparse(layout=torch.sparse_coo)`.",
    "to_sparse_csr": "`to_sparse(layout=torch.sparse_csr)`.",
    "to_sparse_csc": "`to_sparse(layout=torch.sparse_csc)`.",
    "to_sparse_bsr": "`to_sparse(layout=torch.sparse_bsr)`, in blocks of these two sizes.",
    "to_sparse_bsc": "`to_sparse(layout=torch.sparse_bsc)`, in blocks of these two sizes.",
    "to_dense": "All elements, zeros where a sparse tensor has none; of a dense tensor itself.",
    "sparse_mask": "The elements where the sparse tensor `mask` has some, as a sparse tensor.",
    "coalesce": "The elements in order, those at equal indices added. RuntimeError if the layout "
                "isn't torch.sparse_coo.",
    "is_coalesced": "Whether the indices of a torch.sparse_coo tensor are in order and distinct.",
    "_coalesced_": "Say whether the indices are in order and distinct.",
    "indices": "The indices (sparse dims, n) of a coalesced torch.sparse_coo tensor.",
    "_indices": "`indices`, coalesced or not.",
    "values": "The values of a sparse tensor; of a torch.sparse_coo one if it is coalesced.",
    "_values": "`values` of a torch.sparse_coo tensor, coalesced or not.",
    "_nnz": "How many elements a sparse tensor has.",
    "sparse_dim": "How many dims are sparse.",
    "_dimI": "`sparse_dim`.",
    "dense_dim": "How many dims are dense.",
    "_dimV": "`dense_dim`.",
    "crow_indices": "Where the rows of a torch.sparse_csr or sparse_bsr tensor begin.",
    "col_indices": "The columns of the elements of a torch.sparse_csr or sparse_bsr tensor.",
    "ccol_indices": "Where the columns of a torch.sparse_csc or sparse_bsc tensor begin.",
    "row_indices": "The rows of the elements of a torch.sparse_csc or sparse_bsc tensor.",
    "sparse_resize_": "Other sizes, in place: larger ones, or any if there are no elements.",
    "resize_as_sparse_": "`sparse_resize_` to the sizes of another sparse tensor.",
    "smm": "See `taimatsu.smm`.",
    "sspaddmm": "See `taimatsu.sspaddmm`.",
    "sparse_resize_and_clear_": "Other sizes, in place, and no elements.",
}  # fmt: skip


@functools.cache
def _members() -> Any:  # kept: an import that has been done still takes a microsecond
    from .sparse import _members

    return _members


def _add(name: str, doc: str) -> None:
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        return getattr(_members(), name)(self, *args, **kwargs)

    method.__name__, method.__doc__ = name, doc
    _method(method)


for _name, _doc in _METHODS.items():
    _add(_name, _doc)
