"""Sparse tensors of coordinates, against SciPy's and against dense tensors."""

import copy
import io
import pickle

import numpy as np
import pytest
import scipy.sparse

import taimatsu as torch

random = np.random.default_rng(0)


def array(*shape: int, density: float = 0.3) -> np.ndarray:
    return np.where(random.random(shape) < density, random.normal(size=shape), 0.0)


def scattered(*shape: int, n: int = 12, sparse_dim: int | None = None):
    """An uncoalesced tensor, and its elements in an array."""
    k = len(shape) if sparse_dim is None else sparse_dim
    at = np.stack([random.integers(0, s, n) for s in shape[:k]])
    values = random.normal(size=(n, *shape[k:]))
    whole = np.zeros(shape)
    np.add.at(whole, tuple(at), values)
    return torch.sparse_coo_tensor(torch.tensor(at), torch.tensor(values), shape), whole


def same(x: torch.Tensor, expected: np.ndarray, layout=torch.sparse_coo) -> None:
    assert x.layout is layout and x.shape == expected.shape
    np.testing.assert_allclose(x.to_dense().numpy(), expected, rtol=1e-12, atol=1e-12)


# ---- making and taking apart --------------------------------------------------------------------


def test_it_is_a_tensor_of_another_layout():
    x, whole = scattered(4, 5)
    assert type(x) is torch.Tensor and x.is_sparse and not x.is_sparse_csr
    assert x.shape == (4, 5) and x.dtype is torch.float64 and x.device.type == "cpu"
    assert (x.sparse_dim(), x.dense_dim(), x._nnz(), x.numel(), x.dim()) == (2, 0, 12, 20, 2)
    assert not torch.ones(2).is_sparse and torch.ones(2).layout is torch.strided
    same(x, whole)


def test_coalesce_adds_what_is_at_one_place():
    x, whole = scattered(3, 4, n=30)
    y = x.coalesce()
    assert not x.is_coalesced() and y.is_coalesced() and y.coalesce() is y
    expected = scipy.sparse.coo_array(whole)
    np.testing.assert_array_equal(y.indices().numpy(), np.stack(expected.nonzero()))
    np.testing.assert_allclose(y.values().numpy(), whole[whole.nonzero()])
    for method in ("indices", "values"):
        with pytest.raises(RuntimeError, match="coalesce"):
            getattr(x, method)()
    assert x._indices().shape == (2, 30) and x._values().shape == (30,)
    flags = torch.sparse_coo_tensor([[0, 0]], torch.tensor([True, False]), (2,)).coalesce()
    assert flags.to_dense().tolist() == [True, False]


@pytest.mark.parametrize("sparse_dim", [1, 2, 3])
def test_dense_dims(sparse_dim):
    x, whole = scattered(4, 3, 5, sparse_dim=sparse_dim)
    assert (x.sparse_dim(), x.dense_dim()) == (sparse_dim, 3 - sparse_dim)
    same(x, whole)
    same(x.coalesce(), whole)
    same(torch.tensor(whole).to_sparse(sparse_dim), whole)


def test_to_sparse_and_back():
    for shape in ((7,), (4, 5), (2, 3, 4), (0, 3), ()):
        whole = array(*shape)
        x = torch.tensor(whole).to_sparse()
        assert x.is_coalesced() and x._nnz() == np.count_nonzero(whole)
        same(x, whole)
    with pytest.raises(RuntimeError, match="sparse_dim"):
        torch.ones(2, 2).to_sparse(3)


def test_a_size_may_be_inferred_or_stand_alone():
    x = torch.sparse_coo_tensor([[0, 3], [1, 0]], [1.0, 2.0])
    assert x.shape == (4, 2) and x.dtype is torch.float32
    assert torch.sparse_coo_tensor((2, 3))._nnz() == 0
    for made in (torch.zeros(2, 3, layout=torch.sparse_coo), torch.zeros_like(x),
                 torch.empty(2, 3, layout=torch.sparse_coo), x.new_zeros(2, 3)):  # fmt: skip
        assert made.is_sparse and made._nnz() == 0
    assert torch.zeros_like(x, layout=torch.strided).layout is torch.strided


@pytest.mark.parametrize(("indices", "values", "size", "says"), [
    ([[5], [0]], [1.0], (2, 2), "size is 2 but found index 5"),
    ([[-1], [0]], [1.0], (2, 2), "negative index"),
    ([[0, 1], [0, 1]], [1.0], (2, 2), "same nnz"),
    ([[0], [0]], [1.0], (2, 2, 2), "number of dimensions"),
    ([[0]], [[1.0, 2.0]], (2, 3), "incorrect size"),
    ([0, 1], [1.0, 2.0], (2,), "sparse_dim x nnz"),
])  # fmt: skip
def test_parts_that_do_not_go_together(indices, values, size, says):
    with pytest.raises(RuntimeError, match=says):
        torch.sparse_coo_tensor(indices, values, size)


