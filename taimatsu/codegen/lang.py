"""The language that formulas are written in: symbolic values and functions on them.

A formula is an ordinary Python function that is *called* once with `Value`s; what it computes
with them is its expression. Python numbers take the dtype of the value they meet:

    def gelu(x):
        return 0.5 * x * (1 + erf(x * 0.7071067811865476))

In a row formula `x.sum()` and its kin reduce along the row; in an indexed one `x[i, j]` loads,
`window(k)` makes an axis, and reductions name the axes they run over.
"""

from __future__ import annotations

import builtins
import cmath
import math
import threading
from collections.abc import Callable
from typing import Any

from . import monoids
from .ir import (
    BOOL,
    DTYPES,
    F64,
    I64,
    Axis,
    DType,
    Expr,
    Monoid,
    Store,
    axis,
    const,
    item,
    reduce,
    scan,
)  # fmt: skip
from .promote import category, complex_of, number_dtype, promote_types
from .simplify import cast as _cast
from .simplify import logical, negate, node
from .simplify import where as _where

inf, nan, pi, e = math.inf, math.nan, math.pi, math.e
SQRT1_2 = 0.7071067811865475244
SQRT_2_PI = 0.7978845608028653559
LN2 = 0.6931471805599453094

Number = bool | int | float | complex


class Context:
    """What a formula is being called for: an op's kind, the dtype it computes in, and axes.

    `row` are the axes along the row, `axes` all of the nest; `stores` what accumulators collect.
    """

    __slots__ = ("axes", "compute", "kind", "row", "stores")

    def __init__(
        self, kind: str, compute: DType, row: tuple[Axis, ...] = (), axes: tuple[Axis, ...] = ()
    ):
        self.kind, self.compute, self.row, self.axes = kind, compute, row, axes
        self.stores: list[Store] = []


_current = threading.local()


class tracing:
    """`with tracing(context):` makes it the one that formulas called inside belong to."""

    __slots__ = ("inner", "outer")

    def __init__(self, context: Context):
        self.inner = context

    def __enter__(self) -> Context:
        self.outer = getattr(_current, "context", None)
        _current.context = self.inner
        return self.inner

    def __exit__(self, *_: object) -> None:
        _current.context = self.outer


def context() -> Context:
    found = getattr(_current, "context", None)
    if found is None:
        raise RuntimeError("formula: called outside of tracing; call the op on tensors instead")
    return found


# ---- values -----------------------------------------------------------------------------------


