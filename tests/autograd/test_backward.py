"""The engine: what backward computes, accumulates, keeps and refuses."""

import gc
import sys
import threading
import weakref

import numpy as np
import pytest

import taimatsu as torch
from taimatsu.autograd import backward, grad
from taimatsu.autograd.profiler import profile


def leaf(*values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype, requires_grad=True)


def same(t, expected):
    np.testing.assert_allclose(t.detach().numpy(), np.asarray(expected), rtol=1e-12)
    return True


# ---- values -----------------------------------------------------------------------------------


def test_a_product_rule_by_hand():
    x, y = leaf(1.0, 2.0, 3.0), leaf(4.0, 5.0, 6.0)
    (x * y + x).sum().backward()
    same(x.grad, [5, 6, 7])
    same(y.grad, [1, 2, 3])


def test_a_number_may_stand_where_a_tensor_stood():
    """How a call is recorded depends on which operands are tensors, not on the first call."""
    x = torch.tensor([2.0, 3.0], requires_grad=True)
    c = torch.tensor([5.0, 7.0])
    for call, expected in [
        (lambda: x * c, [5, 7]), (lambda: x * 4, [4, 4]), (lambda: 4.0 * x, [4, 4]),
        (lambda: x**c, [80, 5103]), (lambda: x**2, [4, 6]), (lambda: x**c, [80, 5103]),
        (lambda: x.masked_fill(c > 6, 1.0), [1, 0]), (lambda: x.masked_fill(c < 6, c[0]), [0, 1]),
    ]:  # fmt: skip
        assert grad(call().sum(), x)[0].tolist() == pytest.approx(expected)


def test_gradients_accumulate_over_passes_in_the_same_tensor():
    x = leaf(1.0, 2.0)
    (x * x).sum().backward()
    first = x.grad
    (3 * x).sum().backward()
    assert x.grad is first
    same(x.grad, [5, 7])


def test_a_value_used_many_times_sums_its_gradients():
    x = leaf(2.0)
    y = x * 3
    (y * y + y * 5 + y).sum().backward()
    same(x.grad, [3 * (2 * 6 + 6)])


def test_broadcast_operands_get_summed_gradients():
    x = torch.ones(3, dtype=torch.float64, requires_grad=True)
    y = torch.ones(4, 1, dtype=torch.float64, requires_grad=True)
    weights = torch.arange(12, dtype=torch.float64).reshape(4, 3)
    (x * y * weights).sum().backward()
    same(x.grad, weights.numpy().sum(0))
    same(y.grad, weights.numpy().sum(1, keepdims=True))


def test_the_gradient_has_the_dtype_of_its_tensor():
    x = torch.ones(2, dtype=torch.float32, requires_grad=True)
    y = torch.ones(2, dtype=torch.float64, requires_grad=True)
    (x * y).sum().backward()
    assert x.grad.dtype == torch.float32
    assert y.grad.dtype == torch.float64


def test_a_real_operand_of_a_complex_product_gets_a_real_gradient():
    x = leaf(1.0, 2.0)
    z = torch.tensor([1 + 2j, 3 - 1j], dtype=torch.complex128)
    y = x * z
    y.backward(torch.tensor([1 + 1j, 2 + 0j], dtype=torch.complex128))
    assert x.grad.dtype == torch.float64
    same(x.grad, np.real(np.array([1 + 1j, 2]) * np.conj(z.numpy())))


def test_second_and_third_derivatives():
    x = leaf(2.0)
    (first,) = grad(x**4, x, torch.ones(1, dtype=torch.float64), create_graph=True)
    (second,) = grad(first, x, torch.ones(1, dtype=torch.float64), create_graph=True)
    (third,) = grad(second.sum(), x)
    same(first, [32])
    same(second, [48])
    same(third, [48])
    assert not third.requires_grad


def test_create_graph_gradients_in_leaves_are_differentiable():
    x = leaf(3.0)
    (x**3).sum().backward(create_graph=True)
    assert x.grad.requires_grad
    g = x.grad
    x.grad = None
    (g * g).sum().backward()
    same(x.grad, [2 * 27 * 18])


