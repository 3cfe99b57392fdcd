"""Masked reductions against the reduction of what each row has left, by NumPy."""

import numpy as np
import pytest

import taimatsu as torch

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 5)).astype(np.float32)
M = np.array([[1, 0, 1, 1, 0], [1, 1, 1, 1, 1], [0, 0, 1, 1, 0]], bool)

ROWS = {
    "sum": np.sum, "prod": np.prod, "amax": np.max, "amin": np.min, "mean": np.mean,
    "norm": np.linalg.norm, "logsumexp": lambda r: np.log(np.exp(r).sum()),
    "var": lambda r: np.var(r, ddof=1), "std": lambda r: np.std(r, ddof=1),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_reductions(name):
    f, x, m = getattr(torch.masked, name), torch.from_numpy(X), torch.from_numpy(M)
    expected = [ROWS[name](row[kept]) for row, kept in zip(X, M, strict=True)]
    np.testing.assert_allclose(f(x, dim=1, mask=m), expected, rtol=1e-5)
    assert f(x, dim=1, keepdim=True, mask=m).shape == (3, 1)
    np.testing.assert_allclose(f(x, dim=None, mask=m), ROWS[name](X[M]), rtol=1e-5)
    with pytest.raises(TypeError, match="bool"):
        f(x, dim=1, mask=m.float())


def test_rows_without_elements():
    x, none = torch.ones(1, 2), torch.zeros(1, 2, dtype=torch.bool)
    assert torch.masked.sum(x, 1, mask=none).item() == 0
    assert torch.masked.prod(x, 1, mask=none).item() == 1
    assert torch.masked.amax(x, 1, mask=none).item() == -float("inf")
    assert torch.masked.mean(x, 1, mask=none).isnan().all()


def test_positions_scans_and_normalisations():
    x, m = torch.from_numpy(X), torch.from_numpy(M)
    held = np.where(M, X, -np.inf)
    assert torch.masked.argmax(x, 1, mask=m).tolist() == held.argmax(1).tolist()
    assert torch.masked.argmin(x, 1, mask=m).tolist() == np.where(M, X, np.inf).argmin(1).tolist()
    np.testing.assert_allclose(torch.masked.cumsum(x, 1, mask=m), np.where(M, X, 0).cumsum(1),
                               rtol=1e-5)  # fmt: skip
    np.testing.assert_allclose(torch.masked.cumprod(x, 1, mask=m), np.where(M, X, 1).cumprod(1),
                               rtol=1e-5)  # fmt: skip
    soft = np.exp(held) / np.exp(held).sum(1, keepdims=True)
    np.testing.assert_allclose(torch.masked.softmax(x, 1, mask=m), soft, rtol=1e-5)
    np.testing.assert_allclose(torch.masked.softmin(-x, 1, mask=m), soft, rtol=1e-5)
    np.testing.assert_allclose(torch.masked.log_softmax(x, 1, mask=m).exp(), soft, rtol=1e-5)
    unit = torch.masked.normalize(x, 2.0, 1, mask=m)
    np.testing.assert_allclose(torch.linalg.vector_norm(unit, 2, 1), np.ones(3), rtol=1e-5)
    np.testing.assert_allclose(torch.masked.logaddexp(x, x, other_mask=~m),
                               np.where(M, X, X + np.log(2)), rtol=1e-5)  # fmt: skip


def test_masked_tensors():
    from taimatsu.masked import MaskedTensor, as_masked_tensor, is_masked_tensor, masked_tensor

    data = torch.arange(6.0).reshape(2, 3)
    mask = torch.tensor([[True, False, True], [False, False, False]])
    x = masked_tensor(data, mask, requires_grad=True)
    assert is_masked_tensor(x) and x.to_tensor(9.0).tolist() == [[0, 9, 2], [9, 9, 9]]
    total = (x * x + 1).sum(1)
    assert isinstance(total, MaskedTensor) and total.get_mask().tolist() == [True, False]
    assert total.get_data()[0] == 6
    (x * 3).sum().backward()
    assert x.grad.to_tensor(0).tolist() == [[3, 0, 3], [0, 0, 0]]
    assert repr(x.amax(1)) == "MaskedTensor(\n  [  2.0000,       --]\n)"
    assert (1 / (x + 1)).to_tensor(0).tolist()[0] == [1, 0, torch.tensor(1 / 3).item()]
    assert x.t().get_mask().tolist() == mask.t().tolist() and x[0].shape == (3,)
    source = data.clone().requires_grad_()
    as_masked_tensor(source, mask).sum().backward()
    assert source.grad.tolist() == mask.double().tolist()
    with pytest.raises(ValueError, match="masks must match"):
        x + masked_tensor(data, ~mask)
    with pytest.raises(TypeError, match="matmul"):
        x @ data.T
    with pytest.raises(TypeError, match="bool"):
        masked_tensor(data, mask.int())
    assert torch.masked.median(data, 1, mask=mask)[0] == 0
    assert torch.masked.median(data, 1, mask=mask)[1].isnan()


def test_dtypes_of_integers():
    whole, kept = torch.tensor([[5, 1, 9], [2, 8, 4]]), torch.tensor([[1, 0, 1], [1, 1, 1]]).bool()
    small = whole.to(torch.uint8)
    assert torch.masked.cumsum(small, 1).dtype == torch.uint8
    assert torch.masked.prod(small, ()).dtype == torch.int64
    assert torch.masked.logsumexp(whole, 1, mask=kept).tolist() == [9, 8]
    with pytest.raises(ValueError, match="floating"):
        torch.masked.mean(whole, 1)
    with pytest.raises(NotImplementedError, match="bool"):
        torch.masked.amax(kept, 1, mask=kept)
