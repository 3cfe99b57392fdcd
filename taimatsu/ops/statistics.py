"""Order statistics, histograms, covariance, differences and integrals."""

from __future__ import annotations

import math

from taimatsu import _core
from taimatsu._core import int64

from .arithmetic import lerp
from .comparison import where
from .conversion import complex_, conj
from .creation import linspace
from .indexing import gather
from .linalg import matmul
from .shape import cat, wrap_dim
from .sorting import element_gradient, sort
from .table import composite, native

# ---- the middle, and other quantiles -------------------------------------------------------------


def _line(self, dim: int):
    """`self` with one dim at least, `dim`, and what makes it 0-dim again if it was."""
    dim = wrap_dim(dim, self.dim())
    return (self, dim) if self.dim() else (self.reshape(1), 0)


def _medians(name: str, doc: str) -> None:
    along = native(
        f"{name}.dim(Tensor self, int dim, bool keepdim=False) -> (Tensor values, Tensor indices)",
        out=True, doc=f"{doc} along `dim`, and where it is; of two the lower.",
    ).gradient(self=element_gradient)

    @composite(f"{name}(Tensor self) -> Tensor", doc=f"{doc} of all elements; of two the lower.",
               out=False)
    def whole(self):
        if self.numel() == 0:
            return self.new_full([], math.nan if self.dtype.is_floating_point else
                                 _core.tensor(0).item())
        return along(self.reshape(-1), 0)[0]

    @whole.gradient
    def _(g, self, result):
        equal = (self == result) | (self.isnan() & result.isnan())
        return where(equal, g / equal.sum(), 0)


_medians("median", "The middle element")
_medians("nanmedian", "The middle element, NaN left out,")

mode = native(
    "mode(Tensor self, int dim=-1, bool keepdim=False) -> (Tensor values, Tensor indices)",
    out=True,
    doc="The most frequent element along `dim`, the smallest of equals, and where it is last.",
).gradient(self=element_gradient)


_BETWEEN = ("linear", "lower", "higher", "midpoint", "nearest")


def _quantile(name, self, q, dim, keepdim, interpolation, ignore_nan):
    if not self.dtype.is_floating_point or self.dtype.itemsize < 4:
        raise RuntimeError(f"{name}() input tensor must be either float or double dtype; got "
                           f"{self.dtype}")
    if self.numel() == 0:
        raise RuntimeError(f"{name}() input tensor must be non-empty")
    if interpolation not in _BETWEEN:
        raise RuntimeError(f"{name}() interpolation must be one of linear, lower, higher, midpoint "
                           f"or nearest, but got {interpolation}")
    if not isinstance(q, _core.Tensor):
        if not 0 <= q <= 1:
            raise RuntimeError(f"{name}() q must be in the range [0, 1] but got {q}")
        q = _core.tensor(q, dtype=self.dtype, device=self.device)
    if q.dtype != self.dtype:
        raise RuntimeError(f"{name}() q tensor must be same dtype as the input tensor; got "
                           f"{q.dtype} and {self.dtype}")
    if q.dim() > 1:
        raise RuntimeError(f"{name}() q must be a scalar or 1D tensor; got {q.dim()}D")
    if q.numel() and not q.is_meta and not bool(((q >= 0) & (q <= 1)).all()):
        raise RuntimeError(f"{name}() q values must be in the range [0, 1]")
    if dim is None:
        x, last = self.reshape(-1), 0
        shape = [1] * self.dim()
    else:
        x, last = _line(self, dim)
        shape = list(x.shape)
        shape[last] = 1
        shape = shape if keepdim else shape[:last] + shape[last + 1 :]
        shape = shape if self.dim() else []
    ordered = sort(x.movedim(last, -1) if x.dim() > 1 else x, -1)[0]
    found = _between(ordered, q.reshape(-1), interpolation, ignore_nan)
    found = found.movedim(-1, 0)
    inner = list(found.shape[1:]) if dim is not None else []
    if keepdim:
        inner = shape
    found = found.reshape([q.numel(), *inner])
    return found if q.dim() else found.reshape(inner)


