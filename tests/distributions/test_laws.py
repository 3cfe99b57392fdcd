"""Densities, moments and quantiles against SciPy; sampling against them."""

import typing

import numpy as np
import pytest
import scipy.integrate
import scipy.special
from laws import ALL, COMPOSED, CONTINUOUS, DISCRETE, MULTIVARIATE, T

import taimatsu as torch
import taimatsu.distributions as D

QUANTILES = np.array([[0.05], [0.3], [0.5], [0.8], [0.97]])
close = np.testing.assert_allclose


def optional(compute):
    """What PyTorch's distributions don't define either is not asked for."""
    try:
        return compute()
    except NotImplementedError:
        pytest.skip("not defined")


@pytest.mark.parametrize("name", CONTINUOUS)
def test_density(name):
    ours, theirs = CONTINUOUS[name]
    x = theirs.ppf(QUANTILES)
    close(ours.log_prob(torch.from_numpy(x)), theirs.logpdf(x), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_distribution_function(name):
    ours, theirs = CONTINUOUS[name]
    x = theirs.ppf(QUANTILES)
    close(optional(lambda: ours.cdf(torch.from_numpy(x))), theirs.cdf(x), rtol=1e-9)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_quantiles(name):
    ours, theirs = CONTINUOUS[name]
    q = np.broadcast_to(QUANTILES, (5, *ours.batch_shape)).copy()
    close(optional(lambda: ours.icdf(torch.from_numpy(q))), theirs.ppf(q), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", CONTINUOUS | DISCRETE)
@pytest.mark.parametrize("moment", ["mean", "variance", "stddev", "entropy"])
def test_moments(name, moment):
    ours, theirs = (CONTINUOUS | DISCRETE)[name]
    if name in ("Cauchy", "HalfCauchy") and moment != "entropy":
        assert not torch.isfinite(getattr(ours, moment)).any()
        return
    if name == "VonMises" and moment != "mean":  # that of the circle
        kappa = [0.5, 3.0]
        close(ours.variance, 1 - scipy.special.i1(kappa) / scipy.special.i0(kappa))
        return
    if moment == "entropy":
        got, expected = optional(ours.entropy), theirs.entropy()
    else:
        name_there = {"mean": "mean", "variance": "var", "stddev": "std"}[moment]
        got, expected = getattr(ours, moment), getattr(theirs, name_there)()
    close(got, expected, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("name", DISCRETE)
def test_probabilities(name):
    ours, theirs = DISCRETE[name]
    k = np.arange(11.0)[:, None] * np.ones(2) if name != "Bernoulli" else np.array([[0.0], [1.0]])
    close(ours.log_prob(torch.from_numpy(k)), theirs.logpmf(k), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", MULTIVARIATE)
def test_multivariate(name):
    ours, theirs = MULTIVARIATE[name]
    rng = np.random.default_rng(0)
    if name == "Multinomial":
        x, density = theirs.rvs(4, rng).astype(float), theirs.logpmf
    else:
        x, density = theirs.rvs(4, rng), theirs.logpdf
    expected = [float(density(v)) for v in x]
    close(ours.log_prob(torch.from_numpy(x)), expected, rtol=1e-8)
    close(ours.entropy(), theirs.entropy(), rtol=1e-8)
    mean = theirs.mean() if callable(theirs.mean) else theirs.mean
    close(ours.mean, mean, rtol=1e-8)
    if name.startswith(("Multivariate", "LowRank")):
        close(ours.covariance_matrix, theirs.cov, rtol=1e-8)
        close(ours.precision_matrix, np.linalg.inv(theirs.cov), rtol=1e-7, atol=1e-12)
        close(ours.scale_tril, np.linalg.cholesky(theirs.cov), rtol=1e-8, atol=1e-12)
        close(ours.variance, np.diag(theirs.cov), rtol=1e-8)
    elif name != "Multinomial":
        close(ours.variance, theirs.var(), rtol=1e-8)


@pytest.mark.parametrize(
    "name", ["ContinuousBernoulli", "Kumaraswamy", "MixtureSameFamily", "TransformedDistribution"]
)
def test_densities_integrate_to_one_and_to_the_moments(name):
    d = COMPOSED[name]
    low, high = {"MixtureSameFamily": (-12, 12), "TransformedDistribution": (1, 600)}.get(
        name, (0, 1)
    )
    # Unequally spaced, since some densities are steep at an end.
    x = torch.from_numpy(low + (high - low) * np.linspace(0, 1, 400_001)[1:-1] ** 3)
    x = x.reshape(-1, *[1] * len(d.batch_shape))
    p, x = np.asarray(d.log_prob(x).exp()), np.asarray(x)
    close(scipy.integrate.trapezoid(p, x, axis=0), 1, rtol=1e-4)
    if name != "TransformedDistribution":
        mean = scipy.integrate.trapezoid(p * x, x, axis=0)
        close(d.mean, mean, rtol=1e-4)
        squares = scipy.integrate.trapezoid(p * (x - mean) ** 2, x, axis=0)
        close(d.variance, squares, rtol=1e-3)
    if name in ("ContinuousBernoulli", "Kumaraswamy"):
        terms = np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0)
        close(d.entropy(), -scipy.integrate.trapezoid(terms, x, axis=0), rtol=1e-3, atol=1e-4)
    middle = torch.from_numpy(x[len(x) // 2 :][:1])[0]
    below = scipy.integrate.trapezoid(p[: len(x) // 2 + 1], x[: len(x) // 2 + 1], axis=0)
    close(d.cdf(middle), below, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_draws(name):
    """They are within the support and have the mean and variance of the law."""
    d = ALL[name]
    torch.manual_seed(1)
    x = d.sample((6000,))
    assert x.shape == (6000, *d.batch_shape, *d.event_shape) and not x.requires_grad
    assert d.support.check(x).all()
    try:
        mean, variance = np.asarray(d.mean), np.asarray(d.variance)
    except NotImplementedError:
        return
    if name == "VonMises" or not np.isfinite(variance).all():
        return
    bound = 6 * np.sqrt(variance / 6000) + 1e-6
    assert (np.abs(np.asarray(x).mean(0) - mean) < bound).all()


@pytest.mark.parametrize("name", CONTINUOUS)
def test_draws_follow_the_distribution_function(name):
    ours, theirs = CONTINUOUS[name]
    torch.manual_seed(2)
    u = theirs.cdf(np.asarray(ours.sample((4000,))))
    for column in u.T:
        assert scipy.stats.kstest(column, "uniform").pvalue > 1e-4


@pytest.mark.parametrize("name", DISCRETE)
def test_draws_follow_the_probabilities(name):
    ours, theirs = DISCRETE[name]
    torch.manual_seed(3)
    x = np.asarray(ours.sample((5000,)))
    for k in range(6):
        p = theirs.pmf(k)
        bound = 6 * np.sqrt(p * (1 - p) / 5000) + 1e-9
        assert (np.abs((x == k).mean(0) - p) < bound).all()


@pytest.mark.parametrize("name", ALL)
def test_expand(name):
    d = ALL[name]
    e = d.expand((2, *d.batch_shape))
    assert type(e) is type(d)
    assert e.batch_shape == (2, *d.batch_shape) and e.event_shape == d.event_shape
    assert e.sample((3,)).shape == (3, 2, *d.batch_shape, *d.event_shape)
    torch.manual_seed(4)
    x = d.sample((2,))
    close(e.log_prob(x), d.log_prob(x), rtol=1e-6)
    assert d.expand(d.batch_shape).batch_shape == d.batch_shape


def test_distributions_of_others_expand_and_factorize_themselves():
    class Shifted(D.Distribution):
        arg_constraints: typing.ClassVar[dict] = {}

        def __init__(self, base):
            self.base = base
            super().__init__(base.batch_shape, base.event_shape)

        def expand(self, batch_shape, _instance=None):
            new = self._get_checked_instance(Shifted, _instance)
            new.base = self.base.expand(batch_shape)
            super(Shifted, new).__init__(batch_shape, self.event_shape)
            return new

    class Named(Shifted):
        def __init__(self, base, name):
            super().__init__(base)

    normal = D.Normal(0.0, 1.0)
    assert Shifted(normal).expand((2,)).base.batch_shape == (2,)
    with pytest.raises(NotImplementedError, match="Named defines an __init__ of its own"):
        Named(normal, "n").expand((2,))

    class Lazy(D.MultivariateNormal):
        """Of a matrix that nobody factorizes before it has to be."""

        _unbroadcasted_scale_tril = property(lambda self: self.given.cholesky())

        def __init__(self, loc, given):
            self.loc, self.given = loc, given
            D.Distribution.__init__(self, (), loc.shape)

    given = torch.tensor([[2.0, 0.5], [0.5, 1.0]])
    ours, theirs = Lazy(torch.zeros(2), given), D.MultivariateNormal(torch.zeros(2), given)
    x = torch.ones(2)
    assert torch.equal(ours.log_prob(x), theirs.log_prob(x))
    assert torch.equal(D.kl_divergence(theirs, ours), D.kl_divergence(theirs, theirs))


@pytest.mark.parametrize(
    ("family", "parameters"),
    [
        (D.Normal, (0.5, 2.0)), (D.Laplace, (0.5, 2.0)), (D.Uniform, (0.5, 2.0)),
        (D.Exponential, (0.7,)), (D.Gamma, (0.6, 2.0)), (D.Gamma, (7.0, 2.0)), (D.Beta, (0.5, 2.0)),
        (D.Gumbel, (0.5, 2.0)), (D.LogNormal, (0.1, 0.5)), (D.Weibull, (2.0, 1.5)),
        (D.Kumaraswamy, (1.5, 2.0)), (D.FisherSnedecor, (9.0, 14.0)), (D.HalfNormal, (2.0,)),
        (D.StudentT, (9.0, 0.5, 2.0)), (D.Pareto, (2.0, 6.0)), (D.InverseGamma, (7.0, 3.0)),
        (D.ContinuousBernoulli, (0.3,)), (D.GeneralizedPareto, (1.0, 2.0, 0.1)),
    ],
)  # fmt: skip
def test_gradients_through_draws(family, parameters):
    """The mean of the gradients of draws is the gradient of the mean."""
    leaves = [torch.tensor(p, dtype=torch.float64, requires_grad=True) for p in parameters]
    d = family(*leaves)
    assert d.has_rsample
    torch.manual_seed(6)
    got = torch.autograd.grad(d.rsample((40_000,)).mean(), leaves, allow_unused=True)
    expected = torch.autograd.grad(family(*leaves).mean, leaves, allow_unused=True)
    for g, e in zip(got, expected, strict=True):
        close(g if g is not None else 0, e if e is not None else 0, rtol=0.06, atol=0.03)


@pytest.mark.parametrize("name", ALL)
def test_what_has_no_rsample_says_so(name):
    d = ALL[name]
    if not d.has_rsample and type(d) is not D.RelaxedBernoulli:
        with pytest.raises(NotImplementedError):
            d.rsample()


@pytest.mark.parametrize("shape", [0.05, 0.4, 1.0, 3.0, 50.0, 900.0])
def test_gamma_draws_move_with_the_shape(shape):
    """dx/da at a fixed probability, against differences of SciPy's quantiles."""
    from taimatsu.ops.random import _standard_gamma_grad

    p = np.array([0.02, 0.3, 0.7, 0.99])
    x, h = scipy.special.gammaincinv(shape, p), 1e-4 * shape
    steps = np.array([-2, -1, 1, 2])[:, None] * h
    f = scipy.special.gammaincinv(shape + steps, p)
    expected = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h)
    got = _standard_gamma_grad(torch.full((4,), shape, dtype=torch.float64), torch.from_numpy(x))
    close(got, expected, rtol=1e-6)


@pytest.mark.parametrize(("a", "b"), [(0.3, 0.6), (2.0, 5.0), (40.0, 3.0), (300.0, 500.0)])
def test_beta_draws_move_with_the_concentration(a, b):
    from taimatsu.ops.random import _dirichlet_grad

    p, h = np.array([0.02, 0.3, 0.7, 0.99]), 1e-4 * a
    x = scipy.special.betaincinv(a, b, p)
    f = [scipy.special.betaincinv(a + k * h, b, p) for k in (-2, -1, 1, 2)]
    expected = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h) / (1 - x)
    full = [torch.full((4,), v, dtype=torch.float64) for v in (a, a + b)]
    close(_dirichlet_grad(torch.from_numpy(x), *full), expected, rtol=1e-5)


@pytest.mark.parametrize("concentration", [(0.5, 1.5, 3.0), (2.0, 2.0, 2.0)])
def test_pathwise_gradients_of_dirichlet_are_unbiased(concentration):
    a = T(*concentration).requires_grad_()
    torch.manual_seed(5)
    x = D.Dirichlet(a).rsample((20_000,))
    (g,) = torch.autograd.grad((x[:, 0] ** 2).mean(), a)
    total = a.detach().clone().requires_grad_()
    s = total.sum()
    (expected,) = torch.autograd.grad(total[0] * (total[0] + 1) / (s * (s + 1)), total)
    close(g, expected, atol=4e-3)


def test_validation():
    with pytest.raises(ValueError, match="scale"):
        D.Normal(0.0, -1.0)
    with pytest.raises(ValueError, match="support"):
        D.Exponential(1.0).log_prob(torch.tensor(-1.0))
    with pytest.raises(ValueError, match="event_shape"):
        D.Dirichlet(torch.ones(3)).log_prob(torch.ones(2) / 2)
    with pytest.raises(ValueError, match="broadcastable"):
        D.Normal(torch.zeros(3), 1.0).log_prob(torch.zeros(2))
    with pytest.raises(ValueError, match="Tensor"):
        D.Normal(0.0, 1.0).log_prob(0.0)
    assert D.Normal(0.0, -1.0, validate_args=False).scale == -1
    D.Distribution.set_default_validate_args(False)
    try:
        assert D.Exponential(1.0).log_prob(torch.tensor(-1.0)) == 1
    finally:
        D.Distribution.set_default_validate_args(True)


@pytest.mark.parametrize(
    "make",
    [
        lambda: D.Bernoulli(),
        lambda: D.Bernoulli(probs=0.5, logits=0.0),
        lambda: D.Categorical(torch.tensor(0.5)),
        lambda: D.Geometric(0.0),
        lambda: D.Dirichlet(torch.tensor(1.0)),
        lambda: D.LKJCholesky(1),
        lambda: D.MultivariateNormal(torch.zeros(2)),
        lambda: D.MultivariateNormal(torch.tensor(0.0), torch.eye(1)),
        lambda: D.LowRankMultivariateNormal(torch.zeros(2), torch.zeros(3, 1), torch.ones(2)),
        lambda: D.Wishart(1.0, torch.eye(3)),
        lambda: D.Independent(D.Normal(0.0, 1.0), 1),
        lambda: D.TransformedDistribution(D.Normal(0.0, 1.0), "exp"),
        lambda: D.MixtureSameFamily(
            D.Categorical(torch.ones(2)), D.Normal(torch.zeros(3), torch.ones(3))
        ),
        lambda: D.Uniform(2.0, 1.0),
        lambda: D.Normal("a", 1.0),
    ],
)
def test_errors(make):
    with pytest.raises(ValueError):
        make()


def test_representation():
    assert repr(D.Normal(0.0, 1.0)) == "Normal(loc: 0.0, scale: 1.0)"
    assert "torch.Size([2])" in repr(D.Normal(torch.zeros(2), 1.0)).replace("taimatsu", "torch")
    assert repr(D.Independent(D.Normal(torch.zeros(1), 1.0), 1)).startswith("Independent(Normal(")


def test_enumerate_support():
    d = D.Categorical(torch.ones(2, 3))
    assert d.enumerate_support().shape == (3, 2)
    assert d.enumerate_support(expand=False).shape == (3, 1)
    one_hot = D.OneHotCategorical(torch.ones(2, 3)).enumerate_support()
    assert one_hot.shape == (3, 2, 3) and (one_hot.sum(-1) == 1).all()
    total = D.Binomial(4, torch.tensor([0.3, 0.6])).enumerate_support()
    assert total[:, 0].tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(NotImplementedError):
        D.Normal(0.0, 1.0).enumerate_support()


@pytest.mark.parametrize(
    "d",
    [D.Normal(T(1.0), T(2.0)), D.Gamma(T(0.5), T(3.0)), D.Exponential(T(2.0)),
     D.Bernoulli(T(0.3)), D.ContinuousBernoulli(T(0.3)),
     D.Wishart(T(5.0), torch.eye(2, dtype=torch.float64))],
    ids=lambda d: type(d).__name__,
)  # fmt: skip
def test_entropy_by_the_log_normaliser(d):
    """The general formula of exponential families gives what each family says itself."""
    close(D.ExponentialFamily.entropy(d).detach(), d.entropy(), rtol=1e-8)


def test_transformed_expansion_keeps_the_base():
    d = D.LogNormal(0.0, 1.0).expand((3,))
    assert isinstance(d, D.LogNormal) and d.loc.shape == (3,) and d.base_dist.batch_shape == (3,)
