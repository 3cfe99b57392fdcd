"""Reductions and scans along rows."""

from taimatsu.codegen import lang
from taimatsu.codegen.lang import constant, exp, isfinite, log, where
from taimatsu.codegen.promote import BYTES, INEXACT, NUMERIC, REAL

from .arithmetic import maximum, minimum
from .table import composite, core_composite, native, pointwise, row

_DIMS = "int[1]? dim=None, bool keepdim=False"


@row(f"sum(Row self, {_DIMS}, *, ScalarType? dtype=None) -> Cell")
def sum(x):
    """The sum of all elements, or along `dim`; integers and bools are summed as int64.

    >>> taimatsu.tensor([[1, 2], [3, 4]]).sum(dim=1)
    tensor([3, 7])
    """
    return x.sum()


@row(f"nansum(Row self, {_DIMS}, *, ScalarType? dtype=None) -> Cell")
def nansum(x):
    """The sum, with NaN counted as zero."""
    return (x if x.dtype.integral else where(lang.isnan(x), 0, x)).sum()


@row(f"mean(Row self, {_DIMS}, *, ScalarType? dtype=None) -> Cell", dtypes=INEXACT,
     refusal=RuntimeError)
def mean(x):
    """The arithmetic mean; of floating and complex numbers only."""
    return x.mean()


@row("prod(Row self, *, ScalarType? dtype=None) -> Cell", rows="all")
def prod(x):
    """The product of all elements; of integers as int64."""
    return x.prod()


@row("prod.dim_int(Row self, int dim, bool keepdim=False, *, ScalarType? dtype=None) -> Cell")
def prod_dim(x):
    """The product along `dim`."""
    return x.prod()


def _prod_gradient(g, self, dim, keepdim=False):
    # Without division: the product of all others is that of those before and those after, so
    # that zeros need no care.
    from taimatsu import cat, cumprod, ones_like

    if self.numel() == 0:
        return ones_like(self)
    if self.dim() == 0:
        return g.expand(self.shape)
    one = ones_like(self.narrow(dim, 0, 1))
    n = self.size(dim)
    before = cat([one, self.narrow(dim, 0, n - 1)], dim).cumprod(dim)
    after = cumprod(cat([one, self.flip(dim).narrow(dim, 0, n - 1)], dim), dim).flip(dim)
    return (g if keepdim else g.unsqueeze(dim)) * (before * after).conj_physical()


prod.gradient(
    self=lambda g, self: _prod_gradient(g, self.reshape(-1), 0, False).reshape(self.shape)
)
prod_dim.gradient(self=_prod_gradient)


# ---- the largest and the smallest --------------------------------------------------------------


@row("amax(Row self, int[1]? dim=None, bool keepdim=False) -> Cell", nonempty=True, dtypes=REAL,
     out="exact")
def amax(x):
    """The largest element along `dim`; the gradient is shared among equals."""
    return x.max()


@row("amin(Row self, int[1]? dim=None, bool keepdim=False) -> Cell", nonempty=True, dtypes=REAL,
     out="exact")
def amin(x):
    """The smallest element along `dim`; the gradient is shared among equals."""
    return x.min()


@row("aminmax(Row self, *, int? dim=None, bool keepdim=False) -> (Cell min, Cell max)",
     nonempty=True, dtypes=REAL, out="exact")
def aminmax(x):
    """The smallest and the largest element."""
    return x.min(), x.max()


@row("max(Row self) -> Cell", rows="all", nonempty=True, dtypes=REAL)
def max(x):
    """The largest element; NaN if there is one."""
    return x.max()


@pointwise("max.other(Tensor self, Tensor other) -> Tensor", dtypes=REAL, refusal=RuntimeError,
           inplace=False)
def max_other(x, y):
    """`maximum`."""
    return maximum(x, y)


@row("max.dim(Row self, int dim, bool keepdim=False) -> (Cell values, Cell indices)",
     nonempty=True, dtypes=REAL, refusal=RuntimeError)
def max_dim(x):
    """The largest element along `dim`, and the index of the first such."""
    return x.argmax()