def _between(ordered, q, interpolation, ignore_nan):
    """The quantiles `q` of sorted rows, along the last dim."""
    nan = ordered.isnan()
    if ignore_nan:
        last = (~nan).sum(-1, keepdim=True) - 1
        rank = q * last.clamp(min=0).to(q.dtype)
        gone = last < 0
    else:
        rank = (q * (ordered.size(-1) - 1)).expand([*ordered.shape[:-1], q.numel()])
        gone = nan.any(-1, keepdim=True)
    if interpolation == "lower":
        rank = rank.floor()
    elif interpolation == "higher":
        rank = rank.ceil()
    elif interpolation == "nearest":
        rank = rank.round()
    low = rank.floor().long()
    below = gather(ordered, -1, low)
    if interpolation in ("linear", "midpoint"):
        part = 0.5 if interpolation == "midpoint" else rank - rank.floor()
        below = lerp(below, gather(ordered, -1, rank.ceil().long()), part)
    return where(gone, math.nan, below)


def _quantiles(name: str, ignore_nan: bool, doc: str) -> None:
    @composite(f"{name}(Tensor self, Tensor|Number q, int? dim=None, bool keepdim=False, *,"
               " str interpolation='linear') -> Tensor", doc=doc, out=True)
    def quantile(self, q, dim, keepdim, interpolation):
        return _quantile(name, self, q, dim, keepdim, interpolation, ignore_nan)


_quantiles("quantile", False, """The values below which the shares `q` (in [0, 1]) of elements lie.

    Result: the sizes of `self` without `dim`, in front those of a 1-D `q`. `interpolation` says
    what is taken between two elements: "linear", "lower", "higher", "midpoint" or "nearest".

    >>> taimatsu.quantile(taimatsu.tensor([0.0, 1.0, 2.0]), 0.25)
    tensor(0.5000)
    """)
_quantiles("nanquantile", True, "`quantile` of the elements that aren't NaN.")


@composite("nanmean(Tensor self, int[1]? dim=None, bool keepdim=False, *, ScalarType? dtype=None)"
           " -> Tensor", out=True)
def nanmean(self, dim, keepdim, dtype):
    """The mean of the elements that aren't NaN."""
    if not (self.dtype.is_floating_point or self.is_complex()):
        raise RuntimeError("nanmean(): expected input to have floating point or complex dtype but "
                           f"got {self.dtype}")
    x = self if dtype is None else self.to(dtype)
    count = (~x.isnan()).sum(dim, keepdim=keepdim)
    return x.nansum(dim, keepdim=keepdim) / count


# ---- histograms ----------------------------------------------------------------------------------


