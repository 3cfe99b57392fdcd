"""Products of matrices of 8-bit floats, with their scales."""

from __future__ import annotations

from typing import Any

import taimatsu as torch
from taimatsu import Tensor

__all__ = ["_scaled_mm"]

_FLOAT8 = (
    torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz,
)  # fmt: skip


def _scaled_mm(
    input: Tensor, mat2: Tensor, scale_a: Tensor, scale_b: Tensor, bias: Tensor | None = None,
    scale_result: Tensor | None = None, out_dtype: Any = None, use_fast_accum: bool = False,
) -> Tensor:  # fmt: skip
    """``(input * scale_a) @ (mat2 * scale_b) + bias`` of 8-bit floats, summed in float32.

    input: (n, k), mat2: (k, m); scales: float32, of one element, or (n, 1) and (1, m). The result
    is divided by `scale_result` if that is an 8-bit dtype, which `out_dtype` by default is (that of
    `input`). RuntimeError for shapes, ValueError for dtypes and scales that don't go together.

    >>> a = torch.ones(2, 2).to(torch.float8_e4m3fn)
    >>> half = torch.tensor(0.5)
    >>> torch._scaled_mm(a, a, half, half, out_dtype=torch.float32)
    tensor([[0.5000, 0.5000],
            [0.5000, 0.5000]])
    """
    if input.dim() != 2 or mat2.dim() != 2 or input.shape[1] != mat2.shape[0]:
        raise RuntimeError(
            "_scaled_mm: mat_a and mat_b shapes cannot be multiplied "
            f"({'x'.join(map(str, input.shape))} and {'x'.join(map(str, mat2.shape))})"
        )
    n, m = input.shape[0], mat2.shape[1]
    for x, scale, along in ((input, scale_a, (n, 1)), (mat2, scale_b, (1, m))):
        fits = scale.numel() == 1 or tuple(scale.shape) == along
        if x.dtype not in _FLOAT8 or scale.dtype is not torch.float32 or not fits:
            raise ValueError(
                "_scaled_mm: Invalid scaling configuration: the matrices have to be 8-bit floats, "
                f"scales float32 of one element or of shape {along}; got {x.dtype}, and scales of "
                f"{scale.dtype} and shape {tuple(scale.shape)}"
            )
    dtype = input.dtype if out_dtype is None else out_dtype
    product = None
    if input.is_cuda:
        from taimatsu.cuda.libraries import float8

        product = float8.product(input, mat2, scale_a, scale_b, bias, dtype, use_fast_accum)
    if product is None:
        product = (input.float() @ mat2.float()) * scale_a * scale_b
        if bias is not None:
            product = product + bias
    if scale_result is not None and dtype in _FLOAT8:
        product = product / scale_result
    return product.to(dtype)
