"""Derivatives of functions, and their compositions, against formulas and finite differences."""

import math

import pytest

import taimatsu as torch
from taimatsu import nn
from taimatsu.func import (
    functional_call,
    grad,
    grad_and_value,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    linearize,
    rearrange,
    stack_module_state,
    vjp,
    vmap,
)

torch.manual_seed(0)


def close(a, b, **options):
    torch.testing.assert_close(a, b, **options)


def test_grad_of_grad_is_the_second_derivative():
    x = torch.tensor(0.7)
    close(grad(torch.sin)(x), torch.cos(x))
    close(grad(grad(torch.sin))(x), -torch.sin(x))
    close(grad(grad(grad(torch.sin)))(x), -torch.cos(x))
    assert not grad(torch.sin)(x).requires_grad


def test_nested_grads_are_not_confused():
    # d/dx (x * d/dy (x + y)) = 1, not 2
    inner = lambda x: x * grad(lambda y: x + y)(torch.tensor(1.0))
    close(grad(inner)(torch.tensor(3.0)), torch.tensor(1.0))


def test_argnums_aux_and_trees():
    f = lambda p, x: ((p["w"] * x + p["b"]).sum(), {"seen": x})
    p = {"w": torch.tensor([1.0, 2.0]), "b": torch.zeros(2)}
    x = torch.tensor([3.0, 4.0])
    g, aux = grad(f, has_aux=True)(p, x)
    close(g["w"], x)
    close(aux["seen"], x)
    (gp, gx), (value, _) = grad_and_value(f, argnums=(0, 1), has_aux=True)(p, x)
    close(gx, p["w"])
    close(gp["b"], torch.ones(2))
    close(value, torch.tensor(11.0))


def test_results_stay_connected_to_what_the_user_follows():
    w = torch.tensor(3.0, requires_grad=True)
    g = grad(lambda x: w * x * x)(torch.tensor(2.0))
    g.backward()
    close(w.grad, torch.tensor(4.0))
    with torch.no_grad():
        assert not grad(lambda x: w * x * x)(torch.tensor(2.0)).requires_grad


def test_what_grad_refuses():
    x = torch.ones(2)
    with pytest.raises(RuntimeError, match="scalar"):
        grad(torch.sin)(x)
    with pytest.raises(RuntimeError, match="return a tensor"):
        grad(lambda x: (x.sum(), x))(x)
    with pytest.raises(RuntimeError, match="argnum=1"):
        grad(torch.sum, argnums=1)(x)
    with pytest.raises(RuntimeError, match="floating"):
        grad(lambda i: i.sum())(torch.arange(3))
    with pytest.raises(ValueError, match="to be tensors"):
        grad(lambda x: x)(1.0)


def test_vjp_and_jvp():
    x, t = torch.randn(3), torch.randn(3)
    y, vjp_fn = vjp(lambda x: {"sin": x.sin(), "sum": x.sum()}, x)
    (g,) = vjp_fn({"sin": t, "sum": torch.tensor(2.0)})
    close(g, t * x.cos() + 2)
    close(y["sin"], x.sin())
    y, along = jvp(lambda a, b: a * b.exp(), (x, t), (t, x))
    close(along, t * t.exp() + x * t.exp() * x)
    y, jvp_fn = linearize(torch.tanh, x)
    close(jvp_fn(t), (1 - y * y) * t)
    close(jvp_fn(2 * t), 2 * jvp_fn(t))
    with pytest.raises(RuntimeError, match="structure"):
        vjp_fn(t)
    with pytest.raises(RuntimeError, match="shape"):
        jvp(torch.sin, (x,), (torch.ones(2),))


def test_jvp_of_an_integer_result_is_zero():
    _, along = jvp(lambda x: (x.argmax(), x * 2), (torch.tensor([1.0, 2.0]),), (torch.ones(2),))
    assert along[0].item() == 0 and along[1].tolist() == [2.0, 2.0]


def test_jacobians_agree():
    x = torch.randn(3, dtype=torch.float64)
    f = lambda x: torch.stack([x.prod(), x.sum().exp()])
    expected = torch.stack([x.prod() / x, x.sum().exp().expand(3)])
    close(jacrev(f)(x), expected)
    close(jacfwd(f)(x), expected)
    a, b = torch.randn(2), torch.randn(2)
    ja, jb = jacrev(lambda a, b: a * b, argnums=(0, 1))(a, b)
    close(ja, torch.diag(b))
    close(jb, torch.diag(a))


def test_hessian_by_every_pair_of_transforms():
    x = torch.randn(3, dtype=torch.float64)
    f = lambda x: (x * x).sum() * x.prod()
    first = hessian(f)(x)
    for outer in (jacfwd, jacrev):
        for inner in (jacfwd, jacrev):
            close(outer(inner(f))(x), first)
    step, numeric = 1e-5, torch.empty(3, 3, dtype=torch.float64)
    for i in range(3):
        e = torch.zeros(3, dtype=torch.float64)
        e[i] = step
        numeric[i] = (grad(f)(x + e) - grad(f)(x - e)) / (2 * step)
    close(first, numeric, atol=1e-6, rtol=1e-6)


