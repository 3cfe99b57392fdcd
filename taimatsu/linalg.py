"""``linalg``: factorisations, solvers and what follows from them, by the names of `taimatsu.ops`.

Matrices are the last two dims; the others are a batch. Singular or otherwise unfit matrices raise
`LinAlgError`, a RuntimeError; the functions that end in ``_ex`` return an ``info`` tensor instead.
"""

from __future__ import annotations

from ._linalg_error import LinAlgError
from .ops import namespaces

globals().update(namespaces["linalg"])

__all__ = ["LinAlgError", *namespaces["linalg"]]
