"""gradcheck itself, the functional API, grad modes."""

import numpy as np
import pytest

import taimatsu as torch
from taimatsu.autograd import Function, functional, gradcheck, gradgradcheck
from taimatsu.autograd.gradcheck import GradcheckError


def leaf(*values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype, requires_grad=True)


class Wrong(Function):
    """x**2 with a gradient that is 1 % off."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 2.02 * x * g


class WrongSecond(Function):
    """x**2 with a right gradient whose own gradient is lost."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 2 * x.detach() * g


@pytest.mark.parametrize("fast", [False, True])
def test_gradcheck_tells_right_from_wrong(fast):
    x = leaf(0.5, -1.5, 2.0)
    assert gradcheck(lambda x: (x * x, x.exp()), (x,), fast_mode=fast)
    with pytest.raises(GradcheckError, match="Jacobian mismatch for output 0 with respect"):
        gradcheck(Wrong.apply, (x,), fast_mode=fast)
    assert not gradcheck(Wrong.apply, (x,), fast_mode=fast, raise_exception=False)
    assert gradcheck(Wrong.apply, (x,), fast_mode=fast, rtol=0.05)


@pytest.mark.parametrize("fast", [False, True])
def test_gradgradcheck_tells_right_from_wrong(fast):
    x = leaf(0.5, -1.5, 2.0)
    assert gradgradcheck(lambda x: x * x * x, (x,), fast_mode=fast)
    assert gradgradcheck(lambda x: x * x, (x,), gen_non_contig_grad_outputs=True)
    assert gradcheck(WrongSecond.apply, (x,), fast_mode=fast)
    with pytest.raises(GradcheckError):
        gradgradcheck(WrongSecond.apply, (x,), fast_mode=fast)


@pytest.mark.parametrize("fast", [False, True])
def test_gradcheck_of_complex_functions(fast):
    z = leaf(1 + 2j, -0.5 + 0.3j, dtype=torch.complex128)
    x = leaf(0.5, 2.0)
    assert gradcheck(lambda z, x: z * z * x, (z, x), fast_mode=fast)
    assert gradcheck(lambda z: z.conj() * 3, (z,), fast_mode=fast)

    class WrongConj(Function):
        @staticmethod
        def forward(ctx, z):
            ctx.save_for_backward(z)
            return z * z

        @staticmethod
        def backward(ctx, g):
            (z,) = ctx.saved_tensors
            return 2 * z * g  # not conjugated

    with pytest.raises(GradcheckError):
        gradcheck(WrongConj.apply, (z,), fast_mode=fast)


def test_gradcheck_leaves_the_inputs_as_they_were():
    x = leaf(0.1, 0.2)
    before = x.detach().clone()
    gradcheck(lambda x: x.exp(), (x,))
    assert (x.detach() == before).all() and x._version == 0


