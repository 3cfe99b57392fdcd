"""Random numbers. A seed gives the same numbers with any number of threads."""

from __future__ import annotations

from typing import Any

from .creation import TENSOR_OPTIONS, empty, empty_like
from .table import composite, core_composite, native

_G = "*, Generator? generator=None"


def _zero(g):
    return g.new_zeros(g.shape)


def _fill(schema: str, doc: str, **options):
    op = native(schema, doc=doc, out=False, **options)
    return op.gradient(self=_zero)  # what was there before is gone


uniform_ = _fill(
    f"uniform_(Tensor(a!) self, float from=0, float to=1, {_G}) -> Tensor(a!)",
    """Fills with numbers drawn uniformly from [from, to).

    RuntimeError if from > to; NotImplementedError for integers.

    >>> x = taimatsu.empty(3).uniform_(-1, 1)
    """,
)
normal_ = _fill(
    f"normal_(Tensor(a!) self, float mean=0, float std=1, {_G}) -> Tensor(a!)",
    """Fills with numbers drawn from the normal distribution.

    RuntimeError if std < 0.
    """,
)
exponential_ = _fill(
    f"exponential_(Tensor(a!) self, float lambd=1, {_G}) -> Tensor(a!)",
    "Fills with numbers of density lambd exp(-lambd x). RuntimeError unless lambd > 0.",
)
geometric_ = _fill(
    f"geometric_(Tensor(a!) self, float p, {_G}) -> Tensor(a!)",
    "Fills with the number of trials until the first success, of probability 0 < p < 1.",
)
cauchy_ = _fill(
    f"cauchy_(Tensor(a!) self, float median=0, float sigma=1, {_G}) -> Tensor(a!)",
    "Fills with numbers drawn from the Cauchy distribution.",
)
log_normal_ = _fill(
    f"log_normal_(Tensor(a!) self, float mean=1, float std=2, {_G}) -> Tensor(a!)",
    "Fills with exponentials of normal numbers of the given `mean` and `std`.",
)
random_from = _fill(
    f"random_.from(Tensor(a!) self, int from, int? to, {_G}) -> Tensor(a!)",
    "Fills with integers drawn uniformly from [from, to).",
)
random_to = _fill(
    f"random_.to(Tensor(a!) self, int to, {_G}) -> Tensor(a!)",
    "Fills with integers drawn uniformly from [0, to).",
)
random_ = _fill(
    f"random_(Tensor(a!) self, {_G}) -> Tensor(a!)",
    "Fills with integers drawn uniformly from all that the dtype counts through.",
)
bernoulli_tensor = _fill(
    f"bernoulli_.Tensor(Tensor(a!) self, Tensor p, {_G}) -> Tensor(a!)",
    "Fills with ones of probability `p` (which broadcasts), else zeros.",
).gradient(self=_zero, p=lambda p_like: p_like.new_zeros(p_like.shape))
bernoulli_ = _fill(
    f"bernoulli_.float(Tensor(a!) self, float p=0.5, {_G}) -> Tensor(a!)",
    "Fills with ones of probability `p`, else zeros. RuntimeError unless 0 <= p <= 1.",
)
_randperm_ = native(f"_randperm_(Tensor(a!) self, {_G}) -> Tensor(a!)", doc="", out=False)

multinomial = native(
    "multinomial(Tensor self, int num_samples, bool replacement=False, *,"
    " Generator? generator=None) -> Tensor",
    out="exact",
    doc="""`num_samples` indices drawn with probabilities (up to a factor) from each row of `self`.

    self: (n) or (rows, n), floating. Result: int64, (num_samples) or (rows, num_samples).
    RuntimeError for negative or non-finite weights, a row of zeros, or more samples than
    indices without replacement.

    >>> taimatsu.multinomial(taimatsu.tensor([0.0, 1.0]), 1)
    tensor([1])
    """,
).gradient(self=lambda g: None)


# ---- factories ----------------------------------------------------------------------------------

_NEW = f"{_G}, {TENSOR_OPTIONS}"
_LIKE = f"{_NEW}, MemoryFormat? memory_format=None"
_FACTORY = {"method": False, "out": True}