def test_vmap_of_grad_and_grad_of_vmap():
    w, xs = torch.randn(3), torch.randn(5, 3)
    loss = lambda w, x: (w * x).sum().tanh()
    each = vmap(grad(loss), in_dims=(None, 0))(w, xs)
    close(each, torch.stack([grad(loss)(w, x) for x in xs]))
    whole = grad(lambda w: vmap(loss, in_dims=(None, 0))(w, xs).sum())(w)
    close(whole, each.sum(0))
    close(vmap(jacrev(torch.sin))(xs), torch.diag_embed(xs.cos()))
    close(vmap(jacfwd(torch.sin))(xs), torch.diag_embed(xs.cos()))
    close(vmap(hessian(lambda x: x.sin().sum()))(xs), torch.diag_embed(-xs.sin()))


def test_vmap_over_cotangents_and_tangents():
    x = torch.randn(3)
    _, vjp_fn = vjp(lambda x: x.exp(), x)
    close(vmap(vjp_fn)(torch.eye(3))[0], torch.diag(x.exp()))
    push = lambda t: jvp(torch.exp, (x,), (t,))[1]
    close(vmap(push)(torch.eye(3)), torch.diag(x.exp()))


def test_functional_call_and_ensembles():
    models = [nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)) for _ in range(3)]
    params, buffers = stack_module_state(models)
    x = torch.randn(5, 4)
    base = models[0]
    run = lambda p, b, x: functional_call(base, (p, b), (x,))
    together = vmap(run, in_dims=(0, 0, None))(params, buffers, x)
    close(together, torch.stack([m(x) for m in models]))
    assert params["0.weight"].requires_grad and params["0.weight"].shape == (3, 8, 4)


def test_per_sample_gradients_of_a_model():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                          nn.Linear(8, 3))  # fmt: skip
    params = {k: v.detach() for k, v in model.named_parameters()}
    x, y = torch.randn(4, 1, 6, 6), torch.tensor([0, 1, 2, 0])

    def loss(p, x, y):
        out = functional_call(model, p, (x.unsqueeze(0),))
        return nn.functional.cross_entropy(out, y.unsqueeze(0))

    each = vmap(grad(loss), in_dims=(None, 0, 0))(params, x, y)
    for i in range(4):
        model.zero_grad()
        nn.functional.cross_entropy(model(x[i : i + 1]), y[i : i + 1]).backward()
        for name, p in model.named_parameters():
            close(each[name][i], p.grad, atol=1e-5, rtol=1e-4)


def test_functional_call_refuses_and_restores():
    layer = nn.Linear(2, 2)
    before = layer.weight
    with pytest.raises(RuntimeError):
        functional_call(layer, {"weight": torch.ones(3, 3)}, (torch.ones(2),))
    assert layer.weight is before
    with pytest.raises(RuntimeError, match="missing names"):
        functional_call(layer, {"weight": torch.ones(2, 2)}, (torch.ones(2),), strict=True)
    with pytest.raises(ValueError, match="multiple dictionaries"):
        functional_call(layer, ({"weight": before}, {"weight": before}), (torch.ones(2),))


def test_rearrange():
    x = torch.arange(24.0).reshape(2, 3, 4)
    close(rearrange(x, "a b c -> c (a b)"), x.reshape(6, 4).T)
    close(rearrange(x, "a b (c d) -> d a b c", d=2), x.reshape(2, 3, 2, 2).permute(3, 0, 1, 2))
    close(rearrange([x, x], "s ... -> ... s")[..., 1], x)
    assert rearrange(x, "a b c -> a 1 (b c)").shape == (2, 1, 12)
    for bad in ("a b -> b a", "a b c -> a b", "a (b c -> a", "a b c", "a b (c d) -> a b c d"):
        with pytest.raises(ValueError, match="rearrange"):
            rearrange(x, bad)


def test_jvp_of_every_kind_of_op_against_differences():
    x, t = torch.rand(2, 3, dtype=torch.float64) + 0.5, torch.randn(2, 3, dtype=torch.float64)
    functions = (
        torch.log, lambda x: x.softmax(1), lambda x: x @ x.mT, lambda x: x[0] * x[:, 1:].sum(),
        lambda x: x.cumsum(1), lambda x: torch.cat([x, x * x]), lambda x: x.sort(1).values,
        lambda x: torch.linalg.solve(x @ x.mT, x), lambda x: x.gather(1, torch.tensor([[2], [0]])),
    )  # fmt: skip
    for f in functions:
        y, along = jvp(f, (x,), (t,))
        h = 1e-6
        close(along, (f(x + h * t) - f(x - h * t)) / (2 * h), atol=1e-6, rtol=1e-6)
    assert math.isfinite(float(y.sum()))
