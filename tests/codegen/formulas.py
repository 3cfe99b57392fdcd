"""Ops that the tests of code generation share: the design's examples and their kin."""

from taimatsu.codegen.iteration import iterate
from taimatsu.codegen.lang import (
    SQRT1_2,
    SQRT_2_PI,
    abs,
    conj,
    constant,
    erf,
    exp,
    imag,
    inf,
    log,
    maximum,
    pick,
    pow,
    sqrt,
    tanh,
    where,
    window,
)  # fmt: skip
from taimatsu.codegen.promote import FLOATING
from taimatsu.ops.table import ENTRIES, indexed, pointwise, row

_before = len(ENTRIES)


@pointwise("gelu(Tensor self, *, str approximate='none') -> Tensor", dtypes=FLOATING)
def gelu(x, approximate):
    """Gaussian error linear unit."""
    if approximate == "tanh":
        return 0.5 * x * (1 + tanh(SQRT_2_PI * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + erf(x * SQRT1_2))


@pointwise("add(Tensor self, Tensor|Number other, *, Number alpha=1) -> Tensor")
def add(x, y, alpha):
    return x + alpha * y


@pointwise("mul(Tensor self, Tensor|Number other) -> Tensor")
def mul(x, y):
    return x * y


@pointwise("div(Tensor self, Tensor|Number other) -> Tensor", promote="float")
def div(x, y):
    return x / y


@pointwise("pow(Tensor|Number self, Tensor|Number exponent) -> Tensor")
def power(x, y):
    return pow(x, y)


@pointwise("maximum(Tensor self, Tensor other) -> Tensor")
def larger(x, y):
    return maximum(x, y)


@pointwise("exp(Tensor self) -> Tensor", promote="float")
def exponential(x):
    return exp(x)


@pointwise("conj(Tensor self) -> Tensor")
def conjugate(x):
    return conj(x)


@pointwise("imag(Tensor self) -> Tensor")
def imaginary(x):
    return imag(x)


@pointwise("abs(Tensor self) -> Tensor")
def magnitude(x):
    return abs(x)


@pointwise("lt(Tensor self, Tensor|Number other) -> Tensor")
def less(x, y):
    return x < y


@pointwise("where(Tensor condition, Tensor|Number self, Tensor|Number other) -> Tensor",
           keep=("condition",))
def select(condition, x, y):
    return where(condition, x, y)


@pointwise("safe_sqrt(Tensor self) -> Tensor")
def safe_sqrt(x):
    return where(x > 0, sqrt(x), 0)


@pointwise("sigmoid(Tensor self) -> Tensor", promote="float")
def sigmoid(x):
    return 1 / (1 + exp(-x))


@sigmoid.gradient
def _(g, result):
    return g * result * (1 - result)


@pointwise("silu(Tensor self) -> Tensor")
def silu(x):
    return x * sigmoid(x)


@pointwise("power_series(Tensor self, Tensor count) -> (Tensor, Tensor)")
def power_series(x, count):
    """The last power and the sum of x ** k for k < count, a step for each."""
    def step(k, power, total, x, count):
        return k + 1, power * x, total + power

    start = (0 * count, 0 * x + 1, 0 * x)
    return iterate(10, lambda k, power, total, x, count: k < count, step, start, x, count)[1:]


@pointwise("nested_root(Tensor self) -> Tensor")
def nested_root(x):
    """sqrt(1 + sqrt(x)), each by Newton's method: a loop with a loop in it."""
    def newton(r, x):
        return ((r + x / r) / 2,)

    def root(x):
        return iterate(30, lambda r, x: abs(r * r - x) > 1e-13 * x, newton, (x,), x)[0]

    def step(r, x):
        return ((r + (1 + root(x)) / r) / 2,)

    return iterate(6, lambda r, x: r == r, step, (x,), x)[0]


@row("softmax(Row self, int dim) -> Row")
def softmax(x):
    e = exp(x - constant(x.max()))
    return e / e.sum()


@row("double_softmax(Row self, int dim) -> Row")
def double_softmax(x):
    return softmax(softmax(x))


@row("log_softmax(Row self, int dim) -> Row")
def log_softmax(x):
    d = x - constant(x.max())
    return d - log(exp(d).sum())


@row("logsumexp(Row self, int[1] dim, bool keepdim=False) -> Cell")
def logsumexp(x):
    m = constant(x.max())
    return m + log(exp(x - m).sum())


@row("layer_norm(Row self, Shared? weight, Shared? bias, float eps=1e-05) -> Row", rows=-1)
def layer_norm(x, weight, bias, eps):
    d = x - x.mean()
    y = d / sqrt((d * d).mean() + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


@row("batch_norm(Row self, Cell weight, Cell bias, float eps) -> (Row, Cell mean, Cell var)",
     rows=("not", 1))
def batch_norm(x, weight, bias, eps):
    mean = x.mean()
    d = x - mean
    var = (d * d).mean()
    return d / sqrt(var + eps) * weight + bias, mean, var


@row("cross_entropy(Row self, Cell target) -> Cell", rows=-1, keep=("target",))
def cross_entropy(x, target):
    m = constant(x.max())
    return m + log(exp(x - m).sum()) - pick(x, target)


@row("sum(Row self, int[1]? dim=None, bool keepdim=False, *, ScalarType? dtype=None) -> Cell")
def total(x):
    return x.sum()


@row("mean(Row self, int[1]? dim=None, bool keepdim=False) -> Cell")
def mean(x):
    return x.mean()


@row("prod(Row self, int dim) -> Cell")
def prod(x):
    return x.prod()


@row("amax(Row self, int[1] dim, bool keepdim=False) -> Cell")
def amax(x):
    return x.max()


@row("max(Row self, int dim, bool keepdim=False) -> (Cell values, Cell indices)")
def max_dim(x):
    return x.argmax()


@row("argmin(Row self, int? dim=None) -> Cell")
def argmin(x):
    return x.argmin()[1]


@row("any(Row self, int[1]? dim=None) -> Cell")
def any_(x):
    return x.any()


@row("var(Row self, int[1]? dim=None, *, Number correction=1) -> Cell")
def var(x, correction):
    return x.var(correction)


@row("cumsum(Row self, int dim) -> Row")
def cumsum(x):
    return x.cumsum()


@row("cummax(Row self, int dim) -> (Row values, Row indices)")
def cummax(x):
    return x.cummax()


@row("scaled_cumsum(Row self, Shared weight, int dim) -> Row")
def scaled_cumsum(x, weight):
    return x.cumsum() * weight


@indexed("reflection_pad1d(Tensor self, int p) -> Tensor", static=("p",),
         out=lambda x, p: [x[0], x[1] + 2 * p])
def reflection_pad1d(x, n, i, *, p):
    last = x.sizes[1] - 1
    return x[n, last - abs(last - abs(i - p))]


def pooled(x, k, s, p):
    """The sizes that pooling gives."""
    spatial = [(x[2 + d] + 2 * p[d] - k[d]) // s[d] + 1 for d in range(2)]
    return [[*x[:2], *spatial]] * 2


@indexed("max_pool2d(Tensor self, int[2] k, int[2] s, int[2] p) -> (Tensor y, Tensor index)",
         out=pooled)
def max_pool2d(x, n, c, i, j, *, k, s, p):
    u, v = window(k)
    h, w = i * s[0] - p[0] + u, j * s[1] - p[1] + v
    return x.at(n, c, h, w, outside=-inf).argmax(u, v, index=x.fold(h, w))


@max_pool2d.gradient
def _(gx, g, y, index, n, c, i, j):
    gx.flat(n, c)[index[n, c, i, j]] += g[n, c, i, j]


@indexed("avg_pool2d(Tensor self, int[2] k, int[2] s, int[2] p) -> Tensor",
         out=lambda x, k, s, p: pooled(x, k, s, p)[0])
def avg_pool2d(x, n, c, i, j, *, k, s, p):
    u, v = window(k)
    h, w = i * s[0] - p[0] + u, j * s[1] - p[1] + v
    return x.at(n, c, h, w, outside=0.0).sum(u, v) / (k[0] * k[1])


@indexed("correlate(Tensor self, Tensor weight, int[1] k) -> Tensor",
         out=lambda x, w, k: [x[0], x[1] - k[0] + 1])
def correlate(x, weight, n, i, *, k):
    (u,) = window(k)
    return (x[n, i + u] * weight[u]).sum(u)


@indexed("take(Tensor self, Index index) -> Tensor", out=lambda x, i: [x[0], i[0]])
def take(x, index, n, i):
    return x[n, index[i]]


@indexed("roll(Tensor self, int shift) -> Tensor", static=("shift",))
def roll(x, n, i, *, shift):
    j = i - shift
    return x[n, where(j < 0, j + x.sizes[1], j)]


@indexed("flip(Tensor self) -> Tensor")
def flip(x, n, i):
    return x[n, x.sizes[1] - 1 - i]


@indexed("outer(Tensor self) -> Tensor", out=lambda x: [x[0], x[1], x[1]])
def outer(x, n, i, j):
    return x[n, i] * x[n, j]


@indexed("window_max(Tensor self, int[1] k) -> Tensor", out=lambda x, k: [x[0], x[1] // k[0]])
def window_max(x, n, i, *, k):
    (u,) = window(k)
    return x[n, i * k[0] + u].max(u)


del ENTRIES[_before:]  # these are the tests' own, not the table's
