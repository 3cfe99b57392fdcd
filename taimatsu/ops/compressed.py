"""Rows one after the other, as compressed sparse matrices have them: natives of the package."""

from __future__ import annotations

from typing import Any

from .embedding import bag_sum
from .matrix import HIDDEN
from .rearrange import spread
from .table import native

row_starts = native("_row_starts(Tensor rows, int count) -> Tensor", **HIDDEN,
                    doc="Where each of `count` rows begins, and the last ends, among sorted rows.")


def rows_of(starts):
    """The row of each element: the inverse of `row_starts`."""
    return spread(starts.diff())


def scattered(values, rows, source, to, count: int):
    """(count, p): zeros, to which rows[source[k]] times values[k] is added at to[k]."""
    weights = values.unsqueeze(1).expand(values.shape[0], rows.shape[1])
    return bag_sum(rows, weights, source, to, count).to(values.dtype)


def _scattered_rows(starts, columns, values, rows, like):
    return scattered(values, rows, rows_of(starts), columns.long(), like.shape[0])


rows_product = native(
    "_rows_product(Tensor starts, Tensor columns, Tensor values, Tensor mat) -> Tensor", **HIDDEN,
    doc="The product of a sparse matrix of compressed rows and a dense one. float32 and float64.",
).gradient(
    starts=lambda g: None, columns=lambda g: None,
    values=lambda g, starts, columns, mat: rows_dots(starts, columns, g, mat),
    mat=lambda g, starts, columns, values, mat_like: _scattered_rows(
        starts, columns, values, g, mat_like),
)  # fmt: skip

rows_dots: Any = native(
    "_rows_dots(Tensor starts, Tensor columns, Tensor left, Tensor right) -> Tensor", **HIDDEN,
    doc="For each column of compressed rows the product of its row in `left` with the row of "
        "`right` that it names. float32 and float64.",
).gradient(
    starts=lambda g: None, columns=lambda g: None,
    left=lambda g, starts, columns, right: rows_product(starts, columns, g, right),
    right=lambda g, starts, columns, left, right_like: _scattered_rows(
        starts, columns, g, left, right_like),
)  # fmt: skip