# ---- roots ------------------------------------------------------------------------------------


def test_a_root_that_is_no_scalar_needs_a_gradient():
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match="only for scalar outputs"):
        (x * 2).backward()
    with pytest.raises(RuntimeError, match=r"Mismatch in shape: grad_output\[0\]"):
        (x * 2).backward(torch.ones(3, dtype=torch.float64))
    with pytest.raises(TypeError, match="either Tensors or None"):
        (x * 2).backward(3)
    (x * 2).backward(torch.tensor([1.0, 10.0], dtype=torch.float64))
    same(x.grad, [2, 20])


def test_a_root_without_history_is_refused():
    with pytest.raises(RuntimeError, match="element 0 of tensors does not require grad"):
        torch.ones(1).backward()
    x = leaf(1.0)
    with pytest.raises(RuntimeError, match="element 1 of tensors does not require grad"):
        backward([x * 2, torch.ones(1)], [None, None])


def test_a_leaf_as_root_gets_the_given_gradient():
    x = leaf(1.0, 2.0)
    g = torch.tensor([3.0, 4.0], dtype=torch.float64)
    x.backward(g)
    same(x.grad, [3, 4])
    assert x.grad is not g  # the caller's tensor must not change by later passes
    x.backward(g)
    same(g, [3, 4])


def test_several_roots_at_once():
    x = leaf(1.0, 2.0)
    backward([x.sum(), (x * x).sum()])
    same(x.grad, [3, 5])


# ---- grad() -----------------------------------------------------------------------------------


def test_grad_leaves_no_trace_in_the_leaves():
    x, y = leaf(1.0), leaf(2.0)
    gx, gy = grad((x * y).sum(), [x, y])
    same(gx, [2])
    same(gy, [1])
    assert x.grad is None and y.grad is None


def test_grad_with_respect_to_an_inner_value():
    x = leaf(2.0)
    y = x * 3
    z = y * y
    gx, gy = grad(z.sum(), (x, y))
    same(gy, [12])
    same(gx, [36])


def test_grad_of_a_tensor_with_respect_to_itself():
    x = leaf(2.0)
    y = x * 3
    (g,) = grad(y.sum() * 1, y)
    same(g, [1])
    s = y.sum()
    (g,) = grad(s, s)
    same(g, 1)


def test_unused_inputs():
    x, y = leaf(1.0), leaf(2.0)
    with pytest.raises(RuntimeError, match="at index 1 appears to not have been used"):
        grad((x * 2).sum(), [x, y])
    gx, gy = grad((x * 2).sum(), [x, y], allow_unused=True)
    same(gx, [2])
    assert gy is None
    _, gy = grad((x * 2).sum(), [x, y], materialize_grads=True)
    same(gy, [0])
    with pytest.raises(ValueError, match="allow_unused"):
        grad((x * 2).sum(), [x], materialize_grads=True, allow_unused=False)
    with pytest.raises(RuntimeError, match="does not require grad"):
        grad((x * 2).sum(), torch.ones(1))


def test_grad_runs_only_what_leads_to_the_inputs():
    x, y = leaf(1.0), leaf(2.0)
    ran = []
    a, b = x * 2, y * 3
    a.register_hook(lambda g: ran.append("a"))
    b.register_hook(lambda g: ran.append("b"))
    grad((a + b).sum(), x)
    assert ran == ["a"]


def test_is_grads_batched_gives_a_jacobian():
    x = leaf(1.0, 2.0)
    (rows,) = grad(x * x, x, torch.eye(2, dtype=torch.float64), is_grads_batched=True)
    same(rows, [[2, 0], [0, 4]])
    with pytest.raises(RuntimeError, match="leading dimension"):
        grad([x * 2, x * 3], x, [torch.ones(2, 2), torch.ones(3, 2)], is_grads_batched=True)


