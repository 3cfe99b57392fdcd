"""Operators: against NumPy, with Python numbers on either side, and conversions."""

import operator

import numpy as np
import pytest

import taimatsu as torch

BINARY = [
    operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod,
    operator.pow, operator.lt, operator.le, operator.eq, operator.ne, operator.gt, operator.ge,
]  # fmt: skip
BITWISE = [operator.and_, operator.or_, operator.xor, operator.lshift, operator.rshift]
FLOATS = np.array([[0.5, 2.0, 3.5], [1.0, 4.25, 7.0]])
INTS = np.array([[1, 2, 3], [5, 8, 13]])


def same(result, expected):
    assert isinstance(result, torch.Tensor)
    rtol = 1e-6 if result.dtype == torch.float32 else 1e-12
    np.testing.assert_allclose(result.numpy(), expected, rtol)
    return result


@pytest.mark.parametrize("op", BINARY, ids=lambda op: op.__name__)
def test_binary_operators_like_numpy(op):
    x, y = torch.from_numpy(FLOATS), torch.from_numpy(FLOATS[0])
    same(op(x, y), op(FLOATS, FLOATS[0]))
    for number in (2, 2.5, True):
        same(op(x, number), op(FLOATS, number))
        same(op(number, x), op(number, FLOATS))
    i = torch.from_numpy(INTS)
    same(op(i, 2), op(INTS, 2))
    same(op(7, i), op(7, INTS))


@pytest.mark.parametrize("op", BITWISE, ids=lambda op: op.__name__)
def test_bitwise_operators_like_numpy(op):
    x, y = torch.from_numpy(INTS), torch.from_numpy(INTS[0])
    same(op(x, y), op(INTS, INTS[0]))
    same(op(x, 3), op(INTS, 3))
    same(op(3, x), op(3, INTS))


@pytest.mark.parametrize(
    "op",
    [operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.ifloordiv,
     operator.imod, operator.ipow],
    ids=lambda op: op.__name__,
)  # fmt: skip
def test_in_place_operators_write_to_the_same_tensor(op):
    for other in (FLOATS[0], 2, 1.5):
        expected = op(FLOATS.copy(), other)
        x = torch.from_numpy(FLOATS.copy())
        result = op(x, torch.from_numpy(other.copy()) if other is FLOATS[0] else other)
        assert result is x and x._version == 1
        same(result, expected)


def test_in_place_result_must_fit():
    x = torch.ones(2, dtype=torch.int64)
    with pytest.raises(RuntimeError, match="cast"):
        x += 0.5
    with pytest.raises(RuntimeError, match="shape"):
        x += torch.ones(3, 2, dtype=torch.int64)
    assert x.tolist() == [1, 1] and x._version == 0


def test_matmul_operator():
    a, b = FLOATS, FLOATS.T.copy()
    same(torch.from_numpy(a) @ torch.from_numpy(b), a @ b)
    x = torch.from_numpy(a)
    y = x
    y @= torch.from_numpy(b)
    assert y is not x and y.shape == (2, 2)
    with pytest.raises(TypeError):
        x @ 2
    with pytest.raises(TypeError):
        [1, 2] @ x


def test_unary_operators():
    x = torch.tensor([-1.5, 0.0, 2.0])
    assert (-x).tolist() == [1.5, 0, -2] and abs(x).tolist() == [1.5, 0, 2] and +x is x
    assert (~torch.tensor([0, 5])).tolist() == [-1, -6]
    assert (~torch.tensor([True, False])).tolist() == [False, True]


def test_numbers_do_not_widen_tensors():
    assert (torch.ones(2, dtype=torch.float16) + 1.0).dtype == torch.float16
    assert (torch.ones(2, dtype=torch.int8) + 1).dtype == torch.int8
    assert (torch.ones(2, dtype=torch.int8) + 1.0).dtype == torch.float32
    assert (torch.ones(2, dtype=torch.int8) / 2).dtype == torch.float32
    assert (1j * torch.ones(2)).dtype == torch.complex64
    assert (torch.ones(2, dtype=torch.float16) + np.float64(1)).dtype == torch.float16
    assert (np.float64(1) + torch.ones(2, dtype=torch.float16)).dtype == torch.float16


def test_numpy_arrays_meet_tensors():
    assert (torch.ones(3) + np.ones(3)).dtype == torch.float64
    result = np.full(3, 5.0) - torch.ones(3)
    assert isinstance(result, torch.Tensor) and result.tolist() == [4, 4, 4]


@pytest.mark.parametrize("other", ["a", None, [1, 2], (1, 2), {}, object()], ids=repr)
def test_other_types_are_left_to_python(other):
    x = torch.ones(2)
    for op in (operator.add, operator.mul, operator.lt, operator.iadd):
        with pytest.raises(TypeError):
            op(x, other)
    assert x.__add__(other) is NotImplemented
    assert (x == other) is False and (x != other) is True


class Reflected:
    def __radd__(self, other):
        return "reflected"


def test_the_other_class_may_reflect():
    assert torch.ones(2) + Reflected() == "reflected"


def test_pow_takes_no_modulus_and_divmod_is_absent():
    with pytest.raises(TypeError):
        pow(torch.ones(2), 2, 3)
    with pytest.raises(TypeError):
        divmod(torch.ones(2), 2)


def test_integers_beyond_int64_are_refused():
    with pytest.raises((RuntimeError, OverflowError)):
        torch.ones(2) + 2**70


# ---- conversion to Python's numbers ------------------------------------------------------------


def test_one_element_tensors_convert():
    assert bool(torch.tensor([[2.0]])) and not bool(torch.tensor(0j))
    assert int(torch.tensor(2.9)) == 2 and float(torch.tensor([7])) == 7.0
    assert complex(torch.tensor(2)) == 2 + 0j and float(torch.tensor(3 + 0j)) == 3
    assert operator.index(torch.tensor([True])) == 1
    assert list(range(torch.tensor(3))) == [0, 1, 2]


@pytest.mark.parametrize("convert", [int, float, complex])
def test_several_elements_do_not(convert):
    with pytest.raises(ValueError, match="one element"):
        convert(torch.ones(2))


def test_truth_of_several_elements_is_ambiguous():
    with pytest.raises(RuntimeError, match="more than one value"):
        bool(torch.ones(2))
    with pytest.raises(RuntimeError, match="no values"):
        bool(torch.ones(0))


def test_conversions_that_lose_the_value():
    with pytest.raises(RuntimeError, match="overflow"):
        float(torch.tensor(1j))
    with pytest.raises(ValueError, match="NaN"):
        int(torch.tensor(float("nan")))
    with pytest.raises(OverflowError):
        int(torch.tensor(float("inf")))
    for x in (torch.tensor(1.0), torch.tensor([1, 2])):
        with pytest.raises(TypeError, match="index"):
            operator.index(x)