class Value:
    """A symbolic scalar: an expression with Python's operators."""

    __slots__ = ("expr",)

    def __init__(self, expr: Expr):
        self.expr = expr

    @property
    def dtype(self) -> DType:
        return self.expr.dtype

    def to(self, dtype: DType | str) -> Value:
        return cast(self, dtype)

    def __repr__(self) -> str:
        return f"Value({self.expr!r}: {self.dtype})"

    def __bool__(self) -> bool:
        raise TypeError("formula: can't branch on a value, it isn't known yet; use where(...)")

    def __iter__(self):
        raise TypeError("formula: a value is one element; it can't be iterated over or unpacked")

    __hash__ = object.__hash__

    def __add__(self, other): return _add(self, other)
    def __radd__(self, other): return _add(other, self)
    def __sub__(self, other): return _arithmetic("sub", self, other)
    def __rsub__(self, other): return _arithmetic("sub", other, self)
    def __mul__(self, other): return _mul(self, other)
    def __rmul__(self, other): return _mul(other, self)
    def __truediv__(self, other): return divide(self, other)
    def __rtruediv__(self, other): return divide(other, self)
    def __floordiv__(self, other): return floor_divide(self, other)
    def __rfloordiv__(self, other): return floor_divide(other, self)
    def __mod__(self, other): return remainder(self, other)
    def __rmod__(self, other): return remainder(other, self)
    def __pow__(self, other): return pow(self, other)
    def __rpow__(self, other): return pow(other, self)
    def __neg__(self): return neg(self)
    def __pos__(self): return self
    def __abs__(self): return abs(self)
    def __and__(self, other): return _bitwise("and", self, other)
    def __rand__(self, other): return _bitwise("and", other, self)
    def __or__(self, other): return _bitwise("or", self, other)
    def __ror__(self, other): return _bitwise("or", other, self)
    def __xor__(self, other): return _bitwise("xor", self, other)
    def __rxor__(self, other): return _bitwise("xor", other, self)
    def __invert__(self): return invert(self)
    def __lshift__(self, other): return shl(self, other)
    def __rlshift__(self, other): return shl(other, self)
    def __rshift__(self, other): return shr(self, other)
    def __rrshift__(self, other): return shr(other, self)
    def __lt__(self, other): return _compare("lt", self, other)
    def __le__(self, other): return _compare("le", self, other)
    def __gt__(self, other): return _compare("lt", other, self)
    def __ge__(self, other): return _compare("le", other, self)
    def __eq__(self, other): return _compare("eq", self, other)
    def __ne__(self, other): return _compare("ne", self, other)

    # Reductions: over the row, or in an indexed formula over the axes given.

    @property
    def count(self) -> Value:
        """The number of elements of the row, an i64."""
        return _count(context().row)

    def sum(self, *axes: Value) -> Value:
        """The sum; integers and bools are summed as i64."""
        return _reduce(monoids.SUM, _widened(self), axes)

    def mean(self, *axes: Value) -> Value:
        return self.sum(*axes) / _count(_axes(axes))

    def prod(self, *axes: Value) -> Value:
        return _reduce(monoids.PROD, _widened(self), axes)

    def max(self, *axes: Value) -> Value:
        """The largest element, NaN if there is one. The derivative is shared among ties."""
        _ordered(self.expr)
        return _reduce(monoids.MAX, self, axes)

    def min(self, *axes: Value) -> Value:
        _ordered(self.expr)
        return _reduce(monoids.MIN, self, axes)

    def any(self, *axes: Value) -> Value:
        return _reduce(monoids.ANY, self != 0, axes)

    def all(self, *axes: Value) -> Value:
        return _reduce(monoids.ALL, self != 0, axes)

    def argmax(self, *axes: Value, index: Value | None = None) -> tuple[Value, Value]:
        """(largest element, its position), the first of equals; NaN counts as the largest.

        The position is along the row, or what `index` is at the element.
        """
        return _arg_reduce(monoids.ARGMAX, self, axes, index)

    def argmin(self, *axes: Value, index: Value | None = None) -> tuple[Value, Value]:
        return _arg_reduce(monoids.ARGMIN, self, axes, index)

    def var(self, correction: Value | Number = 1) -> Value:
        """The variance; `correction` is what the divisor is less than the count by."""
        row = context().row
        divisor = where(self.count > correction, (self.count - correction).to(self.dtype), 0.0)
        if len(row) == 1:  # a row fits the cache: two passes are quicker than dividing
            d = self - self.mean()
            return (d * d).sum() / divisor
        one, zero = const(1, self.dtype), const(0, self.dtype)
        return Value(item(reduce(monoids.WELFORD, row, one, self.expr, zero), 2)) / divisor

    def std(self, correction: Value | Number = 1) -> Value:
        return sqrt(self.var(correction))

    # Scans along the row.

    def cumsum(self) -> Value:
        return _scan(monoids.SUM, _widened(self))

    def cumprod(self) -> Value:
        return _scan(monoids.PROD, _widened(self))

    def cummax(self) -> tuple[Value, Value]:
        """(running maximum, its position), the last of equals."""
        return _arg_scan(monoids.LAST_ARGMAX, self)

    def cummin(self) -> tuple[Value, Value]:
        return _arg_scan(monoids.LAST_ARGMIN, self)

    def logcumsumexp(self) -> Value:
        return _scan(monoids.LOGADDEXP, self)


