"""x[key] and x[key] = value: against NumPy, for keys of every kind."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import taimatsu as torch

SIZES = (4, 3, 5)


@st.composite
def basic_keys(draw, sizes=SIZES):
    """A tuple of ints, slices with positive steps, None and at most one Ellipsis."""
    items = []
    for n in sizes[: draw(st.integers(0, len(sizes)))]:
        if draw(st.booleans()):
            items.append(draw(st.integers(-n, n - 1)))
        else:
            bound = st.none() | st.integers(-n - 2, n + 2)
            items.append(slice(draw(bound), draw(bound), draw(st.none() | st.integers(1, 3))))
    for _ in range(draw(st.integers(0, 2))):
        items.insert(draw(st.integers(0, len(items))), None)
    if draw(st.booleans()):
        used = sum(i is not None for i in items)
        if used == len(sizes) or draw(st.booleans()):
            items.append(Ellipsis)
        else:  # before items that count from the last dim: only where these fit any dim
            items.insert(0, Ellipsis)
            items = [0 if isinstance(i, int) else i for i in items]
    return tuple(items) if draw(st.booleans()) or len(items) != 1 else items[0]


def arrays():
    a = np.arange(np.prod(SIZES), dtype=np.int64).reshape(SIZES)
    return a, torch.from_numpy(a.copy())


@settings(max_examples=400, deadline=None)
@given(basic_keys())
def test_basic_keys_are_numpy_s_views(key):
    a, x = arrays()
    expected, result = a[key], x[key]
    assert result.shape == expected.shape and result.tolist() == expected.tolist()
    assert result._base is x and result.untyped_storage().data_ptr() == x.data_ptr()


@settings(max_examples=200, deadline=None)
@given(basic_keys(), st.sampled_from(["number", "scalar tensor", "full", "broadcast"]))
def test_assignment_to_basic_keys(key, kind):
    a, x = arrays()
    shape = a[key].shape
    if kind in ("number", "scalar tensor"):
        a[key] = -7
        x[key] = -7 if kind == "number" else torch.tensor(-7)
    else:
        values = -np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)
        if kind == "broadcast" and values.ndim:
            values = values[:1]
        a[key] = values
        x[key] = torch.from_numpy(np.array(values))
    assert x.tolist() == a.tolist() and x._version == 1


@settings(max_examples=100, deadline=None)
@given(basic_keys())
def test_gradient_of_a_basic_key(key):
    a = np.arange(np.prod(SIZES), dtype=np.float64).reshape(SIZES)
    x = torch.from_numpy(a).requires_grad_()
    x[key].sum().backward()
    expected = np.zeros_like(a)
    expected[key] = 1
    assert x.grad.tolist() == expected.tolist()


ADVANCED = [
    [0, 2],
    (slice(None), [2, 0]),
    ([0, 1], [2, 0]),
    ([[0], [3]], [1, 2]),
    (0, [1, 1, 2]),
    ([1, 2], slice(None), [0, 4]),
    (None, [0, 1], Ellipsis),
    np.array([3, 0]),
    np.array([[0, 1], [2, 3]]),
    (np.array([True, False, True, False]), 1),
    np.arange(60).reshape(SIZES) % 2 == 0,
    (slice(None), np.array([True, False, True])),
    True,
    False,
    range(2),
    np.array([], np.int64),
    [True, False, False, True],
]


def test_an_empty_list_selects_nothing():
    _, x = arrays()
    assert x[[]].shape == (0, 3, 5)


def as_torch(key):
    if isinstance(key, tuple):
        return tuple(as_torch(k) for k in key)
    return torch.from_numpy(key) if isinstance(key, np.ndarray) else key


@pytest.mark.parametrize("key", ADVANCED, ids=repr)
def test_advanced_keys_copy_like_numpy(key):
    a, x = arrays()
    for k in (key, as_torch(key)):
        result = x[k]
        expected = a[list(key) if isinstance(key, range) else key]
        assert result.shape == expected.shape and result.tolist() == expected.tolist()
        assert result.data_ptr() != x.data_ptr() or result.numel() == 0


@pytest.mark.parametrize("key", ADVANCED, ids=repr)
def test_assignment_to_advanced_keys(key):
    a, x = arrays()
    x[as_torch(key)] = -1
    a[list(key) if isinstance(key, range) else key] = -1
    assert x.tolist() == a.tolist()


def test_numbers_in_tensors_and_arrays_are_ints():
    _, x = arrays()
    for one in (torch.tensor(1), np.int64(1), np.array(1), torch.tensor(1, dtype=torch.int8)):
        assert x[one]._base is x and x[one].tolist() == x[1].tolist()
        assert x[0, one].tolist() == x[0, 1].tolist()
        x[one] = 0
    index = torch.tensor(2)
    view = x[index]
    index.fill_(0)  # the view stays where it is
    view.mul_(1)
    assert view.tolist() == x[2].tolist()


def test_0_dim_tensors():
    x = torch.tensor(5)
    assert x[()].item() == x[...].item() == 5 and x[None].tolist() == [5]
    with pytest.raises(IndexError, match="0-dim"):
        x[0]
    with pytest.raises(IndexError, match="0-dim"):
        x[:]
    x[...] = 3
    assert x.item() == 3


@pytest.mark.parametrize(
    ("key", "error", "what"),
    [
        (4, IndexError, "index 4 is out of bounds for dimension 0 with size 4"),
        ((0, -4), IndexError, "index -4 is out of bounds for dimension 1 with size 3"),
        ((0, 0, 0, 0), IndexError, "too many indices for tensor of dimension 3"),
        (slice(None, None, -1), ValueError, "greater than zero"),
        (slice(0, 1.5), TypeError, "slice indices"),
        (1.5, IndexError, "got float"),
        ("a", TypeError, "str"),
        ((0, 1.5), IndexError, "got float"),
        (2**70, OverflowError, "too large"),
    ],
)
def test_bad_keys(key, error, what):
    _, x = arrays()
    before = x.tolist()
    with pytest.raises(error, match=what):
        x[key]
    with pytest.raises(error, match=what):
        x[key] = 1
    assert x.tolist() == before


@pytest.mark.parametrize("value", [[1, 2, 3], None, "a", (1,)], ids=repr)
def test_values_must_be_tensors_or_numbers(value):
    x = torch.zeros(3)
    with pytest.raises(TypeError, match="can't assign"):
        x[0:3] = value
    assert x.tolist() == [0, 0, 0]


def test_values_that_do_not_fit():
    x = torch.zeros(2, 3)
    for value in (torch.ones(2), torch.ones(2, 2, 3), 1j):
        with pytest.raises(RuntimeError):
            x[0] = value
    assert x.tolist() == [[0] * 3] * 2 and x._version == 0
    x[0] = torch.ones(1, 1, 3)  # leading dims of size 1 are dropped
    assert x[0].tolist() == [1, 1, 1]
    with pytest.raises(TypeError, match="deleting"):
        del x[0]


def test_assigned_values_are_converted():
    x = torch.zeros(2, dtype=torch.int64)
    x[0], x[1] = 3.7, torch.tensor(2.5)
    assert x.tolist() == [3, 2]


def test_lists_of_more_than_numbers_are_tuples():
    _, x = arrays()
    for key in ([slice(1), 0], [[0, 1], [1, 2]], [None, 0], [0, torch.tensor(1)]):
        with pytest.warns(UserWarning, match="non-tuple"):
            result = x[key]
        assert result.tolist() == x[tuple(key)].tolist()


def test_written_views_have_history():
    x = torch.zeros(3, requires_grad=True)
    y = x * 1
    w = torch.tensor(2.0, requires_grad=True)
    y[1] = w * 3
    y.sum().backward()
    assert x.grad.tolist() == [1, 0, 1] and w.grad.item() == 3


def test_positions_on_the_cpu_go_with_any_device():
    x = torch.empty(2, 3, device="meta")
    mask = torch.tensor([True, False])
    for key, sizes in (([0, 1, 1], (3, 3)), (torch.tensor([[1]]), (1, 1, 3)), (mask, (1, 3)),
                       ((..., [0, 2]), (2, 2)), (True, (1, 2, 3))):  # fmt: skip
        found = x[key]
        assert found.is_meta and found.shape == sizes
        x[key] = 1
    assert x.index_put((mask,), torch.ones(3, device="meta")).is_meta
    with pytest.raises(NotImplementedError, match="depend on elements"):
        x[mask.to("meta")]
    with pytest.raises(RuntimeError, match="same device"):
        torch.ones(2)[torch.empty(2, dtype=torch.int64, device="meta")]


@pytest.mark.parametrize("far", [2**63 - 1, -(2**63), 2**62])
def test_positions_as_far_as_they_can_be(far):
    x, index = torch.zeros(4, 3), torch.tensor([0, far])
    for call in (
        lambda: x[index], lambda: x.index_put_((index,), torch.ones(3)),
        lambda: x.index_select(0, index), lambda: x.index_add_(0, index, torch.ones(2, 3)),
        lambda: x.gather(0, index[:, None]), lambda: x.scatter_(0, index[:, None], 1.0),
    ):  # fmt: skip
        with pytest.raises((IndexError, RuntimeError), match="out of bounds"):
            call()
    assert not x.any()
