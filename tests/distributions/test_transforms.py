"""Transforms: inverses, Jacobians by derivatives, shapes, caching; the registry of constraints."""

import math

import numpy as np
import pytest

import taimatsu as torch
import taimatsu.distributions as D
from taimatsu.distributions import biject_to, constraints, transform_to
from taimatsu.distributions import transforms as t

close = np.testing.assert_allclose
X = torch.tensor([0.3, -0.7, 1.4], dtype=torch.float64)

# transform, an argument; bijective ones have a square Jacobian unless they say otherwise
CASES = {
    "affine": (t.AffineTransform(0.5, -2.0), X),
    "affine of vectors": (t.AffineTransform(X, X + 2, event_dim=1), X),
    "exp": (t.ExpTransform(), X),
    "power": (t.PowerTransform(torch.tensor(2.5, dtype=torch.float64)), X.abs()),
    "sigmoid": (t.SigmoidTransform(), X),
    "softplus": (t.SoftplusTransform(), X),
    "tanh": (t.TanhTransform(), X),
    "cdf": (t.CumulativeDistributionTransform(D.Normal(0.0, 1.0)), X),
    "compose": (t.ComposeTransform([t.ExpTransform(), t.AffineTransform(1.0, 2.0)]), X),
    "independent": (t.IndependentTransform(t.ExpTransform(), 1), X),
    "reshape": (t.ReshapeTransform((4,), (2, 2)), torch.arange(4.0).double()),
    "stack": (t.StackTransform([t.ExpTransform(), t.TanhTransform(), t.SigmoidTransform()]), X),
    "cat": (t.CatTransform([t.ExpTransform(), t.TanhTransform()], 0, [1, 2]), X),
    "stick breaking": (t.StickBreakingTransform(), X),
    "correlation": (t.CorrCholeskyTransform(), X),
    "inverse": (t.ExpTransform().inv, X.abs()),
}


@pytest.mark.parametrize("name", CASES)
def test_inverse_and_jacobian(name):
    transform, x = CASES[name]
    y = transform(x)
    assert transform.bijective
    close(transform.inv(y), x, rtol=1e-8, atol=1e-10)
    assert tuple(transform.forward_shape(x.shape)) == tuple(y.shape)
    assert tuple(transform.inverse_shape(y.shape)) == tuple(x.shape)
    assert transform.codomain.check(y).all()
    # In coordinates: the free entries of what has more than it needs.
    free = {
        "stick breaking": lambda y: y[..., :-1],
        "correlation": lambda y: D.utils.tril_matrix_to_vec(y, -1),
    }.get(name, lambda y: y.reshape(-1))
    jacobian = torch.autograd.functional.jacobian(lambda x: free(transform(x)), x)
    expected = np.linalg.slogdet(np.asarray(jacobian))[1]
    close(transform.log_abs_det_jacobian(x, y).sum(), expected, rtol=1e-7, atol=1e-9)
    if not isinstance(transform, (t.StackTransform, t.CatTransform)):
        close(transform.inv.log_abs_det_jacobian(y, x).sum(), -expected, rtol=1e-7, atol=1e-9)


def test_signs():
    assert t.ExpTransform().sign == 1 and t.AffineTransform(0.0, -2.0).sign == -1
    negation = t.AffineTransform(0, -1)
    chain = t.ComposeTransform([negation, t.ExpTransform(), negation])
    assert chain.sign == 1 and chain.inv.sign == 1


def test_equality():
    assert t.ExpTransform() == t.ExpTransform() and t.ExpTransform() != t.TanhTransform()
    assert t.AffineTransform(1.0, 2.0) == t.AffineTransform(torch.tensor(1.0), 2)
    assert t.AffineTransform(1.0, 2.0) != t.AffineTransform(1.0, 3.0)
    assert t.ExpTransform().inv == t.ExpTransform().inv
    assert t.ComposeTransform([t.ExpTransform()]) == t.ComposeTransform([t.ExpTransform()])


def test_the_inverse_of_the_inverse_is_the_transform_itself():
    for transform in (t.ExpTransform(), t.ComposeTransform([t.ExpTransform()])):
        assert transform.inv.inv is transform and transform.inv is transform.inv


def test_cache():
    transform = t.SigmoidTransform(cache_size=1)
    x = torch.tensor([40.0])  # the inverse of 1 is lost without
    assert transform.inv(transform(x)) is x
    assert t.SigmoidTransform().inv(t.SigmoidTransform()(x)) is not x
    again = t.SigmoidTransform().with_cache()
    assert again._cache_size == 1 and again.with_cache() is again
    with pytest.raises(ValueError):
        t.ExpTransform(cache_size=2)


