"""autograd.Function."""

import gc
import weakref

import pytest

import taimatsu as torch
from taimatsu.autograd import Function, grad, gradcheck, gradgradcheck
from taimatsu.autograd.function import once_differentiable


def leaf(*values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


class Cube(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 3 * x * x * g


class Exp(Function):
    @staticmethod
    def forward(x):
        return x.exp()

    @staticmethod
    def setup_context(ctx, inputs, output):
        assert isinstance(inputs, tuple)
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return g * y


@pytest.mark.parametrize("function", [Cube, Exp])
def test_derivatives(function):
    x = leaf(0.3, -1.2)
    assert gradcheck(function.apply, (x,))
    assert gradgradcheck(function.apply, (x,))


def test_ctx_is_the_node():
    class Keep(Function):
        @staticmethod
        def forward(ctx, x, factor):
            ctx.factor = factor
            Keep.ctx = ctx
            return x * factor

        @staticmethod
        def backward(ctx, g):
            assert ctx is Keep.ctx
            return g * ctx.factor, None

    x = leaf(1.0)
    y = Keep.apply(x, 5)
    assert y.grad_fn is Keep.ctx
    assert type(y.grad_fn).__name__ == y.grad_fn.name() == "KeepBackward"
    assert y.grad_fn.factor == 5
    y.backward()
    assert x.grad.item() == 5


def test_nothing_is_recorded_in_forward():
    class Check(Function):
        @staticmethod
        def forward(ctx, x):
            assert not torch.is_grad_enabled()
            assert ctx.needs_input_grad == (True,)
            y = x * 2
            assert not y.requires_grad
            return y

        @staticmethod
        def backward(ctx, g):
            assert not torch.is_grad_enabled()
            return g * 2

    Check.apply(leaf(1.0)).backward()


def test_needs_input_grad():
    class Two(Function):
        @staticmethod
        def forward(ctx, x, n, y):
            Two.needs = ctx.needs_input_grad
            return x + y

        @staticmethod
        def backward(ctx, g):
            return g, None, g

    Two.apply(leaf(1.0), 3, torch.ones(1, dtype=torch.float64)).backward()
    assert Two.needs == (True, False, False)
    with torch.no_grad():
        assert not Two.apply(leaf(1.0), 3, leaf(1.0)).requires_grad
    assert Two.needs == (False, False, False)


class Split(Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2, x * 3

    @staticmethod
    def backward(ctx, a, b):
        Split.got = a, b
        return 2 * a + 3 * b


def test_absent_gradients_are_zeros_unless_refused():
    x = leaf(1.0, 2.0)
    a, b = Split.apply(x)
    assert (a.output_nr, b.output_nr) == (0, 1)
    a.sum().backward()
    assert Split.got[1].tolist() == [0, 0]
    assert x.grad.tolist() == [2, 2]

    class NoZeros(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.set_materialize_grads(False)
            return x * 2, x * 3

        @staticmethod
        def backward(ctx, a, b):
            assert a is None
            return 3 * b

    NoZeros.apply(x)[1].sum().backward()
    assert x.grad.tolist() == [5, 5]


def test_an_output_that_is_an_input():
    class Identity(Function):
        @staticmethod
        def forward(ctx, x):
            return x

        @staticmethod
        def backward(ctx, g):
            return g * 7

    x = leaf(1.0)
    y = Identity.apply(x)
    assert y is not x and x.is_leaf and y.data_ptr() == x.data_ptr()
    y.backward()
    assert x.grad.item() == 7
    with pytest.raises(RuntimeError, match="created inside a custom Function"):
        Identity.apply(x * 1).mul_(2)


def test_a_view_as_output_may_not_be_written():
    class Head(Function):
        @staticmethod
        def forward(ctx, x):
            return x[:1]

        @staticmethod
        def backward(ctx, g):
            return torch.cat([g, torch.zeros(1, dtype=torch.float64)])

    x = leaf(1.0, 2.0)
    Head.apply(x).sum().backward()
    assert x.grad.tolist() == [1, 0]
    with pytest.raises(RuntimeError, match="created inside a custom Function"):
        Head.apply(x * 1).mul_(2)


class Double(Function):
    @staticmethod
    def forward(ctx, x):
        x.mul_(2)
        ctx.mark_dirty(x)
        return x

    @staticmethod
    def backward(ctx, g):
        return g * 2


def test_in_place_functions():
    x = leaf(1.0, 2.0)
    y = x * 1
    z = Double.apply(y)
    assert z is y and y._version >= 1
    assert y.grad_fn.name() == "DoubleBackward"
    (y * y).sum().backward()
    assert x.grad.tolist() == [8, 16]
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad has been used"):
        Double.apply(leaf(1.0))


def test_in_place_on_a_view_rebases_the_base():
    x = leaf(1.0, 2.0)
    y = x * 1
    Double.apply(y[:1])
    y.sum().backward()
    assert x.grad.tolist() == [2, 1]


def test_a_dirty_input_must_be_returned():
    class Forgets(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.mark_dirty(x)
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g

    with pytest.raises(RuntimeError, match="marked as dirty"):
        Forgets.apply(leaf(1.0) * 1)


def test_non_differentiable_outputs():
    class Sorted(Function):
        @staticmethod
        def forward(ctx, x):
            order = x * 0
            index = torch.tensor([0])
            ctx.mark_non_differentiable(order)
            return x * 2, order, index

        @staticmethod
        def backward(ctx, g, _order, _index):
            return g * 2

    y, order, index = Sorted.apply(leaf(1.0))
    assert y.requires_grad and not order.requires_grad and not index.requires_grad
    y.backward()


def test_other_outputs_pass_through():
    class Extra(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2, "text", None

        @staticmethod
        def backward(ctx, g, a, b):
            assert a is None and b is None
            return g * 2

    x = leaf(1.0)
    y, text, none = Extra.apply(x)
    assert text == "text" and none is None
    y.backward()
    assert x.grad.item() == 2


def make(gradients):
    class Wrong(Function):
        @staticmethod
        def forward(ctx, x, n):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return gradients(g)

    return Wrong


@pytest.mark.parametrize(
    ("gradients", "error", "message"),
    [
        (lambda g: g, RuntimeError, r"incorrect number of gradients \(expected 2, got 1\)"),
        (lambda g: (g, None, g), RuntimeError, r"\(expected 2, got 3\)"),
        (lambda g: (g, g), RuntimeError, "was not a Variable"),
        (lambda g: (3, None), TypeError, "must return tensors or None"),
        (lambda g: (g.new_ones(5), None), RuntimeError, r"got \[5\] but expected shape compatible"),
    ],
)
def test_wrong_gradients(gradients, error, message):
    with pytest.raises(error, match=message):
        make(gradients).apply(leaf(1.0, 2.0), 3).sum().backward()


def test_superfluous_nones_and_gradients_that_broadcast():
    x = leaf(1.0, 2.0)
    make(lambda g: (g, None, None)).apply(x, 3).sum().backward()
    make(lambda g: (g.new_ones(4, 2), None)).apply(x, 3).sum().backward()
    assert x.grad.tolist() == [5, 5]


def test_saved_tensors_are_freed_and_checked():
    x = leaf(1.0)
    y = Cube.apply(x)
    y.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        y.backward()
    with pytest.raises(RuntimeError, match="second time"):
        _ = y.grad_fn.saved_tensors
    t = leaf(2.0) * 1
    z = Cube.apply(t)
    t.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.backward()
    with pytest.raises(TypeError, match="save_for_backward can only take tensors"):

        class SavesInt(Cube):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(3)

        SavesInt.apply(x)


def test_saving_an_output_makes_no_cycle():
    gc.disable()
    try:
        y = Exp.apply(leaf(1.0))
        alive = weakref.ref(y)
        del y
        assert alive() is None
    finally:
        gc.enable()


def test_once_differentiable():
    class Once(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @once_differentiable
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            assert not torch.is_grad_enabled()
            return 2 * x * g

    x = leaf(3.0)
    Once.apply(x).backward()
    assert x.grad.item() == 6
    w = leaf(1.0)
    (g,) = grad(Once.apply(x) * w, x, create_graph=True)
    assert g.item() == 6
    with pytest.raises(RuntimeError, match="trying to differentiate twice"):
        g.backward()


def test_what_is_not_defined_is_said():
    class Nothing(Function):
        pass

    with pytest.raises(NotImplementedError, match="implement the forward"):
        Nothing.apply(leaf(1.0))

    class NoBackward(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

    with pytest.raises(NotImplementedError, match="backward or vjp"):
        NoBackward.apply(leaf(1.0)).backward()
    with pytest.raises(RuntimeError, match="not instantiated"):
        Cube()
    with pytest.raises(NotImplementedError, match="forward mode"):
        Cube.jvp(None)
    with pytest.raises(TypeError, match="keyword"):
        Cube.apply(x=leaf(1.0))


def test_vjp_is_another_name_for_backward():
    class Vjp(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def vjp(ctx, g):
            return g * 2

    x = leaf(1.0)
    Vjp.apply(x).backward()
    assert x.grad.item() == 2


def test_a_backward_that_calls_backward():
    class Inner(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            with torch.enable_grad():
                y = x.detach().requires_grad_()
                (d,) = grad((y * y).sum(), y)
            return g * d

    x = leaf(3.0)
    Inner.apply(Inner.apply(x)).backward()
    assert x.grad.item() == 4 * 27
