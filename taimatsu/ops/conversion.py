"""Other dtypes, devices and memory orders; the parts of complex numbers."""

from __future__ import annotations

from taimatsu.codegen import lang
from taimatsu.codegen.promote import COMPLEX, FLOATING

from .table import composite, core_composite, pointwise

_METHOD = {"module": "Tensor", "out": False}


@pointwise("_to(Tensor self, *, ScalarType dtype) -> Tensor", promote="none", method=False,
           inplace=False, storage=True)
def to_dtype(x, dtype):
    """The elements converted to `dtype`."""
    return x


_HOW = "bool non_blocking=False, bool copy=False, *, MemoryFormat? memory_format=None"

to_by_dtype = core_composite(
    f"to.dtype(Tensor self, ScalarType dtype, {_HOW}) -> Tensor",
    """Converted to `dtype`; the tensor itself if it is of that dtype, unless `copy`.

    >>> taimatsu.tensor([1.5, -1.5]).to(taimatsu.int32)
    tensor([ 1, -1], dtype=torch.int32)
    """,
    **_METHOD,
)
to_by_other = core_composite(
    f"to.other(Tensor self, Tensor other, {_HOW}) -> Tensor",
    "Converted to the dtype of `other`, on its device.",
    **_METHOD,
)
to = core_composite(
    f"to(Tensor self, Device? device=None, ScalarType? dtype=None, {_HOW}) -> Tensor",
    "On `device` and of `dtype`; the tensor itself where nothing changes, unless `copy`.",
    **_METHOD,
)

for _name, _dtype in (
    ("half", "float16"), ("bfloat16", "bfloat16"), ("float", "float32"), ("double", "float64"),
    ("chalf", "complex32"), ("cfloat", "complex64"), ("cdouble", "complex128"),
    ("bool", "bool"), ("byte", "uint8"), ("char", "int8"), ("short", "int16"), ("int", "int32"),
    ("long", "int64"),
):  # fmt: skip
    core_composite(f"{_name}(Tensor self, *, MemoryFormat? memory_format=None) -> Tensor",
                   f"`to({_dtype})`.", **_METHOD)

cpu = core_composite(
    "cpu(Tensor self, *, MemoryFormat? memory_format=None) -> Tensor",
    "A copy in the CPU's memory, or the tensor itself if it is there.",
    **_METHOD,
)
type_as = core_composite("type_as(Tensor self, Tensor other) -> Tensor",
                         "Converted to the dtype of `other`.", **_METHOD)
contiguous = core_composite(
    "contiguous(Tensor self, *, MemoryFormat memory_format=contiguous_format) -> Tensor",
    "The tensor itself if its elements lie in that order, else a copy.",
    **_METHOD,
)

# ---- complex numbers ----------------------------------------------------------------------------


@pointwise("conj_physical(Tensor self) -> Tensor", out="exact")
def conj_physical(x):
    """The complex conjugate; real numbers are their own."""
    return lang.conj(x)


@composite("conj(Tensor self) -> Tensor", out=False)
def conj(self):
    """The complex conjugate, computed at once; a real tensor itself."""
    return conj_physical(self) if self.is_complex() else self


adjoint = core_composite("adjoint(Tensor self) -> Tensor",
                         "The conjugate transpose of the last two dims.", out=False)


@composite("real(Tensor self) -> Tensor", method=False, out=False)
def real(self):
    """The real part, a view; of a real tensor itself."""
    return self.real


@composite("imag(Tensor self) -> Tensor", method=False, out=False)
def imag(self):
    """The imaginary part, a view. RuntimeError of real tensors."""
    return self.imag


def _itself(name: str, doc: str) -> None:
    composite(f"{name}(Tensor self) -> Tensor", doc=doc, out=False)(lambda self: self)


_itself("resolve_conj", "The tensor itself: conjugates are computed when they are asked for.")
_itself("resolve_neg", "The tensor itself: negatives are computed when they are asked for.")


@pointwise("complex(Tensor real, Tensor imag) -> Tensor", dtypes=FLOATING, refusal=RuntimeError,
           promote="none", method=False, out="exact")
def complex_(re, im):
    """Complex numbers from their parts, which have one floating dtype."""
    if re.dtype is not im.dtype:
        raise RuntimeError(f"complex: expected parts of one dtype, got {re.dtype} and {im.dtype}; "
                           "convert one of them")
    return lang.make_complex(re, im)


@composite("polar(Tensor abs, Tensor angle) -> Tensor", method=False, out="exact")
def polar(abs, angle):
    """Complex numbers from their magnitude and their angle in radians, of one floating dtype."""
    if abs.dtype != angle.dtype or not angle.dtype.is_floating_point:
        raise RuntimeError(f"polar: expected magnitude and angle of one floating dtype, got "
                           f"{abs.dtype} and {angle.dtype}; convert one of them")
    return complex_(abs * angle.cos(), abs * angle.sin())


@pointwise("angle(Tensor self) -> Tensor", promote="float", inplace=False)
def angle(x):
    """The argument of a complex number; 0 or pi of a real one."""
    if x.dtype.kind == "c":
        return lang.atan2(lang.imag(x), lang.real(x))
    zero, pi = lang.cast(0.0, x.dtype), lang.cast(lang.pi, x.dtype)
    return lang.where(lang.isnan(x), x, lang.where(x < 0, pi, zero))


@angle.gradient
def _(g, self):
    if self.dtype.kind != "c":
        return 0.0 * g
    g, re, im = lang.real(g), lang.real(self), lang.imag(self)
    square = re * re + im * im
    return lang.where(square == 0, 0, lang.make_complex(-g * im / square, g * re / square))


@pointwise("isreal(Tensor self) -> Tensor", inplace=False, out=False, storage=True)
def isreal(x):
    """Where the imaginary part is zero."""
    return lang.imag(x) == 0 if x.dtype in COMPLEX else lang.logical_or(True, x == x)


@pointwise("sgn(Tensor self) -> Tensor")
def sgn(x):
    """The sign; of a complex number the one of magnitude 1 at the same angle, 0 of 0."""
    if x.dtype.kind != "c":
        return lang.sign(x)
    size = lang.abs(x)
    return lang.where(size == 0, 0, x / size)


@sgn.gradient
def _(g, self, result):
    if self.dtype.kind != "c":
        return 0.0 * g
    size = lang.abs(self)
    turned = lang.real(g * lang.conj(result))
    return lang.where(size == 0, 0, (g - turned * result) / size)
