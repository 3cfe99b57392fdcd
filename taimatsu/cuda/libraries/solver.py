"""Factors of matrices by cuSOLVER.

It counts from the columns, as LAPACK does: a row-major matrix is the transpose to it. Where that
does, a matrix is factored as it stands; else its columns are laid out first. Each matrix of a batch
is a call, but for Cholesky factors, which are found of all at once.
"""

from __future__ import annotations

import ctypes
from typing import Any

import taimatsu as torch
from taimatsu.ops.anywhere import computes

from . import DATA_TYPES, Int, Library, Long, Pointer, Size, enter, workspace

_Sizes = ctypes.POINTER(Size)
_LETTERS = {
    torch.float32: "Sor", torch.float64: "Dor", torch.complex64: "Cun", torch.complex128: "Zun",
}  # fmt: skip  (of orgqr: complex reflections are unitary)
_MATRIX = [Int, Pointer, Long]  # its data type, where it is, the distance of its columns
_VECTOR = [Int, Pointer]
_REFLECTIONS = [Pointer, Int, Int, Int, Pointer, Int, Pointer]
_REFLECTED = [Pointer, Int, Int, Int, Int, Int, Pointer, Int, Pointer, Pointer, Int]
_OF_REFLECTIONS: dict[str, list[Any]] = {
    "gqr_bufferSize": [*_REFLECTIONS, ctypes.POINTER(Int)],
    "gqr": [*_REFLECTIONS, Pointer, Int, Pointer],
    "mqr_bufferSize": [*_REFLECTED, ctypes.POINTER(Int)],
    "mqr": [*_REFLECTED, Pointer, Int, Pointer],
}
_SYMMETRIC = [Pointer, Int, Long, Long, *_MATRIX, Pointer, *_MATRIX]
_LOWER, _UPPER = 0, 1
_PLAIN, _TRANSPOSED, _ADJOINT = 0, 1, 2


def _with_sizes(name: str, *parameters: Any, pivots: tuple = (),
                optional: bool = False) -> dict[str, list[Any]]:  # fmt: skip
    """A function of the 64-bit interface, and the one that tells what memory it wants. Both have
    the type that is computed in behind their parameters."""
    start, mark = [Pointer, Pointer, *parameters], "?" if optional else ""
    return {
        f"cusolverDn{name}_bufferSize{mark}": [*start, Int, _Sizes, _Sizes],
        f"cusolverDn{name}{mark}": [*start, *pivots, Int, Pointer, Size, Pointer, Size, Pointer],
    }


cusolver = Library("cusolver", {
    "cusolverDnCreate": [ctypes.POINTER(Pointer)],
    "cusolverDnCreateParams": [ctypes.POINTER(Pointer)],
    "cusolverDnSetStream": [Pointer, Pointer],
    **_with_sizes("Xgetrf", Long, Long, *_MATRIX, pivots=(Pointer,)),
    **_with_sizes("Xgeqrf", Long, Long, *_MATRIX, *_VECTOR),
    **_with_sizes("Xsyevd", Int, Int, Long, *_MATRIX, *_VECTOR),
    **_with_sizes("Xgesvd", ctypes.c_byte, ctypes.c_byte, Long, Long, *_MATRIX, *_VECTOR, *_MATRIX,
                  *_MATRIX),
    **_with_sizes("Xgeev", Int, Int, Long, *_MATRIX, *_VECTOR, *_MATRIX, *_MATRIX, optional=True),
    "cusolverDnXgetrs": [Pointer, Pointer, Int, Long, Long, *_MATRIX, Pointer, *_MATRIX, Pointer],
    **{f"cusolverDn{letter}potrfBatched": [Pointer, Int, Int, Pointer, Int, Pointer, Int]
       for letter in "SDCZ"},
    **{f"cusolverDn{letter}sytrf_bufferSize": [Pointer, Int, Pointer, Int, ctypes.POINTER(Int)]
       for letter in "SDCZ"},
    **{f"cusolverDn{letter}sytrf": [Pointer, Int, Int, Pointer, Int, Pointer, Pointer, Int, Pointer]
       for letter in "SDCZ"},
    "cusolverDnXsytrs_bufferSize": [*_SYMMETRIC, _Sizes, _Sizes],
    "cusolverDnXsytrs": [*_SYMMETRIC, Pointer, Size, Pointer, Size, Pointer],
    **{f"cusolverDn{kind}{name}": parameters
       for kind in ("Sor", "Dor", "Cun", "Zun")
       for name, parameters in _OF_REFLECTIONS.items()},
})  # fmt: skip


