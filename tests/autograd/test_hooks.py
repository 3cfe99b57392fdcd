"""Hooks on tensors, nodes and accumulation."""

import gc
import weakref

import pytest

import taimatsu as torch
from taimatsu.autograd.graph import get_gradient_edge, register_multi_grad_hook


def leaf(*values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def test_a_hook_sees_and_replaces_a_gradient():
    x = leaf(1.0, 2.0)
    y = x * 3
    seen = []
    y.register_hook(lambda g: seen.append(g.tolist()))
    y.register_hook(lambda g: g * 10)
    y.register_hook(lambda g: seen.append(g.tolist()))
    y.sum().backward()
    assert seen == [[1, 1], [10, 10]]
    assert x.grad.tolist() == [30, 30]


def test_a_hook_on_a_leaf_runs_once_for_the_sum():
    x = leaf(1.0)
    seen = []
    x.register_hook(lambda g: seen.append(g.item()))
    (x * 2 + x * 3).sum().backward()
    (x * 7).sum().backward()
    assert seen == [5, 7]
    assert x.grad.item() == 12


def test_a_hook_registered_after_the_graph_was_made():
    x = leaf(1.0)
    y = x * 2
    x.register_hook(lambda g: g * 100)
    y.sum().backward()
    assert x.grad.item() == 200


def test_removing_hooks():
    x = leaf(1.0)
    seen = []
    handle = x.register_hook(lambda g: seen.append(1))
    with x.register_hook(lambda g: seen.append(2)):
        (x * 1).backward()
    handle.remove()
    (x * 1).backward()
    assert seen == [1, 2]


def test_a_hook_may_remove_itself():
    x = leaf(1.0)
    handles = []
    handles.append(x.register_hook(lambda g: handles[0].remove()))
    (x * 1).backward()
    (x * 1).backward()
    assert x.grad.item() == 2


def test_what_a_hook_may_not_do():
    x = leaf(1.0, 2.0)
    for wrong, error, message in (
        (lambda g: 3, TypeError, "expected Variable, but hook returned 'int'"),
        (lambda g: torch.ones(3), RuntimeError, "has changed the size of value"),
        (lambda g: g.float(), RuntimeError, "has changed the type of value"),
    ):
        y = x * 2
        y.register_hook(wrong)
        with pytest.raises(error, match=message):
            y.sum().backward()
    with pytest.raises(RuntimeError, match="doesn't require gradient"):
        torch.ones(1).register_hook(print)
    with pytest.raises(TypeError, match="callable"):
        x.register_hook(3)


def test_a_hook_stays_with_the_value_from_before_a_write():
    x = leaf(1.0)
    y = x * 2
    seen = []
    y.register_hook(lambda g: seen.append(("before", g.item())))
    y.mul_(10)
    y.register_hook(lambda g: seen.append(("after", g.item())))
    (y * 1).backward()
    assert seen == [("after", 1), ("before", 10)]


def test_retain_grad():
    x = leaf(1.0, 2.0)
    y = x * 2
    assert not y.retains_grad
    y.retain_grad()
    y.retain_grad()
    assert y.retains_grad and not x.retains_grad
    x.retain_grad()  # nothing to do for a leaf
    (y * y).sum().backward(retain_graph=True)
    assert y.grad.tolist() == [4, 8]
    (y * y).sum().backward()
    assert y.grad.tolist() == [8, 16]
    with pytest.raises(RuntimeError, match="can't retain_grad"):
        torch.ones(1).retain_grad()


def test_retain_grad_sees_what_hooks_made():
    x = leaf(1.0)
    y = x * 2
    y.retain_grad()
    y.register_hook(lambda g: g * 5)
    (y * 1).backward()
    assert y.grad.item() == 5


def test_a_retained_grad_is_that_of_the_value_after_writes():
    x = leaf(1.0)
    y = x * 2
    y.retain_grad()
    y.mul_(10)
    (y * 3).backward()
    assert y.grad.item() == 3
    base = x * torch.ones(2, dtype=torch.float64)
    v = base[:1]
    v.retain_grad()
    v.mul_(10)
    (v * 3).backward()
    assert v.grad.item() == 3


def test_retain_grad_keeps_no_tensor_alive():
    x = leaf(1.0)
    y = x * 2
    y.retain_grad()
    z = y + 1
    alive = weakref.ref(y)
    del y
    assert alive() is None
    z.backward()


def test_post_accumulate_hooks():
    x = leaf(1.0)
    seen = []
    x.register_post_accumulate_grad_hook(lambda t: seen.append((t is x, t.grad.item())))
    (x * 2).backward()
    (x * 3).backward()
    assert seen == [(True, 2), (True, 5)]
    with pytest.raises(RuntimeError, match="non-leaf"):
        (x * 2).register_post_accumulate_grad_hook(print)
    with pytest.raises(RuntimeError, match="doesn't require gradient"):
        torch.ones(1).register_post_accumulate_grad_hook(print)


def test_an_optimizer_step_inside_backward():
    w = leaf(1.0)

    def step(t):
        with torch.no_grad():
            t.sub_(t.grad, alpha=0.5)
        t.grad = None

    w.register_post_accumulate_grad_hook(step)
    (w * 2).backward()
    assert w.item() == 0 and w.grad is None


def test_hooks_of_nodes():
    x = leaf(1.0)
    y = x * 2
    seen = []

    def before(grad_outputs):
        seen.append(("before", grad_outputs[0].item()))
        return (grad_outputs[0] * 10,)

    def after(grad_inputs, grad_outputs):
        seen.append(("after", grad_inputs[0].item(), grad_outputs[0].item()))
        return (grad_inputs[0] + 1,)

    y.grad_fn.register_prehook(before)
    handle = y.grad_fn.register_hook(after)
    y.backward(retain_graph=True)
    assert seen == [("before", 1), ("after", 20, 10)]
    assert x.grad.item() == 21
    handle.remove()
    y.backward()
    assert x.grad.item() == 41


def test_a_node_hook_must_return_as_many_values():
    x = leaf(1.0)
    y = x * 2
    y.grad_fn.register_prehook(lambda g: (g[0], g[0]))
    with pytest.raises(RuntimeError, match="incorrect number of values"):
        y.backward()


def test_a_hook_on_an_accumulator():
    x = leaf(1.0)
    accumulator = get_gradient_edge(x).node
    seen = []
    accumulator.register_prehook(lambda g: seen.append(g[0].item()))
    (x * 4).backward()
    assert seen == [4]


def test_multi_grad_hooks():
    x, y, z = leaf(1.0), leaf(2.0), leaf(3.0)
    seen = []
    handle = register_multi_grad_hook([x, y, z], lambda gs: seen.append(gs))
    (x * y).backward()
    gx, gy, gz = seen.pop()
    assert (gx.item(), gy.item(), gz) == (2, 1, None)
    handle.remove()
    (x * y).backward()
    assert not seen
    first = []
    with register_multi_grad_hook([x, y], lambda g: first.append(g.item()), mode="any"):
        (x * 2 + y * 3).backward()
    assert len(first) == 1
    with pytest.raises(ValueError, match="mode"):
        register_multi_grad_hook([x], print, mode="some")


def test_gradient_edges():
    x = leaf(1.0)
    y = x * 2
    assert get_gradient_edge(y).node is y.grad_fn
    assert get_gradient_edge(y).output_nr == 0
    assert get_gradient_edge(x).node.variable is x
    with pytest.raises(RuntimeError, match="does not require gradients"):
        get_gradient_edge(torch.ones(1))


def test_hooks_are_collected_with_their_tensor():
    class Model:
        def __init__(self):
            self.w = leaf(1.0)
            self.w.register_hook(self.hook)
            self.loss = self.w * 2

        def hook(self, g):
            return g

    model = Model()
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None