@row("min(Row self) -> Cell", rows="all", nonempty=True, dtypes=REAL)
def min(x):
    """The smallest element; NaN if there is one."""
    return x.min()


@pointwise("min.other(Tensor self, Tensor other) -> Tensor", dtypes=REAL, refusal=RuntimeError,
           inplace=False)
def min_other(x, y):
    """`minimum`."""
    return minimum(x, y)


@row("min.dim(Row self, int dim, bool keepdim=False) -> (Cell values, Cell indices)",
     nonempty=True, dtypes=REAL, refusal=RuntimeError)
def min_dim(x):
    """The smallest element along `dim`, and the index of the first such."""
    return x.argmin()


@row("argmax.dim(Row self, int dim, bool keepdim=False) -> Cell", nonempty=True,
     dtypes=REAL & NUMERIC, refusal=RuntimeError, out="exact")
def argmax_dim(x):
    """The index of the first largest element along `dim`."""
    return x.argmax()[1]


@row("argmin.dim(Row self, int dim, bool keepdim=False) -> Cell", nonempty=True,
     dtypes=REAL & NUMERIC, refusal=RuntimeError, out="exact")
def argmin_dim(x):
    """The index of the first smallest element along `dim`."""
    return x.argmin()[1]


argmax = core_composite(
    "argmax(Tensor self, int? dim=None, bool keepdim=False) -> Tensor",
    "The index of the first largest element: of the flattened tensor, or along `dim`.", out="exact")
argmin = core_composite(
    "argmin(Tensor self, int? dim=None, bool keepdim=False) -> Tensor",
    "The index of the first smallest element: of the flattened tensor, or along `dim`.",
    out="exact")


# ---- truth -------------------------------------------------------------------------------------


def _truth(found, x):
    """As bool; of bytes as bytes, which were masks before there was bool."""
    return lang.cast(found, "u8") if x.dtype in BYTES else found


@row(f"any(Row self, {_DIMS}) -> Cell", storage=True)
def any(x):
    """Whether any element is nonzero."""
    return _truth(x.any(), x)


@row(f"all(Row self, {_DIMS}) -> Cell", storage=True)
def all(x):
    """Whether all elements are nonzero."""
    return _truth(x.all(), x)


@row("_any_outside(Row self, Number low, Number high) -> Cell", rows="all", method=False,
     module=None, out=False, dtypes=REAL)
def any_outside(x, low, high):
    """Whether any element is outside of [low, high], or NaN."""
    return (~((x >= low) & (x <= high))).any()


@row("count_nonzero(Row self, int[1]? dim=None) -> Cell", out=False, storage=True)
def count_nonzero(x):
    """How many elements aren't zero."""
    return (x != 0).sum()


# ---- moments -----------------------------------------------------------------------------------

_MOMENT = f"{_DIMS.split(',')[0]}, *, Number? correction=None, bool keepdim=False"


def _variance(x, correction):
    """Of complex numbers the sum of those of their parts."""
    correction = 1 if correction is None else lang.real(correction)
    if x.dtype.kind == "c":
        return lang.real(x).var(correction) + lang.imag(x).var(correction)
    return x.var(correction)


@row(f"var(Row self, {_MOMENT}) -> Cell", dtypes=INEXACT,
     refusal=RuntimeError)
def var(x, correction):
    """The variance; `correction` (1) is what the divisor is less than the number of elements."""
    return _variance(x, correction)


@row(f"std(Row self, {_MOMENT}) -> Cell", dtypes=INEXACT,
     refusal=RuntimeError)
def std(x, correction):
    """The standard deviation: the square root of `var`."""
    return lang.sqrt(_variance(x, correction))


@row(f"var_mean(Row self, {_MOMENT}) -> (Cell, Cell)", method=False, dtypes=INEXACT,
     refusal=RuntimeError)
def var_mean(x, correction):
    """The variance and the mean."""
    return _variance(x, correction), x.mean()


@row(f"std_mean(Row self, {_MOMENT}) -> (Cell, Cell)", method=False, dtypes=INEXACT,
     refusal=RuntimeError)
def std_mean(x, correction):
    """The standard deviation and the mean."""
    return lang.sqrt(_variance(x, correction)), x.mean()


