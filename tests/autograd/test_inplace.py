"""In-place writes, views, and history: against the same program without writes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import taimatsu as torch
from taimatsu.autograd import grad, gradcheck, gradgradcheck


def leaf(*shape, scale=1.0):
    n = int(np.prod(shape))
    values = np.linspace(0.5, 2.0, n).reshape(shape) * scale
    return torch.from_numpy(values.copy()).requires_grad_()


# ---- writes to a tensor itself ----------------------------------------------------------------


def test_a_written_tensor_continues_its_history():
    x = leaf(3)
    y = x * 2
    y.add_(x)
    y.mul_(3)
    y.sum().backward()
    assert x.grad.tolist() == [9, 9, 9]
    assert y.grad_fn.name() == "MulBackward0"


def test_a_write_may_need_the_value_it_replaces():
    x, w = leaf(3), leaf(3, scale=2)
    y = x * 1
    y.mul_(w)  # d/dw is the old y
    y.sum().backward()
    np.testing.assert_allclose(w.grad.numpy(), x.detach().numpy())
    np.testing.assert_allclose(x.grad.numpy(), w.detach().numpy())


def test_a_tensor_without_history_gets_one_by_a_write():
    x = leaf(3)
    y = torch.zeros(3, dtype=torch.float64)
    y.add_(x)
    assert y.requires_grad and not y.is_leaf
    y.sum().backward()
    assert x.grad.tolist() == [1, 1, 1]


def test_writes_are_counted_and_views_count_with_their_base():
    x = torch.zeros(4)
    v = x[:2]
    assert x._version == v._version == 0
    v.add_(1)
    assert x._version == v._version == 1
    assert x.detach()._version == 1  # shares memory and count
    x.data.add_(1)  # unseen
    assert x._version == 1
    with torch.no_grad():
        x.add_(1)
    assert x._version == 2


def test_writes_double_backward():
    def f(x, w):
        y = x * w
        y.mul_(x)
        y.sin_()
        return y * w

    assert gradcheck(f, (leaf(3), leaf(3, scale=0.7)))
    assert gradgradcheck(f, (leaf(3), leaf(3, scale=0.7)))


# ---- a saved tensor that was written ----------------------------------------------------------


def test_a_written_input_is_reported_with_the_op_that_wrote():
    x = leaf(3)
    y = x * 2
    z = y * y
    y.add_(1)
    with pytest.raises(RuntimeError) as e:
        z.sum().backward()
    message = str(e.value)
    assert "modified by an inplace operation" in message
    assert "[torch.DoubleTensor [3]]" in message
    assert "is at version 1; expected version 0" in message
    assert "The last write was by 'add'" in message


def test_a_written_output_is_reported_with_its_node():
    x = leaf(3)
    y = x.exp()
    z = y + 1  # needs y's node, not y
    y.add_(1)
    with pytest.raises(RuntimeError, match="output 0 of ExpBackward0, is at version 1"):
        z.sum().backward()


def test_an_operand_is_checked_whatever_stood_in_its_place_before():
    """One derivative serves numbers and tensors as operands; what is kept differs."""
    x = leaf(3)
    (x * 3.0).sum().backward()
    w = torch.ones(3, dtype=torch.float64)
    y = x * w
    w.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_a_write_through_a_view_is_seen_too():
    x = leaf(4)
    y = x * 1
    z = y * y
    y[0] = 0
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


def test_a_write_that_nobody_needs_is_allowed():
    x = leaf(3)
    y = x + 1  # saves nothing
    z = y + 2
    y.mul_(5)
    (z + y).sum().backward()
    assert x.grad.tolist() == [6, 6, 6]


def test_a_leaf_written_under_no_grad():
    w = leaf(3)
    loss = (w * w).sum()
    with torch.no_grad():
        w.sub_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    (w * w).sum().backward()  # afresh
    np.testing.assert_allclose(w.grad.numpy(), 2 * w.detach().numpy())


# ---- what may not be written ------------------------------------------------------------------


def test_a_leaf_that_requires_grad():
    x = leaf(4)
    before = x.detach().clone()
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad is being used"):
        x.add_(1)
    with pytest.raises(RuntimeError, match="a view of a leaf Variable that requires grad"):
        x[0] = 1
    with pytest.raises(RuntimeError, match="a view of a leaf Variable that requires grad"):
        x.view(2, 2).mul_(2)
    assert (x.detach() == before).all()
    assert x._version == 0


def test_one_of_several_views():
    x = leaf(4) * 1
    a, b = x.split(2)
    with pytest.raises(RuntimeError, match="output of a function that returns multiple views"):
        a.mul_(2)
    x.mul_(2)
    with pytest.raises(RuntimeError, match="its base or another view of its base has been"):
        _ = b.grad_fn


def test_a_view_made_under_no_grad():
    x = leaf(4) * 1
    with torch.no_grad():
        v = x[:2]
    with pytest.raises(RuntimeError, match="A view was created in no_grad mode and is being"):
        v.mul_(2)
    with torch.no_grad():
        v.mul_(2)
    x.mul_(1)
    with pytest.raises(RuntimeError, match="created in no_grad mode and its base"):
        _ = v.grad_fn


def test_detach_in_place_refuses_views():
    x = leaf(4) * 1
    with pytest.raises(RuntimeError, match="detach views in-place"):
        x[:2].detach_()
    x.detach_()
    assert x.is_leaf and not x.requires_grad


# ---- views ------------------------------------------------------------------------------------


def test_a_write_to_the_base_is_seen_through_its_views():
    x = leaf(4)
    y = x * 1
    v = y[1:3]
    before = v.grad_fn
    assert v.grad_fn is before
    y.mul_(x)
    assert v.grad_fn is not before
    assert v.grad_fn.next_functions[0][0] is y.grad_fn
    v.sum().backward()
    expected = 2 * x.detach().numpy()
    expected[[0, 3]] = 0
    np.testing.assert_allclose(x.grad.numpy(), expected)


def test_a_write_to_a_view_is_seen_in_its_base_and_in_other_views():
    x, w = leaf(4), leaf(2, scale=3)
    y = x * 1
    first, other = y[:2], y.view(2, 2)
    first.mul_(w)
    assert y.grad_fn.name() == "CopySlices"
    (other * other).sum().backward()
    a, b = x.detach().numpy(), w.detach().numpy()
    np.testing.assert_allclose(x.grad.numpy(), np.r_[2 * a[:2] * b * b, 2 * a[2:]])
    np.testing.assert_allclose(w.grad.numpy(), 2 * a[:2] ** 2 * b)


def test_a_buffer_filled_by_slices():
    parts = [leaf(2, scale=float(k + 1)) for k in range(3)]
    out = torch.empty(3, 2, dtype=torch.float64)
    for k, p in enumerate(parts):
        out[k] = p * p
    (out * torch.arange(6.0, dtype=torch.float64).view(3, 2)).sum().backward()
    for k, p in enumerate(parts):
        np.testing.assert_allclose(
            p.grad.numpy(), 2 * p.detach().numpy() * np.array([2 * k, 2 * k + 1])
        )


def test_a_view_of_a_view_belongs_to_the_first_base():
    x = torch.zeros(2, 3)
    v = x.t()[1:].unsqueeze(0)
    assert v._base is x and v._is_view()
    assert x._base is None and not x._is_view()
    assert x.detach()._base is None


VIEWS = {
    "select": lambda t: t[1],
    "slice": lambda t: t[:, 1:3],
    "step": lambda t: t[::2, ::3],
    "transpose": lambda t: t.t(),
    "permute": lambda t: t.view(3, 2, 2).permute(2, 0, 1),
    "view": lambda t: t.view(2, 6),
    "reshape after transpose": lambda t: t.t().reshape(6, 2),
    "diagonal": lambda t: t.diagonal(1),
    "unsqueeze": lambda t: t.unsqueeze(1),
    "squeeze": lambda t: t[:1].squeeze(0),
    "expand": lambda t: t.unsqueeze(0).expand(2, 3, 4),
    "expand of an inner dim": lambda t: t[:, :1].expand(3, 5),
    "twice expanded": lambda t: t[:1, :1].expand(3, 3).transpose(0, 1),
    "column of a column": lambda t: t[:, 1][1:],
    "unfold": lambda t: t.unfold(1, 2, 1),
    "as_strided": lambda t: t.as_strided((2, 2), (4, 1), 1),
    "overlapping as_strided": lambda t: t.as_strided((3, 3), (1, 1), 0),
    "as_strided of a column": lambda t: t[:, 1].as_strided((2,), (4,), 5),
    "narrow": lambda t: t.narrow(0, 1, 2),
    "unbind": lambda t: t.unbind(1)[2],
    "split": lambda t: t.split([1, 3], 1)[1],
    "split, summed": lambda t: (lambda p: p[0] * p[2] + p[1])(t.split(1, 0)),
}


@pytest.mark.parametrize("name", VIEWS)
def test_gradients_of_views(name):
    view = VIEWS[name]
    weights = {}

    def f(x):
        v = view(x * 1)
        w = weights.setdefault(name, torch.randn(v.shape, dtype=torch.float64))
        return v * v * w

    assert gradcheck(f, (leaf(3, 4),))
    assert gradgradcheck(f, (leaf(3, 4),))


@pytest.mark.parametrize("name", VIEWS)
def test_gradients_of_views_are_those_of_the_linear_map(name):
    """The derivative of a view is its transpose: <view(x), g> = <x, backward(g)>."""
    x = leaf(3, 4)
    if "summed" in name:
        pytest.skip("not linear")
    y = VIEWS[name](x)
    g = torch.randn(y.shape, dtype=torch.float64)
    (gx,) = grad(y, x, g)
    left, right = (y.detach() * g).sum().item(), (x.detach() * gx).sum().item()
    assert left == pytest.approx(right, rel=1e-12)


REFUSED = ("expand", "overlap", "unfold", "unbind", "split", "reshape")


@pytest.mark.parametrize("name", [n for n in VIEWS if not any(word in n for word in REFUSED)])
def test_writes_through_views_double_backward(name):
    view = VIEWS[name]

    def f(x, w):
        y = x * x
        v = view(y)
        v.mul_(w)
        view(y).add_(v.sum())
        return y * y

    w = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(f, (leaf(3, 4), w))
    assert gradgradcheck(f, (leaf(3, 4), w))


def test_complex_views():
    def f(z):
        pair = torch.view_as_real(z * z)
        return pair[..., 0] * pair[..., 1]

    z = torch.tensor([1 + 2j, -0.5 + 1j], dtype=torch.complex128, requires_grad=True)
    assert gradcheck(f, (z,))
    assert gradgradcheck(f, (z,))


# ---- random programs ----------------------------------------------------------------------------
# A program is a list of steps on a (4, 6) buffer: writes through views of it, reads of what views
# made earlier see now. The oracle executes it with no views and no writes: a view is an array of
# positions in the buffer, and a write makes a new buffer by where().

ROWS, COLUMNS = 4, 6
SLOTS = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS)

VIEW_STEPS = {
    "row": lambda t, k: t[k % t.shape[0]] if t.ndim > 1 else t,
    "column": lambda t, k: t[..., k % t.shape[-1]] if t.ndim > 1 else t,
    "head": lambda t, k: t[: 1 + k % t.shape[0]],
    "tail": lambda t, k: t[k % t.shape[0] :],
    "even": lambda t, k: t[::2],
    "flat": lambda t, k: t.reshape(-1) if contiguous(t) else t,
    "turn": lambda t, k: t.T if t.ndim == 2 else t,
}


def contiguous(t):
    return t.is_contiguous() if isinstance(t, torch.Tensor) else t.flags.c_contiguous


WRITE_STEPS = ("add_", "mul_", "sin_", "copy_")
which, k = st.integers(0, 7), st.integers(0, 7)
step = st.one_of(
    st.tuples(st.just("view"), st.sampled_from(sorted(VIEW_STEPS)), which, k),
    st.tuples(st.just("write"), st.sampled_from(WRITE_STEPS), which, k),
    st.tuples(st.just("read"), st.just(""), which, k),
)


def with_writes(program, x, w):
    base = x * 1.0
    views, reads = [base], []
    for kind, name, which, k in program:
        v = views[which % len(views)]
        if kind == "view":
            views.append(VIEW_STEPS[name](v, k))
        elif kind == "read":
            reads.append((v * v).sum() * (k + 1))
        elif name == "sin_":
            v.sin_()
        else:
            getattr(v, name)(w[k % 8])
    return base, reads


PURE = {
    "add_": lambda flat, w: flat + w,
    "mul_": lambda flat, w: flat * w,
    "sin_": lambda flat, w: flat.sin(),
    "copy_": lambda flat, w: flat * 0 + w,
}


def without_writes(program, x, w):
    flat = (x * 1.0).reshape(-1)
    views, reads = [SLOTS], []
    for kind, name, which, k in program:
        slots = views[which % len(views)]
        if kind == "view":
            views.append(VIEW_STEPS[name](slots, k))
            continue
        mask = np.zeros(SLOTS.size)
        mask[slots.reshape(-1)] = 1
        inside = torch.from_numpy(mask)
        if kind == "read":
            reads.append((flat * flat * inside).sum() * (k + 1))
            continue
        flat = torch.where(inside > 0, PURE[name](flat, w[k % 8]), flat)
    return flat.reshape(ROWS, COLUMNS), reads


@settings(max_examples=150, deadline=None)
@given(st.lists(step, min_size=1, max_size=12))
def test_random_programs_of_views_and_writes(program):
    x1, w1 = leaf(ROWS, COLUMNS), leaf(8, scale=0.9)
    x2, w2 = leaf(ROWS, COLUMNS), leaf(8, scale=0.9)
    base1, reads1 = with_writes(program, x1, w1)
    base2, reads2 = without_writes(program, x2, w2)
    np.testing.assert_allclose(base1.detach().numpy(), base2.detach().numpy(), rtol=1e-12)
    for a, b in zip(reads1, reads2, strict=True):
        assert a.item() == pytest.approx(b.item(), rel=1e-12)

    def total(base, reads):
        weights = torch.arange(ROWS * COLUMNS, dtype=torch.float64).reshape(ROWS, COLUMNS)
        return (base * weights).sum() + sum(reads)

    # A read saves what a later write may replace: that is an error, never a wrong gradient.
    try:
        total(base1, reads1).backward()
    except RuntimeError as e:
        assert "modified by an inplace operation" in str(e)
        return
    total(base2, reads2).backward()
    for a, b in ((x1, x2), (w1, w2)):
        ga = np.zeros(a.shape) if a.grad is None else a.grad.numpy()
        gb = np.zeros(b.shape) if b.grad is None else b.grad.numpy()
        np.testing.assert_allclose(ga, gb, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("view", [
    lambda w: w[:, None], lambda w: w[1:], lambda w: w.select(1, 2), lambda w: w.diagonal(),
    lambda w: w.unfold(1, 2, 1), lambda w: w.split(2, 1)[1], lambda w: w.unbind()[1],
])  # fmt: skip
def test_views_of_a_leaf_whose_elements_are_one_memory(view):
    """An expanded leaf has a gradient for each element, which the view must not mix up."""
    expanded = torch.arange(3.0).expand(3, 3).detach().requires_grad_()
    apart = torch.arange(3.0).repeat(3, 1).requires_grad_()
    for leaf in (expanded, apart):
        part = view(leaf)
        (part * torch.arange(float(part.numel())).reshape(part.shape)).sum().backward()
    assert torch.equal(expanded.grad, apart.grad)


@pytest.mark.parametrize("map_size", [None, 1])  # alone, and seen by an interpreter
@pytest.mark.parametrize("name, args", [
    ("scatter_reduce", (0, torch.tensor([[0, 1], [0, 0]]), "y", "amax")),
    ("index_reduce", (0, torch.tensor([1, 1]), "y", "prod")),
    ("div", ("y",)), ("renorm", (2, 0, 0.5)), ("float_power", ("y",)),
])  # fmt: skip
def test_what_a_composite_saves_of_its_target_is_the_value_before(name, args, map_size):
    def gradients(form):
        x, y = (torch.tensor(v, dtype=torch.float64, requires_grad=True)
                for v in ([[0.9, 0.2], [0.4, 0.7]], [[0.3, 0.8], [0.6, 0.5]]))  # fmt: skip
        given = [y if isinstance(a, str) and a == "y" else a for a in args]
        options = {"rounding_mode": None} if name == "div" else {}

        def compute(x):
            return getattr(x * 1, form)(*given, **options)

        out = compute(x) if map_size is None else torch.vmap(compute)(x[None])
        (out * torch.arange(4).view(2, 2)).sum().backward()
        return [v.grad for v in (x, y) if v.grad is not None]

    for ours, expected in zip(gradients(f"{name}_"), gradients(name), strict=True):
        torch.testing.assert_close(ours, expected)
