"""Arithmetic and elementary functions, one element at a time."""

from taimatsu import _core
from taimatsu.codegen import lang
from taimatsu.codegen.iteration import iterate
from taimatsu.codegen.lang import (
    copysign,
    exp,
    isfinite,
    isnan,
    log,
    log1p,
    pi,
    where,
)
from taimatsu.codegen.promote import FLOATING, INEXACT, INTEGERS, NUMERIC, REAL

from .table import composite, pointwise

# ---- two operands -----------------------------------------------------------------------------


@pointwise("add(Tensor|Number self, Tensor|Number other, *, Number alpha=1) -> Tensor")
def add(x, y, alpha):
    """The sum `self + alpha * other`, broadcast and promoted.

    >>> taimatsu.add(taimatsu.tensor([1.0, 2.0]), 1)
    tensor([2., 3.])
    """
    return x + alpha * y


@pointwise("sub(Tensor|Number self, Tensor|Number other, *, Number alpha=1) -> Tensor",
           names=("subtract",), dtypes=NUMERIC, refusal=RuntimeError)
def sub(x, y, alpha):
    """The difference `self - alpha * other`."""
    return x - alpha * y


@pointwise("rsub(Tensor self, Tensor|Number other, *, Number alpha=1) -> Tensor", inplace=False,
           dtypes=NUMERIC, refusal=RuntimeError)
def rsub(x, y, alpha):
    """`other - alpha * self`: subtraction with the operands exchanged."""
    return y - alpha * x


@pointwise("mul(Tensor|Number self, Tensor|Number other) -> Tensor", names=("multiply",))
def mul(x, y):
    """The product."""
    return x * y


@pointwise("true_divide(Tensor|Number self, Tensor|Number other) -> Tensor", promote="float")
def true_divide(x, y):
    """The quotient; integers are converted to the default floating dtype first."""
    return x / y


@pointwise("floor_divide(Tensor|Number self, Tensor|Number other) -> Tensor", dtypes=REAL & NUMERIC)
def floor_divide(x, y):
    """The quotient rounded towards minus infinity, as Python's `//`."""
    return lang.floor_divide(x, y)


@pointwise("_trunc_divide(Tensor|Number self, Tensor|Number other) -> Tensor",
           dtypes=REAL & NUMERIC)
def trunc_divide(x, y):
    return lang.trunc_divide(x, y)


def _by_rounding(self, other, rounding_mode):
    if rounding_mode is None:
        return true_divide(self, other)
    if rounding_mode == "floor":
        return floor_divide(self, other)
    if rounding_mode == "trunc":
        return trunc_divide(self, other)
    raise RuntimeError(
        "div expected rounding_mode to be one of None, 'trunc', or 'floor' "
        f"but found '{rounding_mode}'"
    )


@pointwise("div(Tensor|Number self, Tensor|Number other) -> Tensor", names=("divide",),
           promote="float")
def div(x, y):
    """The quotient; `rounding_mode` "trunc" or "floor" rounds it to a whole number."""
    return x / y


@composite("div.mode(Tensor|Number self, Tensor|Number other, *, str? rounding_mode) -> Tensor",
           names=("divide",), out=True, inplace=True)
def div_mode(self, other, rounding_mode):
    """The quotient, rounded as `rounding_mode` says; of two numbers, a tensor of no dims."""
    from taimatsu import Tensor, tensor

    if not isinstance(self, Tensor) and not isinstance(other, Tensor):
        self = tensor(self)
    return _by_rounding(self, other, rounding_mode)


@pointwise("remainder(Tensor|Number self, Tensor|Number other) -> Tensor", dtypes=REAL & NUMERIC)
def remainder(x, y):
    """The remainder of division with the sign of `other`, as Python's `%`."""
    return lang.remainder(x, y)


@pointwise("fmod(Tensor self, Tensor|Number other) -> Tensor", dtypes=REAL & NUMERIC)
def fmod(x, y):
    """The remainder of division with the sign of `self`, as C's `fmod`."""
    return lang.fmod(x, y)