def test_copies_pickles_and_files():
    x, whole = scattered(4, 5)
    file = io.BytesIO()
    torch.save({"x": x, "c": x.coalesce()}, file)
    file.seek(0)
    loaded = torch.load(file)
    assert loaded["c"].is_coalesced() and not loaded["x"].is_coalesced()
    leaf = x.clone().requires_grad_()
    for y in (loaded["x"], pickle.loads(pickle.dumps(x)), copy.deepcopy(x), x.clone(), x.detach(),
              torch.nn.Parameter(x).detach(), copy.deepcopy(leaf).detach()):  # fmt: skip
        same(y, whole)
    assert copy.deepcopy(leaf).requires_grad and copy.deepcopy(leaf).is_leaf
    y = x.clone()
    y._values().zero_()
    same(x, whole)


def test_how_they_print():
    x = torch.sparse_coo_tensor([[0, 1], [2, 0]], [1.0, 2.5], (2, 3))
    assert repr(x) == (
        "tensor(indices=tensor([[0, 1],\n"
        "                       [2, 0]]),\n"
        "       values=tensor([1.0000, 2.5000]),\n"
        "       size=(2, 3), nnz=2, layout=torch.sparse_coo)"
    )
    assert repr(x.double().requires_grad_()).endswith(
        "size=(2, 3), nnz=2, dtype=torch.float64, layout=torch.sparse_coo,\n"
        "       requires_grad=True)"
    )
    assert repr(torch.sparse_coo_tensor((0, 3))) == (
        "tensor(indices=tensor([], size=(2, 0)),\n"
        "       values=tensor([], size=(0,)),\n"
        "       size=(0, 3), nnz=0, layout=torch.sparse_coo)"
    )


def test_they_go_to_other_processes():
    from multiprocessing.reduction import ForkingPickler

    x, whole = scattered(4, 5)
    import taimatsu.multiprocessing  # noqa: F401  (registers how tensors are sent)

    same(pickle.loads(ForkingPickler.dumps(x)), whole)
    csr = pickle.loads(ForkingPickler.dumps(x.to_sparse_csr()))
    same(csr, whole, torch.sparse_csr)


def test_comparison_is_by_parts():
    close = torch.testing.assert_close
    x, whole = scattered(4, 5)
    close(x, x.coalesce())
    close(x, torch.tensor(whole), check_layout=False)
    close(x.to_sparse_csr(), torch.tensor(whole).to_sparse_csr())
    for other, says in (
        (x * 2, "not close"), (torch.tensor(whole), "layout"), (x.transpose(0, 1), "shape"),
        (torch.ones(4, 5, dtype=torch.float64).to_sparse(), "specified values"),
    ):  # fmt: skip
        with pytest.raises(AssertionError, match=says):
            close(x.coalesce(), other.coalesce() if other.is_sparse else other)