def _range(name, self, low, high):
    if not math.isfinite(low) or not math.isfinite(high):
        raise RuntimeError(f"{name}: range of [{low}, {high}] is not finite")
    if low > high:
        raise RuntimeError(f"{name}: max must be larger than min; got {low} and {high}")
    if low == high and self.numel() and not self.is_meta:
        low, high = float(self.min()), float(self.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise RuntimeError(f"{name}: range of [{low}, {high}] is not finite")
    return (low - 1, high + 1) if low == high and name == "torch.histc" else \
        (low - 0.5, high + 0.5) if low == high else (low, high)


_HIDDEN = {"method": False, "module": None, "out": False, "doc": ""}
_histc = native("_histc(Tensor self, int bins, float low, float high) -> Tensor", **_HIDDEN)
_histogram = native("_histogram(Tensor self, Tensor edges, Tensor? weight) -> Tensor", **_HIDDEN)


@composite("histc(Tensor self, int bins=100, Number min=0, Number max=0) -> Tensor", out="exact")
def histc(self, bins, min, max):
    """How many elements lie in each of `bins` equal parts of [min, max].

    With min = max the range is that of the elements; what is outside isn't counted.
    """
    if bins <= 0:
        raise RuntimeError(f"torch.histc: bins must be > 0; got {bins}")
    if not self.dtype.is_floating_point and self.device.type == "cpu":
        raise NotImplementedError(f"histc: not defined for {self.dtype}; convert to a floating one")
    x = self.detach().reshape(-1)
    low, high = _range("torch.histc", x, float(min), float(max))
    return _histc(x, bins, low, high)


@composite("histogram(Tensor self, int bins=100, *, float[]? range=None, Tensor? weight=None,"
           " bool density=False) -> (Tensor hist, Tensor bin_edges)", out=True)
def histogram(self, bins, range, weight, density):
    """How many elements (or what `weight`) lie in each of `bins` equal parts, and the edges."""
    if bins <= 0:
        raise RuntimeError(f"histogram(): bins must be > 0, but got {bins}")
    if range is not None and len(range) != 2:
        raise RuntimeError(f"histogram(): range should have 2 elements, but got {len(range)}")
    x = self.detach().reshape(-1)
    low, high = _range("histogram()", x, *(range or (0.0, 0.0)))
    if range is None and x.numel() == 0:
        low, high = 0.0, 1.0
    edges = linspace(low, high, bins + 1, dtype=self.dtype, device=self.device)
    return _counted(x, edges, weight, density), edges


@composite("histogram.edges(Tensor self, Tensor bins, *, Tensor? weight=None, bool density=False)"
           " -> (Tensor hist, Tensor bin_edges)", out=True)
def histogram_edges(self, bins, weight, density):
    """How many elements lie between the given edges, which rise."""
    if bins.dim() != 1:
        raise RuntimeError(f"histogram(): bins tensor should have 1 dimension,"
                           f" but got {bins.dim()}")
    if bins.dtype != self.dtype:
        raise RuntimeError("histogram(): input tensor and bins tensors should have the same dtype; "
                           f"got {self.dtype} and {bins.dtype}")
    return _counted(self.detach().reshape(-1), bins, weight, density), bins.clone()


def _counted(x, edges, weight, density):
    if not x.dtype.is_floating_point:
        raise NotImplementedError(
            f"histogram: not defined for {x.dtype}; convert to a floating one"
        )
    if weight is not None:
        if weight.shape != x.shape and weight.numel() != x.numel():
            raise RuntimeError("histogram(): if weight tensor is provided it should have the same "
                               f"shape as the input; got {list(weight.shape)}")
        weight = weight.detach().reshape(-1).to(x.dtype)
    hist = _histogram(x, edges, weight)
    return hist / (hist.sum() * (edges[1:] - edges[:-1])) if density else hist


# ---- covariance ----------------------------------------------------------------------------------


@composite("cov(Tensor self, *, int correction=1, Tensor? fweights=None, Tensor? aweights=None)"
           " -> Tensor", out=False)
def cov(self, correction, fweights, aweights):
    """The covariance matrix of variables in rows, with observations in columns.

    fweights   how often each observation occurs; aweights   how much each counts.
    """
    if self.dim() > 2:
        raise RuntimeError("cov(): expected input to have two or fewer dimensions but got an input "
                           f"with {self.dim()} dimensions")
    if self.dtype == _core.bool:
        raise RuntimeError("cov(): bool dtype is not supported for input")
    x = self if self.dim() == 2 else self.reshape(1, -1)
    weights = None
    for name, given, integral in (("fweights", fweights, True), ("aweights", aweights, False)):
        if given is None:
            continue
        _check_weights(name, given, integral, x.size(1))
        weights = given if weights is None else weights * given
    x = x if x.dtype.is_floating_point or x.is_complex() else x.to(_core.get_default_dtype())
    if weights is None:
        total, count = x.size(1), x.size(1) - correction
        average = x.sum(1, keepdim=True) / total if total else x.sum(1, keepdim=True) * math.nan
        centred = x - average
        product = matmul(centred, conj(centred).t())
    else:
        scale = weights if weights.dtype.is_floating_point else weights.to(x.dtype)
        total = scale.sum()
        if total.item() == 0:
            raise RuntimeError("cov(): weights sum to zero, can't be normalized")
        average = (x * scale).sum(1, keepdim=True) / total
        if correction and aweights is not None:
            count = total - correction * (scale * aweights).sum() / total
        else:
            count = total - correction
        centred = x - average
        product = matmul(centred, conj(centred * scale).t())
        count = count.real.clamp(min=0) if count.is_complex() else count.clamp(min=0)
        return (product / count).squeeze()
    return (product / max(count, 0)).squeeze()


def _check_weights(name, given, integral, n):
    if given.dim() > 1:
        raise RuntimeError(f"cov(): expected {name} to have one or fewer dimensions but got {name} "
                           f"with {given.dim()} dimensions")
    if integral and (given.dtype.is_floating_point or given.is_complex()
                     or given.dtype == _core.bool):
        raise RuntimeError(f"cov(): expected {name} to have integral dtype but got {name} with "
                           f"{given.dtype} dtype")
    if not integral and not given.dtype.is_floating_point:
        raise RuntimeError(f"cov(): expected {name} to have floating point dtype but got {name} "
                           f"with {given.dtype} dtype")
    if given.numel() != n:
        raise RuntimeError(f"cov(): expected {name} to have the same numel as there are "
                           f"observations in the input but got {given.numel()} != {n}")
    if given.numel() and bool((given < 0).any()):
        raise RuntimeError(f"cov(): {name} cannot be negative")


@composite("corrcoef(Tensor self) -> Tensor", out=False)
def corrcoef(self):
    """The matrix of correlation coefficients of variables in rows."""
    if self.dim() > 2:
        raise RuntimeError("corrcoef(): expected input to have two or fewer dimensions but got an "
                           f"input with {self.dim()} dimensions")
    c = cov(self)
    if c.dim() == 0:
        return c / c
    d = (c.diagonal().real if c.is_complex() else c.diagonal()).sqrt()
    c = c / d.unsqueeze(1) / d
    if c.is_complex():
        return complex_(c.real.clamp(-1, 1), c.imag.clamp(-1, 1))
    return c.clamp(-1, 1)


# ---- differences and integrals -------------------------------------------------------------------


@composite("diff(Tensor self, int n=1, int dim=-1, Tensor? prepend=None, Tensor? append=None)"
           " -> Tensor", out=True)
def diff(self, n, dim, prepend, append):
    """The `n`-th differences of neighbours along `dim`; of bools whether they differ."""
    if self.dim() == 0:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    dim = wrap_dim(dim, self.dim())
    for name, other in (("prepend", prepend), ("append", append)):
        if other is not None and other.dim() != self.dim():
            raise RuntimeError(f"diff expects {name} or append to be the same dimension as input; "
                               f"got {other.dim()} and {self.dim()}")
    parts = [x for x in (prepend, self, append) if x is not None]
    x = cat(parts, dim) if len(parts) > 1 else self
    if n == 0:
        return self.clone()
    if n > x.size(dim):
        n = x.size(dim)
    for _ in range(n):
        m = x.size(dim) - 1
        high, low = x.narrow(dim, 1, m), x.narrow(dim, 0, m)
        x = high.logical_xor(low) if x.dtype == _core.bool else high - low
    return x


def _slopes(x, dim: int, step, edge_order: int):
    """The derivative along `dim` for neighbours `step` (a number, or coordinates) apart."""
    n = x.size(dim)
    if n < edge_order + 1:
        raise RuntimeError(
            "torch.gradient expected each dimension size to be at least edge_order+1"
        )

    def at(first, count):
        return x.narrow(dim, first, count)

    def shaped(h):
        return h.reshape([-1] + [1] * (x.dim() - dim - 1))

    if isinstance(step, _core.Tensor):
        if step.dim() != 1 or step.numel() != n:
            raise RuntimeError(f"torch.gradient expected spacing to be 1-D with {n} coordinates; "
                               f"got {list(step.shape)}")
        h = step[1:] - step[:-1]
    else:
        h = x.new_full([n - 1], step)
    a, b = shaped(h[:-1]), shaped(h[1:])
    middle = (-b / (a * (a + b))) * at(0, n - 2) + ((b - a) / (a * b)) * at(1, n - 2) \
        + (a / (b * (a + b))) * at(2, n - 2)
    if edge_order == 1:
        first = (at(1, 1) - at(0, 1)) / shaped(h[:1])
        last = (at(n - 1, 1) - at(n - 2, 1)) / shaped(h[-1:])
    else:
        a, b = shaped(h[:1]), shaped(h[1:2])
        first = -(2 * a + b) / (a * (a + b)) * at(0, 1) + (a + b) / (a * b) * at(1, 1) \
            - a / (b * (a + b)) * at(2, 1)
        a, b = shaped(h[-2:-1]), shaped(h[-1:])
        last = b / (a * (a + b)) * at(n - 3, 1) - (b + a) / (a * b) * at(n - 2, 1) \
            + (2 * b + a) / (b * (a + b)) * at(n - 1, 1)
    return cat([first, middle, last], dim)


@composite("gradient(Tensor self, *, Any spacing=None, Any dim=None, int edge_order=1)"
           " -> Tensor[]", method=False, out=False)
def gradient(self, spacing, dim, edge_order):
    """Derivatives along each dim (or those of `dim`), by second order differences inside.

    spacing      a number, one for each dim, or a tensor of coordinates for each
    edge_order   the order of the differences at the edges, 1 or 2
    """
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    if dim is None:
        dims = list(range(self.dim()))
    else:
        dims = [dim] if isinstance(dim, int) else list(dim)
        dims = [wrap_dim(d, self.dim()) for d in dims]
    if len(set(dims)) < len(dims):
        raise RuntimeError("torch.gradient: dim appears multiple times in the list of dims")
    if spacing is None:
        steps = [1] * len(dims)
    elif isinstance(spacing, (tuple, list)):
        steps = list(spacing)
    else:
        steps = [spacing] * len(dims)
    if len(steps) != len(dims):
        raise RuntimeError("torch.gradient expected spacing to be unspecified, a scalar, or a list "
                           f"of length equal to that of dims; got {len(steps)} and {len(dims)}")
    if self.dtype == _core.uint8:
        raise RuntimeError("torch.gradient does not support uint8 input.")
    if not (self.dtype.is_floating_point or self.is_complex()):
        self = self.to(_core.get_default_dtype())
    return tuple(_slopes(self, d, h, edge_order) for d, h in zip(dims, steps, strict=True))


def _widths(y, x, dim: int):
    """Distances between neighbouring coordinates, ready to multiply."""
    if x.dim() == 1 and y.dim() != 1:
        if x.numel() != y.size(dim):
            raise RuntimeError("trapezoid: There must be one `x` value for each sample point")
        x = x.reshape([-1] + [1] * (y.dim() - dim - 1))
        return x.narrow(0, 1, x.size(0) - 1) - x.narrow(0, 0, x.size(0) - 1)
    along = wrap_dim(dim - y.dim(), x.dim())
    n = x.size(along)
    return x.narrow(along, 1, n - 1) - x.narrow(along, 0, n - 1)


def _integral(y, x, dx, dim: int):
    """The sum of the panels; of equal ones, that of the points but for half of the ends."""
    if x is not None:
        return _panels(y, x, dx, dim).sum(dim)
    return (y.sum(dim) - (y.select(dim, 0) + y.select(dim, -1)) * 0.5) * dx


def _panels(y, x, dx, dim: int):
    n = y.size(dim)
    sums = y.narrow(dim, 1, n - 1) + y.narrow(dim, 0, n - 1)
    return sums * (_widths(y, x, dim) if x is not None else dx) / 2


def _trapezoids(name: str, combine, empty, doc: str, names=()):
    def run(y, x, dx, dim):
        dim = wrap_dim(dim, y.dim())
        if y.dtype == _core.bool or (x is not None and x.dtype == _core.bool):
            raise RuntimeError(f"{name}: received a bool input")
        if y.dim() == 0 or y.size(dim) == 0:
            return empty(y, dim)
        return combine(y, x, dx, dim)

    options = {"method": False, "out": False, "names": names}
    composite(f"{name}(Tensor y, Tensor x, *, int dim=-1) -> Tensor", doc=doc, **options)(
        lambda y, x, dim: run(y, x, None, dim))
    composite(f"{name}.dx(Tensor y, *, Number dx=1, int dim=-1) -> Tensor", doc=doc, **options)(
        lambda y, dx, dim: run(y, None, dx, dim))


_trapezoids("trapezoid", _integral,
            lambda y, dim: y.new_zeros([*y.shape[:dim], *y.shape[dim + 1 :]]),
            "The integral along `dim` by the trapezoidal rule, at coordinates `x` or `dx` apart.",
            ("trapz",))
_trapezoids("cumulative_trapezoid",
            lambda y, x, dx, dim: _panels(y, x, dx, dim).cumsum(dim), lambda y, dim: y / 2,
            "The running integral along `dim` by the trapezoidal rule.")


# ---- membership ----------------------------------------------------------------------------------


_isin = native("_isin(Tensor elements, Tensor tests, bool invert) -> Tensor", **_HIDDEN)


@composite("isin(Tensor|Number elements, Tensor|Number test_elements, *, bool assume_unique=False,"
           " bool invert=False) -> Tensor", method=False, out=True)
def isin(elements, test_elements, assume_unique, invert):
    """Where an element is one of `test_elements`, or with `invert` where it isn't."""
    x, tests = (x if isinstance(x, _core.Tensor) else _core.tensor(x)
                for x in (elements, test_elements))
    if x.dtype != tests.dtype:
        dtype = _core.result_type(x, tests)
        x, tests = x.to(dtype), tests.to(dtype)
    return _isin(x, tests, invert)


@composite("nonzero_static(Tensor self, *, int size, int fill_value=-1) -> Tensor", out=True)
def nonzero_static(self, size, fill_value):
    """The first `size` rows of `nonzero`, filled up with `fill_value`."""
    if size < 0:
        raise RuntimeError(f"nonzero_static: 'size' must be an non-negative integer; got {size}")
    if self.is_meta:
        return self.new_empty([size, self.dim()], dtype=int64)
    found = self.nonzero()[:size]
    missing = found.new_full([size - found.size(0), found.size(1)], fill_value, dtype=int64)
    return cat([found, missing], 0)