@pointwise("pow(Tensor|Number self, Tensor|Number exponent) -> Tensor", dtypes=NUMERIC,
           settle={"exponent": (0.5, 2, 3, 4, -1, -2)})
def pow(x, y):
    """`self` to the power `exponent`. RuntimeError for integers to the power of a negative int."""
    number = lang.given_number(y) if x.dtype.integral else None
    if number is not None:
        y = where(lang.check(number >= 0, 4), y, 0)
    return lang.pow(x, y)


@pow.gradient
def _(g, self, exponent, result):
    base = where(exponent == 0, 0, g * lang.conj(exponent * lang.pow(self, exponent - 1)))
    flat = (self == 0) & (lang.real(exponent) >= 0)
    if exponent.dtype.kind == "c":
        flat = flat & (lang.imag(exponent) == 0)
    return base, where(flat, 0, g * lang.conj(result * log(self)))


@pointwise("maximum(Tensor self, Tensor other) -> Tensor", dtypes=REAL, refusal=RuntimeError,
           inplace=False)
def maximum(x, y):
    """The larger of the two, NaN where one is NaN."""
    return lang.maximum(x, y)


@pointwise("minimum(Tensor self, Tensor other) -> Tensor", dtypes=REAL, refusal=RuntimeError,
           inplace=False)
def minimum(x, y):
    """The smaller of the two, NaN where one is NaN."""
    return lang.minimum(x, y)


@maximum.gradient
def _(g, self, other):
    half = where(self == other, 0.5 * g, g)
    return where(self < other, 0, half), where(other < self, 0, half)


@minimum.gradient
def _(g, self, other):
    half = where(self == other, 0.5 * g, g)
    return where(other < self, 0, half), where(self < other, 0, half)


@pointwise("fmax(Tensor self, Tensor other) -> Tensor", dtypes=REAL, refusal=RuntimeError,
           inplace=False)
def fmax(x, y):
    """The larger of the two; where one is NaN the other."""
    return lang.fmax(x, y)


@pointwise("fmin(Tensor self, Tensor other) -> Tensor", dtypes=REAL, refusal=RuntimeError,
           inplace=False)
def fmin(x, y):
    """The smaller of the two; where one is NaN the other."""
    return lang.fmin(x, y)


@pointwise("atan2(Tensor self, Tensor other) -> Tensor", promote="float", names=("arctan2",),
           dtypes=FLOATING)
def atan2(x, y):
    """The angle of the point (other, self), in (-pi, pi]."""
    return lang.atan2(x, y)


@pointwise("hypot(Tensor self, Tensor other) -> Tensor", dtypes=FLOATING)
def hypot(x, y):
    """The length of the hypotenuse, without overflow on the way."""
    return lang.hypot(x, y)


@pointwise("copysign(Tensor self, Tensor|Number other) -> Tensor", promote="float", dtypes=FLOATING)
def copysign_(x, y):
    """The magnitude of `self` with the sign of `other`."""
    return copysign(x, y)


@pointwise("nextafter(Tensor self, Tensor other) -> Tensor", dtypes=FLOATING)
def nextafter(x, y):
    """The next representable number after `self` towards `other`."""
    return lang.nextafter(x, y)


@nextafter.gradient
def _(g, self, other):
    return where(self == other, 0, g), 0.0 * g


@pointwise("logaddexp(Tensor self, Tensor other) -> Tensor", dtypes=INEXACT, inplace=False)
def logaddexp(x, y):
    """log(exp(self) + exp(other)), without overflow."""
    if x.dtype.kind == "c":  # the larger real part is the one to factor out
        first = lang.real(x) >= lang.real(y)
        high, low = where(first, x, y), where(first, y, x)
        return high + log(1 + exp(low - high))
    m = lang.maximum(x, y)
    return where(isfinite(m), m + log1p(exp(-lang.abs(x - y))), m)


@logaddexp.gradient
def _(g, self, other, result):
    return g * lang.conj(exp(self - result)), g * lang.conj(exp(other - result))


