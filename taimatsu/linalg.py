"""``linalg``: factorisations, solvers and what follows from them, by the names of `taimatsu.ops`.

Matrices are the last two dims; the others are a batch. Singular or otherwise unfit matrices raise
`LinAlgError`, a RuntimeError; the functions that end in ``_ex`` return an ``info`` tensor instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._linalg_error import LinAlgError
from .ops import namespaces

if TYPE_CHECKING:
    from ._linalg import *  # noqa: F403  (a stub, made from the table)

globals().update(namespaces["linalg"])

__all__ = ["LinAlgError", *namespaces["linalg"]]
