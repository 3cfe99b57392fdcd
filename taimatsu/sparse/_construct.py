"""Making sparse tensors from indices and values."""

from __future__ import annotations

from typing import Any

import taimatsu as torch
from taimatsu import Tensor, _core
from taimatsu.ops.reduction import any_outside

from ._parts import BLOCK_LAYOUTS, ROW_LAYOUTS, Compressed, Coo, make

__all__ = [
    "sparse_bsc_tensor",
    "sparse_bsr_tensor",
    "sparse_compressed_tensor",
    "sparse_coo_tensor",
    "sparse_csc_tensor",
    "sparse_csr_tensor",
]

_COMPRESSED = (
    _core.sparse_csr, _core.sparse_csc, _core.sparse_bsr, _core.sparse_bsc,
)  # fmt: skip


def _tensor(data: Any, dtype: Any, device: Any) -> Tensor:
    if isinstance(data, Tensor):
        if dtype in (None, data.dtype) and device in (None, data.device):
            return data
        return data.to(dtype=dtype or data.dtype, device=device or data.device)
    return torch.tensor(data, dtype=dtype, device=device)


def _values(values: Any, dtype: Any, device: Any, requires_grad: bool) -> Tensor:
    """A leaf of its own if `requires_grad`, else with the history of `values`."""
    found = _tensor(values, dtype, device)
    if requires_grad:
        return found.detach().requires_grad_()
    return found.view_as(found) if found.requires_grad else found


def _in_range(indices: Tensor, n: int, what: str) -> None:
    if not indices.numel() or indices.is_meta:
        return
    if not any_outside(indices, 0, n - 1):
        return
    low, high = (int(x) for x in indices.aminmax())
    if low < 0:
        raise RuntimeError(f"found negative index {low} for {what}")
    if high >= n:
        raise RuntimeError(
            f"size is inconsistent with indices: for {what}, size is {n} but found index {high}"
        )


def sparse_coo_tensor(
    indices: Any = None, values: Any = None, size: Any = None, *, dtype: Any = None,
    device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
    check_invariants: bool | None = None, is_coalesced: bool | None = None,
) -> Tensor:  # fmt: skip
    """A sparse tensor of coordinates: ``values[i]`` at ``indices[:, i]``; equal places are added.

    indices: (sparse dims, n), values: (n, *dense sizes), `size` by default as large as the indices
    ask for. With a size alone it has no elements. `is_coalesced` promises that the indices are in
    order and distinct. RuntimeError for indices out of range and shapes that don't go together.

    >>> i = torch.tensor([[0, 1, 1], [2, 0, 2]])
    >>> torch.sparse_coo_tensor(i, torch.tensor([3.0, 4.0, 5.0]), (2, 4)).to_dense()
    tensor([[0., 0., 3., 0.],
            [4., 0., 5., 0.]])
    """
    if values is None:
        size = indices if size is None else size
        if size is None:
            raise TypeError("sparse_coo_tensor(): needs indices and values, or a size")
        return empty(size, dtype or torch.get_default_dtype(), device, requires_grad)
    found = _values(values, dtype, device, requires_grad)
    at = _tensor(indices, torch.int64, device or found.device)
    if at.dim() == 1 and not at.numel():
        at = at.reshape(1, 0)
    if at.dim() != 2:
        raise RuntimeError(
            f"sparse_coo_tensor: indices must be sparse_dim x nnz, but got: {tuple(at.shape)}"
        )
    if found.dim() == 0:
        found = found.expand(at.shape[1])
    if at.shape[1] != found.shape[0]:
        raise RuntimeError(
            "sparse_coo_tensor: indices and values must have same nnz, but got nnz from indices: "
            f"{at.shape[1]}, nnz from values: {found.shape[0]}"
        )
    if size is None:
        least = [int(row.max()) + 1 if at.shape[1] else 0 for row in at]
        size = (*least, *found.shape[1:])
    size = tuple(size)
    sparse = at.shape[0]
    if len(size) != sparse + found.dim() - 1:
        raise RuntimeError(
            "sparse_coo_tensor: number of dimensions must be sparse_dim "
            f"({sparse}) + dense_dim ({found.dim() - 1}), but got {len(size)}"
        )
    if size[sparse:] != tuple(found.shape[1:]):
        raise RuntimeError(
            f"sparse_coo_tensor: values has incorrect size, expected "
            f"{(at.shape[1], *size[sparse:])}, got {tuple(found.shape)}"
        )
    for d, n in enumerate(size[:sparse]):
        _in_range(at[d], n, f"dim {d}")
    return make(Coo(at, found, bool(is_coalesced)), size)