def test_gradcheck_finds_what_differs_from_run_to_run():
    state = {"n": 0}

    class Unsteady(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            state["n"] += 1
            return g * (2 + 1e-7 * state["n"])

    x = leaf(1.0, 2.0)
    with pytest.raises(GradcheckError, match="not reentrant"):
        gradcheck(Unsteady.apply, (x,))
    assert gradcheck(Unsteady.apply, (x,), nondet_tol=1e-4)


def test_what_gradcheck_refuses():
    with pytest.raises(ValueError, match="at least one input tensor"):
        gradcheck(lambda x: x, (torch.ones(1),))
    with pytest.warns(UserWarning, match="not a double precision"):
        gradcheck(lambda x: x * 2, (leaf(1.0, dtype=torch.float32),), atol=1, raise_exception=False)
    with pytest.raises(RuntimeError, match="stride 0"):
        gradcheck(lambda x: x, (torch.ones(1, dtype=torch.float64).expand(3).requires_grad_(),))
    with pytest.raises(ValueError, match="one of check_forward_ad and check_backward_ad"):
        gradcheck(lambda x: x, (leaf(1.0),), check_backward_ad=False)


@pytest.mark.parametrize("fast", [False, True])
def test_gradcheck_of_forward_mode(fast):
    def f(x, w):
        return torch.sin(w @ x), (x * x).sum()

    class WrongTangent(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 2

        @staticmethod
        def jvp(ctx, t):
            return t * 3

    x, w = leaf(0.3, -1.0), leaf(1.0, 2.0).outer(leaf(0.5, 1.5)).detach().requires_grad_()
    assert gradcheck(f, (x, w), check_forward_ad=True, check_backward_ad=False, fast_mode=fast)
    assert gradgradcheck(f, (x, w), check_fwd_over_rev=True, fast_mode=fast)
    assert gradcheck(f, (x, w), check_forward_ad=True, check_batched_forward_grad=True)
    assert gradcheck(WrongTangent.apply, (x,), fast_mode=fast)
    with pytest.raises(GradcheckError, match="by forward mode"):
        gradcheck(WrongTangent.apply, (x,), check_forward_ad=True, fast_mode=fast)


def test_gradcheck_of_a_batch():
    assert gradcheck(lambda x: x.exp(), (leaf(1.0, 2.0),), check_batched_grad=True)


# ---- functional -------------------------------------------------------------------------------


def f(x, y):
    return (x * x).sum() * y


X, Y = np.array([1.0, 2.0]), np.array([3.0, 4.0, 5.0])


def xy():
    return torch.from_numpy(X.copy()), torch.from_numpy(Y.copy())


def close(t, expected):
    np.testing.assert_allclose(t.detach().numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("strategy", ["reverse-mode", "forward-mode"])
def test_jacobian(strategy):
    jx, jy = functional.jacobian(f, xy(), strategy=strategy)
    close(jx, np.outer(Y, 2 * X))
    close(jy, np.eye(3) * (X @ X))
    close(functional.jacobian(lambda x: x * x, xy()[0], strategy=strategy), np.diag(2 * X))
    (a,), (b,) = functional.jacobian(lambda x: (x * 2, x.sum()), (xy()[0],), strategy=strategy)
    close(a, 2 * np.eye(2))
    close(b, [1, 1])


def test_hessian():
    def g(x, y):
        return (x * x * x).sum() * y.sum()

    (xx, x_y), (yx, yy) = functional.hessian(g, xy())
    close(xx, np.diag(6 * X) * Y.sum())
    close(x_y, np.outer(3 * X**2, np.ones(3)))
    close(yx, np.outer(np.ones(3), 3 * X**2))
    close(yy, np.zeros((3, 3)))
    close(functional.hessian(lambda x: (x**3).sum(), xy()[0]), np.diag(6 * X))
    with pytest.raises(RuntimeError, match="single scalar"):
        functional.hessian(lambda x: x * x, xy()[0])


def test_products():
    x, y = xy()
    u = torch.tensor([1.0, -1.0, 2.0], dtype=torch.float64)
    out, (vx, vy) = functional.vjp(f, (x, y), u)
    close(out, X @ X * Y)
    close(vx, u.numpy() @ np.outer(Y, 2 * X))
    close(vy, u.numpy() * (X @ X))
    v = (torch.tensor([0.5, 1.0], dtype=torch.float64), u)
    _, along = functional.jvp(f, (x, y), v)
    close(along, np.outer(Y, 2 * X) @ v[0].numpy() + u.numpy() * (X @ X))

    def g(x):
        return (x**3).sum() * x[0]

    h = functional.hessian(g, x).numpy()
    w = v[0]
    close(functional.vhp(g, x, w)[1], w.numpy() @ h)
    close(functional.hvp(g, x, w)[1], h @ w.numpy())


def test_functional_details():
    x, _ = xy()
    with pytest.raises(RuntimeError, match="independent of input"):
        functional.jacobian(lambda x, y: x * 2, xy(), strict=True)
    _, jy = functional.jacobian(lambda x, y: x * 2, xy())
    close(jy, np.zeros((2, 3)))
    with pytest.raises(RuntimeError, match="v must have the sizes"):
        functional.vjp(lambda x: x * 2, x, torch.ones(5))
    with pytest.raises(TypeError, match="must be a tensor"):
        functional.vjp(lambda x: x * 2, 3)
    x.requires_grad_()
    j = functional.jacobian(lambda x: x**3, x, create_graph=True)
    j.sum().backward()
    close(x.grad, 6 * X)
    assert not functional.jacobian(lambda x: x**3, x).requires_grad


# ---- grad modes as decorators -----------------------------------------------------------------


def test_decorators():
    x = leaf(1.0)

    @torch.no_grad()
    def f(n):
        return (f(n - 1) if n else x * 2), torch.is_grad_enabled()

    assert f(3)[1] is False and torch.is_grad_enabled()

    @torch.no_grad
    def g():
        return torch.is_grad_enabled()

    assert g() is False

    @torch.enable_grad()
    def h():
        return torch.is_grad_enabled()

    with torch.no_grad():
        assert h() is True
        assert not torch.is_grad_enabled()

    @torch.set_grad_enabled(False)
    def k():
        return torch.is_grad_enabled()

    assert k() is False and torch.is_grad_enabled()


def test_a_decorated_generator_keeps_its_mode_to_itself():
    @torch.no_grad()
    def numbers():
        try:
            while True:
                got = yield torch.is_grad_enabled()
                assert not torch.is_grad_enabled()
                if got == "stop":
                    return "done"
        except KeyError:
            yield "caught"

    g = numbers()
    assert next(g) is False
    assert torch.is_grad_enabled()
    assert g.send(None) is False
    assert g.throw(KeyError()) == "caught"
    g.close()
    g = numbers()
    next(g)
    with pytest.raises(StopIteration) as stop:
        g.send("stop")
    assert stop.value.value == "done"
    assert torch.is_grad_enabled()


def test_a_class_is_not_decorated():
    with pytest.raises(TypeError, match="decorate its methods"):

        @torch.no_grad()
        class C:
            pass


def test_the_angle_of_complex_numbers():
    """Its gradient is a real one that becomes complex: i z / |z|^2, zero at zero."""
    z = torch.tensor([1 + 2j, 0j, -3 + 1j], dtype=torch.complex128, requires_grad=True)
    torch.angle(z).sum().backward()
    wanted = torch.tensor([-0.4 + 0.2j, 0j, -0.1 - 0.3j], dtype=torch.complex128)
    assert torch.allclose(z.grad, wanted)