_handles: dict[int, tuple[int, int]] = {}  # by GPU: the library's, and one of parameters


class Solver:
    """cuSOLVER on a GPU, and its calls for one matrix after another."""

    def __init__(self, like: torch.Tensor):
        stream, device = enter(like), like.get_device()
        if device not in _handles:
            handle, parameters = Pointer(), Pointer()
            cusolver.cusolverDnCreate(handle)
            cusolver.cusolverDnCreateParams(parameters)
            _handles[device] = handle.value or 0, parameters.value or 0
        self.handle, self.parameters = _handles[device]
        cusolver.cusolverDnSetStream(self.handle, stream)
        self.like = like
        self.areas: dict[tuple[int, int], tuple] = {}

    def __call__(self, name: str, *arguments: Any, info: int, pivots: tuple = ()) -> None:
        """A function of the 64-bit interface."""
        on_device, on_host = Size(), Size()
        start, computed = (self.handle, self.parameters, *arguments), DATA_TYPES[self.like.dtype]
        getattr(cusolver, f"cusolverDn{name}_bufferSize")(*start, computed, on_device, on_host)
        device, host = self.area(on_device.value, on_host.value)
        getattr(cusolver, f"cusolverDn{name}")(
            *start, *pivots, computed, device.data_ptr(), on_device, host, on_host, info
        )

    def area(self, on_device: int, on_host: int = 0) -> tuple:
        """Memory on the GPU and on the host, which all calls of these sizes share."""
        key = on_device, on_host
        if key not in self.areas:
            self.areas[key] = workspace(on_device, self.like), ctypes.create_string_buffer(on_host)
        return self.areas[key]

    def reflections(self, name: str, *arguments: Any, info: int) -> None:
        """orgqr, ormqr and their complex counterparts."""
        size = Int()
        name = f"cusolverDn{_LETTERS[self.like.dtype]}{name}"
        getattr(cusolver, f"{name}_bufferSize")(self.handle, *arguments, size)
        area, _ = self.area(size.value * self.like.itemsize)
        getattr(cusolver, name)(self.handle, *arguments, area.data_ptr(), size.value, info)


def _usable(*operands: torch.Tensor) -> bool:
    return all(x.numel() for x in operands) and cusolver.usable()


def _matrices(x: torch.Tensor, copied: bool = True) -> torch.Tensor:
    """A batch of contiguous matrices, whose memory is the caller's to write to."""
    x = x.reshape(-1, *x.shape[-2:])
    return x.clone(memory_format=torch.contiguous_format) if copied else x.contiguous()


def _columns(x: torch.Tensor, copied: bool = True) -> torch.Tensor:
    """The same by columns: what is contiguous is the transpose."""
    return _matrices(x.mT, copied)


def _info(like: torch.Tensor) -> torch.Tensor:
    return torch.zeros([like.size(0)], dtype=torch.int32, device=like.device)


def _matrix(x: torch.Tensor) -> tuple[int, int, int]:
    """One whose columns, as the library sees them, are contiguous."""
    return DATA_TYPES[x.dtype], x.data_ptr(), x.size(-1)


def _vector(x: torch.Tensor) -> tuple[int, int]:
    return DATA_TYPES[x.dtype], x.data_ptr()


def _real(dtype: Any) -> Any:
    return torch.empty(0, dtype=dtype).real.dtype if dtype.is_complex else dtype


