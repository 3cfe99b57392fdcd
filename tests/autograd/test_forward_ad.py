"""Dual numbers: tangents through ops of every kind, against differences and formulas."""

import pytest

import taimatsu as torch
import taimatsu.autograd.forward_ad as fwad

X = torch.rand(3, 4, dtype=torch.float64) + 0.5
T = torch.randn(3, 4, dtype=torch.float64)


def pushed(f, x=X, t=T):
    with fwad.dual_level():
        return fwad.unpack_dual(f(fwad.make_dual(x.clone(), t)))


def in_place(x):
    y = x * 1
    y.mul_(x)
    y[0] = x[1] * 3
    y[:, 1].add_(x[:, 2])
    return y


FUNCTIONS = {
    "unary": torch.exp,
    "binary": lambda x: x * x / (x + 2),
    "broadcast": lambda x: x * x[0] + x[:, :1],
    "number": lambda x: 3 - x**2,
    "row": lambda x: x.softmax(1),
    "reduction": lambda x: x.var(0),
    "norm": lambda x: torch.linalg.vector_norm(x, dim=1),
    "matmul": lambda x: x @ x.mT,
    "views": lambda x: x.T.reshape(2, 6)[:, 1:4].unbind(1)[2],
    "list": lambda x: torch.cat([x, x * x], 1),
    "index": lambda x: x[torch.tensor([2, 0])],
    "gather": lambda x: x.gather(1, torch.tensor([[0], [1], [2]])),
    "several": lambda x: x.sort(1)[0] + x.max(1, keepdim=True)[0],
    "solve": lambda x: torch.linalg.solve(x @ x.mT, x),
    "layer_norm": lambda x: torch.nn.functional.layer_norm(x, (4,), x[0], x[1]),
    "in place": in_place,
    "into zeros": lambda x: torch.zeros_like(x).copy_(x * x),
    "into a view": lambda x: _filled(x),
    "put": lambda x: x.put(torch.tensor([1, 5]), x[0, :2] * x[1, :2], accumulate=True),
    "complex": lambda x: torch.polar(x, x * x) * torch.complex(x, x + 1),
    "singular values": lambda x: torch.linalg.svdvals(x) * torch.linalg.norm(x, "nuc"),
    "factors": lambda x: torch.linalg.lu_solve(
        x[:, :3] + 2 * torch.eye(3), torch.tensor([2, 3, 3], dtype=torch.int32), x, adjoint=True
    ),
    "one element": lambda x: x.masked_fill(x > 1, x[0, 0] * 2),
    "batch_norm": lambda x: torch.nn.functional.batch_norm(
        x, None, None, x[0], x[1], training=True
    ),
    "logcumsumexp": lambda x: x.logcumsumexp(1),
}


def _filled(x):
    y = torch.zeros(4, 4, dtype=x.dtype)
    y[1:] = x * x
    return y * 2


@pytest.mark.parametrize("name", FUNCTIONS)
def test_tangents_against_differences(name):
    f, h = FUNCTIONS[name], 1e-6
    y, t = pushed(f)
    torch.testing.assert_close(y, f(X))
    torch.testing.assert_close(t, (f(X + h * T) - f(X - h * T)) / (2 * h), atol=1e-6, rtol=1e-6)


def test_writing_to_a_copy_leaves_the_tangent_of_the_original():
    with fwad.dual_level():
        x = fwad.make_dual(X.clone(), T)
        x.clone()[0] = 0.0
        torch.testing.assert_close(fwad.unpack_dual(x).tangent, T)


def test_what_does_not_depend_has_no_tangent():
    assert pushed(lambda x: x.detach()).tangent is None
    assert pushed(lambda x: torch.ones(2)).tangent is None
    assert pushed(lambda x: x.argmax()).tangent is None
    assert fwad.unpack_dual(X).tangent is None


def test_levels_and_refusals():
    with pytest.raises(RuntimeError, match="no level"):
        fwad.make_dual(X, T)
    with fwad.dual_level() as level:
        assert level == 0
        with pytest.raises(RuntimeError, match="sizes"):
            fwad.make_dual(X, T[0])
        with pytest.raises(RuntimeError, match="dtype"):
            fwad.make_dual(X, T.float())
        with pytest.raises(ValueError, match="floating"):
            fwad.make_dual(torch.arange(3), torch.arange(3))
        with pytest.raises(RuntimeError, match="do not nest"):
            fwad.enter_dual_level()
        dual = fwad.make_dual(X, T)
    assert fwad.unpack_dual(dual).tangent is None
    with pytest.raises(RuntimeError, match="exit_dual_level"):
        fwad.exit_dual_level()


def test_reverse_over_forward_and_forward_over_reverse():
    """Both give the product of the Hessian of sum(x**3 exp(x)) with t."""
    expected = (6 * X + 6 * X**2 + X**3) * X.exp() * T
    x = X.clone().requires_grad_()
    with fwad.dual_level():
        dual = fwad.make_dual(x, T)
        tangent = fwad.unpack_dual((dual**3 * dual.exp()).sum()).tangent
    (product,) = torch.autograd.grad(tangent, x)
    torch.testing.assert_close(product, expected)
    with fwad.dual_level():
        dual = fwad.make_dual(X.clone().requires_grad_(), T)
        (g,) = torch.autograd.grad((dual**3 * dual.exp()).sum(), dual, create_graph=True)
        product = fwad.unpack_dual(g).tangent
    torch.testing.assert_close(product, expected)


def test_custom_functions():
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(x):
            return x**3

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)
            ctx.save_for_forward(*inputs)

        @staticmethod
        def backward(ctx, g):
            return 3 * ctx.saved_tensors[0] ** 2 * g

        @staticmethod
        def jvp(ctx, t):
            return 3 * ctx.saved_tensors[0] ** 2 * t

    torch.testing.assert_close(pushed(Cube.apply).tangent, 3 * X**2 * T)

    class Batchable(Cube):
        generate_vmap_rule = True

    class Ruled(Cube):
        @staticmethod
        def vmap(info, in_dims, x):
            assert info.batch_size == 3 and in_dims == (0,)
            return Ruled.apply(x), 0

    torch.testing.assert_close(torch.func.vmap(Batchable.apply)(X), X**3)
    torch.testing.assert_close(torch.func.vmap(Ruled.apply)(X), X**3)
    each = torch.func.vmap(torch.func.grad(lambda x: Ruled.apply(x).sum()))(X)
    torch.testing.assert_close(each, 3 * X**2)
    with pytest.raises(RuntimeError, match="no rule"):
        torch.func.vmap(Cube.apply)(X)
