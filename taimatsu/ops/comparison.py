"""Comparison, logic and selection."""

from taimatsu.codegen import lang
from taimatsu.codegen.promote import BOOLEAN, BYTES, REAL

from .table import composite, pointwise


def _compare(name: str, formula, doc: str, *aliases: str, **options):
    return pointwise(f"{name}(Tensor self, Tensor|Number other) -> Tensor", names=aliases, doc=doc,
                     **options)(formula)


eq = _compare("eq", lambda x, y: x == y, "Where the two are equal.", storage=True)
ne = _compare("ne", lambda x, y: x != y, "Where the two differ.", "not_equal", storage=True)
lt = _compare("lt", lambda x, y: x < y, "Where `self` is less.", "less", dtypes=REAL)
le = _compare("le", lambda x, y: x <= y, "Where `self` is at most `other`.", "less_equal",
              dtypes=REAL)
gt = _compare("gt", lambda x, y: x > y, "Where `self` is greater.", "greater", dtypes=REAL)
ge = _compare("ge", lambda x, y: x >= y, "Where `self` is at least `other`.", "greater_equal",
              dtypes=REAL)


@pointwise("logical_and(Tensor self, Tensor other) -> Tensor")
def logical_and(x, y):
    """Where both are nonzero."""
    return lang.logical_and(x, y)


@pointwise("logical_or(Tensor self, Tensor other) -> Tensor")
def logical_or(x, y):
    """Where either is nonzero."""
    return lang.logical_or(x, y)


@pointwise("logical_xor(Tensor self, Tensor other) -> Tensor")
def logical_xor(x, y):
    """Where exactly one is nonzero."""
    return lang.logical_xor(x, y)


@pointwise("logical_not(Tensor self) -> Tensor")
def logical_not(x):
    """Where the element is zero."""
    return lang.logical_not(x)


@pointwise("isnan(Tensor self) -> Tensor", inplace=False, storage=True)
def isnan(x):
    """Where the element is NaN."""
    return lang.isnan(x)


@pointwise("isinf(Tensor self) -> Tensor", inplace=False, storage=True)
def isinf(x):
    """Where the element is infinite."""
    return lang.isinf(x)


@pointwise("isfinite(Tensor self) -> Tensor", inplace=False, storage=True)
def isfinite(x):
    """Where the element is neither infinite nor NaN."""
    return lang.isfinite(x)


@pointwise("isposinf(Tensor self) -> Tensor", inplace=False, dtypes=REAL, refusal=RuntimeError)
def isposinf(x):
    """Where the element is +inf."""
    return x == lang.inf if x.dtype.floating else x != x


@pointwise("isneginf(Tensor self) -> Tensor", inplace=False, dtypes=REAL, refusal=RuntimeError)
def isneginf(x):
    """Where the element is -inf."""
    return x == -lang.inf if x.dtype.floating else x != x


@pointwise("heaviside(Tensor self, Tensor values) -> Tensor", dtypes=REAL, out="exact")
def heaviside(x, values):
    """0 below zero, 1 above, `values` at zero."""
    return lang.where(x == 0, values, lang.cast(x > 0, x.dtype))


@pointwise("where(Tensor condition, Tensor|Number self, Tensor|Number other) -> Tensor",
           keep={"condition": BOOLEAN | BYTES}, method=False, storage=True, out="exact")
def where(condition, x, y):
    """`self` where `condition` holds, else `other`.

    >>> taimatsu.where(taimatsu.tensor([True, False]), 1.0, 2.0)
    tensor([1., 2.])
    """
    return lang.where(condition, x, y)


@composite("where.indices(Tensor condition) -> Tensor[]", method=False, out=False)
def where_indices(condition):
    """Where `condition` holds: for each dim the positions, `nonzero(as_tuple=True)`.

    >>> taimatsu.where(taimatsu.tensor([False, True]))
    (tensor([1]),)
    """
    import taimatsu

    return taimatsu.nonzero(condition, as_tuple=True)


@pointwise("masked_fill(Tensor self, Tensor mask, Tensor|Number value) -> Tensor",
           keep={"mask": BOOLEAN}, follows=("value",), single=("value",), inplace=True,
           storage=True)
def masked_fill(x, mask, value):
    """`value` where `mask` holds; the dtype stays that of `self`."""
    return lang.where(mask, lang.cast(value, x.dtype), x)


@masked_fill.gradient
def _(g, mask):
    return lang.where(mask, 0, g), lang.where(mask, g, 0)


@pointwise("_filled(Tensor self, Tensor|Number value) -> Tensor", follows=("value",),
           single=("value",), module=None, inplace=False, storage=True)  # fmt: skip
def filled(x, value):
    """`value` everywhere, in the dtype of `self`: how devices out of the host's reach are given
    one."""
    return lang.cast(value, x.dtype)


@pointwise("_isclose(Tensor self, Tensor other, float rtol, float atol, bool equal_nan) -> Tensor",
           method=False)
def _isclose(x, y, rtol, atol, equal_nan):
    close = x == y
    if equal_nan and not x.dtype.integral:
        close = close | (lang.isnan(x) & lang.isnan(y))
    if x.dtype.integral:
        x, y = lang.cast(x, "f64"), lang.cast(y, "f64")
    allowed = atol + lang.abs(rtol * y)
    difference = lang.abs(x - y)
    return close | (lang.isfinite(difference) & (difference <= allowed))


@composite("isclose(Tensor self, Tensor other, float rtol=1e-05, float atol=1e-08,"
           " bool equal_nan=False) -> Tensor", out=False)
def isclose(self, other, rtol, atol, equal_nan):
    """Where |self - other| <= atol + rtol * |other|."""
    if self.dtype != other.dtype:
        raise RuntimeError(f"isclose: {self.dtype} did not match {other.dtype}")
    if rtol < 0 or atol < 0:
        raise RuntimeError("isclose: rtol and atol must be greater than or equal to zero, but got "
                           f"{rtol} and {atol}")
    return _isclose(self, other, rtol, atol, equal_nan)