# ---- Cholesky, LU -------------------------------------------------------------------------------


@computes("_cholesky", device="cuda")
def _(A, upper):
    """A = L L^H. By columns A is its conjugate, whose factor U = L^T by columns is L by rows."""
    if not _usable(A):
        return NotImplemented
    a = _matrices(A)
    count, n, _ = a.shape
    info, run = _info(a), Solver(a)
    starts = torch.arange(count, device=a.device) * (n * n * a.itemsize) + a.data_ptr()
    getattr(cusolver, f"cusolverDn{_LETTERS[a.dtype][0]}potrfBatched")(
        run.handle, _LOWER if upper else _UPPER, n, starts.data_ptr(), n, info.data_ptr(), count
    )
    a = a.triu() if upper else a.tril()
    return a.reshape(A.shape), info.reshape(A.shape[:-2])


def _factored(columns: torch.Tensor):
    """LU in place, of matrices by columns; the pivots."""
    count, n, m = columns.shape
    run, info = Solver(columns), _info(columns)
    pivots = torch.empty([count, min(m, n)], dtype=torch.int64, device=columns.device)
    for i in range(count):
        run("Xgetrf", m, n, *_matrix(columns[i]), pivots=(pivots[i].data_ptr(),),
            info=info[i].data_ptr())  # fmt: skip
    return pivots, info


def _substituted(columns, pivots, B, operation: int):
    """X of a system whose factors are at hand."""
    x = _columns(B)
    run, info = Solver(columns), _info(columns)
    count, n, _ = columns.shape
    for i in range(count):
        cusolver.cusolverDnXgetrs(
            run.handle, run.parameters, operation, n, x.size(1), *_matrix(columns[i]),
            pivots[i].data_ptr(), *_matrix(x[i]), info[i].data_ptr(),
        )  # fmt: skip
    return x.mT.reshape(B.shape)


@computes("_lu_factor", device="cuda")
def _(A):
    if not _usable(A):
        return NotImplemented
    a = _columns(A)
    pivots, info = _factored(a)
    lead = A.shape[:-2]
    return (a.mT.reshape(A.shape), pivots.to(torch.int32).reshape(*lead, -1), info.reshape(lead))


@computes("_lu_solve", device="cuda")
def _(LU, pivots, B, adjoint):
    if not _usable(LU, B):
        return NotImplemented
    rows = pivots.reshape(-1, pivots.size(-1)).to(torch.int64)
    return _substituted(_columns(LU, False), rows, B, _ADJOINT if adjoint else _PLAIN)


@computes("_solve", device="cuda")
def _(A, B):
    """By the factors of A^T, which is what A is by columns."""
    if not _usable(A, B):
        return NotImplemented
    a, lead = _matrices(A), A.shape[:-2]
    pivots, info = _factored(a)
    X = _substituted(a, pivots, B, _TRANSPOSED)
    LU = a.mT.reshape(A.shape)
    return X, LU, pivots.to(torch.int32).reshape(*lead, -1), info.reshape(lead)


# ---- LDL: symmetric ones; Hermitian ones are the CPU's ------------------------------------------


@computes("_ldl_factor", device="cuda")
def _(A, hermitian):
    if not _usable(A) or (hermitian and A.is_complex()):
        return NotImplemented
    a, size = _columns(A), Int()
    count, n, _ = a.shape
    run, info = Solver(a), _info(a)
    pivots = torch.empty([count, n], dtype=torch.int32, device=a.device)
    name = f"cusolverDn{_LETTERS[a.dtype][0]}sytrf"
    for i in range(count):
        getattr(cusolver, f"{name}_bufferSize")(run.handle, n, a[i].data_ptr(), n, size)
        area, _ = run.area(size.value * a.itemsize)
        getattr(cusolver, name)(run.handle, _LOWER, n, a[i].data_ptr(), n, pivots[i].data_ptr(),
                                area.data_ptr(), size.value, info[i].data_ptr())  # fmt: skip
    lead = A.shape[:-2]
    return a.mT.tril().reshape(A.shape), pivots.reshape(*lead, n), info.reshape(lead)


