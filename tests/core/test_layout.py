"""Layouts: sizes, strides and offsets as views make them, and what is derived from them."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import taimatsu as torch

SHAPES = [(), (1,), (4,), (2, 3), (2, 1, 3), (0,), (2, 0, 3), (1, 1, 1), (2, 3, 4, 5), (1,) * 8]


def strided(sizes, strides, offset=0):
    """An uninitialised tensor of this layout, over just enough memory."""
    reach = offset + sum((n - 1) * s for n, s in zip(sizes, strides, strict=True))
    return torch.empty(reach + 1).as_strided(sizes, strides, offset)


@pytest.mark.parametrize("shape", SHAPES)
def test_new_tensors_are_row_major(shape):
    t = torch.empty(shape)
    counted = tuple(max(n, 1) for n in shape)  # strides of empty tensors: a size of 0 counts as 1
    assert t.stride() == tuple(s // 8 for s in np.empty(counted).strides)
    assert t.shape == shape
    assert t.numel() == np.prod(shape, dtype=int)
    assert t.storage_offset() == 0
    assert t.is_contiguous()


layouts = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 9)), max_size=4).map(
    lambda dims: tuple(zip(*dims, strict=True)) or ((), ())
)


@given(layouts, st.integers(0, 5))
def test_contiguity_is_numpys(layout, offset):
    sizes, strides = layout
    t = strided(sizes, strides, offset)
    view = np.lib.stride_tricks.as_strided(np.empty(99), sizes, [8 * s for s in strides])
    assert (t.shape, t.stride(), t.storage_offset()) == (sizes, strides, offset)
    assert t.is_contiguous() == view.flags.c_contiguous


@pytest.mark.parametrize(
    ("sizes", "strides", "expected"),
    [
        ((2, 3, 4, 5), (60, 1, 15, 3), True),
        ((2, 3, 4, 5), (60, 20, 5, 1), False),
        ((2, 1, 4, 5), (20, 20, 5, 1), True),  # one channel: both orders at once
        ((2, 3, 1, 1), (3, 1, 3, 3), True),
        ((3, 4, 5), (1, 15, 3), False),  # only images and volumes have channels
    ],
)
def test_channels_last(sizes, strides, expected):
    t = strided(sizes, strides)
    assert t.is_contiguous(memory_format=torch.channels_last) == expected


def test_channels_last_of_volumes():
    t = torch.empty((2, 3, 4, 5, 6), memory_format=torch.channels_last_3d)
    assert t.stride() == (360, 1, 90, 18, 3)
    assert t.is_contiguous(memory_format=torch.channels_last_3d)
    assert not t.is_contiguous(memory_format=torch.channels_last)


def test_channels_last_needs_its_number_of_dims():
    with pytest.raises(RuntimeError, match="channels_last"):
        torch.empty((2, 3, 4), memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("sizes", "strides", "expected"),
    [
        ((2, 3), (3, 1), (3, 1)),
        ((2, 3), (1, 2), (1, 2)),  # transposed
        ((2, 3), (1, 4), (1, 2)),  # transposed, with gaps
        ((2, 3, 4), (24, 1, 6), (12, 1, 3)),
        ((2, 3), (0, 1), (3, 1)),  # expanded
        ((2, 3, 4), (1, 0, 2), (1, 2, 6)),  # a stride of 0 tells nothing
        ((4, 1, 3), (1, 7, 4), (1, 7, 4)),  # without gaps: kept as it is
        ((), (), ()),
    ],
)
def test_preserved_format(sizes, strides, expected):
    assert torch.empty_like(strided(sizes, strides)).stride() == expected


def test_preserved_format_drops_the_offset():
    t = torch.empty(10).as_strided((2, 3), (1, 2), 4)
    assert torch.empty_like(t).storage_offset() == 0


@pytest.mark.parametrize(
    ("operands", "expected"),
    [
        ([((2, 3), (3, 1)), ((2, 3), (3, 1))], (3, 1)),
        ([((2, 3), (1, 2)), ((2, 3), (1, 2))], (1, 2)),
        ([((2, 3), (1, 2)), ((2, 3), (3, 1))], (1, 2)),  # the first operand tells
        ([((2, 3), (3, 1)), ((2, 3), (1, 2))], (3, 1)),
        ([((2, 3), (1, 4)), ((2, 3), (1, 4))], (1, 2)),  # gaps are closed
        ([((3,), (1,)), ((2, 3), (1, 2))], (1, 2)),  # what is broadcast tells nothing
        ([((2, 1), (1, 1)), ((1, 3), (3, 1))], (3, 1)),
        ([((2, 3, 4, 5), (60, 1, 15, 3)), ((), ())], (60, 1, 15, 3)),
    ],
)
def test_layout_of_pointwise_results(operands, expected):
    a, b = (strided(*layout) for layout in operands)
    assert (a + b).stride() == expected


@given(st.permutations(range(4)), st.permutations(range(4)))
def test_pointwise_results_do_not_depend_on_layouts(p, q):
    sizes = (2, 3, 4, 5)
    a, b = np.arange(120.0).reshape(sizes), np.arange(120.0, 0, -1).reshape(sizes)

    def in_order(array, order):
        inverse = [order.index(d) for d in range(4)]
        return torch.tensor(np.ascontiguousarray(array.transpose(order))).permute(inverse)

    x, y = in_order(a, p), in_order(b, q)
    ordered = a.transpose(p).copy().transpose(np.argsort(p))
    assert x.stride() == tuple(s // 8 for s in ordered.strides)
    np.testing.assert_array_equal((x - y).numpy(), a - b)
    np.testing.assert_array_equal((x[:, ::2] - y[1:, ::2]).numpy(), a[:, ::2] - b[1:, ::2])


@pytest.mark.parametrize(
    ("a", "b"), [((3,), (4,)), ((2, 3), (2, 2)), ((2, 3), (4, 1, 3)), ((5, 1, 2), (3, 1))]
)
def test_broadcasting(a, b):
    x, y = torch.empty(a), torch.empty(b)
    try:
        expected = np.broadcast_shapes(a, b)
    except ValueError:
        with pytest.raises(RuntimeError, match="at non-singleton dimension"):
            x + y
    else:
        assert (x + y).shape == expected


def test_broadcasting_error_says_which_dimension():
    message = "The size of tensor a (3) must match the size of tensor b (4) at non-singleton "
    with pytest.raises(RuntimeError, match=re.escape(message + "dimension 1")):
        torch.empty(2, 3) + torch.empty(2, 4)


@pytest.mark.parametrize("ndim", [0, 1, 2, 3])
@pytest.mark.parametrize("dim", range(-4, 4))
def test_dims_wrap_around(ndim, dim):
    t = torch.empty((2,) * ndim)
    n = max(ndim, 1)
    if -n <= dim < n:
        assert t.sum(dim).ndim == max(ndim - 1, 0)
    else:
        expected = f"expected to be in range of [{-n}, {n - 1}], but got {dim})"
        with pytest.raises(IndexError, match=re.escape(expected)):
            t.sum(dim)


@pytest.mark.parametrize("shape", [(-1,), (2, -3), (0, -1)])
def test_negative_sizes(shape):
    with pytest.raises(RuntimeError, match="negative dimension"):
        torch.empty(shape)


@pytest.mark.parametrize("shape", [(2**40, 2**40), (2**63 - 1,), (2**62, 2)])
def test_sizes_that_overflow(shape):
    with pytest.raises(RuntimeError, match="Storage size calculation overflowed"):
        torch.empty(shape)


def test_too_many_dims():
    with pytest.raises(RuntimeError, match="at most 64 dimensions; got 65"):
        torch.empty((1,) * 65)


def overlaps(sizes, strides):
    cells = [range(0, n * s, s) if s else [0] * n for n, s in zip(sizes, strides, strict=True)]
    places = [sum(at) for at in itertools.product(*cells)]
    return len(places) != len(set(places))


@given(layouts)
def test_writing_to_overlapping_memory_is_refused(layout):
    t = strided(*layout)
    if overlaps(*layout):
        with pytest.raises(RuntimeError, match="single memory location"):
            t.add_(1.0)
    else:
        t.zero_()
        assert (t.add_(1.0) == 1.0).all()


def test_many_layouts_come_and_go():
    """The table of layouts forgets those that nobody uses, and keeps those in use."""
    kept = [torch.empty(3, n, device="meta") for n in range(2000)]
    for n in range(50_000):
        assert torch.empty(n, 2, device="meta").shape == (n, 2)
    for n, t in enumerate(kept):
        assert (t.shape, t.stride()) == ((3, n), (max(n, 1), 1))


@pytest.mark.parametrize("name", ["uint8", "int16", "float32", "int64", "complex128"])
def test_the_same_bytes_as_another_dtype(name):
    """`view(dtype)` against NumPy's, whose rule for the last dim is the same."""
    a = np.arange(48, dtype=np.float32).reshape(3, 4, 4)
    for x in (torch.tensor(a), torch.tensor(a)[1:], torch.tensor(a).transpose(0, 1)):
        y = x.view(getattr(torch, name))
        assert y.numpy().tobytes() == x.numpy().tobytes()
        assert y.shape == x.numpy().view(name).shape
        assert y.data_ptr() == x.data_ptr()
        y.zero_()
        assert not x.any()


