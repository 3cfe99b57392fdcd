"""What each op should compute, said again in NumPy and SciPy.

`ORACLES` has a function for each public entry, by the name in samples.py (an overload may use that
of its base name). It takes the arguments of the op, tensors as arrays (floating ones in double
precision), and returns an array or a tuple of them. `CHECKS` instead has conditions on the result,
where several are right; `ELSEWHERE` says why an op has neither.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import scipy.special as sp

_R = "random: sizes and dtypes here, the distributions in tests/cpu"
_O = "a step of an optimizer: tests/optim compares it with the algorithm in NumPy"
ELSEWHERE = {
    **dict.fromkeys(("empty", "empty_like", "empty_strided", "new_empty"),
                    "its elements are undefined"),
    **dict.fromkeys(("uniform_", "normal_", "exponential_", "geometric_", "cauchy_", "log_normal_",
                     "random_", "bernoulli_", "multinomial", "rand", "randn", "randint", "randperm",
                     "rand_like", "randn_like", "randint_like", "normal", "bernoulli",
                     "nn.functional.dropout"), _R),
    **{f"optim.{name}": _O for name in (
        "sgd", "sgd_momentum", "adam", "adam_amsgrad", "nadam", "radam", "adamax", "rmsprop",
        "rmsprop_momentum", "rmsprop_centered", "rmsprop_centered_momentum", "adagrad", "adadelta",
        "asgd", "rprop", "adafactor")},
    **dict.fromkeys(("optim.scale", "optim.limit"), "tests/nn/test_utils.py clips gradients by it"),
}  # fmt: skip


# ---- how NumPy's functions are called ------------------------------------------------------------


def _axis(dim):
    return tuple(dim) if isinstance(dim, (list, tuple)) else dim


def _whole(x):
    """Integers are summed as int64."""
    return x.astype(np.int64) if x.dtype.kind in "biu" else x


def _reduction(f, widen=False):
    def reduce(x, dim=None, keepdim=False, dtype=None):
        axis = _axis(dim)
        return f(_whole(x) if widen else x, axis=None if axis == () else axis, keepdims=keepdim)

    return reduce


def _moment(f, second=False):
    def moment(x, dim=None, unbiased=None, keepdim=False, correction=None):
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        ddof = int(unbiased) if unbiased is not None else 1 if correction is None else correction
        out = f(x, axis=_axis(dim), ddof=ddof, keepdims=keepdim)
        return (out, x.mean(axis=_axis(dim), keepdims=keepdim)) if second else out

    return moment


def _extreme(f, arg):
    def extreme(x, dim, keepdim=False):
        return f(x, axis=dim, keepdims=keepdim), arg(x, axis=dim, keepdims=keepdim)

    return extreme


def _truth(f):
    """Of bytes as bytes, else bool."""
    whole = _reduction(f)

    def truth(x, *args, **kwargs):
        return np.asarray(whole(x, *args, **kwargs)).astype(x.dtype if x.dtype == "u1" else bool)

    return truth


def _float(x):
    """Integers where a floating argument is needed."""
    return np.asarray(x, float) if np.asarray(x).dtype.kind in "biu" else x


def _unary(f):
    return lambda x: f(_float(x))


def _where_scan(f):
    def scan(x, dim):
        values = f.accumulate(x, axis=dim)
        n = np.arange(x.shape[dim]).reshape([-1] + [1] * (x.ndim - dim % x.ndim - 1))
        at = np.where(x == values, n, 0)
        return values, np.maximum.accumulate(at, axis=dim)

    return scan


def _along(f):
    """A function of the last axis, as one of any."""

    def along(x, dim, *rest, **options):
        return np.moveaxis(f(np.moveaxis(x, dim, -1), *rest, **options), -1, dim)

    return along


# ---- formulas ------------------------------------------------------------------------------------


def _sign(x):
    return x if x.dtype == bool else np.sign(x)


def _softmax(x, dim, dtype=None):
    e = np.exp(x - x.max(axis=dim, keepdims=True, initial=-np.inf))
    return e / e.sum(axis=dim, keepdims=True)


def _normalized(x, axes, eps):
    d = x - x.mean(axis=axes, keepdims=True)
    return d / np.sqrt((d * d).mean(axis=axes, keepdims=True) + eps)


def _layer_norm(x, shape, weight=None, bias=None, eps=1e-5):
    y = _normalized(x, tuple(range(-len(shape), 0)), eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def _rms_norm(x, shape, weight=None, eps=None):
    y = x / np.sqrt((x * x).mean(axis=tuple(range(-len(shape), 0)), keepdims=True) + eps)
    return y if weight is None else y * weight


def _batch_norm(x, mean, var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    def channels(v):
        return v.reshape([1, -1] + [1] * (x.ndim - 2))

    if training:
        y = _normalized(x, (0, *range(2, x.ndim)), eps)
    else:
        y = (x - channels(mean)) / np.sqrt(channels(var) + eps)
    y = y if weight is None else y * channels(weight)
    return y if bias is None else y + channels(bias)


def _clamp(x, min=None, max=None):
    x = x if min is None else np.maximum(x, min)
    return x if max is None else np.minimum(x, max)


def _gelu(x, approximate="none"):
    if approximate == "tanh":
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return x * sp.ndtr(x)


def _softplus(x, beta=1, threshold=20):
    return np.where(x * beta > threshold, x, np.log1p(np.exp(beta * x)) / beta)


def _bincount(x, weights=None, minlength=0):
    return np.bincount(x.astype(np.int64), weights, minlength)


def _divide(x, y, rounding_mode=None):
    if rounding_mode == "floor":
        return np.floor_divide(x, y)
    q = np.true_divide(x, y)
    return np.trunc(q) if rounding_mode == "trunc" else q


def _truncated(x, y, rounding_mode):
    """Rounded quotients keep the dtype of integers."""
    q = _divide(x, y, rounding_mode)
    return q.astype(np.result_type(x, y)) if np.result_type(x, y).kind in "iu" else q


def _scatter(x, dim, index, src=None, fold=lambda old, new: new, start=None):
    out = x.copy()
    dim %= max(x.ndim, 1)
    for at in np.ndindex(index.shape):
        to = (*at[:dim], index[at], *at[dim + 1 :])
        out[to] = fold(out[to], src[at] if isinstance(src, np.ndarray) else src)
    return out


_FOLDS = {
    "sum": lambda a, b: a + b, "add": lambda a, b: a + b, "prod": lambda a, b: a * b,
    "multiply": lambda a, b: a * b, "amax": np.maximum, "amin": np.minimum,
}  # fmt: skip


def _index_fold(x, dim, index, source, fold):
    out = x.copy()
    for i, at in enumerate(index):
        to = (slice(None),) * dim + (at,)
        out[to] = fold(out[to], np.take(source, i, dim))
    return out


def _replaced(x, key, value):
    out = x.copy()
    out[key] = value
    return out


def _strided(x, size, stride, offset=0):
    flat, at = x.reshape(-1), np.full(size, offset or 0)
    for d, (n, s) in enumerate(zip(size, stride, strict=True)):
        at += (np.arange(n) * s).reshape([-1] + [1] * (len(size) - d - 1))
    return flat[at]


def _strided_scatter(x, src, size, stride, offset=0):
    out = x.copy()
    flat = out.reshape(-1)
    flat[_strided(np.arange(x.size), size, stride, offset)] = src
    return out


def _squeeze(x, dim=None):
    dims = [dim] if isinstance(dim, int) else dim
    return np.squeeze(x, None if dims is None else tuple(d for d in dims if x.shape[d] == 1))


def _expand(x, sizes):
    extra = len(sizes) - x.ndim
    shape = [x.shape[d - extra] if n == -1 else n for d, n in enumerate(sizes)]
    return np.broadcast_to(x, shape)


def _windows(x, dim, size, step):
    return np.lib.stride_tricks.sliding_window_view(x, size, dim)[
        (slice(None),) * dim + (slice(None, None, step),)]


def _splits(x, size, dim=0):
    ends = range(size, x.shape[dim], size) if isinstance(size, int) else np.cumsum(size)[:-1]
    return tuple(np.split(x, list(ends), dim))


def _chunk(x, chunks, dim=0):
    return _splits(x, -(-x.shape[dim] // chunks), dim)


def _diag_embed(x, offset=0, dim1=-2, dim2=-1):
    n = x.shape[-1] + abs(offset)
    out = np.zeros((*x.shape[:-1], n, n), x.dtype)
    i = np.arange(x.shape[-1])
    out[..., i + max(-offset, 0), i + max(offset, 0)] = x
    return np.moveaxis(out, (-2, -1), (dim1 % out.ndim, dim2 % out.ndim))


def _diagonal_scatter(x, src, offset=0, dim1=0, dim2=1):
    out = x.copy()
    i = np.arange(src.shape[-1])
    moved = np.moveaxis(out, (dim1, dim2), (-2, -1))
    moved[..., i + max(-offset, 0), i + max(offset, 0)] = src
    return out


def _combinations(x, r=2, with_replacement=False):
    pick = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    return np.array(list(pick(x, r))).reshape(-1, r)


# ---- products, convolution, windows --------------------------------------------------------------


def _linear(x, weight, bias=None):
    y = x @ weight.T
    return y if bias is None else y + bias


def _list(v, n):
    v = [v] if isinstance(v, int) else list(v)
    return v * n if len(v) == 1 else v


def _convolution(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Cross-correlation by its definition: a sum over the kernel's places."""
    n = weight.ndim - 2
    single = x.ndim == n + 1
    x = x[None] if single else x
    stride, padding, dilation = _list(stride, n), _list(padding, n), _list(dilation, n)
    x = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in padding)])
    sizes = [(x.shape[2 + d] - dilation[d] * (weight.shape[2 + d] - 1) - 1) // stride[d] + 1
             for d in range(n)]
    outs, per = weight.shape[0] // groups, weight.shape[1]
    y = np.zeros((x.shape[0], weight.shape[0], *sizes), np.result_type(x, weight))
    for at in np.ndindex(*weight.shape[2:]):
        part = x[(slice(None), slice(None), *(
            slice(a * dilation[d], a * dilation[d] + (sizes[d] - 1) * stride[d] + 1, stride[d])
            for d, a in enumerate(at)))]
        w = weight[(slice(None), slice(None), *at)]
        for g in range(groups):
            y[:, g * outs : (g + 1) * outs] += np.einsum(
                "bc...,oc->bo...", part[:, g * per : (g + 1) * per], w[g * outs : (g + 1) * outs])
    y = y if bias is None else y + bias.reshape([-1] + [1] * n)
    return y[0] if single else y


