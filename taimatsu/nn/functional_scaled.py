"""Products of groups of matrices, and of matrices with scales."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

import taimatsu as torch
from taimatsu import Tensor

__all__ = ["ScalingType", "SwizzleType", "grouped_mm", "scaled_grouped_mm", "scaled_mm"]


class ScalingType(enum.IntEnum):
    """For what a scale is: the tensor, a row, or a block of a row or of rows and columns."""

    TensorWise = 0
    RowWise = 1
    BlockWise1x16 = 2
    BlockWise1x32 = 3
    BlockWise1x128 = 4
    BlockWise128x128 = 5


class SwizzleType(enum.IntEnum):
    """In what order scales of blocks are: by rows, or as NVIDIA's Blackwell reads them."""

    NO_SWIZZLE = 0
    SWIZZLE_32_4_4 = 1


# Rows and columns of a block, for an operand whose rows are multiplied with columns.
_BLOCKS = {
    ScalingType.BlockWise1x16: (1, 16),
    ScalingType.BlockWise1x32: (1, 32),
    ScalingType.BlockWise1x128: (1, 128),
    ScalingType.BlockWise128x128: (128, 128),
}
_TILE = (128, 4)  # of scales, which a swizzle turns into 32 rows of 16
_FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz)


def _listed(value: Any) -> list:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _plain(scale: Tensor, rows: int, columns: int) -> Tensor:
    """Scales by rows and columns, of those in the order of `SWIZZLE_32_4_4`."""
    high, wide = (-(-n // tile) for n, tile in zip((rows, columns), _TILE, strict=True))
    tiles = scale.reshape(high, wide, 32, 4, 4)
    whole = tiles.permute(0, 3, 2, 1, 4).reshape(high * _TILE[0], wide * _TILE[1])
    return whole[:rows, :columns]


def _spread(name: str, scale: Tensor, recipe: ScalingType, swizzle: Any, sizes: tuple) -> Tensor:
    """A scale for each element of an operand of these sizes, or one that broadcasts to them."""
    if recipe == ScalingType.TensorWise and scale.numel() == 1:
        return scale.float().reshape(())
    rows, columns = sizes
    if recipe == ScalingType.RowWise and scale.numel() == rows:
        return scale.float().reshape(rows, 1)
    if recipe in _BLOCKS:
        high, wide = _BLOCKS[recipe]
        blocks = -(-rows // high), -(-columns // wide)
        if swizzle == SwizzleType.SWIZZLE_32_4_4:
            scale = _plain(scale, *blocks)
        if tuple(scale.shape) != blocks and tuple(scale.T.shape) == blocks:
            scale = scale.T
        if tuple(scale.shape) == blocks:
            spread = scale.float().repeat_interleave(high, 0).repeat_interleave(wide, 1)
            return spread[:rows, :columns]
    raise ValueError(
        f"{name}: Invalid scaling configuration: scales of shape {tuple(scale.shape)} and recipe "
        f"{recipe.name} don't fit an operand of {rows} rows of {columns}"
    )


def _descaled(name: str, x: Tensor, scales: Any, recipes: Any, swizzles: Any) -> Tensor:
    """The numbers, in float32, of an operand whose rows are multiplied."""
    if x.dtype not in _FLOAT8:
        raise ValueError(
            f"{name}: Invalid scaling configuration: the matrices have to be 8-bit floats; "
            f"got {x.dtype}"
        )
    scales, recipes = _listed(scales), _listed(recipes)
    swizzles = [SwizzleType.NO_SWIZZLE] * len(scales) if swizzles is None else _listed(swizzles)
    if not len(scales) == len(recipes) == len(swizzles):
        raise ValueError(
            f"{name}: needs as many recipes and swizzles as scales; got {len(scales)} scales, "
            f"{len(recipes)} recipes, {len(swizzles)} swizzles"
        )
    value = x.float()
    for scale, recipe, swizzle in zip(scales, recipes, swizzles, strict=True):
        value = value * _spread(name, scale, ScalingType(recipe), swizzle, tuple(x.shape))
    return value


def scaled_mm(
    mat_a: Tensor, mat_b: Tensor, scale_a: Tensor | list[Tensor],
    scale_recipe_a: ScalingType | list[ScalingType], scale_b: Tensor | list[Tensor],
    scale_recipe_b: ScalingType | list[ScalingType],
    swizzle_a: SwizzleType | list[SwizzleType] | None = None,
    swizzle_b: SwizzleType | list[SwizzleType] | None = None, bias: Tensor | None = None,
    output_dtype: torch.dtype | None = torch.bfloat16, contraction_dim: Sequence[int] = (),
    use_fast_accum: bool = False,
) -> Tensor:  # fmt: skip
    """``(mat_a * scale_a) @ (mat_b * scale_b) + bias`` of 8-bit floats, computed in float32.

    mat_a: (n, k), mat_b: (k, m). A recipe tells for what a scale is; of ``mat_b`` it is about its
    transpose: `RowWise` scales are of shape (1, m). Several scales of an operand are multiplied.
    RuntimeError for shapes, ValueError for dtypes and scales that don't go together.

    >>> a, one = torch.ones(2, 2).to(torch.float8_e4m3fn), torch.tensor(1.0)
    >>> each = ScalingType.TensorWise
    >>> scaled_mm(a, a, one / 2, each, one, each, output_dtype=torch.float32)
    tensor([[1., 1.],
            [1., 1.]])
    """
    if mat_a.dim() != 2 or mat_b.dim() != 2 or mat_a.shape[1] != mat_b.shape[0]:
        raise RuntimeError(
            "scaled_mm: mat_a and mat_b shapes cannot be multiplied "
            f"({'x'.join(map(str, mat_a.shape))} and {'x'.join(map(str, mat_b.shape))})"
        )
    whole = {ScalingType.TensorWise, ScalingType.RowWise}
    recipes = {*_listed(scale_recipe_a), *_listed(scale_recipe_b)}
    if mat_a.is_cuda and recipes <= whole and len(_listed(scale_a)) == len(_listed(scale_b)) == 1:
        return torch._scaled_mm(
            mat_a, mat_b, _listed(scale_a)[0], _listed(scale_b)[0], bias, None, output_dtype,
            use_fast_accum,
        )  # fmt: skip
    a = _descaled("scaled_mm", mat_a, scale_a, scale_recipe_a, swizzle_a)
    b = _descaled("scaled_mm", mat_b.T, scale_b, scale_recipe_b, swizzle_b).T
    product = a @ b
    if bias is not None:
        product = product + bias
    return product.to(output_dtype or torch.bfloat16)


def grouped_mm(
    mat_a: Tensor, mat_b: Tensor, *, offs: Tensor | None = None, bias: Tensor | None = None,
    out_dtype: torch.dtype | None = None,
) -> Tensor:  # fmt: skip
    """Products of groups of matrices that may differ in one size.

    An operand of 3 dims has a group in each entry of the first. The groups of one of 2 dims lie one
    after another, the i-th ends at ``offs[i]``: rows of ``mat_a``, columns of ``mat_b``; or, where
    both have 2 dims, what is summed over. ``offs``: int32. RuntimeError where it is missing or too
    much, or the dtypes differ.

    >>> tokens, experts = torch.ones(3, 2), torch.stack([torch.eye(2), 2 * torch.eye(2)])
    >>> grouped_mm(tokens, experts, offs=torch.tensor([1, 3], dtype=torch.int32))
    tensor([[1., 1.],
            [2., 2.],
            [2., 2.]])
    """
    dims = mat_a.dim(), mat_b.dim()
    if not {*dims} <= {2, 3}:
        raise RuntimeError(f"grouped_mm: mat_a and mat_b have to be 2d or 3d; got {dims}")
    if (offs is None) != (dims == (3, 3)):
        raise RuntimeError(
            "grouped_mm: Have to provide offsets if there is a 2d matrix, or no offset if both "
            f"matrices are 3d; got {dims} dims and offs={offs}"
        )
    if mat_a.shape[-1] != mat_b.shape[-2] or mat_a.dtype != mat_b.dtype:
        raise RuntimeError(
            "grouped_mm: contraction dimension and dtype of mat_a and mat_b must match; got "
            f"{list(mat_a.shape)}, {list(mat_b.shape)}, {mat_a.dtype} and {mat_b.dtype}"
        )
    if offs is not None and offs.dtype != torch.int32:
        raise RuntimeError(f"grouped_mm: Offsets have to be int32; got {offs.dtype}")
    if offs is None:
        result = mat_a @ mat_b
    else:
        result = _products(mat_a, mat_b, _slices(offs))
    if bias is not None:
        result = result + bias
    return result if out_dtype is None else result.to(out_dtype)


def _slices(offs: Tensor) -> list[slice]:
    ends = offs.tolist()
    return [slice(begin, end) for begin, end in zip([0, *ends], ends, strict=False)]


def _products(a: Tensor, b: Tensor, groups: list[slice]) -> Tensor:
    if a.dim() == b.dim() == 2:
        return torch.stack([a[:, part] @ b[part] for part in groups])
    if a.dim() == 2:
        return _padded([a[part] @ b[i] for i, part in enumerate(groups)], 0, a.shape[0])
    return _padded([a[i] @ b[:, part] for i, part in enumerate(groups)], 1, b.shape[1])


def _padded(parts: list[Tensor], dim: int, size: int) -> Tensor:
    """The parts one after another, and zeros where no group is."""
    done = sum(p.shape[dim] for p in parts)
    sizes = list(parts[0].shape)
    sizes[dim] = size - done
    return torch.cat([*parts, parts[0].new_zeros(sizes)], dim) if done < size else torch.cat(
        parts, dim
    )  # fmt: skip


def scaled_grouped_mm(
    mat_a: Tensor, mat_b: Tensor, scale_a: Tensor | list[Tensor],
    scale_recipe_a: ScalingType | list[ScalingType], scale_b: Tensor | list[Tensor],
    scale_recipe_b: ScalingType | list[ScalingType],
    swizzle_a: SwizzleType | list[SwizzleType] | None = None,
    swizzle_b: SwizzleType | list[SwizzleType] | None = None, bias: Tensor | None = None,
    offs: Tensor | None = None, output_dtype: torch.dtype | None = torch.bfloat16,
    contraction_dim: Sequence[int] = (), use_fast_accum: bool = False,
) -> Tensor:  # fmt: skip
    """`grouped_mm` of 8-bit floats with scales, as of `scaled_mm`.

    Of an operand of 3 dims the scales have a first dim of groups too. ValueError for what isn't
    row-wise or tensor-wise between groups of one operand.
    """
    a = _descaled_groups(mat_a, scale_a, scale_recipe_a, swizzle_a)
    b = _descaled_groups(mat_b.mT, scale_b, scale_recipe_b, swizzle_b).mT
    return grouped_mm(a, b, offs=offs, bias=bias, out_dtype=output_dtype or torch.bfloat16)


def _descaled_groups(x: Tensor, scales: Any, recipes: Any, swizzles: Any) -> Tensor:
    if x.dim() == 2:
        return _descaled("scaled_grouped_mm", x, scales, recipes, swizzles)
    return torch.stack([
        _descaled("scaled_grouped_mm", part, [s[i] for s in _listed(scales)], recipes, swizzles)
        for i, part in enumerate(x)
    ])  # fmt: skip