@pointwise("logaddexp2(Tensor self, Tensor other) -> Tensor", dtypes=FLOATING, inplace=False)
def logaddexp2(x, y):
    """log2(2**self + 2**other), without overflow."""
    m = lang.maximum(x, y)
    return where(isfinite(m), m + lang.log2(1 + lang.exp2(-lang.abs(x - y))), m)


@logaddexp2.gradient
def _(g, self, other, result):
    return g * lang.exp2(self - result), g * lang.exp2(other - result)


@pointwise("lerp(Tensor self, Tensor end, Tensor|Number weight) -> Tensor", dtypes=INEXACT,
           follows=("weight",))
def lerp(x, end, w):
    """Linear interpolation: `self + weight * (end - self)`, exact at both ends."""
    w = lang.cast(w, x.dtype)
    small = lang.abs(w) < 0.5
    return where(small, x + w * (end - x), end - (end - x) * (1 - w))


@pointwise("addcmul(Tensor self, Tensor tensor1, Tensor tensor2, *, Number value=1) -> Tensor",
           dtypes=NUMERIC)
def addcmul(x, a, b, value):
    """`self + value * tensor1 * tensor2`."""
    return x + value * a * b


@pointwise("addcdiv(Tensor self, Tensor tensor1, Tensor tensor2, *, Number value=1) -> Tensor",
           dtypes=INEXACT, refusal=RuntimeError)
def addcdiv(x, a, b, value):
    """`self + value * tensor1 / tensor2`."""
    return x + value * (a / b)


@pointwise("ldexp(Tensor self, Tensor other) -> Tensor", promote="float", dtypes=INEXACT)
def ldexp(x, y):
    """self * 2**other.

    >>> taimatsu.ldexp(taimatsu.tensor([0.75]), taimatsu.tensor([3]))
    tensor([6.])
    """
    return x * lang.exp2(y)


@composite("float_power(Tensor|Number self, Tensor|Number exponent) -> Tensor", inplace=True,
           out="exact")
def float_power(self, exponent):
    """`pow` in float64, or in complex128 where an operand is complex.

    RuntimeError for in-place and out= forms where the tensor to write is of another dtype.

    >>> taimatsu.float_power(taimatsu.tensor([2]), -1)
    tensor([0.5000], dtype=torch.float64)
    """
    from taimatsu import Tensor, complex128, float64

    operands = self, exponent
    inexact = [x.is_complex() if isinstance(x, Tensor) else isinstance(x, complex)
               for x in operands]
    dtype = complex128 if True in inexact else float64
    return pow(*(x.to(dtype) if isinstance(x, Tensor) else x for x in operands))


# ---- one operand: arithmetic --------------------------------------------------------------------


@pointwise("neg(Tensor self) -> Tensor", names=("negative",), dtypes=NUMERIC,
           refusal=RuntimeError)
def neg(x):
    """`-self`."""
    return -x


@composite("positive(Tensor self) -> Tensor", out=False)
def positive(self):
    """`+self`: the tensor itself. RuntimeError for bools."""
    if self.dtype == _core.bool:
        raise RuntimeError("positive: not defined for bool tensors; convert to a number's dtype")
    return self


@pointwise("abs(Tensor self) -> Tensor", names=("absolute",), dtypes=NUMERIC, out="exact")
def abs_(x):
    """The magnitude; of complex numbers a real one."""
    return lang.abs(x)


@pointwise("sign(Tensor self) -> Tensor", dtypes=REAL)
def sign(x):
    """-1, 0 or 1 by the sign."""
    return lang.sign(x)


@pointwise("signbit(Tensor self) -> Tensor", inplace=False, dtypes=REAL)
def signbit(x):
    """Whether the sign is minus, of zeros too."""
    return lang.signbit(x)


@pointwise("square(Tensor self) -> Tensor")
def square(x):
    """`self * self`; of booleans as int64."""
    return x * x if x.dtype is not lang.BOOL else lang.cast(x, "i64")


@pointwise("reciprocal(Tensor self) -> Tensor", promote="float")
def reciprocal(x):
    """1 / self."""
    return 1 / x


@pointwise("floor(Tensor self) -> Tensor", dtypes=REAL & NUMERIC, out="exact")
def floor(x):
    """The next whole number below."""
    return lang.floor(x)