def _unbiased(name: str, op, returns: str, method: bool):
    def whole(self, unbiased):
        return op(self, None, correction=int(unbiased))

    def along(self, dim, unbiased, keepdim):
        return op(self, dim, correction=int(unbiased), keepdim=keepdim)

    doc = f"`{name}` with a divisor of n - 1 where `unbiased`, else n."
    composite(f"{name}.unbiased(Tensor self, bool unbiased) -> {returns}", doc=doc,
              method=method, out=False)(whole)
    composite(f"{name}.dim_unbiased(Tensor self, int[1]? dim, bool unbiased, bool keepdim=False)"
              f" -> {returns}", doc=doc, method=method, out=returns == "Tensor")(along)


_unbiased("var", var, "Tensor", True)
_unbiased("std", std, "Tensor", True)
_unbiased("var_mean", var_mean, "(Tensor, Tensor)", False)
_unbiased("std_mean", std_mean, "(Tensor, Tensor)", False)


@row("logsumexp(Row self, int[1] dim, bool keepdim=False) -> Cell", promote="float",
     dtypes=INEXACT)
def logsumexp(x):
    """log(sum(exp(x))), without overflow. Of complex numbers the largest real part is taken out."""
    m = constant(lang.real(x).max())
    m = where(isfinite(m), m, 0)
    return m + log(exp(x - m).sum())


@logsumexp.gradient
def _(g, self, result):
    # Of a row of -inf every share is 0, which exp(-inf + inf) wouldn't give.
    return g * where(lang.real(result) == -lang.inf, 0, lang.conj(exp(self - result)))


# ---- scans -------------------------------------------------------------------------------------


@row("cumsum(Row self, int dim, *, ScalarType? dtype=None) -> Row", inplace=True)
def cumsum(x):
    """The running sum along `dim`; of integers as int64."""
    return x.cumsum()


@row("cumprod(Row self, int dim, *, ScalarType? dtype=None) -> Row", inplace=True)
def cumprod(x):
    """The running product along `dim`; of integers as int64."""
    return x.cumprod()


recurrence = native(
    "_recurrence(Tensor a, Tensor b, int dim, bool reverse) -> Tensor",
    method=False, module=None, out=False,
    doc="h[i] = b[i] + a[i] h[i - 1] along `dim`; reversed, b[i] + a[i] h[i + 1].",
)


def _moved(x, dim: int, by: int):
    """x[i + by] at i, for by = 1 or -1; the end that nothing reaches is zero."""
    from taimatsu import cat, zeros_like

    n = x.size(dim)
    end = zeros_like(x.narrow(dim, 0, 1))
    if by > 0:
        return cat([x.narrow(dim, 1, n - 1), end], dim)
    return cat([end, x.narrow(dim, 0, n - 1)], dim)


@recurrence.gradient
def _(g, a, dim, reverse, result):
    if not a.dim():
        return None, g
    forth = -1 if reverse else 1
    s = recurrence(_moved(a, dim, forth).conj_physical(), g, dim, not reverse)
    return s * _moved(result, dim, -forth).conj_physical(), s


def _cumprod_gradient(g, self, dim):
    # sum over j >= i of g[j] * (product of all up to j but i): the product before i times a
    # recurrence from the end, h[i] = g[i] + self[i + 1] * h[i + 1], which zeros don't disturb.
    from taimatsu import cat, ones_like

    n = self.size(dim) if self.dim() else 1
    if self.dim() == 0 or n <= 1:
        return g
    one = ones_like(self.narrow(dim, 0, 1))
    before = cat([one, self.narrow(dim, 0, n - 1)], dim).cumprod(dim)
    h = recurrence(_moved(self, dim, 1).conj_physical(), g, dim, True)
    return before.conj_physical() * h


cumprod.gradient(self=_cumprod_gradient)


@row("cummax(Row self, int dim) -> (Row values, Row indices)", dtypes=REAL, out="exact")
def cummax(x):
    """The running maximum along `dim`, and the index of the last such."""
    return x.cummax()