def _transposed(x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """The transpose of the map above: every input element adds a copy of the kernel."""
    n = weight.ndim - 2
    stride, padding, dilation = _list(stride, n), _list(padding, n), _list(dilation, n)
    extra = _list(output_padding, n)
    reach = [dilation[d] * (weight.shape[2 + d] - 1) + 1 + extra[d] for d in range(n)]
    sizes = [(x.shape[2 + d] - 1) * stride[d] + reach[d]
             for d in range(n)]
    ins, per = weight.shape[0] // groups, weight.shape[1]
    y = np.zeros((x.shape[0], per * groups, *sizes), np.result_type(x, weight))
    for at in np.ndindex(*weight.shape[2:]):
        place = tuple(slice(a * dilation[d], a * dilation[d] + (x.shape[2 + d] - 1) * stride[d] + 1,
                            stride[d]) for d, a in enumerate(at))
        w = weight[(slice(None), slice(None), *at)]
        for g in range(groups):
            y[(slice(None), slice(g * per, (g + 1) * per), *place)] += np.einsum(
                "bc...,co->bo...", x[:, g * ins : (g + 1) * ins], w[g * ins : (g + 1) * ins])
    y = y[(slice(None), slice(None),
           *(slice(p, k - p) for p, k in zip(padding, sizes, strict=True)))]
    return y if bias is None else y + bias.reshape([-1] + [1] * n)


def _convolution_entry(x, weight, bias, stride, padding, dilation, transposed, output_padding,
                       groups):
    return _convolution(x, weight, bias, stride, padding, dilation, groups)


# ---- losses --------------------------------------------------------------------------------------


def _reduce(loss, reduction):
    return {"mean": np.mean, "sum": np.sum, "none": lambda v: v}[reduction](loss)


def _loss(f):
    def loss(x, target, reduction="mean", **options):
        return _reduce(f(x, target, **options), reduction)

    return loss


def _huber(x, t, delta=1.0):
    d = np.abs(x - t)
    return np.where(d <= delta, 0.5 * d * d, delta * (d - 0.5 * delta))


def _kl(x, t, log_target=False):
    return np.exp(t) * (t - x) if log_target else t * (np.log(t) - x)


def _nll(logp, target, weight=None, reduction="mean", ignore_index=-100):
    """Over class indices; the mean weighs classes."""
    used = target != ignore_index
    safe = np.where(used, target, 0)
    weight = np.ones(logp.shape[1]) if weight is None else weight
    w = weight[safe] * used
    loss = -np.take_along_axis(logp, safe[:, None], 1)[:, 0] * w
    return loss.sum() / w.sum() if reduction == "mean" else _reduce(loss, reduction)


def _cross_entropy(x, target, weight=None, reduction="mean", ignore_index=-100,
                   label_smoothing=0.0):
    logp = x - sp.logsumexp(x, axis=1, keepdims=True)
    if target.dtype.kind == "f":
        return _reduce(-(logp * target).sum(1), reduction)
    hard = _nll(logp, target, weight, reduction, ignore_index)
    if not label_smoothing:
        return hard
    return (1 - label_smoothing) * hard - label_smoothing * logp.mean()


# ---- order and statistics ------------------------------------------------------------------------


def _sorted(x, dim=-1, descending=False, stable=None):
    order = np.argsort(-_float(x) if descending else x, axis=dim, kind="stable")
    return np.take_along_axis(x, order, dim), order


def _topk(x, k, dim=-1, largest=True, sorted=True):
    values, order = _sorted(x, dim, largest)
    return np.take(values, range(k), dim), np.take(order, range(k), dim)


def _kth(x, k, dim=-1, keepdim=False):
    values, order = _sorted(x, dim)
    at = [k - 1] if keepdim else k - 1
    return np.take(values, at, dim), np.take(order, at, dim)


def _median(x, dim=None, keepdim=False):
    if dim is None:
        return np.sort(x, axis=None)[(x.size - 1) // 2]
    return _kth(x, (x.shape[dim] + 1) // 2, dim, keepdim)


def _mode(x, dim=-1, keepdim=False):
    def line(row):
        values, counts = np.unique(row, return_counts=True)
        return values[counts.argmax()]

    values = np.apply_along_axis(line, dim, x)
    return np.expand_dims(values, dim) if keepdim else values


def _unique(x, sorted=True, return_inverse=False, return_counts=False, dim=None):
    return np.unique(x, return_inverse=return_inverse, return_counts=return_counts, axis=dim)


def _runs(x, return_inverse=False, return_counts=False, dim=None):
    """The first of each run; with what was asked for."""
    shape = x.shape
    x = x.reshape(-1) if dim is None else x
    n = x.shape[dim or 0]
    flat = np.moveaxis(x, dim or 0, 0).reshape(n, -1)
    first = np.concatenate([[True], (flat[1:] != flat[:-1]).any(1)])
    out = [np.compress(first, x, dim or 0)]
    if return_inverse:
        at = np.cumsum(first) - 1
        out.append(at if dim is not None else at.reshape(shape))
    if return_counts:
        out.append(np.diff([*np.flatnonzero(first), n]))
    return tuple(out) if len(out) > 1 else out[0]


def _quantile(f):
    def quantile(x, q, dim=None, keepdim=False, interpolation="linear"):
        return f(x, q, axis=dim, keepdims=keepdim, method=interpolation)

    return quantile


def _histogram(x, bins=100, range=None, weight=None, density=False):
    return np.histogram(x, bins, range, density=density)


def _search(sequence, values, out_int32=False, right=False):
    return np.searchsorted(sequence, values, "right" if right else "left")


def _nonzero_static(x, size, fill_value=-1):
    found = np.argwhere(x)[:size]
    return np.concatenate([found, np.full((size - len(found), x.ndim), fill_value)])


def _cumulative_trapezoid(y, x=None, dx=1, dim=-1):
    from scipy.integrate import cumulative_trapezoid

    return cumulative_trapezoid(y, x, dx, axis=dim)


def _gradient(x, spacing=None, dim=None, edge_order=1):
    out = np.gradient(_float(x), *([] if spacing is None else [spacing]), axis=dim,
                      edge_order=edge_order)
    return tuple(out) if isinstance(out, (list, tuple)) else (out,)


def _take_along(x, index, dim=None):
    return np.take_along_axis(x if dim is not None else x.reshape(-1),
                              index if dim is not None else index.reshape(-1), dim or 0)


# ---- the table -----------------------------------------------------------------------------------

_TERNARY = {
    "lerp": lambda x, end, w: x + w * (end - x),
    "addcmul": lambda x, a, b, value=1: x + value * a * b,
    "addcdiv": lambda x, a, b, value=1: x + value * a / b,
    "where": np.where, "where.indices": np.nonzero,
    "masked_fill": lambda x, mask, value: np.where(mask, np.asarray(value).astype(x.dtype), x),
    "isclose": lambda x, y, **how: np.isclose(x, y, **how),
}

_BINARY = {
    "add": lambda x, y, alpha=1: x + alpha * y, "sub": lambda x, y, alpha=1: x - alpha * y,
    "rsub": lambda x, y, alpha=1: y - alpha * x, "mul": np.multiply, "true_divide": np.true_divide,
    "floor_divide": np.floor_divide, "div": _divide, "div.mode": _truncated,
    "remainder": np.remainder, "fmod": np.fmod, "pow": lambda x, y: np.power(x, y),
    "maximum": np.maximum, "minimum": np.minimum, "fmax": np.fmax, "fmin": np.fmin,
    "atan2": lambda x, y: np.arctan2(_float(x), _float(y)), "hypot": np.hypot,
    "copysign": lambda x, y: np.copysign(_float(x), y),
    "logaddexp": lambda x, y: np.log(np.exp(x) + np.exp(y)),
    "xlogy": lambda x, y: sp.xlogy(_float(x), y), "gcd": np.gcd,
    "heaviside": np.heaviside,
    "bitwise_and": np.bitwise_and, "bitwise_or": np.bitwise_or, "bitwise_xor": np.bitwise_xor,
    "bitwise_left_shift": np.left_shift, "bitwise_right_shift": np.right_shift,
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater,
    "ge": np.greater_equal, "logical_and": np.logical_and, "logical_or": np.logical_or,
    "logical_xor": np.logical_xor, "max.other": np.maximum, "min.other": np.minimum,
    "clamp_min": np.maximum, "clamp_max": np.minimum, "complex": lambda a, b: a + 1j * b,
    "polar": lambda r, angle: r * np.exp(1j * angle),
}  # fmt: skip

_UNARY = {
    "neg": np.negative, "positive": lambda x: x, "abs": np.abs, "sign": _sign, "sgn": _sign,
    "signbit": np.signbit, "square": np.square, "reciprocal": lambda x: 1 / _float(x),
    "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "frac": lambda x: x - np.trunc(x),
    "round": lambda x, decimals=0: np.round(x, decimals), "bitwise_not": np.invert,
    "rsqrt": _unary(lambda x: 1 / np.sqrt(x)), "sigmoid": _unary(lambda x: 1 / (1 + np.exp(-x))),
    "logit": lambda x, eps=None: sp.logit(_float(x) if eps is None else np.clip(x, eps, 1 - eps)),
    "sinc": _unary(np.sinc), "erf": _unary(sp.erf), "erfc": _unary(sp.erfc),
    "erfinv": _unary(sp.erfinv), "lgamma": _unary(sp.gammaln), "digamma": _unary(sp.psi),
    "deg2rad": _unary(np.deg2rad), "rad2deg": _unary(np.rad2deg),
    "logical_not": np.logical_not, "isnan": np.isnan, "isinf": np.isinf, "isfinite": np.isfinite,
    "isposinf": lambda x: np.isposinf(_float(x)), "isneginf": lambda x: np.isneginf(_float(x)),
    "isreal": np.isreal, "conj_physical": np.conj, "conj": np.conj,
    "angle": lambda x: np.angle(_float(x)),
    "real": np.real, "imag": np.imag, "resolve_conj": lambda x: x, "resolve_neg": lambda x: x,
    "adjoint": lambda x: x.swapaxes(-1, -2).conj(), "clamp": _clamp,
    "nan_to_num": lambda x, nan=0.0, posinf=None, neginf=None: np.nan_to_num(x, True, nan, posinf,
                                                                             neginf),
    **{name: _unary(getattr(np, name)) for name in (
        "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "sin", "cos", "tan",
        "sinh", "cosh", "tanh")},
    **{name: _unary(getattr(np, f"arc{name[1:]}")) for name in (
        "asin", "acos", "atan", "asinh", "acosh", "atanh")},
}  # fmt: skip

_ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0), "nn.functional.gelu": _gelu,
    "nn.functional.silu": lambda x: x / (1 + np.exp(-x)),
    "nn.functional.mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    "nn.functional.softplus": _softplus, "nn.functional.log_sigmoid": sp.log_expit,
    "nn.functional.elu": lambda x, alpha=1: np.where(x > 0, x, alpha * np.expm1(x)),
    "celu": lambda x, alpha=1: np.where(x > 0, x, alpha * np.expm1(x / alpha)),
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
    "nn.functional.leaky_relu": lambda x, slope=0.01, **k: np.where(x > 0, x,
                                                                    k.get("negative_slope",
                                                                          slope) * x),
    "nn.functional.hardtanh": lambda x, min_val=-1, max_val=1: np.minimum(np.maximum(x, min_val),
                                                                          max_val),
    "nn.functional.relu6": lambda x: np.clip(x, 0, 6),
    "nn.functional.hardsigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "nn.functional.hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "hardshrink": lambda x, lambd=0.5: np.where(np.abs(x) <= lambd, 0, x),
    "nn.functional.softshrink": lambda x, lambd=0.5: np.sign(x) * np.maximum(np.abs(x) - lambd, 0),
    "nn.functional.threshold": lambda x, threshold, value: np.where(x > threshold, x, value),
    "nn.functional.softsign": lambda x: x / (1 + np.abs(x)),
    "nn.functional.tanhshrink": lambda x: x - np.tanh(_float(x)),
}  # fmt: skip

_REDUCTIONS = {
    "sum": _reduction(np.sum, True), "nansum": _reduction(np.nansum, True),
    "mean": _reduction(np.mean), "nanmean": _reduction(np.nanmean),
    "prod": _reduction(np.prod, True),
    "amax": _reduction(np.max), "amin": _reduction(np.min), "max": _reduction(np.max),
    "min": _reduction(np.min), "any": _truth(np.any), "all": _truth(np.all),
    "aminmax": lambda x, dim=None, keepdim=False: (
        x.min(axis=dim, keepdims=keepdim), x.max(axis=dim, keepdims=keepdim)),
    "max.dim": _extreme(np.max, np.argmax), "min.dim": _extreme(np.min, np.argmin),
    "argmax": _reduction(np.argmax), "argmin": _reduction(np.argmin),
    "count_nonzero": lambda x, dim=None: np.count_nonzero(x, axis=_axis(dim)),
    "var": _moment(np.var), "std": _moment(np.std), "var_mean": _moment(np.var, True),
    "std_mean": _moment(np.std, True),
    "logsumexp": lambda x, dim, keepdim=False: sp.logsumexp(_float(x), axis=_axis(dim),
                                                            keepdims=keepdim),
    "cumsum": lambda x, dim, dtype=None: np.cumsum(_whole(x), dim),
    "cumprod": lambda x, dim, dtype=None: np.cumprod(_whole(x), dim),
    "cummax": _where_scan(np.maximum), "cummin": _where_scan(np.minimum),
    "softmax": _softmax, "log_softmax": lambda x, dim, dtype=None: np.log(_softmax(x, dim)),
    "nn.functional.layer_norm": _layer_norm, "nn.functional.rms_norm": _rms_norm,
    "nn.functional.batch_norm": _batch_norm, "trace": lambda x: _whole(x).trace(),
}  # fmt: skip

_CREATION = {
    "zeros": lambda size, dtype: np.zeros(size), "ones": lambda size, dtype: np.ones(size),
    "full": lambda size, value, dtype: np.full(size, value),
    "zeros_like": np.zeros_like, "ones_like": np.ones_like, "full_like": np.full_like,
    "new_zeros": lambda x, *size: np.zeros(np.ravel(size).astype(int), x.dtype),
    "new_ones": lambda x, *size: np.ones(np.ravel(size).astype(int), x.dtype),
    "new_full": lambda x, size, value: np.full(size, value, x.dtype),
    "arange": lambda end, dtype=None: np.arange(end),
    "arange.start": lambda start, end, step=1, dtype=None: np.arange(start, end, step),
    "linspace": lambda start, end, steps, dtype=None: np.linspace(start, end, steps),
    "logspace": lambda start, end, steps, dtype, base: np.logspace(start, end, steps, base=base),
    "eye": lambda n, m=None, dtype=None: np.eye(n, m), "clone": lambda x: x,
    "fill_": lambda x, value: np.full_like(x, value), "zero_": np.zeros_like,
    "copy_": lambda x, src: np.broadcast_to(src, x.shape).astype(x.dtype),
    "to": lambda x, *how, dtype=None, **more: x.real.astype(float) if dtype else x,
    "to.dtype": lambda x, dtype, copy=False: x.real.astype(float),
    "to.other": lambda x, other: x.real.astype(float), "cpu": lambda x: x,
    "type_as": lambda x, other: x, "contiguous": lambda x: x,
    **dict.fromkeys(("half", "bfloat16", "float", "double"), lambda x: x.real.astype(float)),
    **dict.fromkeys(("chalf", "cfloat", "cdouble"), lambda x: x.astype(complex)),
    "bool": lambda x: x != 0,
    **{name: lambda x, _t=t: x.real.astype(np.int64).astype(_t) for name, t in (
        ("byte", np.uint8), ("char", np.int8), ("short", np.int16), ("int", np.int32),
        ("long", np.int64))},
}  # fmt: skip

_VIEWS = {
    "alias": lambda x: x, "view": np.reshape, "view.dtype": lambda x, dtype: x,
    "reshape": np.reshape, "ravel": np.ravel,
    "flatten": np.ravel, "permute": np.transpose, "transpose": np.swapaxes,
    "t": np.transpose, "select": lambda x, dim, index: np.take(x, index, dim),
    "narrow": lambda x, dim, start, n: np.take(x, range(start, start + n), dim),
    "expand": _expand, "broadcast_to": _expand, "squeeze": _squeeze, "unsqueeze": np.expand_dims,
    "as_strided": _strided, "diagonal": np.diagonal, "unfold": _windows, "split": _splits,
    "unbind": lambda x, dim=0: tuple(np.moveaxis(x, dim, 0)),
    "view_as_real": lambda x: np.stack([x.real, x.imag], -1),
    "view_as_complex": lambda x: x[..., 0] + 1j * x[..., 1],
}  # fmt: skip

_SHAPES = {
    **_VIEWS, **{f"{name}_copy": f for name, f in _VIEWS.items()
                if name not in ("reshape", "ravel", "flatten", "broadcast_to", "view.dtype")},
    **dict.fromkeys(("view.dtype", "view_copy.dtype"), lambda x, dtype: x),
    "slice_copy": lambda x: x,
    "view_as": lambda x, other: x.reshape(other.shape),
    "reshape_as": lambda x, other: x.reshape(other.shape),
    "expand_as": lambda x, other: np.broadcast_to(x, other.shape),
    "unflatten": lambda x, dim, sizes: x.reshape(*x.shape[:dim], *sizes, *x.shape[dim + 1 :]),
    "movedim": np.moveaxis, "chunk": _chunk,
    "tensor_split": lambda x, at, dim=0: tuple(np.array_split(x, at, dim)),
    "sum_to_size": lambda x, sizes: x.sum(0, keepdims=True).reshape(sizes),
    "cat": np.concatenate, "stack": np.stack, "hstack": np.hstack, "vstack": np.vstack,
    "dstack": np.dstack, "column_stack": np.column_stack,
    "hsplit": lambda x, at: tuple(np.hsplit(x, at)),
    "vsplit": lambda x, at: tuple(np.vsplit(x, at)),
    "dsplit": lambda x, at: tuple(np.dsplit(x, at)),
    "flip": lambda x, dims: np.flip(x, tuple(dims)), "fliplr": np.fliplr, "flipud": np.flipud,
    "rot90": np.rot90,
    "roll": lambda x, shifts, dims=None: np.roll(x, shifts, tuple(dims) if dims else None),
    "repeat": np.tile, "tile": np.tile,
    "repeat_interleave": lambda x, n, dim=None: np.repeat(x, n, dim),
    "repeat_interleave.counts": lambda n: np.repeat(np.arange(len(n)), n),
    "diag_embed": _diag_embed, "diag": np.diag, "diagflat": np.diagflat,
    "vander": lambda x, N=None, increasing=False: np.vander(_whole(x), N, increasing),
    "tril": np.tril, "triu": np.triu, "combinations": _combinations,
    "tril_indices": lambda n, m, k=0: np.stack(np.tril_indices(n, k, m)),
    "triu_indices": lambda n, m, k=0: np.stack(np.triu_indices(n, k, m)),
    "select_scatter": lambda x, src, dim, i: _replaced(x, (slice(None),) * dim + (i,), src),
    "slice_scatter": lambda x, src, dim=0, start=None, end=None, step=1: _replaced(
        x, (slice(None),) * dim + (slice(start, end, step),), src),
    "diagonal_scatter": _diagonal_scatter, "as_strided_scatter": _strided_scatter,
}  # fmt: skip

_INDEXING = {
    "index_select": lambda x, dim, index: np.take(x, index, dim),
    "gather": lambda x, dim, index: np.take_along_axis(
        x[tuple(slice(None) if d == dim else slice(n) for d, n in enumerate(index.shape))], index,
        dim),
    "scatter": lambda x, dim, index, src, reduce=None: _scatter(
        x, dim, index, src, _FOLDS.get(reduce, lambda old, new: new)),
    "scatter_add": lambda x, dim, index, src: _scatter(x, dim, index, src, _FOLDS["sum"]),
    "scatter_reduce": lambda x, dim, index, src, how: _scatter(x, dim, index, src, _FOLDS[how]),
    "index_add": lambda x, dim, index, src, alpha=1: _index_fold(x, dim, index, src * alpha,
                                                                 _FOLDS["sum"]),
    "index_reduce": lambda x, dim, index, src, how: _index_fold(x, dim, index, src, _FOLDS[how]),
    "index_copy": lambda x, dim, index, src: _index_fold(x, dim, index, src, lambda old, new: new),
    "index_fill": lambda x, dim, index, value: _replaced(x, (slice(None),) * dim + (index,), value),
    "index_put": lambda x, at, values, accumulate=False: _put(
        x, tuple(slice(None) if i is None else i for i in at), values, accumulate),
    "index_put_": lambda x, at, values: _put(x, tuple(at), values, False),
    "take": np.take,
    "masked_select": lambda x, mask: x[np.broadcast_to(mask, x.shape)],
    "masked_scatter": lambda x, mask, src: _replaced(x, mask, src.reshape(-1)[: mask.sum()]),
    **dict.fromkeys(("put", "put_"), lambda x, at, src, accumulate=False: _put(
        x.reshape(-1), at, src, accumulate).reshape(x.shape)),
    "take_along_dim": _take_along,
    "unravel_index": lambda at, shape: tuple(np.unravel_index(at, shape)),
    "nonzero": lambda x, as_tuple=False: np.nonzero(x) if as_tuple else np.argwhere(x),
    "argwhere": np.argwhere, "nonzero_static": _nonzero_static,
}  # fmt: skip


def _put(x, at, values, accumulate):
    out = x.copy()
    if accumulate:
        np.add.at(out, at, values)
    else:
        out[at] = values
    return out


_CONVOLUTIONS = {
    "nn.functional.linear": _linear, "convolution": _convolution_entry,
    **{f"conv{n}d": _convolution for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": _transposed for n in (1, 2, 3)},
}  # fmt: skip

_LOSSES = {
    "nn.functional.mse_loss": _loss(lambda x, t: (x - t) ** 2),
    "nn.functional.l1_loss": _loss(lambda x, t: np.abs(x - t)),
    "nn.functional.smooth_l1_loss": _loss(_huber), "nn.functional.huber_loss": _loss(_huber),
    "nn.functional.binary_cross_entropy": _loss(lambda p, t:
        -(t * np.log(p) + (1 - t) * np.log1p(-p))),
    "nn.functional.binary_cross_entropy_with_logits": _loss(
        lambda x, t: -(t * sp.log_expit(x) + (1 - t) * sp.log_expit(-x))),
    "nn.functional.kl_div": _loss(_kl), "nn.functional.nll_loss": _nll,
    "nn.functional.cross_entropy": _cross_entropy,
}  # fmt: skip

_STATISTICS = {
    "sort": _sorted, "msort": lambda x: np.sort(x, 0),
    "argsort": lambda *a, **k: _sorted(*a, **k)[1],
    "topk": _topk, "kthvalue": _kth, "unique": _unique, "unique_consecutive": _runs,
    "searchsorted": _search, "bucketize": lambda x, edges, **k: _search(edges, x, **k),
    "bincount": _bincount, "median": _median, "nanmedian": _median,
    "quantile": _quantile(np.quantile), "nanquantile": _quantile(np.nanquantile),
    "histc": lambda x, bins=100, min=0, max=0: np.histogram(
        x, bins, (min, max) if min < max else None)[0].astype(x.dtype),
    "histogram": _histogram, "cov": lambda x, correction=1: np.cov(x, ddof=correction),
    "corrcoef": np.corrcoef,
    "diff": lambda x, n=1, dim=-1, *ends: np.diff(x, n, dim, *ends), "gradient": _gradient,
    "trapezoid": lambda y, x=None, dx=1, dim=-1: np.trapezoid(y, x, dx, dim),
    "cumulative_trapezoid": _cumulative_trapezoid,
    "isin": lambda x, tests, invert=False: np.isin(x, tests, invert=invert),
}  # fmt: skip

_SPECIAL = {
    "i0": _unary(sp.i0),
    **{f"special.{n}": _unary(getattr(sp, n)) for n in (
        "i0e", "i1", "i1e", "erfcx", "ndtr", "log_ndtr", "ndtri", "entr")},
    "special.modified_bessel_i0": _unary(sp.i0), "special.modified_bessel_i1": _unary(sp.i1),
    "special.modified_bessel_k0": _unary(sp.k0), "special.modified_bessel_k1": _unary(sp.k1),
    "special.scaled_modified_bessel_k0": _unary(sp.k0e),
    "special.scaled_modified_bessel_k1": _unary(sp.k1e),
    "special.bessel_j0": _unary(sp.j0), "special.bessel_j1": _unary(sp.j1),
    "special.bessel_y0": _unary(sp.y0), "special.bessel_y1": _unary(sp.y1),
    "special.spherical_bessel_j0": _unary(lambda x: sp.spherical_jn(0, x)),
    "special.xlog1py": lambda x, y: sp.xlog1py(_float(x), y),
    "special.zeta": lambda s, q: sp.zeta(_float(s), q),
}  # fmt: skip

ORACLES = {
    **_UNARY, **_BINARY, **_TERNARY, **_ACTIVATIONS, **_REDUCTIONS, **_CREATION, **_SHAPES,
    **_INDEXING, **_CONVOLUTIONS, **_LOSSES, **_STATISTICS, **_SPECIAL,
}  # fmt: skip


# ---- conditions, where several results are right -------------------------------------------------


def _same(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def _check_mode(result, x, dim=-1, keepdim=False):
    values, indices = result
    _same(values, _mode(x, dim, keepdim))
    at = indices if keepdim else np.expand_dims(indices, dim)
    _same(np.take_along_axis(x, at, dim), values if keepdim else np.expand_dims(values, dim))


CHECKS = {
    "mode": _check_mode, "nextafter": lambda r, x, y: None,
}  # fmt: skip
