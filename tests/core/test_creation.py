"""Tensors from Python's data: dtype inference, nested sequences, arrays, errors."""

import array

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import taimatsu as torch


@pytest.mark.parametrize(
    ("data", "dtype", "shape"),
    [
        (1, torch.int64, ()),
        (1.5, torch.float32, ()),
        (True, torch.bool, ()),
        (1j, torch.complex64, ()),
        ([], torch.float32, (0,)),
        ([[], []], torch.float32, (2, 0)),
        ([True, False], torch.bool, (2,)),
        ([True, 2], torch.int64, (2,)),
        ([1, 2.5], torch.float32, (2,)),
        ([1, 2.5, True, 1j], torch.complex64, (4,)),
        ([[1, 2], (3, 4)], torch.int64, (2, 2)),
        (range(3), torch.int64, (3,)),
        (np.float64(1), torch.float64, ()),
        ([np.float64(1)], torch.float64, (1,)),
        ([np.float16(1), 2], torch.float16, (2,)),
        ([np.int32(1), True], torch.int32, (2,)),
        ([np.ones(2), np.ones(2)], torch.float64, (2, 2)),
        ([1, np.float32(2), np.float64(3)], torch.float64, (3,)),
        (np.ones((2, 3), np.int8), torch.int8, (2, 3)),
        (bytearray(b"abc"), torch.int64, (3,)),
        (array.array("d", [1, 2]), torch.float32, (2,)),
    ],
    ids=repr,
)
def test_dtype_and_sizes_are_the_data_s(data, dtype, shape):
    x = torch.tensor(data)
    assert (x.dtype, tuple(x.shape)) == (dtype, shape)
    assert x.tolist() == np.array(data).tolist()


def test_tensors_in_lists():
    assert torch.tensor([torch.tensor(1.0, dtype=torch.float64), 2]).dtype == torch.float64
    assert torch.tensor([torch.tensor(1, dtype=torch.int32), 2]).dtype == torch.int64
    assert torch.tensor([torch.tensor([1, 2]), torch.tensor([3, 4])]).tolist() == [[1, 2], [3, 4]]


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.bool_, np.int64, np.float64, np.complex128]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    )
)
def test_nested_lists_of_any_shape(a):
    x = torch.tensor(a.tolist(), dtype=getattr(torch, str(a.dtype)))
    np.testing.assert_array_equal(x.numpy(), np.array(a.tolist(), a.dtype))


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8", "int32", "uint8", "complex64"])
def test_asked_dtype_converts(dtype):
    data = [[0, 1, 2.75], [True, 100.25, 3]]
    x = torch.tensor(data, dtype=getattr(torch, dtype))
    np.testing.assert_array_equal(x.numpy(), np.array(data).astype(dtype))


def test_asked_dtype_of_bfloat16():
    assert torch.tensor([1.0, 2.5, 1 / 3], dtype=torch.bfloat16).tolist() == [1, 2.5, 0.333984375]


@pytest.mark.parametrize(
    ("data", "dtype", "error", "what"),
    [
        ([[1, 2, 3], [4, 5]], None, ValueError, r"length 3 at dim 1 \(got 2\)"),
        ([1, [2]], None, TypeError, "list"),
        ([[1], 2], None, TypeError, "not a sequence"),
        ([[1], [[2]]], None, TypeError, "list"),
        ([np.ones(2), np.ones(3)], None, ValueError, "length 2 at dim 1"),
        ("abc", None, TypeError, "str"),
        (["abc"], None, ValueError, "too many dimensions 'str'"),
        ([1, "a"], None, TypeError, "str"),
        (None, None, RuntimeError, "infer dtype of NoneType"),
        ([None], None, RuntimeError, "infer dtype of NoneType"),
        ({}, None, RuntimeError, "infer dtype of dict"),
        ((x for x in [1]), None, RuntimeError, "infer dtype of generator"),
        (2**63, None, ValueError, "Overflow"),
        ([300], torch.uint8, RuntimeError, "without overflow"),
        ([-129], torch.int8, RuntimeError, "without overflow"),
        ([float("nan")], torch.int64, RuntimeError, "without overflow"),
        ([1e300], torch.int32, RuntimeError, "without overflow"),
        ([1j], torch.float32, TypeError, "real number"),
        (np.array(["a"]), None, TypeError, "can't convert np.ndarray"),
        (np.array([1], "datetime64[s]"), None, TypeError, "can't convert np.ndarray"),
        (np.array([1], ">i4"), None, ValueError, "byte order"),
        (np.arange(3)[::-1], None, ValueError, "negative"),
        ([1], "float32", TypeError, "dtype"),
    ],
    ids=repr,
)
def test_bad_data(data, dtype, error, what):
    with pytest.raises(error, match=what):
        torch.tensor(data, dtype=dtype)


def test_lists_that_contain_themselves_end():
    loop = []
    loop.append(loop)
    with pytest.raises(ValueError, match="too many dimensions"):
        torch.tensor(loop)


