"""Kullback-Leibler divergences, a function for each pair of families."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

import taimatsu as torch
from taimatsu import Tensor

from .bernoulli import Bernoulli
from .beta import Beta
from .binomial import Binomial
from .categorical import Categorical
from .cauchy import Cauchy
from .continuous_bernoulli import ContinuousBernoulli
from .dirichlet import Dirichlet
from .distribution import Distribution
from .exp_family import ExponentialFamily
from .exponential import Exponential
from .gamma import Gamma
from .geometric import Geometric
from .gumbel import Gumbel
from .half_normal import HalfNormal
from .independent import Independent
from .laplace import Laplace
from .lowrank_multivariate_normal import (
    LowRankMultivariateNormal,
    lowrank_log_det,
    lowrank_mahalanobis,
)
from .multivariate_normal import MultivariateNormal, batch_mahalanobis, half_log_det
from .normal import Normal
from .one_hot_categorical import OneHotCategorical
from .pareto import Pareto
from .poisson import Poisson
from .transformed_distribution import TransformedDistribution
from .uniform import Uniform
from .utils import euler_constant, sum_rightmost

__all__ = ["kl_divergence", "register_kl"]

_KL_REGISTRY: dict[tuple[type, type], Callable] = {}


def register_kl(type_p: type, type_q: type) -> Callable[[Callable], Callable]:
    """A decorator: the function computes the divergence of `type_p` from `type_q`.

        @register_kl(Normal, Normal)
        def kl_normal_normal(p, q): ...

    The most specific pair of classes is used. TypeError for what is no class.
    """
    for kind in (type_p, type_q):
        if not isinstance(kind, type):  # libraries have distributions of no common base
            raise TypeError(f"Expected a Distribution subclass but got {kind}")

    def register(function: Callable) -> Callable:
        _KL_REGISTRY[type_p, type_q] = function
        _dispatch.cache_clear()
        return function

    return register


@functools.cache
def _dispatch(type_p: type, type_q: type) -> Callable:
    """The function for the most specific registered classes; of equals that of the nearer p."""
    matches = [
        (type_p.__mro__.index(p), type_q.__mro__.index(q), p, q)
        for p, q in _KL_REGISTRY
        if issubclass(type_p, p) and issubclass(type_q, q)
    ]
    if not matches:
        raise NotImplementedError(
            f"No KL(p || q) is implemented for p type {type_p.__name__} and q type "
            f"{type_q.__name__}"
        )
    left = min(matches, key=lambda m: m[:2])
    right = min(matches, key=lambda m: (m[1], m[0]))
    if _KL_REGISTRY[left[2:]] is not _KL_REGISTRY[right[2:]]:
        warnings.warn(
            f"Ambiguous kl_divergence({type_p.__name__}, {type_q.__name__}). Please register_kl("
            f"{left[2].__name__}, {right[3].__name__})",
            RuntimeWarning,
            stacklevel=4,
        )
    return _KL_REGISTRY[left[2:]]


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """The expected value under `p` of log p(x) - log q(x), of the batch's shape.

    NotImplementedError for a pair of families that has no formula.

    >>> from taimatsu.distributions import Normal
    >>> kl_divergence(Normal(0.0, 1.0), Normal(1.0, 1.0))
    tensor(0.5000)
    """
    kinds: Any = type(p), type(q)
    return _dispatch(*kinds)(p, q)


def _infinite_like(x: Tensor) -> Tensor:
    return torch.full_like(x, math.inf)


def _xlogx(x: Tensor) -> Tensor:
    return torch.xlogy(x, x)


def _trace_of_product(tril: Tensor) -> Tensor:
    """tr(L L^T): the sum of squares."""
    return sum_rightmost(tril.pow(2), 2)


# ---- one family ---------------------------------------------------------------------------------


@register_kl(Bernoulli, Bernoulli)
def _(p: Any, q: Any) -> Tensor:
    softplus = torch.nn.functional.softplus
    t1 = p.probs * (softplus(-q.logits) - softplus(-p.logits))
    t1 = torch.where(q.probs == 0, math.inf, t1)
    t1 = torch.where(p.probs == 0, 0.0, t1)
    t2 = (1 - p.probs) * (softplus(q.logits) - softplus(p.logits))
    t2 = torch.where(q.probs == 1, math.inf, t2)
    t2 = torch.where(p.probs == 1, 0.0, t2)
    return t1 + t2


@register_kl(Beta, Beta)
def _(p: Any, q: Any) -> Tensor:
    sum_p = p.concentration1 + p.concentration0
    sum_q = q.concentration1 + q.concentration0
    t1 = q.concentration1.lgamma() + q.concentration0.lgamma() + sum_p.lgamma()
    t2 = p.concentration1.lgamma() + p.concentration0.lgamma() + sum_q.lgamma()
    t3 = (p.concentration1 - q.concentration1) * torch.digamma(p.concentration1)
    t4 = (p.concentration0 - q.concentration0) * torch.digamma(p.concentration0)
    return t1 - t2 + t3 + t4 + (sum_q - sum_p) * torch.digamma(sum_p)


@register_kl(Binomial, Binomial)
def _(p: Any, q: Any) -> Tensor:
    if (p.total_count < q.total_count).any():
        raise NotImplementedError(
            "KL between Binomials where q.total_count > p.total_count is not implemented"
        )
    kl = p.total_count * (p.probs * (p.logits - q.logits) + (-p.probs).log1p() - (-q.probs).log1p())
    # More trials than q knows.
    return torch.where(p.total_count > q.total_count, math.inf, kl)


@register_kl(Categorical, Categorical)
def _(p: Any, q: Any) -> Tensor:
    t = p.probs * (p.logits - q.logits)
    t = torch.where((q.probs == 0).expand_as(t), math.inf, t)
    t = torch.where((p.probs == 0).expand_as(t), 0.0, t)
    return t.sum(-1)


@register_kl(ContinuousBernoulli, ContinuousBernoulli)
def _(p: Any, q: Any) -> Tensor:
    t1 = p.mean * (p.logits - q.logits)
    t2 = p._log_constant() + torch.log1p(-p.probs)
    return t1 + t2 - q._log_constant() - torch.log1p(-q.probs)


@register_kl(Dirichlet, Dirichlet)
def _(p: Any, q: Any) -> Tensor:
    sum_p, sum_q = p.concentration.sum(-1), q.concentration.sum(-1)
    t1 = sum_p.lgamma() - sum_q.lgamma()
    t2 = (p.concentration.lgamma() - q.concentration.lgamma()).sum(-1)
    t3 = p.concentration - q.concentration
    t4 = p.concentration.digamma() - sum_p.digamma().unsqueeze(-1)
    return t1 - t2 + (t3 * t4).sum(-1)


@register_kl(Exponential, Exponential)
def _(p: Any, q: Any) -> Tensor:
    ratio = q.rate / p.rate
    return ratio - ratio.log() - 1


@register_kl(ExponentialFamily, ExponentialFamily)
def _(p: Any, q: Any) -> Tensor:
    """The Bregman divergence of the log normaliser."""
    if type(p) is not type(q):
        raise NotImplementedError(
            "The cross KL-divergence between different exponential families cannot be computed "
            "using Bregman divergences"
        )
    theta_p, normalizer_p, gradients = p._normalizer_and_gradients()
    result = q._log_normalizer(*q._natural_params) - normalizer_p
    for a, b, gradient in zip(theta_p, q._natural_params, gradients, strict=True):
        term = (b - a) * gradient
        result = result - sum_rightmost(term, len(q.event_shape))
    return result


@register_kl(Gamma, Gamma)
def _(p: Any, q: Any) -> Tensor:
    t1 = q.concentration * (p.rate / q.rate).log()
    t2 = torch.lgamma(q.concentration) - torch.lgamma(p.concentration)
    t3 = (p.concentration - q.concentration) * torch.digamma(p.concentration)
    return t1 + t2 + t3 + (q.rate - p.rate) * (p.concentration / p.rate)


@register_kl(Gumbel, Gumbel)
def _(p: Any, q: Any) -> Tensor:
    ratio = p.scale / q.scale
    shift_p, shift_q = q.loc / q.scale, p.loc / q.scale
    t1 = -ratio.log() - shift_p + shift_q
    t2 = ratio * euler_constant
    t3 = torch.exp(shift_p + (1 + ratio).lgamma() - shift_q)
    return t1 + t2 + t3 - (1 + euler_constant)


@register_kl(Geometric, Geometric)
def _(p: Any, q: Any) -> Tensor:
    return -p.entropy() - torch.log1p(-q.probs) / p.probs - q.logits


@register_kl(HalfNormal, HalfNormal)
def _(p: Any, q: Any) -> Tensor:
    return kl_divergence(p.base_dist, q.base_dist)


@register_kl(Laplace, Laplace)
def _(p: Any, q: Any) -> Tensor:
    ratio, distance = p.scale / q.scale, (p.loc - q.loc).abs()
    return -ratio.log() + distance / q.scale + ratio * torch.exp(-distance / p.scale) - 1


@register_kl(Normal, Normal)
def _(p: Any, q: Any) -> Tensor:
    ratio = (p.scale / q.scale).pow(2)
    return 0.5 * (ratio + ((p.loc - q.loc) / q.scale).pow(2) - 1 - ratio.log())


@register_kl(OneHotCategorical, OneHotCategorical)
def _(p: Any, q: Any) -> Tensor:
    return kl_divergence(p._categorical, q._categorical)


@register_kl(Pareto, Pareto)
def _(p: Any, q: Any) -> Tensor:
    scale, alpha = p.scale / q.scale, q.alpha / p.alpha
    result = q.alpha * scale.log() - alpha.log() + alpha - 1
    return torch.where(p.support.lower_bound < q.support.lower_bound, math.inf, result)


@register_kl(Poisson, Poisson)
def _(p: Any, q: Any) -> Tensor:
    return p.rate * (p.rate.log() - q.rate.log()) - (p.rate - q.rate)


@register_kl(TransformedDistribution, TransformedDistribution)
def _(p: Any, q: Any) -> Tensor:
    if p.transforms != q.transforms:
        raise NotImplementedError("kl_divergence: the transforms must be the same")
    if p.event_shape != q.event_shape:
        raise NotImplementedError("kl_divergence: the event shapes must be the same")
    extra = len(p.event_shape) - len(p.base_dist.event_shape)
    return sum_rightmost(kl_divergence(p.base_dist, q.base_dist), extra)


@register_kl(Uniform, Uniform)
def _(p: Any, q: Any) -> Tensor:
    result = ((q.high - q.low) / (p.high - p.low)).log()
    return torch.where((q.low > p.low) | (q.high < p.high), math.inf, result)


@register_kl(Independent, Independent)
def _(p: Any, q: Any) -> Tensor:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError("kl_divergence: the event dims must be the same")
    return sum_rightmost(kl_divergence(p.base_dist, q.base_dist), p.reinterpreted_batch_ndims)


@register_kl(Cauchy, Cauchy)
def _(p: Any, q: Any) -> Tensor:
    """Chyzak and Nielsen, 2019."""
    t1 = ((p.scale + q.scale).pow(2) + (p.loc - q.loc).pow(2)).log()
    return t1 - (4 * p.scale * q.scale).log()


# ---- multivariate normal distributions ----------------------------------------------------------


def _check_event_shapes(p: Distribution, q: Distribution) -> None:
    if p.event_shape != q.event_shape:
        raise ValueError(
            f"KL-divergence between two {type(p).__name__} with different event shapes cannot be "
            "computed"
        )


@register_kl(MultivariateNormal, MultivariateNormal)
def _(p: Any, q: Any) -> Tensor:
    _check_event_shapes(p, q)
    half_log_dets = half_log_det(q._tril) - half_log_det(p._tril)
    n = p.event_shape[0]
    shape = torch.broadcast_shapes(p.batch_shape, q.batch_shape) + (n, n)
    q_tril, p_tril = q._tril.expand(shape), p._tril.expand(shape)
    trace = _trace_of_product(torch.linalg.solve_triangular(q_tril, p_tril, upper=False))
    distance = batch_mahalanobis(q._tril, q.loc - p.loc)
    return half_log_dets + 0.5 * (trace + distance - n)


@register_kl(MultivariateNormal, LowRankMultivariateNormal)
def _(p: Any, q: Any) -> Tensor:
    _check_event_shapes(p, q)
    log_dets = lowrank_log_det(q._w, q._d, q._capacitance) - 2 * half_log_det(p._tril)
    distance = lowrank_mahalanobis(q._w, q._d, q.loc - p.loc, q._capacitance)
    # tr((W W^T + D)^-1 S), by the Woodbury identity
    scaled = q._w.mT / q._d.unsqueeze(-2)
    a = torch.linalg.solve_triangular(q._capacitance, scaled, upper=False)
    trace = _trace_of_product(p._tril * q._d.rsqrt().unsqueeze(-1)) - _trace_of_product(
        a.matmul(p._tril)
    )
    return 0.5 * (log_dets + trace + distance - p.event_shape[0])


@register_kl(LowRankMultivariateNormal, MultivariateNormal)
def _(p: Any, q: Any) -> Tensor:
    _check_event_shapes(p, q)
    log_dets = 2 * half_log_det(q._tril) - lowrank_log_det(p._w, p._d, p._capacitance)
    distance = batch_mahalanobis(q._tril, q.loc - p.loc)
    n, k = p.event_shape[0], p._w.shape[-1]
    shape = torch.broadcast_shapes(p._w.shape[:-2], q._tril.shape[:-2], p._d.shape[:-1])
    tril = q._tril.expand(*shape, n, n)
    factor = p._w.expand(*shape, n, k)
    diagonal = torch.diag_embed(p._d.sqrt()).expand(*shape, n, n)
    trace = sum(
        _trace_of_product(torch.linalg.solve_triangular(tril, part, upper=False))
        for part in (factor, diagonal)
    )
    return 0.5 * (log_dets + trace + distance - n)


@register_kl(LowRankMultivariateNormal, LowRankMultivariateNormal)
def _(p: Any, q: Any) -> Tensor:
    _check_event_shapes(p, q)
    log_dets = lowrank_log_det(q._w, q._d, q._capacitance) - lowrank_log_det(
        p._w, p._d, p._capacitance
    )
    distance = lowrank_mahalanobis(q._w, q._d, q.loc - p.loc, q._capacitance)
    scaled = q._w.mT / q._d.unsqueeze(-2)
    a = torch.linalg.solve_triangular(q._capacitance, scaled, upper=False)
    inverse_root = q._d.rsqrt().unsqueeze(-1)
    trace = (
        (p._d / q._d).sum(-1)
        + _trace_of_product(p._w * inverse_root)
        - _trace_of_product(a * p._d.sqrt().unsqueeze(-2))
        - _trace_of_product(a.matmul(p._w))
    )
    return 0.5 * (log_dets + trace + distance - p.event_shape[0])


# ---- different families -------------------------------------------------------------------------


def _never(*pairs: tuple[type, type]) -> None:
    """Pairs where p has values that q never has."""
    for type_p, type_q in pairs:
        register_kl(type_p, type_q)(lambda p, q: _infinite_like(_any_parameter(p)))


def _any_parameter(p: Any) -> Tensor:
    return next(
        value
        for name in ("rate", "concentration", "concentration1", "loc", "scale", "low", "probs")
        if isinstance(value := getattr(p, name, None), Tensor)
    )


_BOUNDED = (Beta, ContinuousBernoulli)  # by 0 and 1
_POSITIVE = (Exponential, Gamma)
_never(
    (Beta, Pareto),
    (ContinuousBernoulli, Pareto),
    *((p, q) for p in _POSITIVE for q in (*_BOUNDED, Pareto, Uniform)),
    *((p, q) for p in (Gumbel, Laplace, Normal) for q in (*_BOUNDED, *_POSITIVE, Pareto, Uniform)),
    *((Pareto, q) for q in (*_BOUNDED, Uniform)),
    (Poisson, Bernoulli),
    (Poisson, Binomial),
)


@register_kl(Bernoulli, Poisson)
def _(p: Any, q: Any) -> Tensor:
    return -p.entropy() - (p.probs * q.rate.log() - q.rate)


@register_kl(Beta, ContinuousBernoulli)
def _(p: Any, q: Any) -> Tensor:
    return -p.entropy() - p.mean * q.logits - torch.log1p(-q.probs) - q._log_constant()


@register_kl(Beta, Exponential)
def _(p: Any, q: Any) -> Tensor:
    return -p.entropy() - q.rate.log() + q.rate * p.mean


@register_kl(Beta, Gamma)
def _(p: Any, q: Any) -> Tensor:
    mean_log = p.concentration1.digamma() - (p.concentration1 + p.concentration0).digamma()
    t2 = q.concentration.lgamma() - q.concentration * q.rate.log()
    return -p.entropy() + t2 - (q.concentration - 1) * mean_log + q.rate * p.mean


def _cross_entropy_with_normal(p: Any, q: Any) -> Tensor:
    """-E[log q(x)] of a normal q needs the mean and the variance of p only."""
    squares = p.variance + (p.mean - q.loc).pow(2)
    return 0.5 * squares / q.scale.pow(2) + 0.5 * (2 * math.pi * q.scale.square()).log()


for _family in (Beta, ContinuousBernoulli, Exponential, Gamma, Gumbel, Laplace, Uniform):

    @register_kl(_family, Normal)
    def _(p: Any, q: Any) -> Tensor:
        return -p.entropy() + _cross_entropy_with_normal(p, q)


@register_kl(Pareto, Normal)
def _(p: Any, q: Any) -> Tensor:
    result = -p.entropy() + _cross_entropy_with_normal(p, q)
    return torch.where(p.alpha <= 2, math.inf, result)


@register_kl(Beta, Uniform)
def _(p: Any, q: Any) -> Tensor:
    result = -p.entropy() + (q.high - q.low).log()
    return torch.where((q.low > 0) | (q.high < 1), math.inf, result)


@register_kl(ContinuousBernoulli, Exponential)
def _(p: Any, q: Any) -> Tensor:
    return -p.entropy() - torch.log(q.rate) + q.rate * p.mean


@register_kl(ContinuousBernoulli, Uniform)
def _(p: Any, q: Any) -> Tensor:
    result = -p.entropy() + (q.high - q.low).log()
    return torch.where((q.low > 0) | (q.high < 1), math.inf, result)


@register_kl(Exponential, Gamma)
def _(p: Any, q: Any) -> Tensor:
    ratio = q.rate / p.rate
    t1 = -q.concentration * torch.log(ratio)
    return t1 + ratio + q.concentration.lgamma() + q.concentration * euler_constant - (
        1 + euler_constant
    )


@register_kl(Exponential, Gumbel)
def _(p: Any, q: Any) -> Tensor:
    product = p.rate * q.scale
    shift = q.loc / q.scale
    t1 = product.log() - 1
    t2 = product.reciprocal()
    t3 = torch.exp(shift) * product / (product + 1)
    return t1 - shift + t2 + t3


@register_kl(Gamma, Exponential)
def _(p: Any, q: Any) -> Tensor:
    return -p.entropy() - q.rate.log() + q.rate * p.concentration / p.rate


@register_kl(Gamma, Gumbel)
def _(p: Any, q: Any) -> Tensor:
    product, shift = p.rate * q.scale, q.loc / q.scale
    t1 = (
        (p.concentration - 1) * p.concentration.digamma()
        - p.concentration.lgamma()
        - p.concentration
    )
    t2 = product.log() + p.concentration / product
    t3 = torch.exp(shift) * (1 + product.reciprocal()).pow(-p.concentration) - shift
    return t1 + t2 + t3


@register_kl(Normal, Gumbel)
def _(p: Any, q: Any) -> Tensor:
    shift, ratio = (p.loc - q.loc) / q.scale, (p.scale / q.scale).pow(2)
    t1 = shift + torch.exp(-shift + 0.5 * ratio)
    return -0.5 * torch.log(2 * math.pi * ratio) + t1 - 0.5


@register_kl(Normal, Laplace)
def _(p: Any, q: Any) -> Tensor:
    d = p.loc - q.loc
    ratio, z = p.scale / q.scale, d / p.scale
    t1 = torch.log(ratio)
    t2 = math.sqrt(2 / math.pi) * p.scale * torch.exp(-0.5 * z.pow(2))
    t3 = d * torch.erf(math.sqrt(0.5) * z)
    return -t1 + (t2 + t3) / q.scale - 0.5 * (1 + math.log(0.5 * math.pi))


@register_kl(Pareto, Exponential)
def _(p: Any, q: Any) -> Tensor:
    product = p.scale * q.rate
    t1 = (p.alpha / product).log()
    result = t1 - p.alpha.reciprocal() + p.alpha * product / (p.alpha - 1) - 1
    return torch.where(p.alpha <= 1, math.inf, result)


@register_kl(Pareto, Gamma)
def _(p: Any, q: Any) -> Tensor:
    mean_log = p.scale.log() + p.alpha.reciprocal()
    t1 = p.alpha.log() - mean_log
    t2 = q.concentration.lgamma() - q.concentration * q.rate.log()
    t3 = (1 - q.concentration) * mean_log
    result = t1 + t2 + t3 + q.rate * p.alpha * p.scale / (p.alpha - 1) - 1
    return torch.where(p.alpha <= 1, math.inf, result)


@register_kl(Uniform, Beta)
def _(p: Any, q: Any) -> Tensor:
    width = p.high - p.low
    low_log, high_log = _xlogx(p.low), _xlogx(p.high)
    t1 = torch.log(width)
    t2 = (q.concentration1 - 1) * ((high_log - p.high) - (low_log - p.low)) / width
    t3 = (
        (q.concentration0 - 1)
        * ((_xlogx(1 - p.high) - (1 - p.high)) - (_xlogx(1 - p.low) - (1 - p.low)))
        / width
    )
    t4 = (
        q.concentration1.lgamma()
        + q.concentration0.lgamma()
        - (q.concentration1 + q.concentration0).lgamma()
    )
    return torch.where((p.high > 1) | (p.low < 0), math.inf, t3 + t4 - t1 - t2)


@register_kl(Uniform, ContinuousBernoulli)
def _(p: Any, q: Any) -> Tensor:
    result = -p.entropy() - p.mean * q.logits - torch.log1p(-q.probs) - q._log_constant()
    return torch.where((p.high > 1) | (p.low < 0), math.inf, result)


@register_kl(Uniform, Exponential)
def _(p: Any, q: Any) -> Tensor:
    result = q.rate * (p.high + p.low) / 2 - ((p.high - p.low) * q.rate).log()
    return torch.where(p.low < 0, math.inf, result)


@register_kl(Uniform, Gamma)
def _(p: Any, q: Any) -> Tensor:
    width = p.high - p.low
    t1 = width.log()
    t2 = q.concentration.lgamma() - q.concentration * q.rate.log()
    t3 = (1 - q.concentration) * ((_xlogx(p.high) - p.high) - (_xlogx(p.low) - p.low)) / width
    result = -t1 + t2 + t3 + q.rate * (p.high + p.low) / 2
    return torch.where(p.low < 0, math.inf, result)


@register_kl(Uniform, Gumbel)
def _(p: Any, q: Any) -> Tensor:
    high, low = (p.high - q.loc) / q.scale, (p.low - q.loc) / q.scale
    t1 = torch.log((p.high - p.low) / q.scale)
    t2 = 0.5 * (high + low)
    return t2 - (torch.exp(-high) - torch.exp(-low)) / (high - low) - t1


@register_kl(Uniform, Pareto)
def _(p: Any, q: Any) -> Tensor:
    width = p.high - p.low
    t1 = (q.alpha * q.scale.pow(q.alpha) * width).log()
    t2 = (_xlogx(p.high) - _xlogx(p.low) - width) / width
    result = t2 * (q.alpha + 1) - t1
    return torch.where(p.low < q.support.lower_bound, math.inf, result)