def _made(size, dtype, device) -> Any:
    return empty(size, dtype=dtype, device=device)


def _finished(out, requires_grad):
    return out.requires_grad_() if requires_grad else out


rand = core_composite(
    f"rand(int[] size, {_NEW}) -> Tensor",
    """Numbers drawn uniformly from [0, 1).

    >>> taimatsu.rand(2, 3).shape
    torch.Size([2, 3])
    """,
    **_FACTORY,
)
randn = core_composite(
    f"randn(int[] size, {_NEW}) -> Tensor",
    "Numbers drawn from the standard normal distribution; of complex ones the variance is 1.",
    **_FACTORY,
)


def _integers(out, low, high, generator):
    if low >= high:
        raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= "
                           f"to={high}")
    return out.random_(low, high, generator=generator)


@composite(f"randint(int high, int[] size, {_NEW}) -> Tensor", **_FACTORY)
def randint(high, size, generator, dtype, layout, device, pin_memory, requires_grad):
    """Integers drawn uniformly from [low, high), int64 unless `dtype` says otherwise.

    >>> taimatsu.randint(3, 5, (2,)).min() >= 3
    tensor(True)
    """
    return randint_low(0, high, size, generator=generator, dtype=dtype, device=device,
                       requires_grad=requires_grad)


@composite(f"randint.low(int low, int high, int[] size, {_NEW}) -> Tensor", **_FACTORY)
def randint_low(low, high, size, generator, dtype, layout, device, pin_memory, requires_grad):
    """Integers drawn uniformly from [low, high)."""
    from taimatsu import int64

    out = _integers(_made(size, dtype or int64, device), low, high, generator)
    return _finished(out, requires_grad)


@composite(f"randperm(int n, {_NEW}) -> Tensor", **_FACTORY)
def randperm(n, generator, dtype, layout, device, pin_memory, requires_grad):
    """The integers from 0 to n - 1 in random order."""
    from taimatsu import int64

    if n < 0:
        raise RuntimeError(f"randperm: n must be non-negative, got {n}")
    out = _randperm_(_made([n], dtype or int64, device), generator=generator)
    return _finished(out, requires_grad)


rand_like = core_composite(f"rand_like(Tensor self, {_LIKE}) -> Tensor",
                           "`rand` with the sizes of `self`.", method=False)
randn_like = core_composite(f"randn_like(Tensor self, {_LIKE}) -> Tensor",
                            "`randn` with the sizes of `self`.", method=False)


@composite(f"randint_like(Tensor self, int high, {_LIKE}) -> Tensor", method=False)
def randint_like(
    self, high, generator, dtype, layout, device, pin_memory, requires_grad, memory_format
):
    """`randint` with the sizes and dtype of `self`."""
    out = empty_like(self, dtype=dtype, device=device, memory_format=memory_format)
    return _finished(_integers(out, 0, high, generator), requires_grad)


@composite(f"randint_like.low(Tensor self, int low, int high, {_LIKE}) -> Tensor", method=False)
def randint_like_low(
    self, low, high, generator, dtype, layout, device, pin_memory, requires_grad, memory_format
):
    """`randint` with the sizes and dtype of `self`."""
    out = empty_like(self, dtype=dtype, device=device, memory_format=memory_format)
    return _finished(_integers(out, low, high, generator), requires_grad)


@composite(f"normal.sizes(float mean, float std, int[] size, {_NEW}) -> Tensor", **_FACTORY)
def normal_sizes(mean, std, size, generator, dtype, layout, device, pin_memory, requires_grad):
    """Normal numbers of given mean and standard deviation."""
    out = _made(size, dtype, device).normal_(mean, std, generator=generator)
    return _finished(out, requires_grad)


@composite(f"normal(Tensor|Number mean, Tensor|Number std=1.0, {_G}) -> Tensor", **_FACTORY)
def normal(mean, std, generator):
    """Normal numbers; element by element those of `mean` and `std`, which broadcast.

    RuntimeError if some std is negative.
    """
    from taimatsu import Tensor, broadcast_tensors

    if isinstance(std, Tensor):
        if std.numel() and not std.is_meta and bool((std < 0).any()):
            raise RuntimeError("normal expects all elements of std >= 0.0")
        like = broadcast_tensors(mean, std)[1] if isinstance(mean, Tensor) else std
        noise = empty_like(like.contiguous()).normal_(generator=generator) * std.detach()
    else:
        noise = empty_like(mean).normal_(0, std, generator=generator)
    return noise + (mean.detach() if isinstance(mean, Tensor) else mean)


