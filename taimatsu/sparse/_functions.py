"""Functions of the top level for sparse tensors."""

from __future__ import annotations

from typing import Any

import taimatsu as torch
from taimatsu import Tensor

from ._products import hspmm, smm, sspaddmm

__all__ = [
    "ccol_indices_copy", "col_indices_copy", "crow_indices_copy", "dsmm", "hsmm", "hspmm",
    "indices_copy", "resize_as_sparse_", "row_indices_copy", "saddmm", "smm", "spmm", "sspaddmm",
    "values_copy",
]  # fmt: skip

dsmm, hsmm, spmm, saddmm = torch.mm, hspmm, torch.mm, sspaddmm


def resize_as_sparse_(input: Tensor, the_template: Tensor) -> Tensor:
    """`input`, a torch.sparse_coo tensor, with the sizes of another, in place."""
    return input.resize_as_sparse_(the_template)


def _copied(name: str) -> Any:
    def function(input: Tensor) -> Tensor:
        return getattr(input, name)().clone()

    function.__name__ = function.__qualname__ = f"{name}_copy"
    function.__doc__ = f"A copy of `Tensor.{name}`."
    return function


indices_copy, values_copy = _copied("indices"), _copied("values")
crow_indices_copy, col_indices_copy = _copied("crow_indices"), _copied("col_indices")
ccol_indices_copy, row_indices_copy = _copied("ccol_indices"), _copied("row_indices")