@computes("_ldl_solve", device="cuda")
def _(LD, pivots, B, hermitian):
    if not _usable(LD, B) or (hermitian and LD.is_complex()):
        return NotImplemented
    a, x = _columns(LD, False), _columns(B)
    order = pivots.reshape(-1, pivots.size(-1)).to(torch.int64)
    run, info = Solver(a), _info(a)
    count, n, _ = a.shape
    for i in range(count):
        start = (run.handle, _LOWER, n, x.size(1), *_matrix(a[i]), order[i].data_ptr(),
                 *_matrix(x[i]))  # fmt: skip
        on_device, on_host = Size(), Size()
        cusolver.cusolverDnXsytrs_bufferSize(*start, on_device, on_host)
        device, host = run.area(on_device.value, on_host.value)
        cusolver.cusolverDnXsytrs(*start, device.data_ptr(), on_device, host, on_host,
                                  info[i].data_ptr())  # fmt: skip
    return x.mT.reshape(B.shape)


# ---- QR -----------------------------------------------------------------------------------------


def _reflected(columns: torch.Tensor) -> torch.Tensor:
    """The factors of reflections; R and they are in place of the matrices."""
    count, n, m = columns.shape
    run, info = Solver(columns), _info(columns)
    tau = columns.new_empty([count, min(m, n)])
    for i in range(count):
        run("Xgeqrf", m, n, *_matrix(columns[i]), *_vector(tau[i]), info=info[i].data_ptr())
    return tau


def _orthogonal(columns: torch.Tensor, tau: torch.Tensor) -> None:
    """In place: the first columns of a product of reflections."""
    count, n, m = columns.shape
    run, info = Solver(columns), _info(columns)
    for i in range(count):
        run.reflections("gqr", m, n, tau.size(1), columns[i].data_ptr(), m, tau[i].data_ptr(),
                        info=info[i].data_ptr())  # fmt: skip


@computes("geqrf", device="cuda")
def _(self):
    if not _usable(self):
        return NotImplemented
    a = _columns(self)
    tau = _reflected(a)
    return a.mT.reshape(self.shape), tau.reshape(*self.shape[:-2], -1)


@computes("_qr", device="cuda")
def _(A, complete):
    if not _usable(A):
        return NotImplemented
    lead, (m, n) = A.shape[:-2], A.shape[-2:]
    a = _columns(A)
    tau = _reflected(a)
    k = m if complete else min(m, n)
    R = a.mT[:, :k].triu()
    Q = a.new_zeros([a.size(0), k, m])
    Q[:, : min(n, k)] = a[:, : min(n, k)]
    _orthogonal(Q, tau)
    return Q.mT.reshape(*lead, m, k), R.reshape(*lead, k, n)


@computes("_householder_product", device="cuda")
def _(input, tau):
    if not _usable(input, tau):
        return NotImplemented
    a = _columns(input)
    _orthogonal(a, tau.reshape(-1, tau.size(-1)).contiguous())
    return a.mT.reshape(input.shape)


@computes("_ormqr", device="cuda")
def _(input, tau, other, left, transpose):
    if not _usable(input, tau, other):
        return NotImplemented
    a, c = _columns(input, False), _columns(other)
    t = tau.reshape(-1, tau.size(-1)).contiguous()
    count, n, m = c.shape
    run, info = Solver(a), _info(a)
    operation = _PLAIN if not transpose else _ADJOINT if a.is_complex() else _TRANSPOSED
    for i in range(count):
        run.reflections(
            "mqr", 0 if left else 1, operation, m, n, t.size(1), a[i].data_ptr(), a.size(2),
            t[i].data_ptr(), c[i].data_ptr(), m, info=info[i].data_ptr(),
        )  # fmt: skip
    return c.mT.reshape(other.shape)


# ---- Eigenvalues, singular values ---------------------------------------------------------------


