"""Ways to call ops, and to be given results, that the schema alone doesn't tell."""

import warnings

import numpy as np
import pytest

import taimatsu as torch

X = torch.arange(4.0)


def test_a_number_may_stand_first():
    assert torch.sub(2, X).tolist() == [2, 1, 0, -1]
    assert torch.mul(2.5, torch.arange(3)).tolist() == [0, 2.5, 5]
    assert torch.div(3, X + 1, rounding_mode="floor").tolist() == [3, 1, 1, 0]
    assert torch.div(3, X + 1, rounding_mode="trunc").tolist() == [3, 1, 1, 0]
    assert torch.div(-7, 2, rounding_mode="trunc").equal(torch.tensor(-3))
    y = X.clone().requires_grad_()
    torch.sub(2, y).sum().backward()
    assert y.grad.tolist() == [-1] * 4


def test_out_is_a_tensor_where_one_is_returned():
    with pytest.raises(TypeError, match="must be Tensor, not tuple"):
        torch.add(X, X, out=(X.clone(),))
    with pytest.raises(TypeError, match="tuple of Tensors"):
        torch.max(X, 0, out=3)


def test_results_in_out_have_their_names():
    values, indices = torch.empty(()), torch.empty((), dtype=torch.int64)
    found = torch.max(X, 0, out=(values, indices))
    assert found.values is values and found.indices is indices and values.item() == 3


def test_resizing_a_result_warns_unless_it_is_empty():
    with pytest.warns(UserWarning, match="was resized"):
        torch.add(X, X, out=torch.empty(3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.add(X, X, out=torch.empty(0)).shape == (4,)
        with pytest.raises(UserWarning):
            torch.add(X, X, out=torch.empty(3))


@pytest.mark.parametrize("call", [
    lambda out: torch.abs(X, out=out), lambda out: torch.amax(X, 0, out=out),
    lambda out: torch.addmm(X[None], X[:1, None], X[None], out=out),
    lambda out: torch.t_copy(X[None], out=out),
])  # fmt: skip
def test_some_ops_want_a_result_of_their_dtype(call):
    with pytest.raises(RuntimeError, match="dtype"):
        call(torch.empty(0, dtype=torch.float64))


def test_copies_of_views_go_into_lists():
    out = [torch.empty(0), torch.empty(0)]
    assert torch.split_copy(X, 2, out=out) is None
    assert [t.tolist() for t in out] == [[0, 1], [2, 3]]
    with pytest.raises(RuntimeError, match="expected 4 tensors"):
        torch.unbind_copy(X, out=out)


def test_bounds_are_promoted_with_what_they_clamp():
    n = torch.arange(4)
    assert torch.clamp(n, 0.5, 2).tolist() == [0.5, 1, 2, 2]
    assert torch.clamp(n > 1, -1, 2).tolist() == [0, 0, 1, 1]
    assert torch.clamp(n, min=torch.tensor(1.5)).dtype is torch.float32
    assert torch.clamp(n.int(), 1, 2).dtype is torch.int32
    with pytest.raises(RuntimeError, match="can't be cast"):
        n.clamp_(1.5)


def test_powers_of_complex_numbers_derive_by_both():
    z = torch.tensor([1 + 2j, 2j], dtype=torch.complex128, requires_grad=True)
    w = torch.tensor([2 + 1j, -1 + 2j], dtype=torch.complex128, requires_grad=True)
    assert torch.autograd.gradcheck(torch.pow, (z, w))
    assert torch.autograd.gradcheck(torch.float_power, (z, w))


def test_sums_of_no_dims():
    assert torch.fft.fftn(X, dim=[]).tolist() == [0, 1, 2, 3]
    product = torch.tensordot(torch.tensor(2.0), torch.tensor(3.0), 0)
    assert product.item() == 6


def test_integrals_of_nothing_and_of_bytes():
    assert torch.cumulative_trapezoid(torch.zeros(3, 0)).shape == (3, 0)
    assert torch.trapezoid(torch.zeros(3, 0)).shape == (3,)
    y = torch.tensor([20, 30, 40], dtype=torch.uint8)
    assert torch.trapezoid(y, dx=0.5).item() == np.trapezoid([20, 30, 40], dx=0.5)
    assert [t.dtype for t in torch.unravel_index(y, (50, 50))] == [torch.int64] * 2


@pytest.mark.parametrize(
    "call",
    [
        lambda x: torch.swapaxes(x, axis0=0, axis1=1),
        lambda x: x.swapaxes(axis0=0, axis1=1),
        lambda x: torch.split(tensor=x, split_size_or_sections=2, dim=0),
        lambda x: torch.split_with_sizes(x, split_sizes=[1, 2]),
        lambda x: torch.cholesky_solve(x, input2=x),
        lambda x: torch.special.modified_bessel_k0(input=x),
        lambda x: torch.isin(x, test_element=1),
        lambda x: torch.isin(element=1, test_elements=x),
        lambda x: torch.roll(x, shifts=1, dims=None),
        lambda x: torch.smm(x.to_sparse(), mat2=x),
        lambda x: torch.nn.functional.one_hot(input=x.long(), num_classes=2),
        lambda x: torch.sparse_csr_tensor(crow_indices=[0, 1], col_indices=[0], values=[1.0]),
        lambda x: torch.sparse_bsc_tensor(ccol_indices=[0, 1], row_indices=[0], values=[[[1.0]]]),
    ],
)
def test_keywords_are_those_that_pytorch_s_parser_takes(call):
    assert call(torch.eye(3)) is not None