def test_backward_inputs_restricts_accumulation():
    x, y = leaf(1.0), leaf(2.0)
    z = x * y
    z.sum().backward(inputs=[x])
    same(x.grad, [2])
    assert y.grad is None
    w = x * 3
    (w * w).sum().backward(inputs=w)  # not a leaf
    same(w.grad, [6])
    same(x.grad, [2])
    with pytest.raises(RuntimeError, match="cannot be empty"):
        (x * 2).sum().backward(inputs=[])


# ---- some of the gradients ---------------------------------------------------------------------


def conv(x, w, b):
    return torch.nn.functional.conv2d(x, w, b)


OF_SEVERAL = {
    "mul": (lambda a, b: a * b, [(3, 4), (3, 4)]),
    "div": (lambda a, b: a / b, [(3, 4), (4,)]),
    "pow": (lambda a, b: a.abs() ** b, [(3,), (3,)]),
    "mm": (lambda a, b: a @ b, [(3, 4), (4, 5)]),
    "linear": (torch.nn.functional.linear, [(2, 3, 4), (5, 4), (5,)]),
    "baddbmm": (torch.baddbmm, [(5,), (2, 3, 4), (2, 4, 5)]),
    "where": (lambda a, b: torch.where(a > 0, a, b), [(3, 4), (3, 1)]),
    "cat": (lambda *all: torch.cat(all, 1), [(2, 3), (2, 1), (2, 4)]),
    "einsum": (lambda *all: torch.einsum("ij,jk,kl->il", *all), [(2, 3), (3, 4), (4, 2)]),
    "layer_norm": (lambda x, w, b: torch.nn.functional.layer_norm(x, [6], w, b),
                   [(4, 6), (6,), (6,)]),
    "conv2d": (conv, [(2, 3, 5, 5), (4, 3, 3, 3), (4,)]),
    "attention": (torch.nn.functional.scaled_dot_product_attention,
                  [(2, 5, 4), (2, 7, 4), (2, 7, 3)]),
    "lerp": (torch.lerp, [(3,), (3,), (3,)]),
    "index_put": (lambda x, v: x.index_put((torch.tensor([0, 2]),), v), [(4, 3), (2, 3)]),
    "solve": (lambda a, b: torch.linalg.solve(a @ a.mT + torch.eye(3), b), [(3, 3), (3, 2)]),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_SEVERAL)
def test_a_part_of_the_gradients_equals_that_part_of_all(name):
    function, shapes = OF_SEVERAL[name]
    torch.manual_seed(0)
    inputs = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes]
    y = function(*inputs)
    g = torch.randn_like(y)
    everything = grad(y, inputs, g, retain_graph=True)
    for count in (1, 2):
        for i in range(len(inputs) - count + 1):
            some = inputs[i : i + count]
            got = grad(y, some, g, retain_graph=True)
            again = grad(y, some, g, retain_graph=True, create_graph=True)
            for x, a, b in zip(everything[i:], got, again, strict=False):
                same(a, x.numpy())
                same(b, x.numpy())


def calls(run):
    with profile() as p:
        run()
    return [e.name for e in p.events()]


def test_only_what_leads_to_an_input_is_computed():
    x, w, b = (torch.randn(s, requires_grad=True) for s in [(8, 4), (3, 4), (3,)])
    y = torch.nn.functional.linear(x, w, b)
    g = torch.ones_like(y)
    products = ("aten::mm", "aten::matmul")
    for wanted, count in [([x], 1), ([w], 1), ([x, w], 2), ([b], 0)]:
        names = calls(lambda wanted=wanted: grad(y, wanted, g, retain_graph=True))
        assert sum(n in products for n in names) == count, (wanted, names)
    names = calls(lambda: y.backward(g, inputs=[w], retain_graph=True))
    assert sum(n in products for n in names) == 1 and x.grad is None and w.grad is not None
    assert sum(n in products for n in calls(lambda: y.backward(g))) == 2