def empty(size: Any, dtype: Any, device: Any = None, requires_grad: bool = False,
          sparse_dim: int | None = None) -> Tensor:  # fmt: skip
    """Coordinates without any element."""
    size = tuple(size)
    if any(n < 0 for n in size):
        raise RuntimeError(f"sparse_coo_tensor: sizes must be at least 0; got {size}")
    sparse = len(size) if sparse_dim is None else sparse_dim
    indices = torch.zeros((sparse, 0), dtype=torch.int64, device=device)
    values = torch.zeros((0, *size[sparse:]), dtype=dtype, device=device)
    return make(Coo(indices, values.requires_grad_(requires_grad), True), size)


def empty_compressed(size: Any, dtype: Any, layout: Any, device: Any = None) -> Tensor:
    """Rows or columns without any element."""
    if len(size) < 2:
        raise RuntimeError(f"torch.empty: {layout} needs at least 2 dims; got {tuple(size)}")
    lines = size[-2] if layout in ROW_LAYOUTS else size[-1]
    if layout in BLOCK_LAYOUTS:
        raise RuntimeError(f"torch.empty: of {layout} the blocks' sizes are not known; make it of "
                           "its parts")  # fmt: skip
    starts = torch.zeros((*size[:-2], lines + 1), dtype=torch.int64, device=device)
    plain = torch.zeros((*size[:-2], 0), dtype=torch.int64, device=device)
    values = torch.zeros((*size[:-2], 0), dtype=dtype, device=device)
    return make(Compressed(layout, starts, plain, values), size)


def sparse_compressed_tensor(
    compressed_indices: Any, plain_indices: Any, values: Any, size: Any = None, *,
    dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: bool = False,
    requires_grad: bool = False, check_invariants: bool | None = None,
) -> Tensor:  # fmt: skip
    """A sparse tensor by rows or columns, or by blocks of them, as `layout` says.

    compressed_indices: (*batch, rows + 1), where each row begins; plain_indices: (*batch, n), the
    columns; values: (*batch, n, *block, *dense sizes). RuntimeError for parts that don't go
    together, and indices out of range.
    """
    if layout not in _COMPRESSED:
        raise RuntimeError(
            "sparse_compressed_tensor: layout has to be a compressed one (torch.sparse_csr, "
            f"sparse_csc, sparse_bsr or sparse_bsc); got {layout}"
        )
    found = _values(values, dtype, device, requires_grad)
    starts = _index(compressed_indices, device or found.device)
    plain = _index(plain_indices, device or found.device)
    if starts.dtype is not plain.dtype:
        raise RuntimeError(
            "sparse_compressed_tensor: compressed and plain indices must have the same dtype; got "
            f"{starts.dtype} and {plain.dtype}"
        )
    batch = starts.dim() - 1
    if plain.dim() != starts.dim() or batch < 0 or starts.shape[-1] < 1:
        raise RuntimeError(
            "sparse_compressed_tensor: indices need as many dims, the compressed at least one "
            f"element; got {tuple(starts.shape)} and {tuple(plain.shape)}"
        )
    blocks = 2 * (layout in BLOCK_LAYOUTS)
    if found.shape[: batch + 1] != plain.shape or found.dim() < batch + 1 + blocks:
        raise RuntimeError(
            "sparse_compressed_tensor: values must begin with the sizes of the plain indices; got "
            f"{tuple(found.shape)} and {tuple(plain.shape)}"
        )
    data = Compressed(layout, starts, plain, found)
    high, wide = data.block
    lines = starts.shape[-1] - 1
    if size is None:
        across = int(plain.max()) + 1 if plain.numel() else 0
        matrix = (lines, across) if data.by_rows else (across, lines)
        size = (*starts.shape[:-1], matrix[0] * high, matrix[1] * wide,
                *found.shape[batch + 1 + blocks :])  # fmt: skip
    size = tuple(size)
    _check_compressed(data, size, blocks)
    return make(data, size)


def _check_compressed(data: Compressed, size: tuple[int, ...], blocks: int) -> None:
    batch, (high, wide) = data.batch_dim, data.block
    name = "sparse_compressed_tensor"
    if len(size) != batch + 2 + data.values.dim() - batch - 1 - blocks:
        raise RuntimeError(
            f"{name}: the parts are those of {data.values.dim() + 1 - blocks} dims; got size {size}"
        )
    rows, columns = size[batch], size[batch + 1]
    if rows % high or columns % wide:
        raise RuntimeError(f"{name}: blocks of {(high, wide)} don't divide {(rows, columns)}")
    lines, across = rows // high, columns // wide
    if not data.by_rows:
        lines, across = across, lines
    starts = data.compressed
    if starts.shape[-1] != lines + 1:
        raise RuntimeError(
            f"{name}: compressed indices need {lines + 1} elements for size {size}; got "
            f"{starts.shape[-1]}"
        )
    if starts.is_meta:
        return
    steps = starts.diff(dim=-1)
    if bool((starts[..., 0] != 0).any()) or bool((starts[..., -1] != data.nnz).any()):
        raise RuntimeError(
            f"{name}: compressed indices must begin with 0 and end with the number of elements, "
            f"{data.nnz}"
        )
    if steps.numel() and (int(steps.min()) < 0 or int(steps.max()) > across):
        raise RuntimeError(
            f"{name}: compressed indices must rise, by at most {across} (the number of places)"
        )
    _in_range(data.plain, across, "the plain indices")