@pointwise("ceil(Tensor self) -> Tensor", dtypes=REAL & NUMERIC, out="exact")
def ceil(x):
    """The next whole number above."""
    return lang.ceil(x)


@pointwise("trunc(Tensor self) -> Tensor", names=("fix",), dtypes=REAL & NUMERIC, out="exact")
def trunc(x):
    """The whole part, towards zero."""
    return lang.trunc(x)


@pointwise("frac(Tensor self) -> Tensor", dtypes=FLOATING, out="exact")
def frac(x):
    """The fractional part, with the sign of `self`."""
    return x - lang.trunc(x)


@pointwise("frexp(Tensor self) -> (Tensor mantissa, Tensor exponent)", inplace=False, out="exact",
           dtypes=FLOATING, refusal=RuntimeError)
def frexp(x):
    """mantissa * 2**exponent = self, with a mantissa in [0.5, 1) by magnitude.

    0, infinity and NaN are their own mantissa, with exponent 0.

    >>> taimatsu.frexp(taimatsu.tensor([6.0])).exponent
    tensor([3], dtype=torch.int32)
    """
    from taimatsu.codegen import floats

    form = floats.FORMATS[x.dtype]
    small = lang.abs(x) < form.tiny  # subnormal: made normal first
    shift = form.mantissa + 1
    word = floats.bits(where(small, x * 2.0**shift, x))
    field = (word >> form.mantissa) & (2 * form.bias + 1)
    half = floats.from_bits(word + ((form.bias - 1 - field) << form.mantissa))
    exponent = field - (form.bias - 1) - where(small, shift, 0)
    plain = (x != 0) & isfinite(x)
    return where(plain, half, x), lang.cast(where(plain, exponent, 0), "i32")


@frexp.gradient
def _(g_mantissa, exponent):
    return g_mantissa * lang.exp2(lang.cast(-exponent, g_mantissa.dtype))


@pointwise("round(Tensor self, *, int decimals=0) -> Tensor", static=("decimals",),
           dtypes=REAL & NUMERIC)
def round_(x, decimals):
    """The nearest whole number, ties to even; `decimals` moves the point."""
    if decimals == 0 or x.dtype.integral:
        return lang.rint(x)
    scale = 10.0 ** lang_abs(decimals)
    return lang.rint(x * scale) / scale if decimals > 0 else lang.rint(x / scale) * scale


def lang_abs(n: int) -> int:
    return -n if n < 0 else n


# ---- elementary functions: integers become floating ----------------------------------------------


def _elementary(name: str, doc: str, *aliases: str, dtypes=INEXACT, function=None, inplace=True):
    f = function or getattr(lang, name)
    return pointwise(f"{name}(Tensor self) -> Tensor", promote="float", names=aliases,
                     dtypes=dtypes, doc=doc, inplace=inplace)(f)


exp_ = _elementary("exp", "e to the power of each element.")
exp2 = _elementary("exp2", "2 to the power of each element.")
expm1 = _elementary("expm1", "exp(x) - 1, exact for small x.")
log_ = _elementary("log", "The natural logarithm.")
log2 = _elementary("log2", "The logarithm to base 2.")
log10 = _elementary("log10", "The logarithm to base 10.")
log1p_ = _elementary("log1p", "log(1 + x), exact for small x.")
sqrt = _elementary("sqrt", "The square root; NaN of negative numbers.")
rsqrt = _elementary("rsqrt", "1 / sqrt(x).")
sin = _elementary("sin", "The sine of an angle in radians.")
cos = _elementary("cos", "The cosine of an angle in radians.")
tan = _elementary("tan", "The tangent of an angle in radians.")
asin = _elementary("asin", "The inverse sine.", "arcsin")
acos = _elementary("acos", "The inverse cosine.", "arccos")
atan = _elementary("atan", "The inverse tangent.", "arctan")
sinh = _elementary("sinh", "The hyperbolic sine.")
cosh = _elementary("cosh", "The hyperbolic cosine.")
tanh = _elementary("tanh", "The hyperbolic tangent.")
asinh = _elementary("asinh", "The inverse hyperbolic sine.", "arcsinh")
acosh = _elementary("acosh", "The inverse hyperbolic cosine.", "arccosh")
atanh = _elementary("atanh", "The inverse hyperbolic tangent.", "arctanh")
erf = _elementary("erf", "The error function.", dtypes=FLOATING)
erfc = _elementary("erfc", "1 - erf(x), exact for large x.", dtypes=FLOATING)
erfinv = _elementary("erfinv", "The inverse of the error function.", dtypes=FLOATING)
lgamma = _elementary("lgamma", "The logarithm of |gamma(x)|.", dtypes=FLOATING)
digamma = _elementary("digamma", "The derivative of `lgamma`.", dtypes=FLOATING)


