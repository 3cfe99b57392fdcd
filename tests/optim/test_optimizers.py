"""Optimizers against their published update rules in NumPy, and the contract of the base class."""

import copy
import math

import numpy as np
import pytest

import taimatsu as torch
from taimatsu import nn, optim

STEPS = 7


def gradient(p, t):
    """A gradient that depends on the parameter and on time."""
    return (np.linspace(0.2, 2.0, p.size) * p + 0.1 * np.sin(t + np.arange(p.size))).astype(p.dtype)


def start():
    return np.random.default_rng(0).standard_normal(6)


def run(optimizer_class, **options):
    """The parameter after some steps of an optimizer, in float64."""
    param = nn.Parameter(torch.tensor(start()))
    optimizer = optimizer_class([param], **options)
    for t in range(STEPS):
        param.grad = torch.tensor(gradient(param.detach().numpy(), t))
        optimizer.step()
    return param.detach().numpy()


def expected(rule, **options):
    """The same by a NumPy rule: rule(p, g, t, state, **options) -> p."""
    p, state = start(), {}
    for t in range(STEPS):
        p = rule(p, gradient(p, t), t + 1, state, **options)
    return p


def sgd(p, g, t, s, lr, momentum=0, dampening=0, nesterov=False, weight_decay=0):
    g = g + weight_decay * p
    if momentum:
        s["b"] = g if t == 1 else momentum * s["b"] + (1 - dampening) * g
        g = g + momentum * s["b"] if nesterov else s["b"]
    return p - lr * g


def adam(
    p, g, t, s, lr, b1=0.9, b2=0.999, eps=1e-8, weight_decay=0, decoupled=False, amsgrad=False
):
    if decoupled:
        p = p * (1 - lr * weight_decay)
    else:
        g = g + weight_decay * p
    s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
    s["v"] = b2 * s.get("v", 0) + (1 - b2) * g**2
    v = s["v"]
    if amsgrad:
        v = s["w"] = np.maximum(s.get("w", 0), v)
    return p - lr * (s["m"] / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)


def rmsprop(p, g, t, s, lr, alpha=0.99, eps=1e-8, momentum=0, centered=False):
    s["v"] = alpha * s.get("v", 0) + (1 - alpha) * g**2
    v = s["v"]
    if centered:
        s["m"] = alpha * s.get("m", 0) + (1 - alpha) * g
        v = v - s["m"] ** 2
    step = g / (np.sqrt(v) + eps)
    s["b"] = momentum * s.get("b", 0) + step
    return p - lr * s["b"]


def adagrad(p, g, t, s, lr, lr_decay=0, eps=1e-10):
    s["v"] = s.get("v", 0) + g**2
    return p - lr / (1 + (t - 1) * lr_decay) * g / (np.sqrt(s["v"]) + eps)


def adadelta(p, g, t, s, lr=1.0, rho=0.9, eps=1e-6):
    s["v"] = rho * s.get("v", 0) + (1 - rho) * g**2
    step = np.sqrt(s.get("d", 0) + eps) / np.sqrt(s["v"] + eps) * g
    s["d"] = rho * s.get("d", 0) + (1 - rho) * step**2
    return p - lr * step


def adamax(p, g, t, s, lr, b1=0.9, b2=0.999, eps=1e-8):
    s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
    s["u"] = np.maximum(b2 * s.get("u", 0), np.abs(g) + eps)
    return p - lr / (1 - b1**t) * s["m"] / s["u"]


def nadam(p, g, t, s, lr, b1=0.9, b2=0.999, eps=1e-8, decay=4e-3):
    mu, after = (b1 * (1 - 0.5 * 0.96 ** (n * decay)) for n in (t, t + 1))
    s["product"] = s.get("product", 1) * mu
    s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
    s["v"] = b2 * s.get("v", 0) + (1 - b2) * g**2
    mean = after * s["m"] / (1 - s["product"] * after) + (1 - mu) * g / (1 - s["product"])
    return p - lr * mean / (np.sqrt(s["v"] / (1 - b2**t)) + eps)


def radam(p, g, t, s, lr, b1=0.9, b2=0.999, eps=1e-8):
    s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
    s["v"] = b2 * s.get("v", 0) + (1 - b2) * g**2
    mean = s["m"] / (1 - b1**t)
    longest = 2 / (1 - b2) - 1
    length = longest - 2 * t * b2**t / (1 - b2**t)
    if length <= 5:
        return p - lr * mean
    r = math.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))
    return p - lr * r * mean * math.sqrt(1 - b2**t) / (np.sqrt(s["v"]) + eps)


def asgd(p, g, t, s, lr, lambd=1e-4, alpha=0.75):
    eta = s.get("eta", lr)
    s["eta"] = lr / (1 + lambd * lr * t) ** alpha
    return p * (1 - lambd * eta) - eta * g


