"""Divergences against integrals and sums of the densities."""

import math

import numpy as np
import pytest
import scipy.integrate

import taimatsu as torch
import taimatsu.distributions as D

close = np.testing.assert_allclose


def F(x):
    return torch.tensor(x, dtype=torch.float64)


P = {
    "Beta": D.Beta(F(2.0), F(3.0)),
    "Cauchy": D.Cauchy(F(0.5), F(1.5)),
    "ContinuousBernoulli": D.ContinuousBernoulli(F(0.3)),
    "Exponential": D.Exponential(F(1.5)),
    "Gamma": D.Gamma(F(2.0), F(1.5)),
    "Gumbel": D.Gumbel(F(0.5), F(1.2)),
    "HalfNormal": D.HalfNormal(F(1.2)),
    "Laplace": D.Laplace(F(0.5), F(1.2)),
    "LogNormal": D.LogNormal(F(0.2), F(0.5)),
    "Normal": D.Normal(F(0.5), F(1.2)),
    "Pareto": D.Pareto(F(1.1), F(7.0)),
    "Uniform": D.Uniform(F(0.2), F(0.9)),
}
Q = {
    "Beta": D.Beta(F(1.5), F(1.2)),
    "Cauchy": D.Cauchy(F(0.0), F(1.0)),
    "ContinuousBernoulli": D.ContinuousBernoulli(F(0.6)),
    "Exponential": D.Exponential(F(0.7)),
    "Gamma": D.Gamma(F(1.2), F(0.8)),
    "Gumbel": D.Gumbel(F(0.1), F(2.0)),
    "HalfNormal": D.HalfNormal(F(2.0)),
    "Laplace": D.Laplace(F(0.0), F(2.0)),
    "LogNormal": D.LogNormal(F(0.0), F(0.8)),
    "Normal": D.Normal(F(0.0), F(2.0)),
    "Pareto": D.Pareto(F(0.1), F(2.0)),
    "Uniform": D.Uniform(F(-0.5), F(1.5)),
}
LIMITS = {
    "Beta": (0, 1), "ContinuousBernoulli": (0, 1), "Exponential": (0, 40), "Gamma": (0, 60),
    "HalfNormal": (0, 14), "LogNormal": (0, 60), "Pareto": (1.1, 2000), "Uniform": (0.2, 0.9),
    "Cauchy": (-1e6, 1e6), "Gumbel": (-6, 60), "Laplace": (-60, 60), "Normal": (-14, 14),
}  # fmt: skip
FINITE = [
    *((n, n) for n in P), ("Beta", "ContinuousBernoulli"), ("Beta", "Exponential"),
    ("Beta", "Gamma"), ("Beta", "Normal"), ("Beta", "Uniform"),
    ("ContinuousBernoulli", "Exponential"), ("ContinuousBernoulli", "Normal"),
    ("ContinuousBernoulli", "Uniform"), ("Exponential", "Gamma"), ("Exponential", "Gumbel"),
    ("Exponential", "Normal"), ("Gamma", "Exponential"), ("Gamma", "Gumbel"), ("Gamma", "Normal"),
    ("Gumbel", "Normal"), ("Laplace", "Normal"), ("Normal", "Gumbel"), ("Normal", "Laplace"),
    ("Pareto", "Exponential"), ("Pareto", "Gamma"), ("Pareto", "Normal"), ("Uniform", "Beta"),
    ("Uniform", "ContinuousBernoulli"), ("Uniform", "Exponential"), ("Uniform", "Gamma"),
    ("Uniform", "Gumbel"), ("Uniform", "Normal"), ("Uniform", "Pareto"),
]  # fmt: skip


@pytest.mark.parametrize(("p", "q"), FINITE)
def test_continuous(p, q):
    lo, hi = LIMITS[p]
    p, q = P[p], Q[q]
    # steps that grow with the distance from the start, or both ways from the middle
    s = np.linspace(0, 1, 400_001)[1:-1]
    x = lo + (hi - lo) * s**3 if lo >= 0 else np.sinh(np.arcsinh(lo) + (
        np.arcsinh(hi) - np.arcsinh(lo)) * s)
    x = torch.from_numpy(x)
    lp, lq = (np.asarray(type(d).log_prob(_unchecked(d), x)) for d in (p, q))
    terms = np.where(np.isneginf(lp), 0, np.exp(lp) * (lp - lq))
    expected = scipy.integrate.trapezoid(terms, np.asarray(x))
    close(D.kl_divergence(p, q), expected, rtol=2e-3, atol=1e-5)


def _unchecked(d):
    d = d.expand(d.batch_shape)
    d._validate_args = False
    if hasattr(d, "base_dist"):
        d.base_dist._validate_args = False
    return d


@pytest.mark.parametrize(
    ("p", "q"),
    [
        (D.Bernoulli(F(0.3)), D.Bernoulli(F(0.6))),
        (D.Bernoulli(F(0.3)), D.Poisson(F(0.6))),
        (D.Binomial(5, F(0.3)), D.Binomial(5, F(0.6))),
        (D.Categorical(F([0.1, 0.4, 0.5])), D.Categorical(F([0.3, 0.3, 0.4]))),
        (D.Geometric(F(0.3)), D.Geometric(F(0.6))),
        (D.Poisson(F(1.3)), D.Poisson(F(2.6))),
    ],
    ids=lambda d: type(d).__name__,
)
def test_discrete(p, q):
    n = {D.Bernoulli: 2, D.Binomial: 6, D.Categorical: 3}.get(type(p), 60)
    k = torch.arange(float(n)).double()
    lp, lq = p.log_prob(k), q.log_prob(k)
    close(D.kl_divergence(p, q), (lp.exp() * (lp - lq)).sum(), rtol=1e-6)