# ---- arithmetic ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [
    "abs", "asin", "asinh", "atan", "ceil", "erf", "expm1", "floor", "frac", "log1p", "nan_to_num",
    "neg", "relu", "round", "sgn", "sign", "sin", "sinh", "square", "tan", "tanh", "trunc",
    "deg2rad", "rad2deg", "positive", "isnan", "isinf", "signbit",
])  # fmt: skip
def test_functions_that_keep_zeros(name):
    x, _ = scattered(4, 5, n=30)
    x = x * 0.2
    expected = getattr(torch, name)(x.to_dense())
    got = getattr(torch, name)(x)
    assert got.is_sparse and got.dtype is expected.dtype
    found, wanted = got.to_dense().numpy(), expected.numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_sums_and_products():
    x, a = scattered(4, 5, n=9)
    y, b = scattered(4, 5, n=14)
    d = torch.tensor(random.normal(size=(4, 5)))
    same(x + y, a + b)
    same(torch.add(x, y, alpha=2.5), a + 2.5 * b)
    same(x.coalesce() - y.coalesce(), a - b)
    assert (x.coalesce() + y.coalesce()).is_coalesced()
    same(x * 3, a * 3)
    same(2 * x / 4, a / 2)
    same(x * y, a * b)
    same(x * d, a * d.numpy())
    same(d * x, a * d.numpy())
    same(x * d[:1], a * d[:1].numpy())
    same(x**2, a**2)
    same(-x, -a)
    same(x // 0.5, np.floor(a / 0.5))
    same(d + x, d.numpy() + a, torch.strided)
    same(d - x, d.numpy() - a, torch.strided)
    same(torch.add(d, x, alpha=-2), d.numpy() - 2 * a, torch.strided)
    same(x.coalesce().to(torch.float32).double(), a.astype(np.float32))
    assert (x.int() + y).dtype is torch.float64


def test_writing_in_place():
    x, a = scattered(4, 5)
    y, b = scattered(4, 5)
    d = torch.tensor(random.normal(size=(5, 4))).T  # not contiguous
    whole = d.numpy().copy()
    address = d.data_ptr()
    d += y
    d.sub_(x, alpha=2)
    assert d.data_ptr() == address
    same(d, whole + b - 2 * a, torch.strided)
    x.add_(y)
    same(x, a + b)
    x.mul_(2).neg_()
    same(x, -2 * (a + b))
    x.copy_(y)
    same(x, b)
    x.zero_()
    assert x._nnz() == 0 and x.shape == (4, 5)
    out = torch.zeros(4, 5, dtype=torch.float64).to_sparse()
    assert torch.mul(y, 2, out=out) is out
    same(out, 2 * b)
    rows, table = scattered(6, 3, sparse_dim=1)
    same(torch.zeros(6, 3, dtype=torch.float64).add_(rows, alpha=0.5), table / 2, torch.strided)
    leaf = y.clone().requires_grad_()
    with pytest.raises(RuntimeError, match="leaf"):
        leaf.add_(x)


# ---- reductions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [0, 1, 2, (0, 1), (1, 2), (0, 1, 2), -1])
@pytest.mark.parametrize("sparse_dim", [1, 2, 3])
def test_sums_along_dims(dim, sparse_dim):
    x, a = scattered(4, 3, 5, sparse_dim=sparse_dim)
    dims = [d % 3 for d in (dim if isinstance(dim, tuple) else (dim,))]
    got = torch.sparse.sum(x, dim)
    left = [d for d in range(sparse_dim) if d not in dims]
    same(got, a.sum(tuple(dims)), torch.sparse_coo if left else torch.strided)


def test_norms_and_sums_of_all():
    x, a = scattered(4, 5, n=30)
    np.testing.assert_allclose(x.sum().item(), a.sum())
    np.testing.assert_allclose(x.norm().item(), np.linalg.norm(a))
    np.testing.assert_allclose(torch.linalg.vector_norm(x, 1).item(), np.abs(a).sum())
    np.testing.assert_allclose(x.norm(float("inf")).item(), np.abs(a).max())


@pytest.mark.parametrize("dim", [0, 1, 2])
@pytest.mark.parametrize("sparse_dim", [2, 3])
def test_softmax_is_over_what_there_is(dim, sparse_dim):
    x, a = scattered(4, 3, 5, n=20, sparse_dim=sparse_dim)
    there = torch.sparse_coo_tensor(x._indices(), torch.ones_like(x._values()), x.shape)
    hidden = np.where(there.to_dense().numpy() > 0, a, -np.inf)
    with np.errstate(invalid="ignore"):
        e = np.exp(hidden - hidden.max(dim, keepdims=True))
        expected = np.nan_to_num(e / e.sum(dim, keepdims=True))
    same(torch.sparse.softmax(x, dim), expected)
    logs = torch.sparse.log_softmax(x, dim).coalesce()
    np.testing.assert_allclose(logs.values().exp().numpy(),
                               expected[tuple(logs.indices().numpy())], rtol=1e-12)  # fmt: skip


# ---- shapes -------------------------------------------------------------------------------------


def test_shapes_and_parts():
    x, a = scattered(4, 3, 5, sparse_dim=2)
    same(x.transpose(0, 1), a.transpose(1, 0, 2))
    same(x.permute(1, 0, 2), a.transpose(1, 0, 2))
    same(x.unsqueeze(0), a[None])
    same(x.unsqueeze(-1), a[..., None])
    same(x.unsqueeze(1).squeeze(1), a)
    same(x[2], a[2])
    same(x[-1:], a[-1:])
    same(x[:, 1], a[:, 1])
    same(x[..., 3], a[..., 3])
    same(x[1, 2], a[1, 2], torch.strided)
    same(x.narrow(0, 1, 2), a[1:3])
    same(x.index_select(0, torch.tensor([2, 0, 2])), a[[2, 0, 2]])
    same(x.index_select(2, torch.tensor([4, 1])), a[..., [4, 1]])
    same(torch.cat([x, x], 0), np.concatenate([a, a], 0))
    same(torch.cat([x, x], 2), np.concatenate([a, a], 2))
    same(torch.stack([x, x], 1), np.stack([a, a], 1))
    for row, expected in zip(x, a, strict=True):
        same(row, expected)
    y, b = scattered(4, 5)
    same(y.T, b.T)
    same(y.t().t(), b)
    with pytest.raises(RuntimeError, match="sparse"):
        x.transpose(0, 2)
    with pytest.raises(RuntimeError, match="dense tensor was found at position 1"):
        torch.cat([y, y.to_dense()])


def test_masks():
    x, a = scattered(4, 5)
    mask, m = scattered(4, 5)
    d = random.normal(size=(4, 5))
    same(torch.tensor(d).sparse_mask(mask.coalesce()), np.where(m != 0, d, 0))
    same(x.sparse_mask(mask.coalesce()), np.where(m != 0, a, 0))


def test_sizes_may_grow():
    x, a = scattered(4, 5)
    x.sparse_resize_((6, 5), 2, 0)
    same(x, np.concatenate([a, np.zeros((2, 5))]))
    x.sparse_resize_and_clear_((2, 3), 1, 1)
    assert x._nnz() == 0 and x.shape == (2, 3) and x.dense_dim() == 1


# ---- matrix products ----------------------------------------------------------------------------


def test_products_of_matrices():
    x, a = scattered(4, 6, n=9)
    y, b = scattered(6, 3, n=9)
    d, v = random.normal(size=(6, 3)), random.normal(size=6)
    left = random.normal(size=(2, 4))
    t = torch.tensor
    same(x @ t(d), a @ d, torch.strided)
    same(torch.mm(x, t(d)), a @ d, torch.strided)
    same(t(left) @ x, left @ a, torch.strided)
    same(x @ t(v), a @ v, torch.strided)
    same(torch.sparse.mm(x, y), (scipy.sparse.csr_array(a) @ scipy.sparse.csr_array(b)).toarray())
    c = random.normal(size=(4, 3))
    same(torch.addmm(t(c), x, t(d), beta=0.5, alpha=2), 0.5 * c + 2 * a @ d, torch.strided)
    same(torch.sparse.addmm(t(c), x, t(d)), c + a @ d, torch.strided)
    same(torch.smm(x, t(d)), a @ d)
    same(torch.hspmm(x, t(d)), a @ d)
    same(torch.sspaddmm(t(c).to_sparse(), x, t(d)), c + a @ d)
    z, batch = scattered(2, 4, 6)
    other = random.normal(size=(2, 6, 3))
    same(torch.bmm(z, t(other)), batch @ other, torch.strided)
    same(z @ t(other), batch @ other, torch.strided)
    for bad in (lambda: x @ x, lambda: x @ t(d).float(), lambda: x @ t(left)):
        with pytest.raises(RuntimeError, match="mm"):
            bad()


def test_diagonals():
    data = random.normal(size=(3, 6))
    offsets = [0, 2, -1]
    x = torch.sparse.spdiags(torch.tensor(data), torch.tensor(offsets), (5, 6))
    same(x, scipy.sparse.spdiags(data, offsets, 5, 6).toarray())
    rows = torch.sparse.spdiags(torch.tensor(data), torch.tensor(offsets), (5, 6), torch.sparse_csr)
    same(rows, x.to_dense().numpy(), torch.sparse_csr)


# ---- what there isn't ---------------------------------------------------------------------------


def test_what_is_refused_names_the_way_out():
    x, _ = scattered(4, 5)
    for op in (torch.exp, torch.cos, torch.mean, torch.sort, lambda x: x == x, lambda x: 1 / x,
               lambda x: x.view(20), lambda x: x.fill_(1), lambda x: x[torch.tensor([0])],
               lambda x: x.data_ptr(), lambda x: x.untyped_storage(), lambda x: x.tolist(),
               lambda x: torch.linalg.inv(x @ x.t())):  # fmt: skip
        with pytest.raises((NotImplementedError, RuntimeError), match=r"to_dense\(\)"):
            op(x)
    with pytest.raises(TypeError, match="to_dense"):
        x.numpy()
    with pytest.raises(RuntimeError, match=r"Use add\(dense, sparse\)"):
        x + torch.ones(4, 5, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="same size"):
        x + x.t()
    with pytest.raises(NotImplementedError, match="strided tensors only"):
        torch.rand(2, layout=torch.sparse_coo)
    for method in ("coalesce", "indices", "crow_indices", "values"):
        with pytest.raises(RuntimeError, match="strided"):
            getattr(torch.ones(2), method)()
