"""Fourier transforms: the definitions of `taimatsu.fft`, in terms of three routines of the core.

    _fft_c2c    y[k] = scale sum_j x[j] exp(-+ 2 pi i j k / n), along each of several dims
    _fft_r2c    the same of real x, along one dim; `onesided` leaves out k > n / 2
    _fft_c2r    the sum over a Hermitian x given by its first half, with the exponent's plus sign

All are linear: the gradient of each is its adjoint, which is one of them again.
"""

from __future__ import annotations

import math

from taimatsu import _core

from .conversion import conj
from .margins import pad as pad_margins
from .shape import wrap_dim
from .table import composite, native

# ---- the routines -------------------------------------------------------------------------------

c2c = native("_fft_c2c(Tensor self, int[] dim, float scale, bool forward) -> Tensor",
             doc="Transforms of complex numbers; `forward`: the exponent's sign is minus.")
r2c = native("_fft_r2c(Tensor self, int dim, float scale, bool onesided) -> Tensor",
             doc="The forward transform of real numbers.")
c2r = native("_fft_c2r(Tensor self, int dim, float scale, int n) -> Tensor",
             doc="The backward transform to n real numbers.")

c2c.gradient(self=lambda g, dim, scale, forward: c2c(g, dim, scale, not forward))


def _edges(x, dim: int, n: int):
    """The elements of a half spectrum that stand for themselves alone: the first and, n even, the
    last."""
    ends = [x.narrow(dim, 0, 1)]
    return ends if n % 2 else [*ends, x.narrow(dim, n // 2, 1)]


def _weighted(x, dim: int, n: int, inner: float):
    """A half spectrum with its elements other than the edges times `inner`."""
    from taimatsu import cat

    first, *last = _edges(x, dim, n)
    return cat([first, x.narrow(dim, 1, (n - 1) // 2) * inner, *last], dim)


@r2c.gradient
def _(g, self_like, dim, scale, onesided):
    if not onesided:
        return c2c(g, (dim,), scale, False).real
    n = self_like.shape[dim]
    return c2r(_weighted(g, dim, n, 0.5), dim, scale, n)


@c2r.gradient
def _(g, dim, scale, n):
    return _weighted(r2c(g, dim, scale, True), dim, n, 2.0)


# ---- arguments ----------------------------------------------------------------------------------


def _name(x) -> str:
    return str(x.dtype).rpartition(".")[2]


def _inexact(name: str, x, complex_too: bool):
    """Integers as the default floating dtype; a complex tensor if one is wanted."""
    dtype = x.dtype
    if dtype.is_complex:
        return x
    if dtype in (_core.float16, _core.bfloat16):
        raise RuntimeError(f"{name}: Unsupported dtype {_name(x)}; convert the input to float32")
    if not dtype.is_floating_point:
        x = x.to(_core.get_default_dtype())
    if complex_too:
        x = x.to(_core.complex128 if x.dtype == _core.float64 else _core.complex64)
    return x


def _real(name: str, x):
    if x.dtype.is_complex:
        raise RuntimeError(f"{name} expects a real input tensor, but got {_name(x)}")
    return _inexact(name, x, False)


def _scale(name: str, norm: str | None, n: int, forward: bool) -> float:
    if norm not in (None, "backward", "forward", "ortho"):
        raise RuntimeError(f'{name}: Invalid normalization mode: "{norm}"; it is one of '
                           '"backward", "forward", "ortho"')
    if norm == "ortho":
        return 1 / math.sqrt(n)
    return 1 / n if (norm == "forward") == forward else 1.0


def _points(name: str, n: int) -> int:
    if n < 1:
        raise RuntimeError(f"{name}: Invalid number of data points ({n}) specified; it is at "
                           "least 1")
    return n


def _resized(x, dims, sizes):
    """Trimmed, or with zeros appended, along `dims`."""
    shape = x.shape
    if [shape[d] for d in dims] == sizes:
        return x
    margins = [0] * (2 * len(shape))
    for d, n in zip(dims, sizes, strict=True):
        margins[2 * (len(shape) - 1 - d) + 1] = n - shape[d]
    return pad_margins(x, margins)


def _dim(name: str, x, dim: int) -> int:
    rank = x.dim()
    if -rank <= dim < rank:
        return dim % rank
    if not rank:
        raise IndexError(f"{name}: Dimension specified as {dim} but tensor has no dimensions")
    return wrap_dim(dim, rank)


def _dims_and_sizes(name: str, x, s, dim) -> tuple[list[int], list[int]]:
    """Which dims, and their sizes; -1 in `s` and an absent `s` keep those of the input."""
    shape = x.shape
    if dim is None:
        count = len(shape) if s is None else len(s)
        if count > len(shape):
            raise RuntimeError(f"{name}: Got shape with {count} values but input tensor only has "
                               f"{len(shape)} dimensions.")
        dims = list(range(len(shape) - count, len(shape)))
    else:
        dims = [_dim(name, x, d) for d in dim]
        if len(dims) > 1 and len(set(dims)) < len(dims):
            raise RuntimeError(f"{name}: FFT dims must be unique; got {list(dim)}")
    if s is None:
        return dims, [shape[d] for d in dims]
    if len(s) != len(dims):
        raise RuntimeError(f"{name}: When given, dim and shape arguments must have the same "
                           f"length; got {len(dims)} and {len(s)}")
    return dims, [shape[d] if n == -1 else n for d, n in zip(dims, s, strict=True)]


# ---- over several dims, of which the functions of one are a case --------------------------------


def _complex_transform(name, x, s, dim, norm, forward):
    x = _inexact(name, x, True)
    dims, sizes = _dims_and_sizes(name, x, s, dim)
    for n in sizes:
        _points(name, n)
    scale = _scale(name, norm, math.prod(sizes), forward)
    if not dims:
        return x.clone()
    return c2c(_resized(x, dims, sizes), dims, scale, forward)


def _some_dims(name: str, dims: list[int]) -> None:
    if not dims:
        raise RuntimeError(f"{name} must transform at least one axis")


def _real_transform(name, x, s, dim, norm, forward):
    """Of real numbers: half of the spectrum along the last of the dims."""
    x = _real(name, x)
    dims, sizes = _dims_and_sizes(name, x, s, dim)
    _some_dims(name, dims)
    for n in sizes:
        _points(name, n)
    scale = _scale(name, norm, math.prod(sizes), forward)
    half = r2c(_resized(x, dims, sizes), dims[-1], scale, True)
    if not forward:
        half = conj(half)
    return c2c(half, dims[:-1], 1.0, forward) if len(dims) > 1 else half


def _to_real(name, x, s, dim, norm, forward):
    """To real numbers, from half of a spectrum that is Hermitian along the last of the dims."""
    x = _inexact(name, x, True)
    dims, sizes = _dims_and_sizes(name, x, s, dim)
    _some_dims(name, dims)
    if s is None or s[-1] == -1:
        sizes[-1] = 2 * (sizes[-1] - 1)
    for n in sizes:
        _points(name, n)
    scale = _scale(name, norm, math.prod(sizes), forward)
    x = _resized(x, dims, [*sizes[:-1], sizes[-1] // 2 + 1])
    if len(dims) > 1:
        x = c2c(x, dims[:-1], 1.0, forward)
    return c2r(conj(x) if forward else x, dims[-1], scale, sizes[-1])


def _complex_line(name, x, s, dim, norm, forward):
    """As `_complex_transform`; real numbers take half the work."""
    if x.is_complex() or not forward:
        return _complex_transform(name, x, s, dim, norm, forward)
    x = _inexact(name, x, False)
    dims, (n,) = _dims_and_sizes(name, x, s, dim)
    scale = _scale(name, norm, _points(name, n), True)
    return r2c(_resized(x, dims, [n]), dims[0], scale, False)


# ---- the functions of `taimatsu.fft` ------------------------------------------------------------

_LENGTH = "n: the length along `dim`, to which the input is trimmed or padded with zeros [its own]"
_NORM = """norm: what the sum is divided by. "backward" [default]: 1 forward, n in the inverse;
    "forward": the other way round; "ortho": sqrt(n) in both."""
_RAISES = """RuntimeError for lengths below 1, an unknown `norm` or dtypes below float32; IndexError
    for a dim that isn't there."""


def _declare(name: str, transform, forward: bool, what: str, example: str = "") -> None:
    """The functions over one dim, over two, and over any: `name`, `name`2, `name`n."""
    inverse = "" if forward else ", inverse"
    options = {"module": "fft", "method": False, "out": True}
    line = _complex_line if transform is _complex_transform else transform

    def one(self, n, dim, norm):
        return line(name, self, None if n is None else [_points(name, n)], [dim], norm, forward)

    composite(
        f"{name}(Tensor self, int? n=None, int dim=-1, str? norm=None) -> Tensor", **options,
        doc=f"{what}\n\n    {_LENGTH}\n    {_NORM}\n    {_RAISES}\n{example}",
    )(one)

    for suffix, dims, default in (("2", "two dims", "int[1] dim=[-2, -1]"),
                                  ("n", "all dims, or those given", "int[1]? dim=None")):
        def many(self, s, dim, norm, name=f"{name}{suffix}"):
            return transform(name, self, s, dim, norm, forward)

        composite(
            f"{name}{suffix}(Tensor self, int[1]? s=None, {default}, str? norm=None) -> Tensor",
            **options,
            doc=f"`{name}` over {dims}{inverse}.\n\n    s: the lengths along `dim`, -1 for the "
                f"input's own.\n    {_NORM}\n    {_RAISES}",
        )(many)


_declare("fft", _complex_transform, True,
         "The discrete Fourier transform along a dim: y[k] = sum x[j] exp(-2 pi i j k / n).", """
    >>> taimatsu.fft.fft(taimatsu.tensor([1.0, 0.0, 0.0, 0.0])).abs()
    tensor([1., 1., 1., 1.])
    """)
_declare("ifft", _complex_transform, False, "The inverse of `fft`.")
_declare("rfft", _real_transform, True,
         "`fft` of a real tensor without what the Hermitian symmetry implies: n / 2 + 1 elements.",
         """
    >>> taimatsu.fft.rfft(taimatsu.ones(4)).abs()
    tensor([4., 0., 0.])
    """)
_declare("irfft", _to_real, False,
         "The inverse of `rfft`; `n` is the length of the result [2 (length - 1)].")
_declare("hfft", _to_real, True,
         "`fft` of a signal that is Hermitian in time, given by its first half; the result is "
         "real and `n` its length [2 (length - 1)].")
_declare("ihfft", _real_transform, False, "The inverse of `hfft`.")


# ---- frequencies and shifts ---------------------------------------------------------------------

_FREQUENCIES = ("int n, float d=1.0, *, ScalarType? dtype=None, Layout? layout=None, "
                "Device? device=None, bool? pin_memory=None, bool? requires_grad=False")


def _frequencies(name, n, d, dtype, device, requires_grad, whole):
    from taimatsu import arange, get_default_dtype

    dtype = dtype or get_default_dtype()
    if not dtype.is_floating_point and not dtype.is_complex:
        raise RuntimeError(f"{name} requires a floating point or complex dtype; got {dtype}")
    if n < 0:
        raise RuntimeError(f"{name}: Trying to create tensor with negative dimension {n}: [{n}]")
    step = math.copysign(math.inf, d) if n * d == 0 else 1 / (n * d)
    k = arange(n if whole else n // 2 + 1, dtype=dtype, device=device)
    if whole:
        k = k - n * (k >= (n + 1) // 2).to(dtype)
    out = k * step
    return out.requires_grad_() if requires_grad else out


@composite(f"fftfreq({_FREQUENCIES}) -> Tensor", module="fft", method=False, out=True)
def fftfreq(n, d, dtype, layout, device, pin_memory, requires_grad):
    """The frequencies of the elements of `fft`, for samples `d` apart: negative ones are last.

    RuntimeError for an integer dtype.

    >>> taimatsu.fft.fftfreq(4)
    tensor([ 0.0000,  0.2500, -0.5000, -0.2500])
    """
    return _frequencies("fftfreq", n, d, dtype, device, requires_grad, True)


@composite(f"rfftfreq({_FREQUENCIES}) -> Tensor", module="fft", method=False, out=True)
def rfftfreq(n, d, dtype, layout, device, pin_memory, requires_grad):
    """The frequencies of the elements of `rfft`, for samples `d` apart.

    RuntimeError for an integer dtype.
    """
    return _frequencies("rfftfreq", n, d, dtype, device, requires_grad, False)


def _shift(name, self, dim, amount):
    dims = list(range(self.dim())) if dim is None else [_dim(name, self, d) for d in dim]
    return self.roll([amount(self.shape[d]) for d in dims], dims)


@composite("fftshift(Tensor self, int[1]? dim=None) -> Tensor", module="fft", method=False,
           out=False)
def fftshift(self, dim):
    """The frequency 0 moved to the middle of each of the dims [all].

    >>> taimatsu.fft.fftshift(taimatsu.tensor([0, 1, 2, -2, -1]))
    tensor([-2, -1,  0,  1,  2])
    """
    return _shift("fftshift", self, dim, lambda n: n // 2)


@composite("ifftshift(Tensor self, int[1]? dim=None) -> Tensor", module="fft", method=False,
           out=False)
def ifftshift(self, dim):
    """The inverse of `fftshift`."""
    return _shift("ifftshift", self, dim, lambda n: (n + 1) // 2)