def rprop(p, g, t, s, lr, etas=(0.5, 1.2), step_sizes=(1e-6, 50)):
    previous, size = s.get("g", np.zeros_like(g)), s.get("size", np.full_like(g, lr))
    turn = np.sign(g * previous)
    size = np.clip(size * np.where(turn > 0, etas[1], np.where(turn < 0, etas[0], 1)), *step_sizes)
    g = np.where(turn < 0, 0, g)
    s["g"], s["size"] = g, size
    return p - np.sign(g) * size


@pytest.mark.parametrize(
    "cls, rule, options, renamed",
    [
        (optim.SGD, sgd, {"lr": 0.1}, {}),
        (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9, "dampening": 0.2, "weight_decay": 0.1}, {}),
        (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9, "nesterov": True}, {}),
        (optim.Adam, adam, {"lr": 0.1, "weight_decay": 0.1}, {}),
        (optim.Adam, adam, {"lr": 0.1, "amsgrad": True}, {}),
        (optim.Adam, adam, {"lr": 0.1, "betas": (0.5, 0.6)}, {"b1": 0.5, "b2": 0.6}),
        (optim.AdamW, adam, {"lr": 0.1, "weight_decay": 0.2}, {"decoupled": True}),
        (optim.RMSprop, rmsprop, {"lr": 0.1, "alpha": 0.9}, {}),
        (optim.RMSprop, rmsprop, {"lr": 0.1, "momentum": 0.5}, {}),
        (optim.RMSprop, rmsprop, {"lr": 0.1, "centered": True, "eps": 1e-2}, {}),
        (optim.RMSprop, rmsprop, {"lr": 0.1, "centered": True, "momentum": 0.5, "eps": 1e-2}, {}),
        (optim.Adagrad, adagrad, {"lr": 0.1, "lr_decay": 0.1}, {}),
        (optim.Adadelta, adadelta, {"rho": 0.8}, {}),
        (optim.Adamax, adamax, {"lr": 0.1}, {}),
        (optim.NAdam, nadam, {"lr": 0.1}, {}),
        (optim.RAdam, radam, {"lr": 0.1}, {}),
        (optim.ASGD, asgd, {"lr": 0.1}, {}),
        (optim.Rprop, rprop, {"lr": 0.1}, {}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_rule(cls, rule, options, renamed):
    theirs = {k: v for k, v in options.items() if k != "betas"}
    # NAdam and ASGD keep a coefficient in float32, as their checkpoints have it.
    tolerance = 1e-6 if cls in (optim.NAdam, optim.ASGD) else 1e-12
    np.testing.assert_allclose(
        run(cls, **options), expected(rule, **theirs, **renamed), rtol=tolerance, atol=tolerance
    )


def test_maximize_climbs():
    param = nn.Parameter(torch.tensor([1.0]))
    optimizer = optim.SGD([param], lr=0.5, maximize=True)
    param.grad = torch.tensor([2.0])
    optimizer.step()
    assert param.item() == 2.0


def test_a_complex_parameter_is_two_real_ones():
    param = nn.Parameter(torch.tensor([1 + 2j]))
    optimizer = optim.Adam([param], lr=0.1)
    param.grad = torch.tensor([1 - 1j])
    optimizer.step()
    assert param.item() == pytest.approx(0.9 + 2.1j, abs=1e-5)


def rosenbrock(p):
    return (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2


def test_lbfgs_minimises_the_rosenbrock_function():
    param = nn.Parameter(torch.tensor([-1.2, 1.0], dtype=torch.float64))
    optimizer = optim.LBFGS([param], max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = rosenbrock(param)
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == pytest.approx(24.2)
    assert param.tolist() == pytest.approx([1.0, 1.0], abs=1e-4)


# ---- the base class -----------------------------------------------------------------------------


def two_groups(**options):
    a, b = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    return a, b, optim.SGD([{"params": [a], "lr": 0.5}, {"params": b}], lr=0.1, **options)


def test_groups_have_options_of_their_own():
    a, b, optimizer = two_groups()
    a.grad = b.grad = torch.ones(1)
    optimizer.step()
    assert a.item() == 0.5 and b.item() == pytest.approx(0.9)
    c = nn.Parameter(torch.ones(1))
    optimizer.add_param_group({"params": [c], "momentum": 0.9})
    assert optimizer.param_groups[2]["lr"] == 0.1


def test_parameters_without_a_gradient_stay():
    a, b, optimizer = two_groups(momentum=0.9)
    a.grad = torch.ones(1)
    optimizer.step()
    assert b.item() == 1.0 and b not in optimizer.state


@pytest.mark.parametrize("cls", [optim.SGD, optim.Adam, optim.NAdam, optim.Adagrad])
def test_resuming_from_a_state_dict_changes_nothing(cls):
    options = {"momentum": 0.9} if cls is optim.SGD else {}

    def continued(resume):
        param = nn.Parameter(torch.tensor(start().astype(np.float32)))
        optimizer = cls([param], lr=0.1, **options)
        for t in range(STEPS):
            if t == 3 and resume:
                state = copy.deepcopy(optimizer.state_dict())
                optimizer = cls([param], lr=99.0, **options)
                optimizer.load_state_dict(state)
            param.grad = torch.tensor(gradient(param.detach().numpy(), t))
            optimizer.step()
        return param.detach().numpy()

    np.testing.assert_array_equal(continued(True), continued(False))


def test_state_dict_numbers_the_parameters():
    a, b, optimizer = two_groups(momentum=0.9)
    b.grad = torch.ones(1)
    optimizer.step()
    state = optimizer.state_dict()
    assert list(state["state"]) == [1] and list(state["state"][1]) == ["momentum_buffer"]
    assert [g["params"] for g in state["param_groups"]] == [[0], [1]]
    with pytest.raises(ValueError, match="different number of parameter groups"):
        optim.SGD([a], lr=0.1).load_state_dict(state)
    with pytest.raises(ValueError, match="doesn't match the size"):
        optim.SGD([{"params": [a, b]}, {"params": nn.Parameter(torch.ones(1))}], lr=0.1).load_state_dict(state)  # fmt: skip  # noqa: E501


def test_loaded_state_takes_the_dtype_of_its_parameter():
    param = nn.Parameter(torch.ones(2))
    optimizer = optim.Adam([param])
    param.grad = torch.ones(2)
    optimizer.step()
    wide = nn.Parameter(torch.ones(2, dtype=torch.float64))
    other = optim.Adam([wide])
    other.load_state_dict(optimizer.state_dict())
    assert other.state[wide]["exp_avg"].dtype == torch.float64
    assert other.state[wide]["step"].dtype == torch.float32


def test_closure_and_zero_grad():
    param = nn.Parameter(torch.tensor([3.0]))
    optimizer = optim.SGD([param], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (param**2).sum()
        loss.backward()
        return loss

    with torch.no_grad():
        assert optimizer.step(closure).item() == 9.0
    assert param.item() == pytest.approx(2.4)
    optimizer.zero_grad(set_to_none=False)
    assert param.grad.item() == 0.0
    optimizer.zero_grad()
    assert param.grad is None


def test_hooks():
    _, _, optimizer = two_groups()
    calls = []
    optimizer.register_step_pre_hook(lambda o, args, kwargs: calls.append("before"))
    handle = optimizer.register_step_post_hook(lambda o, args, kwargs: calls.append("after"))
    optimizer.step()
    handle.remove()
    optimizer.step()
    assert calls == ["before", "after", "before"]
    optimizer.register_state_dict_post_hook(lambda o, state: {**state, "extra": 1})
    assert optimizer.state_dict()["extra"] == 1


def test_learning_rate_as_a_tensor():
    param = nn.Parameter(torch.ones(1))
    lr = torch.tensor(0.5)
    optimizer = optim.SGD([param], lr=lr)
    param.grad = torch.ones(1)
    optimizer.step()
    lr.fill_(0.25)
    optimizer.step()
    assert param.item() == 0.25


def test_named_parameters():
    model = nn.Linear(1, 1)
    optimizer = optim.SGD(model.named_parameters(), lr=0.1)
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]


def test_errors():
    param = nn.Parameter(torch.ones(1))
    with pytest.raises(ValueError, match="empty parameter list"):
        optim.SGD([])
    with pytest.raises(TypeError, match="iterable of Tensors"):
        optim.SGD(param)
    with pytest.raises(TypeError, match="one of the params is int"):
        optim.SGD([1])
    with pytest.raises(TypeError, match="sets"):
        optim.SGD([{"params": {param}}])
    with pytest.raises(ValueError, match="non-leaf"):
        optim.SGD([param * 2])
    with pytest.raises(ValueError, match="more than one parameter group"):
        optim.SGD([{"params": [param]}, {"params": [param]}])
    with pytest.raises(ValueError, match="Invalid learning rate: -1"):
        optim.SGD([param], lr=-1)
    with pytest.raises(ValueError, match="Nesterov"):
        optim.SGD([param], nesterov=True)
    with pytest.raises(ValueError, match="beta parameter at index 1"):
        optim.Adam([param], betas=(0.9, 1.0))


def test_repr():
    optimizer = optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1)
    assert repr(optimizer).startswith("SGD (\nParameter Group 0\n    dampening: 0\n")
    assert repr(optimizer).endswith("    weight_decay: 0\n)")


def test_a_class_that_stands_for_an_optimizer_needs_no_groups():
    class Stand(torch.optim.Optimizer):
        def __init__(self, optimizer):
            self.optimizer = optimizer

        def step(self, closure=None):
            return self.optimizer.step(closure)

    w = torch.nn.Parameter(torch.ones(1))
    w.grad = torch.ones(1)
    Stand(torch.optim.SGD([w], 0.5)).step()
    assert w.item() == 0.5