@row("cummin(Row self, int dim) -> (Row values, Row indices)", dtypes=REAL, out="exact")
def cummin(x):
    """The running minimum along `dim`, and the index of the last such."""
    return x.cummin()


def _scatter_gradient(g_values, self, indices, dim):
    from taimatsu import zeros_like

    return zeros_like(self).scatter_add_(dim, indices, g_values)


cummax.gradient(self=_scatter_gradient)
cummin.gradient(self=_scatter_gradient)


@row("logcumsumexp(Row self, int dim) -> Row", dtypes=INEXACT)
def logcumsumexp(x):
    """log(cumsum(exp(x))), without overflow."""
    return x.logcumsumexp()


def _in_logarithms(h, sums):
    """`sums` of the logarithms of h; of real numbers those of its two signs apart."""
    if h.is_complex():
        return sums(h.log())
    return sums(h.clamp(min=0).log()) - sums((-h).clamp(min=0).log())


# With M[j, i] = exp(x[i] - y[j]) where i <= j, 0 elsewhere, the derivative of y by x: gradients
# and tangents are multiplied by it, in logarithms, which have no derivative at 0.
_STEP = {"method": False, "module": None, "out": False}


@composite("_logcumsumexp_back(Tensor h, Tensor x, Tensor y, int dim) -> Tensor", **_STEP)
def _logcumsumexp_back(h, x, y, dim):
    """M^H h."""

    def sums(log_h):
        return (x.conj() + (log_h - y.conj()).flip(dim).logcumsumexp(dim).flip(dim)).exp()

    return h if x.dim() == 0 else _in_logarithms(h, sums)


@composite("_logcumsumexp_along(Tensor u, Tensor x, Tensor y, int dim) -> Tensor", **_STEP)
def _logcumsumexp_along(u, x, y, dim):
    """M u."""

    def sums(log_u):
        return ((log_u + x).logcumsumexp(dim) - y).exp()

    return u if x.dim() == 0 else _in_logarithms(u, sums)


@_logcumsumexp_back.gradient
def _(g, h, x, y, dim, result):
    u = _logcumsumexp_along(g, x, y, dim)
    return u, g.conj() * result, -h * u.conj()


@_logcumsumexp_along.gradient
def _(g, u, x, y, dim, result):
    v = _logcumsumexp_back(g, x, y, dim)
    return v, u.conj() * v, -g * result.conj()


logcumsumexp.gradient(
    self=lambda g, self, result, dim: _logcumsumexp_back(g, self, result, dim)
)


# ---- norms -------------------------------------------------------------------------------------


@row(
    "vector_norm(Row self, Number ord=2, int[1]? dim=None, bool keepdim=False, *,"
    " ScalarType? dtype=None) -> Cell",
    module="linalg",
    method=False,
    out=True,
    static=("ord",),
    dtypes=INEXACT,
)
def vector_norm(x, ord):
    """sum(|x|^ord)^(1/ord) of all elements, or along `dim`; `ord` may be 0, inf or -inf.

    Raises NotImplementedError for integers: convert them first.

    >>> taimatsu.linalg.vector_norm(taimatsu.tensor([3.0, 4.0]))
    tensor(5.)
    """
    a = lang.abs(x)
    if ord == lang.inf:
        return a.max()
    if ord == -lang.inf:
        return a.min()
    if ord == 0:
        return (x != 0).to(a.dtype).sum()
    if ord == 1:
        return a.sum()
    if ord == 2:
        return lang.sqrt((a * a).sum())
    return lang.pow(lang.pow(a, float(ord)).sum(), 1 / float(ord))


@vector_norm.gradient
def _(g, self, result, ord):
    # At zero the norm has a kink; PyTorch's choice there is 0.
    a = lang.abs(self)
    direction = where(a == 0, 0, self / a)
    if ord == 0:
        return g * 0.0 * direction
    if ord in (lang.inf, -lang.inf):
        extreme = (a == result).to(a.dtype)
        return g * (extreme / extreme.sum()) * direction
    if ord == 1:
        return g * direction
    if ord == 2:
        return where(result == 0, 0, g * (self / result))
    p = float(ord)
    return where(a == 0, 0, g * direction * lang.pow(a / result, p - 1))