@pointwise("deg2rad(Tensor self) -> Tensor", promote="float", dtypes=FLOATING,
           refusal=RuntimeError)
def deg2rad(x):
    """Degrees to radians."""
    return x * (pi / 180)


@pointwise("rad2deg(Tensor self) -> Tensor", promote="float", dtypes=FLOATING,
           refusal=RuntimeError)
def rad2deg(x):
    """Radians to degrees."""
    return x * (180 / pi)


@pointwise("sigmoid(Tensor self) -> Tensor", promote="float", dtypes=INEXACT)
def sigmoid(x):
    """1 / (1 + exp(-x))."""
    return 1 / (1 + exp(-x))


@sigmoid.gradient
def _(g, result):
    return g * lang.conj(result * (1 - result))


@pointwise("logit(Tensor self, float? eps=None) -> Tensor", promote="float", dtypes=FLOATING)
def logit(x, eps):
    """log(x / (1 - x)), the inverse of `sigmoid`; `eps` clamps to [eps, 1 - eps]."""
    p = x if eps is None else lang.clamp(x, eps, 1 - eps)
    return log(p / (1 - p))


@pointwise("sinc(Tensor self) -> Tensor", promote="float", dtypes=INEXACT)
def sinc(x):
    """sin(pi x) / (pi x), 1 at 0."""
    if x.dtype.kind == "c":
        return where(x == 0, 1.0, lang.sin(pi * x) / (pi * x))
    nearest = lang.rint(x)  # where the sine is 0: the distance from there is exact
    half = 0.5 * nearest
    sine = lang.sin(pi * (x - nearest))
    sine = where(lang.trunc(half) == half, sine, -sine)
    return where(x == 0, 1.0, sine / (pi * x))


@sinc.gradient
def _(g, self):
    px = pi * self
    slope = pi * (px * lang.cos(px) - lang.sin(px)) / (px * px)
    return where(self == 0, 0, g * lang.conj(slope))


@pointwise("xlogy(Tensor|Number self, Tensor|Number other) -> Tensor", promote="float",
           dtypes=FLOATING)
def xlogy(x, y):
    """self * log(other), 0 where `self` is 0 and `other` isn't NaN."""
    return where(isnan(y), y, where(x == 0, 0, x * log(y)))


@xlogy.gradient
def _(g, self, other):
    return where((self == 0) & (other <= 0), 0, g * log(other)), g * self / other


@pointwise("clamp(Tensor self, Tensor|Number? min=None, Tensor|Number? max=None) -> Tensor",
           names=("clip",), dtypes=REAL)
def clamp(x, min, max):
    """Elements below `min` become `min`, above `max` become `max`; NaN stays.

    The bounds are numbers, or tensors that broadcast; they are promoted with `self`.
    """
    if min is None and max is None:
        raise RuntimeError("clamp: at least one of 'min' or 'max' must not be None; got neither")
    if min is not None:
        x = lang.maximum(x, min)
    return x if max is None else lang.minimum(x, max)


@clamp.gradient
def _(g, self, min, max):
    bounds = [self >= min] if min is not None else []
    bounds += [self <= max] if max is not None else []
    inside = bounds[0] if len(bounds) == 1 else bounds[0] & bounds[1]
    low = self < min if min is not None else None
    high = self > max if max is not None else None
    over = max < min if min is not None and max is not None else None
    gmin = None if low is None else where(low if over is None else low & ~over, g, 0)
    gmax = None if high is None else where(high if over is None else high | over, g, 0)
    return g if inside is None else where(inside, g, 0), gmin, gmax