@pytest.mark.parametrize(
    "constraint",
    [
        constraints.real, constraints.positive, constraints.nonnegative, constraints.unit_interval,
        constraints.interval(-2.0, 3.0), constraints.half_open_interval(-2.0, 3.0),
        constraints.greater_than(2.0), constraints.greater_than_eq(2.0), constraints.less_than(2.0),
        constraints.simplex, constraints.corr_cholesky, constraints.real_vector,
        constraints.independent(constraints.positive, 1),
        constraints.stack([constraints.positive, constraints.real, constraints.unit_interval]),
        constraints.cat([constraints.positive, constraints.real], 0, [2, 1]),
    ],
    ids=repr,
)  # fmt: skip
def test_biject_to(constraint):
    transform = biject_to(constraint)
    assert transform.bijective and constraint.check(transform(X)).all()
    close(transform.inv(transform(X)), X, rtol=1e-7)
    assert constraint.check(transform_to(constraint)(X)).all()


@pytest.mark.parametrize(
    "constraint",
    [constraints.lower_cholesky, constraints.positive_definite, constraints.positive_semidefinite],
    ids=repr,
)
def test_matrices(constraint):
    x = torch.randn(2, 3, 3).double()
    transform = transform_to(constraint)
    y = transform(x)
    assert constraint.check(y).all()
    close(transform(transform.inv(y)), y, rtol=1e-6)
    with pytest.raises(NotImplementedError):
        biject_to(constraints.boolean)


@pytest.mark.parametrize(
    ("constraint", "good", "bad"),
    [
        (constraints.boolean, [0.0, 1.0], [0.5, 2.0]),
        (constraints.nonnegative_integer, [0.0, 3.0], [-1.0, 0.5]),
        (constraints.positive_integer, [1.0, 3.0], [0.0, 1.5]),
        (constraints.integer_interval(1, 3), [1.0, 3.0], [0.0, 4.0]),
        (constraints.positive, [0.1, math.inf], [0.0, math.nan]),
        (constraints.nonnegative, [0.0, 1.0], [-1.0, math.nan]),
        (constraints.real, [0.0, math.inf], [math.nan, math.nan]),
        (constraints.less_than(1.0), [0.0, -1.0], [1.0, 2.0]),
        (constraints.half_open_interval(0.0, 1.0), [0.0, 0.5], [1.0, -0.1]),
    ],
    ids=lambda c: repr(c) if isinstance(c, constraints.Constraint) else None,
)
def test_constraints(constraint, good, bad):
    assert constraint.check(torch.tensor(good)).all()
    assert not constraint.check(torch.tensor(bad)).any()


def test_constraints_of_vectors_and_matrices():
    rows = torch.tensor([[0.5, 0.5], [0.5, 0.6], [0.0, 1.0]])
    assert constraints.simplex.check(rows).tolist() == [True, False, True]
    assert constraints.one_hot.check(rows).tolist() == [False, False, True]
    assert constraints.multinomial(3).check(torch.tensor([1.0, 2.0]))
    assert constraints.square.check(torch.zeros(2, 3, 3)).tolist() == [True, True]
    assert not constraints.symmetric.check(torch.tensor([[1.0, 2.0], [0.0, 1.0]]))
    assert not constraints.positive_definite.check(torch.tensor([[1.0, 2.0], [2.0, 1.0]]))
    assert constraints.independent(constraints.real, 2).event_dim == 2
    assert constraints.is_dependent(constraints.dependent)
    assert not constraints.is_dependent(constraints.real)
    with pytest.raises(ValueError):
        constraints.dependent.check(torch.zeros(1))


def test_registering_a_constraint():
    class Even(constraints.Constraint):
        pass

    registry = D.constraint_registry.ConstraintRegistry()
    registry.register(Even, lambda c: t.AffineTransform(0, 2))
    assert registry(Even()).scale == 2
    with pytest.raises(TypeError):
        registry.register(3, lambda c: None)


def test_triangles():
    m = torch.arange(16.0).reshape(4, 4)
    for diag in (-2, -1, 0, 1, 2):
        vec = D.utils.tril_matrix_to_vec(m, diag)
        assert vec.tolist() == np.asarray(m)[np.tril_indices(4, diag)].tolist()
        assert D.utils.vec_to_tril_matrix(vec, diag).tolist() == m.tril(diag).tolist()
    with pytest.raises(ValueError):
        D.utils.vec_to_tril_matrix(torch.zeros(5))