def _index(data: Any, device: Any) -> Tensor:
    found = _tensor(data, None, device)
    if found.dtype not in (torch.int32, torch.int64):
        if found.numel() and (found.dtype.is_floating_point or found.dtype.is_complex):
            raise RuntimeError(
                "sparse_compressed_tensor: indices must be int32 or int64; got "
                f"{found.dtype}"
            )
        found = found.long()
    return found


def _of_layout(name: str, compressed_name: str, plain_name: str, what: str) -> Any:
    layout = getattr(_core, f"sparse_{name}")

    own = {compressed_name: "compressed_indices", plain_name: "plain_indices"}

    def function(*args: Any, **options: Any) -> Tensor:
        options = {own.get(name, name): value for name, value in options.items()}
        return sparse_compressed_tensor(*args, layout=layout, **options)

    function.__name__ = function.__qualname__ = f"sparse_{name}_tensor"
    function.__doc__ = f"""A sparse tensor by {what}: `sparse_compressed_tensor` of this layout.

    ``({compressed_name}, {plain_name}, values, size=None, *, dtype, device, requires_grad)``.

    >>> x = torch.sparse_{name}_tensor([0, 1, 2], [0, 1], {_EXAMPLES[name]})
    >>> x.layout
    torch.sparse_{name}
    """
    return function


_EXAMPLES = {
    "csr": "[1.0, 2.0]", "csc": "[1.0, 2.0]",
    "bsr": "torch.ones(2, 1, 2)", "bsc": "torch.ones(2, 1, 2)",
}  # fmt: skip
sparse_csr_tensor = _of_layout("csr", "crow_indices", "col_indices", "rows")
sparse_csc_tensor = _of_layout("csc", "ccol_indices", "row_indices", "columns")
sparse_bsr_tensor = _of_layout("bsr", "crow_indices", "col_indices", "rows of blocks")
sparse_bsc_tensor = _of_layout("bsc", "ccol_indices", "row_indices", "columns of blocks")


def spdiags(diagonals: Tensor, offsets: Tensor, shape: Any, layout: Any = None) -> Tensor:
    """A sparse matrix with the rows of `diagonals` along the diagonals that `offsets` names.

    As SciPy's: where offset is k, the element in column j is ``diagonals[i, j]``.

    >>> d = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    >>> torch.sparse.spdiags(d, torch.tensor([0, 1]), (3, 3)).to_dense()
    tensor([[1., 5., 0.],
            [0., 2., 6.],
            [0., 0., 3.]])
    """
    diagonals = diagonals.unsqueeze(0) if diagonals.dim() == 1 else diagonals
    offsets = offsets.reshape(-1)
    if diagonals.dim() != 2 or len(shape) != 2:
        raise RuntimeError(
            f"spdiags: diagonals must be a vector or a matrix, and shape 2 sizes; got "
            f"{tuple(diagonals.shape)} and {tuple(shape)}"
        )
    if offsets.dtype is not torch.int64:
        raise RuntimeError(f"spdiags: offset tensor must be of int64; got {offsets.dtype}")
    if offsets.shape[0] != diagonals.shape[0]:
        raise RuntimeError(
            f"spdiags: number of diagonals ({diagonals.shape[0]}) does not match the number of "
            f"offsets ({offsets.shape[0]})"
        )
    if offsets.unique().shape[0] != offsets.shape[0]:
        raise RuntimeError("spdiags: offset tensor contains duplicate values")
    if layout not in (None, _core.sparse_coo, _core.sparse_csr, _core.sparse_csc):
        raise RuntimeError(
            f"spdiags: only output layouts (sparse_coo, sparse_csc, sparse_csr) are supported; got "
            f"{layout}"
        )
    rows, columns = shape
    width = min(diagonals.shape[1], columns)
    c = torch.arange(width, device=diagonals.device).expand(offsets.shape[0], width)
    r = c - offsets.unsqueeze(1)
    inside = (r >= 0) & (r < rows)
    indices = torch.stack([r[inside], c[inside]])
    found = make(Coo(indices, diagonals[:, :width][inside]), (rows, columns))
    return found if layout in (None, _core.sparse_coo) else found.to_sparse(layout=layout)
