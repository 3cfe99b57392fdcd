"""Sparse tensors by rows and columns, and blocks of them, against SciPy's."""

import io

import numpy as np
import pytest
import scipy.sparse

import taimatsu as torch

random = np.random.default_rng(1)
LAYOUTS = {"csr": (), "csc": (), "bsr": ((2, 3),), "bsc": ((2, 3),)}


def array(*shape: int) -> np.ndarray:
    return np.where(random.random(shape) < 0.4, random.normal(size=shape), 0.0)


def layout(name: str):
    return getattr(torch, f"sparse_{name}")


def made(name: str, whole: np.ndarray) -> torch.Tensor:
    return getattr(torch.tensor(whole), f"to_sparse_{name}")(*LAYOUTS[name])


def indices(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    if x.layout in (torch.sparse_csr, torch.sparse_bsr):
        return x.crow_indices(), x.col_indices()
    return x.ccol_indices(), x.row_indices()


@pytest.mark.parametrize("name", LAYOUTS)
def test_conversions_give_scipys_parts(name):
    whole = array(6, 9)
    x = made(name, whole)
    assert type(x) is torch.Tensor and x.layout is layout(name)
    assert x.is_sparse_csr == (name == "csr") and not x.is_sparse
    np.testing.assert_array_equal(x.to_dense().numpy(), whole)
    turned = whole if name in ("csr", "bsr") else whole.T
    if name in ("csr", "csc"):
        theirs = scipy.sparse.csr_array(turned)
    else:
        theirs = scipy.sparse.bsr_array(turned, blocksize=(2, 3) if name == "bsr" else (3, 2))
        theirs.sort_indices()
    starts, plain = indices(x)
    np.testing.assert_array_equal(starts.numpy(), theirs.indptr)
    np.testing.assert_array_equal(plain.numpy(), theirs.indices)
    data = theirs.data.transpose(0, 2, 1) if name == "bsc" else theirs.data
    np.testing.assert_array_equal(x.values().numpy(), data)
    make = getattr(torch, f"sparse_{name}_tensor")
    again = make(starts, plain, x.values(), x.shape)
    np.testing.assert_array_equal(again.to_dense().numpy(), whole)
    assert x._nnz() == len(theirs.indices) and (x.sparse_dim(), x.dense_dim()) == (2, 0)


@pytest.mark.parametrize("first", LAYOUTS)
@pytest.mark.parametrize("second", [*LAYOUTS, "coo"])
def test_each_becomes_each(first, second):
    whole = array(4, 6)
    x = made(first, whole)
    y = getattr(x, f"to_sparse_{second}")(*LAYOUTS.get(second, ()))
    assert y.layout is layout(second)
    np.testing.assert_array_equal(y.to_dense().numpy(), whole)


@pytest.mark.parametrize("name", ["csr", "csc"])
def test_batches_and_dense_dims(name):
    whole = np.zeros((2, 3, 4))
    whole[0, 1, 2], whole[0, 2, 0], whole[1, 0, 0], whole[1, 2, 3] = 1, 2, 3, 4
    x = made(name, whole)
    assert x.values().shape == (2, 2)
    np.testing.assert_array_equal(x.to_dense().numpy(), whole)
    with pytest.raises(RuntimeError, match="same number"):
        made(name, np.arange(12.0).reshape(2, 2, 3))
    deep = np.zeros((3, 4, 2))
    deep[1, 2] = 5, 6
    y = getattr(torch.tensor(deep), f"to_sparse_{name}")(dense_dim=1)
    assert (y.dense_dim(), y.values().shape) == (1, (1, 2))
    np.testing.assert_array_equal(y.to_dense().numpy(), deep)


def test_scipys_arrays_and_back():
    whole = array(5, 7)
    theirs = scipy.sparse.csr_array(whole)
    x = torch.sparse_csr_tensor(torch.from_numpy(theirs.indptr), torch.from_numpy(theirs.indices),
                                torch.from_numpy(theirs.data), theirs.shape)  # fmt: skip
    assert x.crow_indices().dtype is torch.int32
    np.testing.assert_array_equal(x.to_dense().numpy(), whole)
    back = scipy.sparse.csr_array(
        (x.values().numpy(), x.col_indices().numpy(), x.crow_indices().numpy()), x.shape
    )
    assert (back != theirs).nnz == 0
    theirs.data[0] = 100
    assert x.to_dense().max() == 100


@pytest.mark.parametrize("name", LAYOUTS)
def test_arithmetic_keeps_the_layout(name):
    a, b, d = array(4, 6), array(4, 6), random.normal(size=(4, 6))
    x, y = made(name, a), made(name, b)
    for got, expected in (
        (x + y, a + b), (x * 2, a * 2), (x * y, a * b), (x * torch.tensor(d), a * d), (-x, -a),
        (x.sin(), np.sin(a)), (x.clone(), a), (x.to(torch.float32).double(), a.astype("f")),
        (x.detach(), a), (torch.zeros_like(x), a * 0),
    ):  # fmt: skip
        assert got.layout is x.layout
        np.testing.assert_allclose(got.to_dense().numpy(), expected, rtol=1e-14)
    np.testing.assert_allclose((torch.tensor(d) + x).numpy(), d + a)
    np.testing.assert_allclose(x.sum().item(), a.sum())


@pytest.mark.parametrize("name", LAYOUTS)
def test_products(name):
    a, d, v = array(4, 6), random.normal(size=(6, 3)), random.normal(size=6)
    x = made(name, a)
    np.testing.assert_allclose((x @ torch.tensor(d)).numpy(), a @ d, rtol=1e-12)
    np.testing.assert_allclose((x @ torch.tensor(v)).numpy(), a @ v, rtol=1e-12)
    np.testing.assert_allclose((torch.tensor(d.T) @ x.t()).numpy(), d.T @ a.T, rtol=1e-12)
    linear = torch.nn.functional.linear(torch.tensor(d.T), x, torch.ones(4, dtype=torch.float64))
    np.testing.assert_allclose(linear.numpy(), d.T @ a.T + 1, rtol=1e-12)
    square = made(name, a.T @ a)
    assert (square @ square).layout is x.layout


def test_turning_exchanges_rows_and_columns():
    a = array(4, 6)
    pairs = {"csr": "csc", "csc": "csr", "bsr": "bsc", "bsc": "bsr"}
    for name, other in pairs.items():
        x = made(name, a)
        assert x.t().layout is layout(other)
        np.testing.assert_array_equal(x.t().to_dense().numpy(), a.T)
        np.testing.assert_array_equal(x.transpose(0, 1).values().data_ptr(), x.values().data_ptr())


@pytest.mark.parametrize("reduce", ["sum", "mean", "amax", "amin"])
def test_products_that_reduce_otherwise(reduce):
    a, d = array(5, 6), random.normal(size=(6, 3))
    a[2] = 0
    got = torch.sparse.mm(made("csr", a), torch.tensor(d), reduce)
    function = {"sum": np.sum, "mean": np.mean, "amax": np.max, "amin": np.min}[reduce]
    for i, row in enumerate(a):
        terms = (row[:, None] * d)[row != 0]
        expected = function(terms, 0) if len(terms) else np.zeros(3)
        np.testing.assert_allclose(got[i].numpy(), expected, rtol=1e-12)


def test_products_at_places():
    a, m, n = array(4, 6), random.normal(size=(4, 2)), random.normal(size=(2, 6))
    x = made("csr", a)
    got = torch.sparse.sampled_addmm(x, torch.tensor(m), torch.tensor(n), beta=0.5, alpha=2)
    expected = np.where(a != 0, 0.5 * a + 2 * m @ n, 0)
    assert got.layout is torch.sparse_csr
    np.testing.assert_allclose(got.to_dense().numpy(), expected, rtol=1e-12)


def test_files_and_text():
    x = torch.sparse_csr_tensor([0, 1, 2], [1, 0], [1.0, 2.0], (2, 3))
    file = io.BytesIO()
    torch.save(x, file)
    file.seek(0)
    y = torch.load(file)
    assert y.layout is torch.sparse_csr and y.to_dense().tolist() == x.to_dense().tolist()
    assert repr(x) == (
        "tensor(crow_indices=tensor([0, 1, 2]),\n"
        "       col_indices=tensor([1, 0]),\n"
        "       values=tensor([1., 2.]), size=(2, 3), nnz=2, layout=torch.sparse_csr)"
    )


@pytest.mark.parametrize(("args", "says"), [
    (([0, 1, 3], [0, 1], [1.0, 2.0], (2, 5)), "end with"),
    (([1, 1, 2], [0, 1], [1.0, 2.0], (2, 5)), "begin with 0"),
    (([0, 2, 1, 2], [0, 1], [1.0, 2.0], (3, 5)), "must rise"),
    (([0, 1, 2], [0, 9], [1.0, 2.0], (2, 5)), "found index 9"),
    (([0, 1, 2], [0, 1], [1.0], (2, 5)), "values must begin"),
    (([0, 1, 2], [0, 1], [1.0, 2.0], (3, 5)), "4 elements"),
])  # fmt: skip
def test_parts_that_do_not_go_together(args, says):
    with pytest.raises(RuntimeError, match=says):
        torch.sparse_csr_tensor(*args)


def test_what_is_refused():
    x = made("csr", array(4, 6))
    with pytest.raises(RuntimeError, match="blocksize"):
        x.to_sparse(layout=torch.sparse_bsr)
    with pytest.raises(RuntimeError, match="don?.?t? ?(not )?divide"):
        x.to_sparse_bsr((3, 3))
    with pytest.raises(RuntimeError, match="column compressed"):
        x.row_indices()
    with pytest.raises(RuntimeError, match="coordinate"):
        x.indices()
    with pytest.raises(NotImplementedError, match="to_dense"):
        x.cos()
    with pytest.raises(RuntimeError, match="2 dims"):
        torch.ones(3).to_sparse_csr()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("columns", [1, 5, 40])
def test_products_row_by_row(dtype, columns):
    rng = np.random.default_rng(0)
    whole = (rng.standard_normal((300, 200)) * (rng.random((300, 200)) < 0.2)).astype(dtype)
    d = rng.standard_normal((200, columns)).astype(dtype)
    x, dense = torch.tensor(whole).to_sparse_csr(), torch.tensor(d)
    wanted = whole.astype("float64") @ d.astype("float64")
    found = []
    before = torch.get_num_threads()
    for threads in (1, 3):
        torch.set_num_threads(threads)
        found.append((x @ dense).numpy())
    torch.set_num_threads(before)
    np.testing.assert_allclose(found[0], wanted, atol=100 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(*found)
    np.testing.assert_array_equal((x.to_sparse() @ dense).numpy(), found[0])
    sampled = torch.sparse.sampled_addmm(x, dense[:1].expand(300, -1), dense.mT, beta=0)
    c = whole.nonzero()[1]
    np.testing.assert_allclose(sampled.values().numpy(), (d[:1] @ d.T)[0, c], atol=1e-4)


@pytest.mark.parametrize("starts, columns", [
    ([0, 1, 9], [0, 0]), ([0, 3, 2], [0, 0]), ([1, 1, 2], [0, 0]), ([0, 1, 2], [0, -1]),
])  # fmt: skip
def test_product_of_rows_written_over(starts, columns):
    x = torch.sparse_csr_tensor([0, 1, 2], [1, 0], [1.0, 2.0], (2, 3))
    x.crow_indices().copy_(torch.tensor(starts))
    x.col_indices().copy_(torch.tensor(columns))
    for columns in (1, 2):
        with pytest.raises(RuntimeError, match="rows"):
            x @ torch.ones(3, columns)