def expr_of(x: Value | Number, like: DType | None = None) -> Expr:
    """The expression of `x`; a Python number takes the dtype `like` unless that loses its kind."""
    if isinstance(x, Value):
        return x.expr
    if not isinstance(x, Number):
        raise TypeError(
            f"formula: expected a value or a number, got {x!r}; if it is a tensor, index it"
        )
    own = number_dtype(x)
    like = like or context().compute
    if category(own) <= category(like):
        return const(x, like)
    if own.kind == "c" and like.floating:
        own = complex_of(like)
    return const(x, own)


def value(x: Value | Number) -> Value:
    """`x` as a value; a Python number in the dtype that the formula computes in."""
    return x if isinstance(x, Value) else Value(expr_of(x))


def _pair(a: Value | Number, b: Value | Number) -> tuple[Expr, Expr]:
    """Both operands in one dtype."""
    x = expr_of(a, b.dtype if isinstance(b, Value) else None)
    y = expr_of(b, x.dtype)
    t = promote_types(x.dtype, y.dtype)
    return _cast(x, t), _cast(y, t)


def cast(x: Value | Number, dtype: DType | str) -> Value:
    """`x` converted, as C converts."""
    t = DTYPES[dtype] if isinstance(dtype, str) else dtype
    return Value(_cast(expr_of(x, t), t))


def bitcast(x: Value, dtype: DType | str) -> Value:
    """The same bits as a type of the same width."""
    t = DTYPES[dtype] if isinstance(dtype, str) else dtype
    if t.bits != x.dtype.bits:
        raise TypeError(f"bitcast: needs equal widths, got {x.dtype} and {t}")
    return Value(x.expr if t is x.dtype else node("bitcast", x.expr, dtype=t))


def constant(x: Value) -> Value:
    """`x`, taken as a constant by the derivative."""
    return Value(node("stop", x.expr))


def check(cond: Value, flag: int) -> Value:
    """`cond`; a kernel that meets a false one returns `flag`: see `check_status` in op.cpp."""
    return Value(node("check", cond.expr, arg=flag))


def given_number(x: Value) -> Value | None:
    """The Python number that stands for a tensor operand, before conversion; None of tensors."""
    e = x.expr
    while e.op == "cast":
        e = e.src[0]
    return Value(e) if e.op in ("param", "const") else None


# ---- arithmetic -------------------------------------------------------------------------------


def _arithmetic(op: str, a, b) -> Value:
    x, y = _pair(a, b)
    if x.dtype is BOOL:
        raise TypeError(f"{op}: not defined for bool; use the logical functions or cast")
    return Value(node(op, x, y))


def _add(a, b) -> Value:
    x, y = _pair(a, b)
    return Value(node("or" if x.dtype is BOOL else "add", x, y))


def _mul(a, b) -> Value:
    x, y = _pair(a, b)
    return Value(node("and" if x.dtype is BOOL else "mul", x, y))


def _inexact(name: str, t: DType) -> None:
    if t.integral:
        raise TypeError(f"{name}: needs a floating or complex value, got {t}; cast it first")


def divide(a, b) -> Value:
    """True division; integers divide as f64."""
    x, y = _pair(a, b)
    if x.dtype.integral:
        x, y = _cast(x, F64), _cast(y, F64)
    return Value(node("div", x, y))


def trunc_divide(a, b) -> Value:
    x, y = _pair(a, b)
    return Value(node("idiv", x, y)) if x.dtype.integral else trunc(Value(node("div", x, y)))


def floor_divide(a, b) -> Value:
    x, y = _pair(a, b)
    if x.dtype.kind == "u" or x.dtype is BOOL:
        return Value(node("idiv", x, y))
    n, d = Value(x), Value(y)
    if x.dtype.integral:
        q, r = Value(node("idiv", x, y)), Value(node("irem", x, y))
        return where(_off_sign(r, d), q - 1, q)
    # The quotient of what the remainder leaves is nearly whole, where n / d may round up.
    r = fmod(n, d)
    q = (n - r) / d
    q = where(_off_sign(r, d), q - 1, q)
    whole = floor(q)
    whole = where(q - whole > 0.5, whole + 1, whole)
    return where(d == 0, n / d, where(q == 0, copysign(q * 0.0, n / d), whole))