def test_a_part_of_the_gradients_in_place_and_through_lists():
    a, b, c = leaf(1.0, 2.0), leaf(3.0, 4.0), leaf(5.0, 6.0)
    y = a * 2
    y *= b
    y[:1].mul_(c[:1])
    for x, expected in [(a, [30, 8]), (b, [10, 4]), (c, [6, 0])]:
        same(grad(y.sum(), x, retain_graph=True)[0], expected)
    z = torch.stack([a, b, a]) * torch.stack([c, c, b])
    same(grad(z.sum(), b, retain_graph=True)[0], [6, 8])
    same(grad(z.sum(), [c, a])[1], [8, 10])


def test_what_is_kept_is_checked_though_it_is_not_wanted():
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    kept = a * 1
    y = kept * b
    kept += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        grad(y.sum(), a)


# ---- the life of a graph ----------------------------------------------------------------------


def test_a_graph_is_freed_by_its_backward_unless_kept():
    x = leaf(2.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    same(x.grad, [8])
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        y.backward()


def test_what_saves_nothing_can_run_again():
    x = leaf(2.0)
    y = x + 1
    y.backward()
    y.backward()
    same(x.grad, [2])


def test_saved_tensors_die_with_backward():
    x = leaf(1.0)
    middle = x * 2
    alive = weakref.ref(middle)
    y = middle * middle
    del middle
    assert alive() is not None
    y.backward()
    assert alive() is None


DEEP = 100_000


def test_a_deep_chain_runs_and_is_freed():
    x = leaf(1.0)
    y = x
    for _ in range(DEEP):
        y = y + 1
    y.backward()
    same(x.grad, [1])
    node = weakref.ref(y.grad_fn)
    del y
    assert node() is None


def test_a_deep_chain_through_saved_tensors_is_freed_without_running():
    x = leaf(1.0)
    y = x
    for _ in range(DEEP):
        y = y * x
    first = weakref.ref(y.grad_fn)
    del y
    assert first() is None
    assert sys.getrefcount(x) < 10


def test_a_deep_chain_is_freed_by_the_garbage_collector():
    class Owner:
        pass

    owner = Owner()
    x = leaf(1.0)
    y = x
    for _ in range(DEEP):
        y = y * 2
    y.owner, owner.tensor = owner, y  # a cycle around the whole graph
    alive = weakref.ref(owner)
    del owner, y
    gc.collect()
    assert alive() is None


def test_a_wide_graph():
    x = leaf(1.0)
    parts = [x * float(i) for i in range(2000)]
    y = parts[0]
    for p in parts[1:]:
        y = y + p
    y.backward()
    same(x.grad, [sum(range(2000))])


def test_cycles_are_collected():
    def cycle_through_a_grad():
        x = leaf(2.0)
        (x * x).sum().backward(create_graph=True)  # x.grad -> graph -> x
        return weakref.ref(x)

    def cycle_through_a_hook():
        x = leaf(2.0)
        y = x * 2
        y.register_hook(lambda g: y)
        return weakref.ref(y)

    def cycle_through_an_in_place_write():
        x = leaf(2.0)
        y = x * 1
        z = y * x  # saves y
        y.add_(z)  # y -> z's node -> y
        return weakref.ref(y)

    for make in (cycle_through_a_grad, cycle_through_a_hook, cycle_through_an_in_place_write):
        alive = make()
        gc.collect()
        assert alive() is None, make.__name__


def test_a_saved_output_is_no_cycle():
    gc.disable()
    try:
        x = leaf(1.0)
        y = x.exp()
        alive = weakref.ref(y)
        del y
        assert alive() is None
    finally:
        gc.enable()


# ---- where gradients go -----------------------------------------------------------------------


def test_a_gradient_passed_to_two_leaves_is_two_tensors():
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    (x + y).sum().backward()
    x.grad.mul_(10)
    same(x.grad, [10, 10])
    same(y.grad, [1, 1])


def test_a_gradient_is_writable_and_never_expanded():
    x = torch.ones(3, 4, requires_grad=True)
    x.sum().backward()
    assert x.grad.is_contiguous()
    x.grad[0, 0] = 7
    assert x.grad.sum().item() == 18
    x.sum().backward()
    assert x.grad[0, 0].item() == 8


def test_views_of_one_gradient_are_not_shared():
    x = torch.ones(4, requires_grad=True)
    y = torch.ones(2, 2, requires_grad=True)
    (x.view(2, 2) + y).mul(torch.ones(2, 2)).sum().backward()
    x.grad.zero_()
    assert y.grad.tolist() == [[1, 1], [1, 1]]


def test_a_gradient_has_its_leafs_strides():
    x = torch.ones(3, 4).t().requires_grad_()
    (x * torch.ones(4, 3)).sum().backward()
    assert x.grad.stride() == x.stride() == (1, 4)
    y = torch.ones(3, 8)[:, ::2].requires_grad_()  # not dense: row-major
    y.sum().backward()
    assert y.grad.stride() == (4, 1)


def test_an_expanded_grad_is_replaced_rather_than_written():
    x = torch.ones(3, requires_grad=True)
    x.grad = torch.ones(1).expand(3)
    (x * torch.arange(3.0)).sum().backward()
    assert x.grad.tolist() == [1, 2, 3]


def test_in_the_middle_of_a_pass_no_gradient_is_written_that_others_see():
    x = leaf(1.0, 2.0)
    seen = []
    y = x * 1
    y.register_hook(lambda g: seen.append((g, g.tolist())))
    z = y * 2
    z.register_hook(lambda g: seen.append((g, g.tolist())))
    (y + z + y * 3).sum().backward()
    for g, then in seen:
        assert g.tolist() == then
    same(x.grad, [6, 6])


# ---- order, re-entrance, threads --------------------------------------------------------------


def test_parts_without_elements_take_nothing_from_the_others():
    for sizes in ([1, 4, 0], [0, 1, 4], [1, 0, 4], [5, 0, 0]):
        x = leaf(1.0, 2.0, 3.0, 4.0, 5.0)
        parts = x.split(sizes)
        same(grad(parts, x, [torch.full_like(p, 2.0) for p in parts])[0], [2] * 5)


def test_parts_of_memory_that_overlaps_itself_add_up():
    x = leaf(1.0, 2.0)
    rows = x.expand(3, 2).unbind()
    same(grad(rows, x, [torch.ones(2, dtype=x.dtype)] * 3)[0], [3, 3])


def test_later_nodes_run_first():
    order = []
    x = leaf(1.0)
    a = x * 2
    b = x * 3
    c = x * 4
    for name, t in (("a", a), ("b", b), ("c", c)):
        t.register_hook(lambda g, name=name: order.append(name))
    (a + b + c).sum().backward()
    assert order == ["c", "b", "a"]


def test_a_backward_inside_a_backward():
    x = leaf(2.0)

    def hook(g):
        with torch.enable_grad():
            y = leaf(3.0)
            (y * y).sum().backward()
        return g * y.grad

    z = x * 1
    z.register_hook(hook)
    (z * z).sum().backward()
    same(x.grad, [4 * 6])


def test_a_backward_inside_a_backward_over_the_same_nodes():
    x = leaf(2.0)
    y = x * 3
    z = (y * y).sum()
    inner = []

    def hook(g):
        if not inner:
            inner.append(None)
            inner[0] = grad(z, x, retain_graph=True)[0]

    y.register_hook(hook)
    z.backward(retain_graph=True)
    same(inner[0], [36])
    same(x.grad, [36])


def test_endless_recursion_is_an_error():
    def make():
        with torch.enable_grad():
            y = leaf(1.0) * 1
            y.register_hook(lambda g: make())
            y.sum().backward()

    with pytest.raises(RecursionError):
        make()


def test_an_error_in_a_hook_leaves_the_graph_usable():
    x = leaf(2.0)
    y = x * 3
    z = (y * y).sum()
    handle = y.register_hook(lambda g: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        z.backward(retain_graph=True)
    handle.remove()
    z.backward()
    same(x.grad, [36])


def test_grad_mode_is_as_before_after_backward_and_after_an_error():
    x = leaf(1.0)
    modes = []
    y = x * 1
    y.register_hook(lambda g: modes.append(torch.is_grad_enabled()))
    y.backward(retain_graph=True)
    y.backward(retain_graph=True, create_graph=True)
    assert modes == [False, True]
    assert torch.is_grad_enabled()
    with torch.no_grad():
        y.backward()
        assert not torch.is_grad_enabled()


def run_in_threads(n, work):
    errors = []

    def guarded(i):
        try:
            work(i)
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors, errors


@pytest.mark.parametrize("size", [4, 300_000])
def test_backward_from_several_threads_into_one_leaf(size):
    x = torch.ones(size, requires_grad=True)
    rounds = 20 if size > 1000 else 200

    def work(i):
        for _ in range(rounds):
            ((x * 2.0) * 1.0).sum().backward()

    run_in_threads(4, work)
    assert (x.grad == 4 * rounds * 2).all().item()


@pytest.mark.parametrize("size", [4, 300_000])
def test_backward_from_several_threads_through_one_graph(size):
    x = torch.ones(size, requires_grad=True)
    y = x * 2.0
    z = (y * y + y).sum()
    results = [None] * 4

    def work(i):
        for _ in range(5):
            (results[i],) = grad(z, x, retain_graph=True)

    run_in_threads(4, work)
    for r in results:
        assert (r == 10).all().item()


def test_grad_mode_belongs_to_a_thread():
    seen = []
    with torch.no_grad():
        t = threading.Thread(target=lambda: seen.append(torch.is_grad_enabled()))
        t.start()
        t.join()
    assert seen == [True]


def test_callbacks_at_the_end_of_a_pass():
    engine = torch.autograd.Variable._execution_engine
    x = leaf(1.0)
    order = []
    y = x * 1

    def hook(g):
        engine.queue_callback(lambda: order.append(("end", x.grad is not None)))
        order.append("hook")

    y.register_hook(hook)
    y.backward()
    assert order == ["hook", ("end", True)]
    with pytest.raises(RuntimeError, match="only be installed during backward"):
        engine.queue_callback(print)


# ---- nodes ------------------------------------------------------------------------------------


def test_what_a_node_shows():
    x = leaf(1.0)
    y = x * x
    n = y.grad_fn
    assert type(n).__name__ == n.name() == "MulBackward0"
    assert repr(n).startswith("<MulBackward0 object at 0x")
    assert isinstance(n, torch.autograd.graph.Node)
    (a, i), (b, _) = n.next_functions
    assert a is b and i == 0
    assert a.name() == "AccumulateGrad" and a.variable is x
    n.metadata["note"] = 1
    assert y.grad_fn.metadata == {"note": 1}
    assert (x * 2).grad_fn._sequence_nr() > n._sequence_nr()
    assert x.grad_fn is None and x.is_leaf and not y.is_leaf
    with pytest.raises(TypeError):
        type(n)()


def test_an_accumulator_lives_as_long_as_its_graph():
    x = leaf(1.0)
    y = x * 2
    acc = y.grad_fn.next_functions[0][0]
    assert (x * 3).grad_fn.next_functions[0][0] is acc
    alive = weakref.ref(acc)
    del acc, y
    assert alive() is None
    (x * 2).sum().backward()
    same(x.grad, [2])


def test_outputs_that_can_have_no_gradient():
    x = leaf(3.0, 1.0, 2.0)
    assert not (x > 1).requires_grad
    assert not x.argmax().requires_grad
    assert not (x * 1).detach().requires_grad
    with torch.no_grad():
        assert not (x * 2).requires_grad
    with pytest.raises(RuntimeError, match="floating point and complex"):
        torch.ones(2, dtype=torch.int64).requires_grad_()


def test_an_inference_tensor_is_not_saved():
    x = leaf(1.0, 2.0)
    with torch.inference_mode():
        i = torch.ones(2, dtype=torch.float64)
        assert i.is_inference()
    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved"):
        x * i
    with pytest.raises(RuntimeError, match="Inplace update to inference tensor"):
        i.add_(1)
    (x * i.clone()).sum().backward()
    same(x.grad, [1, 1])