def test_where_q_never_has_values_of_p():
    for p, q in [("Normal", "Gamma"), ("Gamma", "Beta"), ("Gumbel", "Uniform"),
                 ("Laplace", "Pareto"), ("Pareto", "Uniform"),
                 ("Exponential", "ContinuousBernoulli")]:  # fmt: skip
        assert D.kl_divergence(P[p], Q[q]) == math.inf
    assert D.kl_divergence(D.Poisson(F(1.0)), D.Bernoulli(F(0.5))) == math.inf
    assert D.kl_divergence(D.Uniform(F(0.0), F(1.0)), D.Uniform(F(0.5), F(2.0))) == math.inf
    assert D.kl_divergence(D.Bernoulli(F(1.0)), D.Bernoulli(F(0.0))) == math.inf
    assert D.kl_divergence(D.Bernoulli(F(1.0)), D.Bernoulli(F(1.0))) == 0


def test_dirichlet_and_normal_vectors():
    """By the mean of log ratios of draws, and the two forms of normal vectors by each other."""
    a, b = D.Dirichlet(F([1.0, 2.0, 3.0])), D.Dirichlet(F([2.0, 2.0, 1.5]))
    x = a.sample((200_000,))
    close(D.kl_divergence(a, b), (a.log_prob(x) - b.log_prob(x)).mean(), rtol=2e-2)
    torch.manual_seed(3)
    low = [D.LowRankMultivariateNormal(torch.randn(2, 4).double(), torch.randn(2, 4, 2).double(),
                                       torch.rand(2, 4).double() + 0.3) for _ in range(2)]
    full = [D.MultivariateNormal(d.loc, d.covariance_matrix) for d in low]
    m, s = [np.asarray(d.loc) for d in full], [np.asarray(d.covariance_matrix) for d in full]
    inverse = np.linalg.inv(s[1])
    shift = m[1] - m[0]
    expected = 0.5 * (
        np.trace(inverse @ s[0], axis1=-2, axis2=-1) - 4
        + np.einsum("bi,bij,bj->b", shift, inverse, shift)
        + np.linalg.slogdet(s[1])[1] - np.linalg.slogdet(s[0])[1]
    )  # fmt: skip
    for p in (low[0], full[0]):
        for q in (low[1], full[1]):
            close(D.kl_divergence(p, q), expected, rtol=1e-7)
    with pytest.raises(ValueError):
        D.kl_divergence(full[0], D.MultivariateNormal(F([0.0]), torch.eye(1).double()))


def test_of_wrapped_distributions():
    p, q = (D.Normal(F([0.0, a]), F([1.0, b])) for a, b in ((1.0, 2.0), (0.5, 1.5)))
    each = D.kl_divergence(p, q)
    assert D.kl_divergence(D.Independent(p, 1), D.Independent(q, 1)) == each.sum()
    exp = D.ExpTransform()
    wrapped = [D.TransformedDistribution(d, exp) for d in (p, q)]
    assert D.kl_divergence(*wrapped).tolist() == each.tolist()
    one_hot = [D.OneHotCategorical(F(v)) for v in ([0.1, 0.9], [0.4, 0.6])]
    assert D.kl_divergence(*one_hot) == D.kl_divergence(*(d._categorical for d in one_hot))
    with pytest.raises(NotImplementedError):
        D.kl_divergence(wrapped[0], D.TransformedDistribution(q, D.TanhTransform()))


def test_by_the_log_normaliser():
    """A family without an entry of its own, by the general formula."""

    class MyGamma(D.Gamma):
        pass

    general = D.kl._KL_REGISTRY[D.ExponentialFamily, D.ExponentialFamily]
    p, q = D.Gamma(F(2.0), F(1.5)), D.Gamma(F(1.2), F(0.8))
    close(general(p, q).detach(), D.kl_divergence(p, q), rtol=1e-9)
    assert D.kl_divergence(MyGamma(F(2.0), F(1.5)), q) == D.kl_divergence(p, q)
    a, b = D.Dirichlet(F([1.0, 2.0, 3.0])), D.Dirichlet(F([2.0, 2.0, 1.5]))
    close(general(a, b).detach(), D.kl_divergence(a, b), rtol=1e-9)


def test_registering_a_pair():
    class Mine(D.Normal):
        pass

    with pytest.raises(NotImplementedError):
        D.kl_divergence(D.LKJCholesky(2), D.Normal(0.0, 1.0))

    @D.register_kl(Mine, D.LKJCholesky)
    def mine(p, q):
        return "mine"

    try:
        assert D.kl_divergence(Mine(0.0, 1.0), D.LKJCholesky(2)) == "mine"
    finally:
        del D.kl._KL_REGISTRY[Mine, D.LKJCholesky]
    with pytest.raises(TypeError):
        D.register_kl("int", Mine)