def _off_sign(r: Value, d: Value) -> Value:
    """Whether a remainder that truncating left has not the sign of the divisor."""
    return (r != 0) & ((r ^ d) < 0 if r.dtype.integral else (r < 0) != (d < 0))


def fmod(a, b) -> Value:
    """The remainder with the sign of `a`."""
    x, y = _pair(a, b)
    return Value(node("irem" if x.dtype.integral else "fmod", x, y))


def remainder(a, b) -> Value:
    """The remainder with the sign of `b`, as Python's %."""
    x, y = _pair(a, b)
    r, d = fmod(Value(x), Value(y)), Value(y)
    if x.dtype.kind == "u":
        return r
    return where(_off_sign(r, d), r + d, r)


def neg(x: Value) -> Value:
    if x.dtype is BOOL:
        raise TypeError("neg: not defined for bool; use invert")
    return Value(node("neg", x.expr))


def abs(x: Any) -> Any:
    """The magnitude; of a complex value a real one."""
    if not isinstance(x, Value):
        return builtins.abs(x)
    return x if x.dtype.kind in "bu" else Value(node("abs", x.expr, dtype=x.dtype.real))


def reciprocal(x: Value) -> Value:
    return 1 / x


def square(x: Value) -> Value:
    return x * x


def sign(x: Value) -> Value:
    """-1, 0 or 1; 0 of a NaN."""
    if x.dtype.kind in "bu":
        return (x != 0).to(x.dtype)
    return (x > 0).to(x.dtype) - (x < 0).to(x.dtype)


def fma(a, b, c) -> Value:
    """a * b + c, rounded once."""
    x, y = _pair(a, b)
    z = expr_of(c, x.dtype)
    return Value(node("fma", x, y, _cast(z, x.dtype)))


def pow(a, b) -> Value:
    """a ** b; small whole exponents and roots given as Python numbers are spelled out."""
    if isinstance(b, Value) and b.expr.op == "const":
        b = b.expr.arg
        if isinstance(b, complex) and b.imag == 0:
            b = b.real
    if isinstance(a, Value) and type(b) in (int, float):
        inexact = not a.dtype.integral
        if b in range(17) and (inexact or type(b) is int):
            return _whole_power(a, int(b))
        if -b in range(5) and inexact:
            return 1 / _whole_power(a, int(-b))
        if b == 0.5 and inexact:
            return sqrt(a)
    x, y = _pair(a, b)
    return Value(node("pow", x, y))


