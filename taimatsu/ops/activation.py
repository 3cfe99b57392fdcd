"""Activation functions."""

from taimatsu.codegen import lang
from taimatsu.codegen.lang import (
    SQRT1_2,
    SQRT_2_PI,
    erf,
    exp,
    log1p,
    maximum,
    minimum,
    tanh,
    where,
)
from taimatsu.codegen.promote import FLOATING, INEXACT, REAL

from .arithmetic import sigmoid
from .table import composite, pointwise

_F = {"module": "nn.functional", "method": False, "dtypes": FLOATING}
_SIGNED = frozenset(t for t in REAL if t.kind in "if")


@pointwise("relu(Tensor self) -> Tensor", dtypes=REAL)
def relu(x):
    """The positive part; NaN stays."""
    return where(x <= 0, 0, x)


@relu.gradient
def _(g, result):
    return where(result <= 0, 0, g)


@pointwise("gelu(Tensor self, *, str approximate='none') -> Tensor", out=True, **_F)
def gelu(x, approximate):
    """Gaussian error linear unit, x Phi(x); `approximate="tanh"` for the approximation."""
    if approximate == "tanh":
        return 0.5 * x * (1 + tanh(SQRT_2_PI * (x + 0.044715 * x**3)))
    if approximate != "none":
        raise RuntimeError("gelu: approximate argument must be either none or tanh, "
                           f"got {approximate!r}")
    return 0.5 * x * (1 + erf(x * SQRT1_2))


@pointwise("silu(Tensor self) -> Tensor", inplace=True, **{**_F, "dtypes": INEXACT})
def silu(x):
    """x * sigmoid(x), also called swish."""
    return x * sigmoid(x)


@silu.gradient
def _(g, self):
    s = sigmoid(self)
    return g * lang.conj(s * (1 + self * (1 - s)))


@pointwise("mish(Tensor self) -> Tensor", inplace=True, **_F)
def mish(x):
    """x * tanh(softplus(x))."""
    return x * tanh(_softplus(x))


@mish.gradient
def _(g, self):
    t = tanh(_softplus(self))
    return g * (t + self * sigmoid(self) * (1 - t * t))


def _softplus(x):
    return maximum(x, 0.0) + log1p(exp(-lang.abs(x)))


@pointwise("softplus(Tensor self, Number beta=1, Number threshold=20) -> Tensor", out=True, **_F)
def softplus(x, beta, threshold):
    """log(1 + exp(beta x)) / beta; the identity where beta x exceeds `threshold`."""
    bx = beta * x
    return where(bx > threshold, x, log1p(exp(bx)) / beta)


@softplus.gradient
def _(g, self, beta, threshold):
    bx = beta * self
    return where(bx > threshold, g, g * sigmoid(bx))


@pointwise("log_sigmoid(Tensor self) -> Tensor", names=("logsigmoid",), out=True, **_F)
def log_sigmoid(x):
    """log(sigmoid(x)), without overflow."""
    return minimum(x, 0.0) - log1p(exp(-lang.abs(x)))


@log_sigmoid.gradient
def _(g, self):
    return g * sigmoid(-self)


@pointwise("elu(Tensor self, Number alpha=1) -> Tensor", inplace=True, **_F)
def elu(x, alpha):
    """x above zero, alpha (exp(x) - 1) below."""
    return where(x > 0, x, alpha * lang.expm1(minimum(x, 0.0)))


@elu.gradient
def _(g, self, alpha):
    return where(self > 0, g, g * alpha * exp(minimum(self, 0.0)))


@pointwise("celu(Tensor self, Number alpha=1.0) -> Tensor", inplace=True,
           **{**_F, "module": "", "method": False})
def celu(x, alpha):
    """max(0, x) + min(0, alpha (exp(x / alpha) - 1))."""
    return where(x > 0, x, alpha * lang.expm1(minimum(x, 0.0) / alpha))


@celu.gradient
def _(g, self, alpha):
    return where(self > 0, g, g * exp(minimum(self, 0.0) / alpha))


_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


@pointwise("selu(Tensor self) -> Tensor", inplace=True, method=False, dtypes=FLOATING)
def selu(x):
    """The self-normalising variant of `elu`."""
    return where(x > 0, _SELU_SCALE * x, _SELU_SCALE * _SELU_ALPHA * lang.expm1(minimum(x, 0.0)))


@selu.gradient
def _(g, self):
    below = g * (_SELU_SCALE * _SELU_ALPHA) * exp(minimum(self, 0.0))
    return where(self > 0, g * _SELU_SCALE, below)


@pointwise("leaky_relu(Tensor self, Number negative_slope=0.01) -> Tensor", inplace=True, **_F)
def leaky_relu(x, negative_slope):
    """x above zero, negative_slope * x below."""
    return where(x > 0, x, x * negative_slope)


@pointwise("hardtanh(Tensor self, Number min_val=-1, Number max_val=1) -> Tensor", inplace=True,
           **{**_F, "dtypes": _SIGNED})
def hardtanh(x, min_val, max_val):
    """x clamped to [min_val, max_val]."""
    return lang.clamp(x, min_val, max_val)


@hardtanh.gradient
def _(g, self, min_val, max_val):
    return where((self > min_val) & (self < max_val), g, 0)