def test_bytes_have_no_gradient():
    x = torch.ones(2, 4, requires_grad=True)
    bits = x.view(torch.int32)
    assert not bits.requires_grad and not x.view(torch.float32).requires_grad
    assert bits[0, 0] == 0x3F800000


def test_parts_of_a_matrix_interleave_without_meeting():
    x = torch.arange(24.0).reshape(3, 8)
    expected = x[:, :2] + x[:, 3:5]
    x[:, :2].add_(x[:, 3:5])
    assert torch.equal(x[:, :2], expected)
    x = torch.arange(60.0).reshape(3, 4, 5)
    x[:, 1:3, :2].mul_(x[:, 1:3, 2:4])
    assert x[0, 1, 0] == 5 * 7
    with pytest.raises(RuntimeError, match="single memory location"):
        x[:, :, 1:].add_(x[:, :, :-1])


@pytest.mark.parametrize("op", [
    lambda x: torch.softmax(x, -1), lambda x: x.log_softmax(1), lambda x: x.cumsum(1),
    lambda x: torch.nn.functional.layer_norm(x, x.shape[-1:]), lambda x: x.cummax(-1).indices,
    lambda x: torch.nn.functional.rms_norm(x, x.shape[-1:]), lambda x: x.logcumsumexp(0),
    lambda x: torch.nn.functional.group_norm(x, 2), lambda x: x.unsqueeze(0).repeat(2, 1, 1, 1),
    lambda x: torch.nn.functional.batch_norm(x, None, None, training=True),
])  # fmt: skip
def test_rows_are_contiguous_in_the_result(op):
    x = torch.rand(2, 3, 4).transpose(1, 2)
    assert op(x).is_contiguous()
    assert torch.equal(op(x), op(x.contiguous()))


def test_normalised_images_keep_their_channels_innermost():
    x = torch.rand(2, 4, 3, 5).contiguous(memory_format=torch.channels_last)
    for y in (torch.nn.BatchNorm2d(4)(x), torch.nn.BatchNorm2d(4).eval()(x),
              torch.nn.GroupNorm(2, 4)(x)):  # fmt: skip
        assert y.is_contiguous(memory_format=torch.channels_last)


def test_copies_of_views_lie_row_by_row():
    x = torch.arange(24.0).view(2, 3, 4).mT
    for copy in (torch.permute_copy(x, (2, 0, 1)), torch.unfold_copy(x, 1, 2, 1),
                 torch.alias_copy(x), *torch.split_copy(x, 1), torch.view_copy(x, (4, 6))):
        assert copy.is_contiguous()
    assert torch.equal(torch.view_copy(x, (4, 6)), x.reshape(4, 6))
