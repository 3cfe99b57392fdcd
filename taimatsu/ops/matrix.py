"""What the modules of linear algebra share: pieces of matrices, checks, LinAlgError."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

# Options of ops in `linalg`, and of routines of LAPACK, which are not public and never fail: their
# `info`, one int for each matrix, says what went wrong.
LINALG = {"module": "linalg", "method": False}
HIDDEN = {"module": None, "method": False, "out": False}


# ---- pieces ------------------------------------------------------------------------------------


def conj(x):
    return x.conj_physical() if x.is_complex() else x


def adjoint(x):
    """The conjugate transpose of the last two dims."""
    return conj(x.mT)


def real(x):
    return x.real if x.is_complex() else x


def identity(x, n=None):
    """The identity matrix that `x` can be multiplied with on the right, or of n rows."""
    from taimatsu import eye

    return eye(x.shape[-1] if n is None else n, dtype=x.dtype, device=x.device)


def embed(d):
    """Vectors as diagonal matrices."""
    return d.unsqueeze(-1) * identity(d)


def diagonal(x):
    return x.diagonal(0, -2, -1)


def times(x, factor):
    return x if factor == 1 else x * factor


def largest(x, dim, keepdim=False):
    """The maximum of absolute values along `dim`; 0 where there are none."""
    return x.amax(dim, keepdim=keepdim) if x.shape[dim] else x.sum(dim, keepdim=keepdim)


def same_batch(*tensors):
    """Matrices with the batch dims that all broadcast to."""
    first = tensors[0].shape[:-2]
    if all(x.shape[:-2] == first for x in tensors):
        return tensors
    from taimatsu import broadcast_shapes

    batch = broadcast_shapes(*(x.shape[:-2] for x in tensors))
    return tuple(x.expand(*batch, *x.shape[-2:]) for x in tensors)


# ---- checks ------------------------------------------------------------------------------------


def check_matrix(name: str, A: Any, what: str = "A") -> Any:
    if A.dim() < 2:
        raise RuntimeError(f"{name}: The input tensor {what} must have at least 2 dimensions.")
    return A


def check_square(name: str, A: Any, what: str = "A") -> Any:
    if check_matrix(name, A, what).shape[-1] != A.shape[-2]:
        raise RuntimeError(f"{name}: {what} must be batches of square matrices, but they are "
                           f"{A.shape[-2]} by {A.shape[-1]} matrices")
    return A


def check_inexact(name: str, A: Any) -> Any:
    if not (A.is_floating_point() or A.is_complex()):
        raise RuntimeError(f"{name}: Expected a floating point or complex tensor as input. "
                           f"Got {A.dtype}")
    return A


def check_equations(name: str, A: Any, B: Any, left: bool = True) -> None:
    """A X = B, or X A = B."""
    check_square(name, A)
    check_matrix(name, B, "B")
    if A.shape[-2] != B.shape[-2 if left else -1]:
        equation = "AX = B" if left else "XA = B"
        raise RuntimeError(f"{name}: Incompatible shapes of A and B for the equation {equation} "
                           f"({A.shape[-2]}x{A.shape[-1]} and {B.shape[-2]}x{B.shape[-1]})")


def check_info(name: str, info: Any, message: Callable[[int], str],
               error: type[Exception] | None = None) -> None:
    """Raises LinAlgError for the first matrix whose info isn't 0."""
    from taimatsu._interpreter import elements

    info = elements(info)
    if info.is_meta or not info.any():
        return
    if error is None:
        from taimatsu._linalg_error import LinAlgError

        error = LinAlgError
    codes = info.reshape(math.prod(info.shape)).tolist()
    i, code = next((i, code) for i, code in enumerate(codes) if code)
    where = f"(Batch element {i}): " if info.dim() else ""
    raise error(f"{name}: {where}{message(code)}")