def test_lists_that_change_while_they_are_read():
    class Shrinks(list):
        def __getitem__(self, i):
            raise AssertionError("lists are read as they are")

    class Number:
        def __init__(self, owner):
            self.owner = owner

        def __len__(self):
            self.owner.clear()
            return 1

        def __getitem__(self, i):
            return (1,)[i]

    assert torch.tensor(Shrinks([1, 2])).tolist() == [1, 2]
    data = [[1], [2], [3]]
    data[1] = Number(data)
    with pytest.raises((IndexError, TypeError, ValueError, AttributeError)):
        torch.tensor(data)


def test_wrapping_and_infinite_values():
    assert torch.tensor(-1, dtype=torch.uint8).item() == 255
    assert torch.tensor(2**63, dtype=torch.uint64).item() == 2**63
    assert torch.tensor(2**70, dtype=torch.float64).item() == 2.0**70
    assert torch.tensor([1e40], dtype=torch.float32).item() == float("inf")


def test_options():
    x = torch.tensor([1.0], requires_grad=True)
    assert x.requires_grad and x.is_leaf
    with pytest.raises(RuntimeError, match="floating point"):
        torch.tensor([1], requires_grad=True)
    assert torch.tensor([1.0, 2.0], device="meta").is_meta
    with pytest.raises(TypeError, match="foo"):
        torch.tensor([1], foo=1)
    with pytest.raises(TypeError, match="data"):
        torch.tensor()
    with pytest.raises(TypeError, match="positional"):
        torch.tensor([1], torch.float32)


def test_data_is_copied():
    a = np.ones((2, 3))
    for source in (a, a.T, a[:, ::2]):
        x = torch.tensor(source)
        assert x.is_contiguous() and x.tolist() == source.tolist()
        x.zero_()
    assert a.all()
    t = torch.ones(2, requires_grad=True)
    with pytest.warns(UserWarning, match="copy construct"):
        copied = torch.tensor(t)
    assert not copied.requires_grad and copied.data_ptr() != t.data_ptr()


def test_as_tensor_shares_where_it_can():
    a = np.ones(2)
    x = torch.as_tensor(a)
    x[0] = 5
    assert a[0] == 5 and torch.as_tensor(x) is x
    assert torch.as_tensor(a, dtype=torch.float32).dtype == torch.float32
    assert torch.as_tensor([1, 2], dtype=torch.float32).tolist() == [1, 2]
    t = torch.ones(2, requires_grad=True)
    assert torch.as_tensor(t, dtype=torch.float64).requires_grad


def test_asarray():
    a = np.ones(2)
    assert torch.asarray(a).data_ptr() == a.ctypes.data
    assert torch.asarray(a, copy=True).data_ptr() != a.ctypes.data
    assert torch.asarray(bytearray(b"ab")).tolist() == [97, 98]
    assert torch.asarray([1, 2], requires_grad=False).dtype == torch.int64
    assert torch.asarray(np.float64(3)).dtype == torch.float64
    with pytest.raises(ValueError, match="alias"):
        torch.asarray([1, 2], copy=False)
    with pytest.raises(ValueError, match="alias"):
        torch.asarray(a, dtype=torch.float32, copy=False)
    t = torch.ones(2, requires_grad=True)
    assert torch.asarray(t).requires_grad is False
    assert torch.asarray(t, requires_grad=True) is t


# ---- frombuffer --------------------------------------------------------------------------------


def test_frombuffer():
    data = bytearray(range(8))
    x = torch.frombuffer(data, dtype=torch.int16, offset=2, count=2)
    assert x.tolist() == np.frombuffer(data, np.int16, 2, 2).tolist()
    x[0] = 0
    assert data[2:4] == b"\0\0"
    with pytest.raises(BufferError):
        data.append(1)  # the tensor holds the memory
    del x
    data.append(1)
    with pytest.warns(UserWarning, match="not writable"):
        torch.frombuffer(b"abcd", dtype=torch.int16)


@pytest.mark.parametrize(
    ("buffer", "options"),
    [
        (b"abcd", {"count": 3}),
        (b"abc", {}),
        (b"", {}),
        (b"abcd", {"offset": 9}),
        (b"abcd", {"offset": -1}),
        ([1], {}),
        (b"abcd", {"count": 0}),
        (b"abcd", {"count": 2**62}),
    ],
)
def test_frombuffer_refuses(buffer, options):
    with pytest.raises(ValueError):
        torch.frombuffer(buffer, dtype=torch.int16, **options)


def test_the_cpu_has_one_place_whatever_its_index():
    x, y = torch.ones(2, 2, device="cpu:0"), torch.ones(2, 2)
    assert str(x.device) == "cpu" and torch.tensor([1.0], device="cpu:0").device == y.device
    assert torch.equal(x @ y.to("cpu:0"), torch.full((2, 2), 2.0))
    assert torch.device("cpu:0").index == 0 and torch.empty(1, device="meta").device.type == "meta"