@pointwise("relu6(Tensor self) -> Tensor", inplace=True, **{**_F, "dtypes": REAL})
def relu6(x):
    """x clamped to [0, 6]."""
    return lang.clamp(x, 0, 6)


@relu6.gradient
def _(g, self):
    return where((self > 0) & (self < 6), g, 0)


@pointwise("hardsigmoid(Tensor self) -> Tensor", inplace=True, **_F)
def hardsigmoid(x):
    """clamp(x + 3, 0, 6) / 6."""
    return lang.clamp(x + 3.0, 0.0, 6.0) / 6.0


@hardsigmoid.gradient
def _(g, self):
    return where((self > -3) & (self < 3), g / 6.0, 0)


@pointwise("hardswish(Tensor self) -> Tensor", inplace=True, **_F)
def hardswish(x):
    """x clamp(x + 3, 0, 6) / 6."""
    return x * lang.clamp(x + 3.0, 0.0, 6.0) / 6.0


@hardswish.gradient
def _(g, self):
    return where(self <= -3, 0, where(self < 3, g * (self / 3.0 + 0.5), g))


@pointwise("hardshrink(Tensor self, Number lambd=0.5) -> Tensor", inplace=False, dtypes=FLOATING,
           out="exact")
def hardshrink(x, lambd):
    """0 where |x| <= lambd, else x."""
    return where((x >= -lambd) & (x <= lambd), 0, x)


@pointwise("_softshrink(Tensor self, Number lambd) -> Tensor", method=False, dtypes=FLOATING)
def _softshrink(x, lambd):
    return where(x > lambd, x - lambd, where(x < -lambd, x + lambd, x * 0.0))


@_softshrink.gradient
def _(g, self, lambd):
    return where((self >= -lambd) & (self <= lambd), 0, g)


@composite("softshrink(Tensor self, Number lambd=0.5) -> Tensor", module="nn.functional",
           method=False, out=True)
def softshrink(self, lambd):
    """x moved towards zero by `lambd`. RuntimeError if that is negative."""
    if lambd < 0:
        raise RuntimeError(f"softshrink: lambda must be greater or equal to 0, but found {lambd}")
    return _softshrink(self, lambd)


@pointwise("threshold(Tensor self, Number threshold, Number value) -> Tensor", inplace=True,
           **{**_F, "dtypes": REAL})
def threshold_(x, threshold, value):
    """x where it exceeds `threshold`, else `value`."""
    return where(x <= threshold, value, x)


@pointwise("softsign(Tensor self) -> Tensor", promote="float", **{**_F, "dtypes": INEXACT})
def softsign(x):
    """x / (1 + |x|)."""
    return x / (1 + lang.abs(x))


@pointwise("tanhshrink(Tensor self) -> Tensor", promote="float", **{**_F, "dtypes": INEXACT})
def tanhshrink(x):
    """x - tanh(x)."""
    return x - tanh(x)


@pointwise("_prelu(Tensor self, Tensor weight) -> Tensor", method=False, dtypes=FLOATING)
def prelu_of(x, weight):
    """x above zero, weight * x below; the weight broadcast already."""
    return where(x > 0, x, weight * x)


@composite("prelu(Tensor self, Tensor weight) -> Tensor")
def prelu(self, weight):
    """x if x > 0 else weight * x, with one weight or one for each channel (dim 1).

    RuntimeError for weights of another number or type.
    """
    if weight.dtype != self.dtype:
        raise RuntimeError(f"prelu: Type promoting not supported. Got {self.dtype} and "
                           f"{weight.dtype}")
    if weight.dim() > 1:
        raise RuntimeError("prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = "
                           f"{weight.dim()}; reshape it to (-1,)")
    if weight.numel() == 1:
        return prelu_of(self, weight.reshape(()))
    if not self.dim():
        raise RuntimeError("prelu: Not allow zero-dim input tensor.")
    channels = self.size(1) if self.dim() > 1 else 1
    if weight.numel() != channels:
        raise RuntimeError("prelu: Mismatch of parameter numbers and input channel size. Found "
                           f"parameter numbers = {weight.numel()} and channel size = {channels}.")
    return prelu_of(self, weight.reshape(-1, *[1] * (self.dim() - 2)))


@pointwise("_gated(Tensor self, Tensor gate) -> Tensor", method=False, dtypes=FLOATING)
def gated(x, gate):
    return x * sigmoid(gate)


@composite("glu(Tensor self, int dim=-1) -> Tensor", module="nn.functional", method=False, out=True)
def glu(self, dim):
    """a * sigmoid(b), a and b the halves of the input along `dim`.

    RuntimeError if the extent is odd.
    """
    if not self.dim():
        raise RuntimeError("glu does not support scalars because halving size must be even")
    n = self.size(dim)
    if n % 2:
        raise RuntimeError(f"glu: Halving dimension must be even, but dimension {dim} is size {n}; "
                           f"got shape {list(self.shape)}")
    return gated(self.narrow(dim, 0, n // 2), self.narrow(dim, n // 2, n // 2))


composite("threshold(Tensor self, Number threshold, Number value) -> Tensor", method=False,
          inplace=True, out=True, doc="`nn.functional.threshold`.")(
    lambda self, threshold, value: threshold_(self, threshold, value))