@composite(f"bernoulli(Tensor self, {_G}) -> Tensor", out=True)
def bernoulli(self, generator):
    """Ones with the probabilities in `self`, else zeros.

    >>> taimatsu.bernoulli(taimatsu.tensor([0.0, 1.0]))
    tensor([0., 1.])
    """
    return self.new_empty(self.shape).bernoulli_(self, generator=generator)


@composite(f"bernoulli.p(Tensor self, float p, {_G}) -> Tensor")
def bernoulli_p(self, p, generator):
    """Ones of probability `p`, with the sizes of `self`."""
    return empty_like(self).bernoulli_(p, generator=generator)


# ---- of a tensor of parameters ------------------------------------------------------------------


poisson = native(
    "poisson(Tensor self, Generator? generator=None) -> Tensor", method=False,
    doc="""Numbers of events whose expected number is `self`, floating and not negative.

    RuntimeError for a negative rate.

    >>> taimatsu.poisson(taimatsu.tensor([0.0]))
    tensor([0.])
    """,
).gradient(self=_zero)  # fmt: skip

_binomial = native(
    "_binomial(Tensor count, Tensor prob, Generator? generator=None) -> Tensor", doc="",
).gradient(count=_zero, prob=_zero)  # fmt: skip


@composite("binomial(Tensor count, Tensor prob, Generator? generator=None) -> Tensor", method=False)
def binomial(count, prob, generator):
    """Numbers of successes in `count` trials of probability `prob`: two floating tensors.

    >>> taimatsu.binomial(taimatsu.tensor([4.0]), taimatsu.tensor([1.0]))
    tensor([4.])
    """
    from taimatsu import broadcast_tensors

    return _binomial(*broadcast_tensors(count, prob), generator)


_standard_gamma_grad = native("_standard_gamma_grad(Tensor self, Tensor output) -> Tensor", doc="")
_standard_gamma = native(
    "_standard_gamma(Tensor self, Generator? generator=None) -> Tensor", doc="",
)  # fmt: skip


@_standard_gamma.gradient
def _(g, self, result):
    return g * _standard_gamma_grad(self, result)


_dirichlet_grad = native(
    "_dirichlet_grad(Tensor self, Tensor concentration, Tensor total) -> Tensor", doc=""
)


@composite("_sample_dirichlet(Tensor self, Generator? generator=None) -> Tensor")
def _sample_dirichlet(self, generator):
    """Numbers of the gamma distribution divided by their sum along the last dim."""
    from taimatsu import finfo, float64

    drawn = _standard_gamma(self.to(float64), generator)
    share = drawn / drawn.sum(-1, keepdim=True)
    info = finfo(self.dtype)
    return share.to(self.dtype).clamp(info.tiny, 1 - info.eps / 2)


# ---- rrelu --------------------------------------------------------------------------------------


@composite("rrelu(Tensor self, Number lower=0.125, Number upper=0.3333333333333333,"
           " bool training=False, Generator? generator=None) -> Tensor", method=False, inplace=True)
def rrelu(self, lower, upper, training, generator):
    """x if x > 0 else a x; a from U(lower, upper) for each element in training, else the mean.

    RuntimeError unless lower <= upper.
    """
    from taimatsu import float32, float64, ones_like, tensor, where

    if not lower <= upper:
        raise RuntimeError("Lower bound should be less than or equal to the upper bound")
    if not training or self.is_meta:
        return where(self > 0, self, self * ((lower + upper) / 2))
    negative = self <= 0
    drawn = empty([int(negative.sum())], dtype=float64, device=self.device)
    wide = float64 if self.dtype == float64 else float32
    low, high = (tensor(x, dtype=wide).item() for x in (lower, upper))
    drawn.uniform_(generator=generator).mul_(high - low).add_(low)
    return self * ones_like(self).masked_scatter_(negative, drawn.to(self.dtype))
