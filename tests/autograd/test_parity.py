"""The same programs under PyTorch: same values, same gradients, same kinds of error."""

import numpy as np
import pytest

import taimatsu

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity


def leaf(t, *shape):
    n = int(np.prod(shape))
    return t.from_numpy(np.linspace(-1.3, 1.7, n).reshape(shape)).requires_grad_()


# Each program gets the library and gives what is to be compared: tensors, numbers, strings.
def accumulate(t):
    x = leaf(t, 3)
    (x * x).sum().backward()
    x.sum().backward()
    return x.grad


def layout_of_grad(t):
    out = []
    for x in (leaf(t, 3, 4), leaf(t, 4, 3).detach().t().requires_grad_(),
              leaf(t, 4, 8).detach()[:, ::2].requires_grad_()):  # fmt: skip
        (x * 2).sum().backward()
        out += [x.grad, str(x.grad.stride())]
    return out


def inplace_chain(t):
    x, w = leaf(t, 4), leaf(t, 4)
    y = x * 1
    y.mul_(w).add_(x).sin_()
    y[1:3].mul_(w[:2])
    y.sum().backward()
    return y, x.grad, w.grad


def views_of_views(t):
    x = leaf(t, 4, 6)
    y = x * 1
    a = y.t()[1:4]
    b = y.view(2, 12)[:, 3]
    a.mul_(2)
    b.add_(a.sum())
    (y * y).sum().backward()
    return y, a, b, x.grad


def versions(t):
    x = leaf(t, 4).detach()
    v = x[:2]
    v.add_(1)
    x.zero_()
    y = x.detach()
    y.add_(1)
    x.data.add_(1)
    return [x._version, v._version, y._version]


def leafs(t):
    x = leaf(t, 4)
    y = x * 2
    with t.no_grad():
        z = x * 2
    v = x.view(2, 2)
    return [x.is_leaf, y.is_leaf, z.is_leaf, v.is_leaf, z.requires_grad, v._is_view(),
            v._base is x, (x + 1).output_nr, x.detach()._is_view()]  # fmt: skip


def hooks(t):
    x = leaf(t, 2)
    seen = []
    y = x * 2
    y.register_hook(lambda g: seen.append(("y", g.tolist())))
    y.retain_grad()
    x.register_hook(lambda g: g * 3)
    x.register_post_accumulate_grad_hook(lambda p: seen.append(("post", p.grad.tolist())))
    y.mul_(5)
    y.register_hook(lambda g: seen.append(("new y", g.tolist())))
    (y * y).sum().backward()
    return [str(seen), x.grad, y.grad]


def double(t):
    x = leaf(t, 3)
    (g,) = t.autograd.grad((x.exp() * x).sum(), x, create_graph=True)
    (h,) = t.autograd.grad((g * g).sum(), x, create_graph=True)
    h.sum().backward()
    return g, h, x.grad


def complex_gradients(t):
    z = t.tensor([1 + 2j, -0.5 + 1j], dtype=t.complex128, requires_grad=True)
    r = t.view_as_real(z * z)
    (r[..., 0] * r[..., 1]).sum().backward()
    return t.view_as_real(z.grad)


def functional(t):
    x = leaf(t, 3).detach()
    f = lambda x: (x**3).sum() * x[0]
    return [t.autograd.functional.hessian(f, x), t.autograd.functional.jacobian(t.sin, x),
            t.autograd.functional.jvp(t.sin, x, x)[1]]  # fmt: skip


def grad_modes(t):
    out = [t.is_grad_enabled()]
    with t.no_grad():
        out.append(t.is_grad_enabled())
        with t.enable_grad():
            out.append(t.is_grad_enabled())
        with t.set_grad_enabled(True):
            out.append(t.is_grad_enabled())
    with t.inference_mode():
        out += [t.is_grad_enabled(), t.is_inference_mode_enabled(), t.ones(1).is_inference()]
    return out


def checkpointed(t):
    from importlib import import_module

    checkpoint = import_module(t.__name__ + ".utils.checkpoint").checkpoint
    x = leaf(t, 3)
    checkpoint(lambda x: (x.exp() * x).sin(), x, use_reentrant=False).sum().backward()
    return x.grad


def custom(t):
    class Scale(t.autograd.Function):
        @staticmethod
        def forward(ctx, x, factor):
            ctx.factor = factor
            ctx.save_for_backward(x)
            return x * factor, x * x

        @staticmethod
        def backward(ctx, a, b):
            (x,) = ctx.saved_tensors
            return a * ctx.factor + 2 * x * b, None

    x = leaf(t, 3)
    a, b = Scale.apply(x, 3)
    (a * b).sum().backward()
    return x.grad, a.grad_fn.name(), b.output_nr


PROGRAMS = [accumulate, layout_of_grad, inplace_chain, views_of_views, versions, leafs, hooks,
            double, complex_gradients, functional, grad_modes, checkpointed, custom]  # fmt: skip


def flat(result):
    return list(result) if isinstance(result, (tuple, list)) else [result]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_same_results(program):
    ours, theirs = flat(program(taimatsu)), flat(program(torch))
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        if isinstance(b, torch.Tensor):
            a, b = a.detach().numpy(), b.detach().numpy()
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
        else:
            assert a == b


def leaf_write(t):
    leaf(t, 2).add_(1)


def leaf_view_write(t):
    leaf(t, 2)[0] = 1


def split_write(t):
    (leaf(t, 4) * 1).split(2)[0].mul_(2)


def saved_write(t):
    x = leaf(t, 2)
    y = x * 1
    z = y * y
    y.add_(1)
    z.sum().backward()


def twice(t):
    y = leaf(t, 2).exp().sum()
    y.backward()
    y.backward()


def no_scalar(t):
    leaf(t, 2).exp().backward()


def no_grad_root(t):
    t.ones(1).backward()


def unused(t):
    t.autograd.grad(leaf(t, 1).exp(), [leaf(t, 1)])


def no_grad_input(t):
    t.autograd.grad(leaf(t, 1).exp(), t.ones(1))


def wrong_shape(t):
    leaf(t, 2).exp().backward(t.ones(3))


def inference_saved(t):
    with t.inference_mode():
        i = t.ones(2)
    leaf(t, 2) * i


def inner_flag(t):
    leaf(t, 2).exp().requires_grad_(False)


def hook_type(t):
    y = leaf(t, 2) * 1
    y.register_hook(lambda g: 3)
    y.sum().backward()


def hook_without_grad(t):
    t.ones(2).register_hook(print)


ERRORS = [leaf_write, leaf_view_write, split_write, saved_write, twice, no_scalar, no_grad_root,
          unused, no_grad_input, wrong_shape, inference_saved, inner_flag, hook_type,
          hook_without_grad]  # fmt: skip


def words(text):
    return set(text.lower().replace(",", " ").replace(".", " ").split())


@pytest.mark.parametrize("program", ERRORS, ids=lambda p: p.__name__)
def test_same_errors(program):
    """The same exception type, and a message that a search for PyTorch's would find."""
    with pytest.raises(Exception) as theirs:
        program(torch)
    with pytest.raises(theirs.type) as ours:
        program(taimatsu)
    a, b = words(str(ours.value)), words(str(theirs.value))
    assert len(a & b) >= 0.5 * len(b), (str(ours.value), str(theirs.value))