@computes("_eigh", device="cuda")
def _(A, upper, compute_v):
    if not _usable(A):
        return NotImplemented
    a, lead = _columns(A), A.shape[:-2]
    count, n, _ = a.shape
    run, info = Solver(a), _info(a)
    values = torch.empty([count, n], dtype=_real(a.dtype), device=a.device)
    for i in range(count):
        run("Xsyevd", int(compute_v), _UPPER if upper else _LOWER, n, *_matrix(a[i]),
            *_vector(values[i]), info=info[i].data_ptr())  # fmt: skip
    vectors = a.mT.reshape(A.shape) if compute_v else a.new_zeros([*lead, 0, 0])
    return values.reshape(*lead, n), vectors, info.reshape(lead)


def _unpacked(values: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Complex eigenvectors (rows here) of real matrices: of a pair, the first has the real parts
    and the second the imaginary ones."""
    zero, upper, lower = torch.zeros_like(columns), values.imag > 0, values.imag < 0
    after, before = columns.roll(-1, 1), columns.roll(1, 1)
    real = torch.where(lower.unsqueeze(-1), before, columns)
    imaginary = torch.where(lower.unsqueeze(-1), -columns, zero)
    return torch.complex(real, torch.where(upper.unsqueeze(-1), after, imaginary))


@computes("_eig", device="cuda")
def _(A, compute_v):
    if not _usable(A) or cusolver.cusolverDnXgeev is None:  # since CUDA 12.6
        return NotImplemented
    a, lead = _columns(A), A.shape[:-2]
    count, n, _ = a.shape
    run, info = Solver(a), _info(a)
    complex_ = a.dtype if a.is_complex() else torch.promote_types(a.dtype, torch.complex64)
    values = torch.empty([count, n], dtype=complex_, device=a.device)
    right = a.new_empty([count, n, n] if compute_v else [count, 0, 0])
    nothing = DATA_TYPES[a.dtype], None, n
    for i in range(count):
        run("Xgeev", 0, int(compute_v), n, *_matrix(a[i]), *_vector(values[i]), *nothing,
            *(_matrix(right[i]) if compute_v else nothing), info=info[i].data_ptr())  # fmt: skip
    if not compute_v:
        return values.reshape(*lead, n), values.new_zeros([*lead, 0, 0]), info.reshape(lead)
    vectors = right if a.is_complex() else _unpacked(values, right)
    return values.reshape(*lead, n), vectors.mT.reshape(A.shape), info.reshape(lead)


@computes("_svd", device="cuda")
def _(A, full_matrices, compute_uv):
    """A = U S Vh. cuSOLVER takes no more columns than rows: of others it is given the transpose,
    which is Vh^T S U^T."""
    if not _usable(A):
        return NotImplemented
    lead, (m, n) = A.shape[:-2], A.shape[-2:]
    tall, k = m >= n, min(m, n)
    a = _columns(A) if tall else _matrices(A)
    count, rows = a.size(0), max(m, n)
    run, info = Solver(a), _info(a)
    S = torch.empty([count, k], dtype=_real(a.dtype), device=a.device)
    wide = rows if full_matrices and compute_uv else k
    left = a.new_empty([count, wide, rows])  # by columns
    right = a.new_empty([count, k, k])
    jobs = (b"N", b"N") if not compute_uv else (b"A" if full_matrices else b"S", b"S")
    for i in range(count):
        run("Xgesvd", jobs[0][0], jobs[1][0], rows, k, *_matrix(a[i]), *_vector(S[i]),
            *_matrix(left[i]), *_matrix(right[i]), info=info[i].data_ptr())  # fmt: skip
    U, Vh = (left.mT, right.mT) if tall else (right, left)
    if not compute_uv:
        U = Vh = a.new_zeros([count, 0, 0])
    return (U.reshape(*lead, *U.shape[1:]), S.reshape(*lead, k), Vh.reshape(*lead, *Vh.shape[1:]),
            info.reshape(lead))  # fmt: skip
