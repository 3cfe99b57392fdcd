"""Functions that PyTorch keeps private, and that libraries call all the same."""

from __future__ import annotations

from typing import Any

import taimatsu as torch
from taimatsu import Tensor
from taimatsu.ops.compressed import rows_of
from taimatsu.ops.random import (  # noqa: F401
    _dirichlet_grad,
    _sample_dirichlet,
    _standard_gamma,
    _standard_gamma_grad,
)


def _cast_to(dtype: Any) -> Any:
    def cast(self: Tensor, non_blocking: bool = False) -> Tensor:
        return self.to(dtype, non_blocking)

    return cast


_cast_Byte, _cast_Char, _cast_Short = map(_cast_to, (torch.uint8, torch.int8, torch.int16))
_cast_Int, _cast_Long = map(_cast_to, (torch.int32, torch.int64))
_cast_Half, _cast_Float, _cast_Double = map(_cast_to, (torch.half, torch.float, torch.double))


_segment_reduce = torch.segment_reduce


def _shape_as_tensor(self: Tensor) -> Tensor:
    """The sizes as a tensor of integers."""
    return torch.tensor(self.shape, dtype=torch.int64)


def _unique(self: Tensor, sorted: bool = True, return_inverse: bool = False) -> Any:
    """The values of `unique` and, if asked for (else empty), where each element's is."""
    return _unique2(self, sorted, return_inverse)[:2]


def _unique2(
    self: Tensor, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """What `unique` gives, as three tensors; those that aren't asked for are empty."""
    values, inverse, counts = torch.unique(self, sorted, return_inverse=True, return_counts=True)
    empty = inverse.new_empty(0)
    return values, inverse if return_inverse else empty, counts if return_counts else empty


def _softmax(self: Tensor, dim: int, half_to_float: bool) -> Tensor:
    """See `softmax`; ``half_to_float``: in float32."""
    return torch.softmax(self, dim, torch.float32 if half_to_float else None)


def _log_softmax(self: Tensor, dim: int, half_to_float: bool) -> Tensor:
    """See `log_softmax`; ``half_to_float``: in float32."""
    return torch.log_softmax(self, dim, torch.float32 if half_to_float else None)


def _softmax_backward_data(grad: Tensor, output: Tensor, dim: int, input_dtype: Any) -> Tensor:
    """The gradient of the input of a softmax, from that of its output."""
    weighted = grad * output
    return (weighted - output * weighted.sum(dim, keepdim=True)).to(input_dtype)


def _log_softmax_backward_data(grad: Tensor, output: Tensor, dim: int, input_dtype: Any) -> Tensor:
    """The gradient of the input of a log_softmax, from that of its output."""
    return (grad - output.exp() * grad.sum(dim, keepdim=True)).to(input_dtype)


def norm_except_dim(v: Tensor, pow: int = 2, dim: int = 0) -> Tensor:
    """The norm of each slice along `dim`, all of whose other dims are kept with size 1; of all
    elements for -1."""
    if dim == -1:
        return torch.linalg.vector_norm(v, pow)
    others = [d for d in range(v.dim()) if d != dim % v.dim()]
    return torch.linalg.vector_norm(v, pow, others, keepdim=True) if others else v.abs()


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """``v`` with its slices along `dim` scaled to the norms `g`."""
    return v * (g / norm_except_dim(v, 2, dim))


def _int_mm(self: Tensor, mat2: Tensor) -> Tensor:
    """The product of matrices of int8, in int32. RuntimeError for other dtypes or shapes."""
    for x in (self, mat2):
        if x.dtype != torch.int8:
            raise RuntimeError(f"_int_mm: both matrices have to be of torch.int8; got {x.dtype}")
    return torch.mm(self.to(torch.int32), mat2.to(torch.int32))


def _convert_indices_from_coo_to_csr(
    self: Tensor, size: int, *, out_int32: bool = False
) -> Tensor:
    """Where each of `size` rows begins, and the last ends, among sorted row indices."""
    rows = torch.arange(size + 1, device=self.device, dtype=self.dtype)
    return torch.searchsorted(self, rows, out_int32=out_int32)


def _convert_indices_from_csr_to_coo(
    crow_indices: Tensor, col_indices: Tensor, *, out_int32: bool = False, transpose: bool = False
) -> Tensor:
    """The (2, nnz) rows and columns of compressed rows; ``transpose``: columns and rows."""
    rows = rows_of(crow_indices)
    pair = (col_indices, rows) if transpose else (rows, col_indices)
    return torch.stack([index.to(torch.int32 if out_int32 else torch.int64) for index in pair])


def _grouped_mm(
    self: Tensor, mat2: Tensor, offs: Tensor | None = None, bias: Tensor | None = None,
    out_dtype: Any = None,
) -> Tensor:  # fmt: skip
    """See `nn.functional.grouped_mm`."""
    return torch.nn.functional.grouped_mm(self, mat2, offs=offs, bias=bias, out_dtype=out_dtype)
