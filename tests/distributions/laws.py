"""The distributions with SciPy's names for them: name -> (ours, SciPy's)."""

import numpy as np
import scipy.stats as st

import taimatsu as torch
import taimatsu.distributions as D


def T(*values):
    return torch.tensor(values, dtype=torch.float64)


SPD = np.array([[2.0, 0.5, 0.1], [0.5, 1.5, -0.3], [0.1, -0.3, 1.0]])
_SPD = torch.from_numpy(SPD)
_W = torch.tensor([[0.5, 0.1], [-0.3, 1.0], [0.2, 0.4]], dtype=torch.float64)
_LOW_RANK = np.array(_W.tolist()) @ np.array(_W.tolist()).T + np.diag([0.5, 1.0, 2.0])

CONTINUOUS = {
    "Beta": (D.Beta(T(0.5, 2.0), T(1.5, 3.0)), st.beta([0.5, 2], [1.5, 3])),
    "Cauchy": (D.Cauchy(T(0.0, 1.0), T(1.0, 2.0)), st.cauchy([0, 1], [1, 2])),
    "Chi2": (D.Chi2(T(1.5, 4.0)), st.chi2([1.5, 4])),
    "Exponential": (D.Exponential(T(0.5, 2.0)), st.expon(0, [2, 0.5])),
    "FisherSnedecor": (D.FisherSnedecor(T(5.0, 6.0), T(7.0, 9.0)), st.f([5, 6], [7, 9])),
    "Gamma": (D.Gamma(T(0.5, 2.0), T(1.0, 3.0)), st.gamma([0.5, 2], 0, [1, 1 / 3])),
    "GeneralizedPareto": (
        D.GeneralizedPareto(T(0.0, 1.0, 0.0), T(1.0, 2.0, 1.5), T(0.1, -0.3, 0.0)),
        st.genpareto([0.1, -0.3, 0], [0, 1, 0], [1, 2, 1.5]),
    ),
    "Gumbel": (D.Gumbel(T(0.0, 1.0), T(1.0, 2.0)), st.gumbel_r([0, 1], [1, 2])),
    "HalfCauchy": (D.HalfCauchy(T(1.0, 2.0)), st.halfcauchy(0, [1, 2])),
    "HalfNormal": (D.HalfNormal(T(1.0, 2.0)), st.halfnorm(0, [1, 2])),
    "InverseGamma": (D.InverseGamma(T(3.0, 4.0), T(1.0, 2.0)), st.invgamma([3, 4], 0, [1, 2])),
    "Laplace": (D.Laplace(T(0.0, 1.0), T(1.0, 2.0)), st.laplace([0, 1], [1, 2])),
    "LogNormal": (D.LogNormal(T(0.0, 1.0), T(0.5, 0.8)), st.lognorm([0.5, 0.8], 0, np.exp([0, 1]))),
    "Normal": (D.Normal(T(0.0, 1.0), T(1.0, 2.0)), st.norm([0, 1], [1, 2])),
    "Pareto": (D.Pareto(T(1.0, 2.0), T(3.0, 2.5)), st.pareto([3, 2.5], 0, [1, 2])),
    "StudentT": (D.StudentT(T(3.0, 5.0), T(0.0, 1.0), T(1.0, 2.0)), st.t([3, 5], [0, 1], [1, 2])),
    "Uniform": (D.Uniform(T(0.0, 1.0), T(2.0, 4.0)), st.uniform([0, 1], [2, 3])),
    "VonMises": (D.VonMises(T(0.0, 1.0), T(0.5, 3.0)), st.vonmises([0.5, 3], [0, 1])),
    "Weibull": (D.Weibull(T(1.0, 2.0), T(0.8, 2.5)), st.weibull_min([0.8, 2.5], 0, [1, 2])),
}
DISCRETE = {
    "Bernoulli": (D.Bernoulli(T(0.2, 0.7)), st.bernoulli([0.2, 0.7])),
    "Binomial": (D.Binomial(10, T(0.2, 0.7)), st.binom(10, [0.2, 0.7])),
    "Geometric": (D.Geometric(T(0.2, 0.7)), st.geom([0.2, 0.7], loc=-1)),
    "NegativeBinomial": (
        D.NegativeBinomial(T(2.0, 5.0), T(0.2, 0.7)), st.nbinom([2, 5], [0.8, 0.3])
    ),
    "Poisson": (D.Poisson(T(0.5, 14.0)), st.poisson([0.5, 14])),
}  # fmt: skip
# Of SciPy's, one object each: it does not batch these.
MULTIVARIATE = {
    "Dirichlet": (D.Dirichlet(T(0.5, 1.5, 3.0)), st.dirichlet([0.5, 1.5, 3])),
    "LowRankMultivariateNormal": (
        D.LowRankMultivariateNormal(T(1.0, 2.0, 3.0), _W, T(0.5, 1.0, 2.0)),
        st.multivariate_normal([1, 2, 3], _LOW_RANK),
    ),
    "Multinomial": (D.Multinomial(5, T(0.2, 0.3, 0.5)), st.multinomial(5, [0.2, 0.3, 0.5])),
    "MultivariateNormal": (
        D.MultivariateNormal(T(1.0, 2.0, 3.0), _SPD), st.multivariate_normal([1, 2, 3], SPD)
    ),
    "MultivariateNormal of a precision": (
        D.MultivariateNormal(T(1.0, 2.0, 3.0), precision_matrix=_SPD),
        st.multivariate_normal([1, 2, 3], np.linalg.inv(SPD)),
    ),
    "Wishart": (D.Wishart(torch.tensor(5.0, dtype=torch.float64), _SPD), st.wishart(5, SPD)),
}  # fmt: skip
# In terms of others, or in SciPy under no name.
COMPOSED = {
    "Categorical": D.Categorical(torch.tensor([[0.1, 0.6, 0.3], [0.2, 0.2, 0.6]])),
    "ContinuousBernoulli": D.ContinuousBernoulli(T(0.2, 0.5, 0.7)),
    "Independent": D.Independent(D.Normal(torch.zeros(3, 2), torch.ones(3, 2)), 1),
    "Kumaraswamy": D.Kumaraswamy(T(1.5, 2.0), T(1.0, 3.0)),
    "LKJCholesky": D.LKJCholesky(3, T(1.5, 0.7)),
    "LogisticNormal": D.LogisticNormal(torch.zeros(4, 2), torch.ones(4, 2)),
    "MixtureSameFamily": D.MixtureSameFamily(
        D.Categorical(T(0.3, 0.7)), D.Normal(T(-1.0, 1.0), T(0.5, 1.0))
    ),
    "OneHotCategorical": D.OneHotCategorical(torch.tensor([[0.1, 0.6, 0.3], [0.2, 0.2, 0.6]])),
    "OneHotCategoricalStraightThrough": D.OneHotCategoricalStraightThrough(T(0.1, 0.6, 0.3)),
    "RelaxedBernoulli": D.RelaxedBernoulli(torch.tensor(0.7), T(0.2, 0.7)),
    "RelaxedOneHotCategorical": D.RelaxedOneHotCategorical(torch.tensor(0.7), T(0.1, 0.6, 0.3)),
    "TransformedDistribution": D.TransformedDistribution(
        D.Normal(T(0.0, 0.5), T(1.0, 0.3)), [D.ExpTransform(), D.AffineTransform(1.0, 2.0)]
    ),
}
ALL = {
    **{name: ours for name, (ours, _) in (CONTINUOUS | DISCRETE | MULTIVARIATE).items()},
    **COMPOSED,
}