def _whole_power(x: Value, n: int) -> Value:
    if n < 2:
        return x if n else Value(const(1, x.dtype))
    half = _whole_power(x, n // 2)
    return half * half * x if n % 2 else half * half


# ---- comparison, selection, bits --------------------------------------------------------------


def _ordered(x: Expr) -> Expr:
    if x.dtype.kind == "c":
        raise TypeError("formula: complex numbers have no order; compare their parts or magnitudes")
    return x


def _compare(op: str, a, b) -> Value:
    x, y = _pair(a, b)
    if op in ("lt", "le"):
        _ordered(x)
    return Value(node(op, x, y, dtype=BOOL))


def where(cond: Value | bool, a: Value | Number, b: Value | Number) -> Value:
    """`a` where `cond` holds, else `b`. What isn't chosen has no influence, nor a derivative."""
    x, y = _pair(a, b)
    return Value(_where(truth(cond), x, y))


def truth(x: Value | bool) -> Expr:
    c = expr_of(x, BOOL)
    return c if c.dtype is BOOL else node("ne", c, const(0, c.dtype), dtype=BOOL)


def isnan(x: Value) -> Value:
    return Value(monoids.isnan(x.expr))


def isinf(x: Any) -> Any:
    if x.dtype.kind == "c":
        return isinf(real(x)) | isinf(imag(x))
    return abs(x) == inf if x.dtype.floating else Value(const(False, BOOL))


def isfinite(x: Any) -> Any:
    if x.dtype.kind == "c":
        return isfinite(real(x)) & isfinite(imag(x))
    return abs(x) < inf if x.dtype.floating else Value(const(True, BOOL))


def signbit(x: Value) -> Value:
    """Whether the sign is minus, of zeros and NaNs too."""
    if not x.dtype.floating:
        return x < 0
    bits = bitcast(x, f"i{x.dtype.bits}")
    return bits < 0


def minimum(a, b) -> Value:
    """The smaller; NaN if either is."""
    x, y = _pair(a, b)
    return Value(_where(monoids.isnan(_ordered(x)), x, node("min", x, y)))


def maximum(a, b) -> Value:
    """The larger; NaN if either is."""
    x, y = _pair(a, b)
    return Value(_where(monoids.isnan(_ordered(x)), x, node("max", x, y)))


def fmin(a, b) -> Value:
    """The smaller; of a number and a NaN the number."""
    x, y = _pair(a, b)
    return Value(_where(monoids.isnan(_ordered(y)), x, node("min", x, y)))


def fmax(a, b) -> Value:
    """The larger; of a number and a NaN the number."""
    x, y = _pair(a, b)
    return Value(_where(monoids.isnan(_ordered(y)), x, node("max", x, y)))


def clamp(x: Value, low: Value | Number | None = None, high: Value | Number | None = None) -> Value:
    """`x` between the bounds; a NaN in any of them stays."""
    if low is not None:
        x = maximum(x, low)
    return x if high is None else minimum(x, high)


def _bitwise(op: str, a, b) -> Value:
    x, y = _pair(a, b)
    if not x.dtype.integral:
        raise TypeError(f"{op}: needs bools or integers, got {x.dtype}")
    return Value(node(op, x, y))


def invert(x: Value) -> Value:
    return Value(node("not", x.expr))


def logical_not(x: Value) -> Value:
    return Value(negate(truth(x)))


def logical_and(a, b) -> Value:
    return Value(logical("and", truth(a), truth(b)))


def logical_or(a, b) -> Value:
    return Value(logical("or", truth(a), truth(b)))


def logical_xor(a, b) -> Value:
    return Value(logical("xor", truth(a), truth(b)))


def shl(a, b) -> Value:
    """a << b; 0 where `b` isn't in [0, width)."""
    x, y = _pair(a, b)
    n = Value(y)
    inside = (n >= 0) & (n < x.dtype.bits)
    return where(inside, Value(node("shl", x, where(inside, n, 0).expr)), 0)


def shr(a, b) -> Value:
    """a >> b, arithmetic for signed types; a shift of the width or more leaves only the sign."""
    x, y = _pair(a, b)
    n, top = Value(y), x.dtype.bits - 1
    inside = (n >= 0) & (n <= top)
    if x.dtype.kind == "u":
        return where(inside, Value(node("shr", x, where(inside, n, 0).expr)), 0)
    return Value(node("shr", x, where(inside, n, top).expr))


# ---- elementary functions ---------------------------------------------------------------------


def _function(name: str, doc: str, whole: Callable | None = None) -> Callable:
    """A function of one floating or complex value, or of a Python number.

    `whole` says what it is of integers: without it they are an error.
    """

    def function(x: Value | Number) -> Value | Number:
        if not isinstance(x, Value):
            if not isinstance(x, Number):
                raise TypeError(
                    f"{name}: expected a value or a number, got {x!r}; if it is a tensor, index it"
                )
            return getattr(cmath if isinstance(x, complex) else math, name)(x)
        if x.dtype.integral and whole:
            return whole(x)
        _inexact(name, x.dtype)
        return Value(node(name, x.expr))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


def _itself(x: Value) -> Value:
    return x


floor = _function("floor", "The next whole number below.", _itself)
ceil = _function("ceil", "The next whole number above.", _itself)
trunc = _function("trunc", "The whole number towards zero.", _itself)
rint = _function("rint", "The nearest whole number, ties to even.", _itself)
sqrt = _function("sqrt", "Square root.")
rsqrt = _function("rsqrt", "1 / sqrt(x).")
exp = _function("exp", "e ** x.")
exp2 = _function("exp2", "2 ** x.")
expm1 = _function("expm1", "exp(x) - 1, exact near 0.")
log = _function("log", "Natural logarithm.")
log2 = _function("log2", "Logarithm to base 2.")
log10 = _function("log10", "Logarithm to base 10.")
log1p = _function("log1p", "log(1 + x), exact near 0.")
sin = _function("sin", "Sine of an angle in radians.")
cos = _function("cos", "Cosine of an angle in radians.")
tan = _function("tan", "Tangent of an angle in radians.")
asin = _function("asin", "Inverse sine.")
acos = _function("acos", "Inverse cosine.")
atan = _function("atan", "Inverse tangent.")
sinh = _function("sinh", "Hyperbolic sine.")
cosh = _function("cosh", "Hyperbolic cosine.")
tanh = _function("tanh", "Hyperbolic tangent.")
asinh = _function("asinh", "Inverse hyperbolic sine.")
acosh = _function("acosh", "Inverse hyperbolic cosine.")
atanh = _function("atanh", "Inverse hyperbolic tangent.")
erf = _function("erf", "Error function.")
erfc = _function("erfc", "1 - erf(x), exact for large x.")
erfinv = _function("erfinv", "Inverse error function.")
lgamma = _function("lgamma", "log |gamma(x)|.")
digamma = _function("digamma", "Derivative of lgamma.")


def trigamma(x: Value) -> Value:
    """Derivative of digamma."""
    return Value(node("trigamma", x.expr))


def zeta(s: Value | Number, q: Value) -> Value:
    """Hurwitz' zeta function: the sum of (q + k) ** -s over k = 0, 1 ..."""
    return Value(node("zeta", *_pair(s, q)))


def polygamma(n: int, x: Value) -> Value:
    """The n-th derivative of digamma."""
    if n < 2:
        return trigamma(x) if n else digamma(x)
    sign, y = (-1.0) ** (n + 1), zeta(float(n + 1), x)
    if n > 170:  # n! is past the range, if not the product
        return sign * exp(math.lgamma(n + 1) + log(y))
    return sign * math.gamma(n + 1) * y


def sigmoid(x: Value) -> Value:
    return 1 / (1 + exp(-x))


def _binary(name: str, doc: str) -> Callable:
    def function(a: Value | Number, b: Value | Number) -> Value:
        x, y = _pair(a, b)
        _inexact(name, x.dtype)
        return Value(node(name, x, y))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


atan2 = _binary("atan2", "The angle of the point (b, a).")
hypot = _binary("hypot", "sqrt(a*a + b*b) without overflow on the way.")
copysign = _binary("copysign", "The magnitude of `a` with the sign of `b`.")
nextafter = _binary("nextafter", "The next number after `a` towards `b`.")


# ---- complex ----------------------------------------------------------------------------------


def make_complex(re: Value | Number, im: Value | Number) -> Value:
    """re + im * 1j."""
    x, y = _pair(re, im)
    return Value(node("complex", x, y, dtype=complex_of(x.dtype)))


def real(x: Value) -> Value:
    return Value(node("re", x.expr, dtype=x.dtype.real)) if x.dtype.kind == "c" else x


def imag(x: Value) -> Value:
    if x.dtype.kind == "c":
        return Value(node("im", x.expr, dtype=x.dtype.real))
    return Value(const(0, x.dtype))


def conj(x: Value) -> Value:
    return make_complex(real(x), -imag(x)) if x.dtype.kind == "c" else x


# ---- reductions and scans ---------------------------------------------------------------------


def _axes(axes: tuple[Value, ...]) -> tuple[Axis, ...]:
    if not axes:
        row = context().row
        if not row:
            raise TypeError("formula: a reduction outside of a row formula names its axes")
        return row
    for a in axes:
        if not (isinstance(a, Value) and a.expr.op == "axis"):
            raise TypeError(f"formula: reduces over {a!r}, which isn't an axis")
    return tuple(a.expr.arg for a in axes)


def _extent(a: Axis) -> Expr:
    if a.extent is not None:
        return const(a.extent, I64)
    return Expr("size", (), a.origin, I64)


def _count(axes: tuple[Axis, ...]) -> Value:
    count = const(1, I64)
    for a in axes:
        count = node("mul", count, _extent(a))
    return Value(count)


def _widened(x: Value) -> Value:
    return x.to(I64) if x.dtype.integral else x


def _reduce(monoid: Monoid, x: Value, axes: tuple[Value, ...]) -> Value:
    over = _axes(axes)
    if monoid is monoids.SUM and not x.expr.axes & set(over):  # the same for every element
        return x * _count(over).to(x.dtype)
    return Value(reduce(monoid, over, x.expr))


def position() -> Value:
    """Where the current element is along the row: 0, 1, 2 ..."""
    *outer, inner = context().row
    at = axis(inner)
    if outer:
        at = node("add", node("mul", axis(outer[0]), _extent(inner)), at)
    return Value(at)


def _arg_reduce(monoid, x: Value, axes, index) -> tuple[Value, Value]:
    over = _axes(axes)
    _ordered(x.expr)
    if index is None:
        # Outer and inner position are fields of their own: blocks of a row needn't know its
        # extents, and the fields are plain axes.
        pair = reduce(monoid, over, x.expr, *map(axis, over))
        at = item(pair, 1)
        if len(over) > 1:
            at = node("add", node("mul", at, _extent(over[1])), item(pair, 2))
        return Value(item(pair, 0)), Value(at)
    where_ = index.expr
    if x.expr.op == "where":  # what is outside never is first among equals
        where_ = _where(x.expr.src[0], where_, const(monoids.LAST, I64))
    pair = reduce(monoid, over, x.expr, where_)
    return Value(item(pair, 0)), Value(item(pair, 1))


def _line() -> Axis:
    row = context().row
    if len(row) != 1:
        raise TypeError("formula: scans and picks run along one dim; declare the rows by one")
    return row[0]


def _scan(monoid: Monoid, x: Value) -> Value:
    return Value(scan(monoid, _line(), x.expr))


def _arg_scan(monoid: Monoid, x: Value) -> tuple[Value, Value]:
    pair = scan(monoid, _line(), x.expr, axis(_line()))
    return Value(item(pair, 0)), Value(item(pair, 1))


def pick(row: Value, index: Value) -> Value:
    """The row's element at position `index`; out of range is an error at run time."""
    line = _line()
    at = within(_cast(index.expr, I64), _extent(line))
    return Value(Expr("pick", (row.expr, at), line, row.dtype))


def within(at: Expr, size: Expr) -> Expr:
    """`at`, checked to be in range(size): a safe position where it isn't."""
    zero = const(0, I64)
    low = node("le", zero, at, dtype=BOOL)
    inside = logical("and", low, node("lt", at, size, dtype=BOOL))
    return _where(node("check", inside, arg=2), at, zero)


# ---- indexed formulas; their tensors are in `operands` -----------------------------------------


def window(k: int | tuple[int, ...]) -> Any:
    """An axis over range(k), or one for each of several extents."""
    if isinstance(k, tuple | list):
        return tuple(window(n) for n in k)
    return Value(axis(Axis("w", "w", int(k))))