@pointwise("clamp_min(Tensor self, Tensor|Number min) -> Tensor", dtypes=REAL)
def clamp_min(x, min):
    """The larger of element and `min`."""
    return lang.maximum(x, min)


@pointwise("clamp_max(Tensor self, Tensor|Number max) -> Tensor", dtypes=REAL)
def clamp_max(x, max):
    """The smaller of element and `max`."""
    return lang.minimum(x, max)


@clamp_min.gradient
def _(g, self, min):
    return where(self >= min, g, 0), where(self < min, g, 0)


@clamp_max.gradient
def _(g, self, max):
    return where(self <= max, g, 0), where(self > max, g, 0)


@pointwise("nan_to_num(Tensor self, float? nan=None, float? posinf=None, float? neginf=None)"
           " -> Tensor")
def nan_to_num(x, nan, posinf, neginf):
    """NaN becomes `nan` (0), infinities `posinf` and `neginf` (the largest finite numbers)."""
    if x.dtype.integral:
        return x
    largest = {"f32": 3.4028234663852886e38, "f64": 1.7976931348623157e308}[x.dtype.real.name]

    def part(v):
        v = where(v == lang.inf, largest if posinf is None else posinf, v)
        v = where(v == -lang.inf, -largest if neginf is None else neginf, v)
        return where(isnan(v), 0.0 if nan is None else nan, v)

    if x.dtype.kind == "c":
        return lang.make_complex(part(lang.real(x)), part(lang.imag(x)))
    return part(x)


@nan_to_num.gradient
def _(g, self):
    return where(isfinite(self), g, 0)


# ---- integers: bits ----------------------------------------------------------------------------


@pointwise("bitwise_and(Tensor|Number self, Tensor|Number other) -> Tensor",
           dtypes=INTEGERS | {lang.BOOL})
def bitwise_and(x, y):
    """The bits set in both."""
    return x & y


@pointwise("bitwise_or(Tensor|Number self, Tensor|Number other) -> Tensor",
           dtypes=INTEGERS | {lang.BOOL})
def bitwise_or(x, y):
    """The bits set in either."""
    return x | y


@pointwise("bitwise_xor(Tensor|Number self, Tensor|Number other) -> Tensor",
           dtypes=INTEGERS | {lang.BOOL})
def bitwise_xor(x, y):
    """The bits set in one of the two."""
    return x ^ y


@pointwise("bitwise_not(Tensor self) -> Tensor", dtypes=INTEGERS | {lang.BOOL}, out="exact")
def bitwise_not(x):
    """Every bit turned over; of bools the negation."""
    return ~x


@pointwise("bitwise_left_shift(Tensor|Number self, Tensor|Number other) -> Tensor", dtypes=INTEGERS)
def bitwise_left_shift(x, y):
    """`self << other`."""
    return lang.shl(x, y)


@pointwise("bitwise_right_shift(Tensor|Number self, Tensor|Number other) -> Tensor",
           dtypes=INTEGERS)
def bitwise_right_shift(x, y):
    """`self >> other`, keeping the sign."""
    return lang.shr(x, y)


@pointwise("gcd(Tensor self, Tensor other) -> Tensor", dtypes=INTEGERS)
def gcd(x, y):
    """The greatest common divisor."""
    most = int(1.45 * x.dtype.bits) + 1  # Euclid's steps are at most 1.44 log2(n)
    return iterate(most, lambda a, b: b != 0, lambda a, b: (b, lang.fmod(a, where(b == 0, 1, b))),
                   (lang.abs(x), lang.abs(y)))[0]  # fmt: skip


@pointwise("lcm(Tensor self, Tensor other) -> Tensor", dtypes=INTEGERS)
def lcm(x, y):
    """The least common multiple; 0 where an operand is."""
    divisor = gcd(x, y)
    return lang.abs(lang.trunc_divide(x, where(divisor == 0, 1, divisor)) * y)
