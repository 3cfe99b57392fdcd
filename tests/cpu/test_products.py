"""mm, matmul, linear and their kin: every dtype, any strides, and the errors."""

import itertools

import numpy as np
import pytest
from arrays import COMPLEX, FLOATS, INTEGERS, NUMBERS, array, random_tensor, same, tensor

import taimatsu as torch
from taimatsu.nn import functional as F

# Sizes on both sides of tiles, blocks of k, rows that are few, vectors, nothing at all.
SHAPES = [
    ((3, 4), (4, 5)), ((1, 1), (1, 1)), ((6, 16), (16, 16)), ((7, 17), (17, 33)),
    ((1, 300), (300, 40)), ((2, 300), (300, 100)), ((40, 300), (300, 1)), ((3, 70), (70, 5)),
    ((100, 260), (260, 50)), ((0, 4), (4, 5)), ((3, 0), (0, 5)), ((3, 4), (4, 0)),
    ((7,), (7,)), ((7,), (7, 3)), ((5, 7), (7,)), ((0,), (0,)),
    ((2, 3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)), ((1, 3, 4), (6, 4, 5)), ((4,), (2, 4, 5)),
    ((2, 3, 4), (4,)), ((2, 1, 3, 4), (5, 4, 6)), ((3, 4), (2, 2, 4, 5)), ((0, 3, 4), (4, 5)),
]  # fmt: skip


def wide(x):
    """As NumPy computes it without loss: integers wrap around afterwards."""
    a = array(x)
    return a.astype(np.int64 if a.dtype.kind in "iu" else
                    np.complex128 if a.dtype.kind == "c" else np.float64)


def wrapped(values, dtype):
    return values.astype(array(torch.zeros(1, dtype=dtype)).dtype) if dtype in INTEGERS else values


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize(("left", "right"), SHAPES)
def test_matmul(left, right, dtype):
    rng = np.random.default_rng(0)
    a, b = random_tensor(rng, left, dtype), random_tensor(rng, right, dtype)
    same(a @ b, wrapped(wide(a) @ wide(b), dtype), dtype)


def variants(x):
    """The same matrix in other places of memory."""
    yield x
    yield x.t().contiguous().t()
    yield torch.stack([x, x * 0], -1)[..., 0]  # steps of two
    yield torch.cat([x * 0, x], 1)[:, x.shape[1]:]


@pytest.mark.parametrize("dtype", [*FLOATS, torch.complex64, torch.bfloat16, torch.int32])
def test_strides(dtype):
    rng = np.random.default_rng(1)
    for m, k, n in [(2, 40, 30), (5, 9, 6), (30, 100, 70)]:
        a, b = random_tensor(rng, (m, k), dtype), random_tensor(rng, (k, n), dtype)
        expected = wide(a) @ wide(b)
        for x in variants(a):
            for y in variants(b):
                same(x @ y, expected, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex128, torch.int64])
def test_expanded_operands(dtype):
    rng = np.random.default_rng(2)
    row, column = random_tensor(rng, (1, 9), dtype), random_tensor(rng, (9, 1), dtype)
    b = random_tensor(rng, (9, 20), dtype)
    same(row.expand(7, 9) @ b, wide(row.expand(7, 9)) @ wide(b), dtype)
    same(column.expand(9, 9) @ b, wide(column.expand(9, 9)) @ wide(b), dtype)
    same(row.expand(3, 7, 9) @ b, wide(row.expand(3, 7, 9)) @ wide(b), dtype)


@pytest.mark.parametrize("dtype", NUMBERS)
def test_addmm_family(dtype):
    rng = np.random.default_rng(3)
    a, b = random_tensor(rng, (4, 300), dtype), random_tensor(rng, (300, 20), dtype)
    product = wide(a) @ wide(b)
    for sizes in [(4, 20), (20,), (4, 1), (1,)]:
        c = random_tensor(rng, sizes, dtype)
        expected = wrapped(2 * wide(c) + 3 * product, dtype)
        same(torch.addmm(c, a, b, beta=2, alpha=3), expected, dtype)
    x, y = random_tensor(rng, (3, 4, 5), dtype), random_tensor(rng, (3, 5, 6), dtype)
    c = random_tensor(rng, (4, 6), dtype)
    same(torch.baddbmm(c, x, y, beta=2), wrapped(2 * wide(c) + wide(x) @ wide(y), dtype), dtype)
    same(torch.bmm(x, y), wrapped(wide(x) @ wide(y), dtype), dtype)


def test_beta_zero_ignores_what_is_added():
    c = torch.full((2, 2), float("nan"))
    assert torch.addmm(c, torch.eye(2), torch.eye(2), beta=0).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("dtype", [*FLOATS, *COMPLEX, torch.bfloat16])
def test_linear(dtype):
    rng = np.random.default_rng(4)
    for sizes in [(4,), (3, 4), (2, 3, 4), (0, 4), (70, 4)]:
        x, w = random_tensor(rng, sizes, dtype), random_tensor(rng, (6, 4), dtype)
        bias = random_tensor(rng, (6,), dtype)
        same(F.linear(x, w, bias), wide(x) @ wide(w).T + wide(bias), dtype)
        same(F.linear(x, w[0]), wide(x) @ wide(w[0]), dtype)
    x = random_tensor(rng, (4, 3, 5), dtype).permute(2, 1, 0)  # leading dims that don't fold
    same(F.linear(x, w), wide(x) @ wide(w).T, dtype)


def test_long_sums_are_accurate():
    rng = np.random.default_rng(5)
    a, b = rng.random((1, 100_000)), rng.random((100_000, 1))
    for x, y in [(a, b), (a, np.asfortranarray(b))]:
        got = (tensor(x, torch.float32) @ tensor(y, torch.float32)).item()
        assert abs(got / (a @ b).item() - 1) < 2e-6


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: torch.mm(torch.ones(2, 3), torch.ones(4, 5)), r"cannot be multiplied \(2x3 and"),
        (lambda: torch.mm(torch.ones(2), torch.ones(2, 2)), "must be a matrix"),
        (lambda: torch.matmul(torch.ones(2, 3), torch.ones(2)), "cannot be multiplied"),
        (lambda: torch.matmul(torch.tensor(1.0), torch.ones(2)), "at least 1D"),
        (lambda: torch.matmul(torch.ones(2, 3, 4), torch.ones(3, 4, 5)), "size"),
        (lambda: torch.mm(torch.ones(2, 2), torch.ones(2, 2).double()), "same dtype"),
        (lambda: torch.mm(torch.ones(2, 2).bool(), torch.ones(2, 2).bool()), "Bool"),
        (lambda: torch.bmm(torch.ones(2, 2), torch.ones(2, 2, 2)), "must be a 3D tensor"),
        (lambda: torch.dot(torch.ones(2), torch.ones(3)), "same number of elements"),
        (lambda: torch.mv(torch.ones(2, 3), torch.ones(2)), "size mismatch"),
        (lambda: F.linear(torch.ones(2, 3), torch.ones(4, 5)), "cannot be multiplied"),
        (lambda: F.linear(torch.ones(2, 3), torch.ones(4, 3), torch.ones(3)), "bias"),
        (lambda: torch.addmm(torch.ones(3), torch.ones(2, 2), torch.ones(2, 2)), "expanded"),
    ],
)
def test_errors(call, message):
    with pytest.raises(RuntimeError, match=message):
        call()


def test_meta_tensors_have_sizes_only():
    a = torch.empty(3, 4, device="meta")
    assert (a @ torch.empty(4, 5, device="meta")).shape == (3, 5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize(("left", "right"), [s for s in SHAPES if all(map(all, s))][:-1])
def test_gradients(left, right, dtype):
    """Of sum(c * (a @ b)), with `c` any: sums of products again."""
    rng = np.random.default_rng(6)
    a, b = (random_tensor(rng, s, dtype).requires_grad_() for s in (left, right))
    out = a @ b
    c = random_tensor(rng, tuple(out.shape), dtype)
    out.backward(c)
    row, column = a.dim() == 1, b.dim() == 1
    x, y, g = (wide(v) for v in (a, b, c))
    x, y = (x[None, :] if row else x), (y[:, None] if column else y)
    g = np.expand_dims(g, -1) if column else g
    g = np.expand_dims(g, -2) if row else g

    def summed(v, like):
        v = v.sum(tuple(range(v.ndim - like.ndim)))
        keep = tuple(d for d in range(v.ndim) if like.shape[d] == 1 != v.shape[d])
        return v.sum(keep, keepdims=True)

    by_a = summed(g @ y.conj().swapaxes(-1, -2), x).reshape(left)
    by_b = summed(x.conj().swapaxes(-1, -2) @ g, y).reshape(right)
    same(a.grad, by_a)
    same(b.grad, by_b)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
def test_few_numbers_and_one_step(dtype):
    """Products that need no tiles: a column times a row, a row times a column, small matrices."""
    rng = np.random.default_rng(11)
    column, row, add = (random_tensor(rng, s, dtype) for s in ((70, 1), (1, 45), (70, 45)))
    same(column @ row, array(column) * array(row), dtype)
    same(torch.addmm(add, column, row), array(add) + array(column) * array(row), dtype)
    left, right = (random_tensor(rng, s, dtype) for s in ((9000, 3, 3), (3, 2)))
    same(left @ right, array(left) @ array(right), dtype)
    same(left @ left.mT, array(left) @ array(left).transpose(0, 2, 1), dtype)
    x, y = (torch.arange(n, n + 1000).to(dtype) for n in (0, 3))
    assert abs(torch.dot(x, y).item() / sum(i * (i + 3) for i in range(1000)) - 1) < 1e-5


@pytest.mark.parametrize("dtype", [*FLOATS, *COMPLEX])
def test_rows_columns_and_blocks_of_any_layout(dtype):
    """Few rows times a large matrix, dot products, tiles with remainders; alike on any threads."""
    rng = np.random.default_rng(0)
    shapes = [(1, 700, 1040), (3, 361, 1500), (4, 600, 515), (1, 9, 1), (1, 3001, 1), (900, 70, 1),
              (2, 130, 33), (7, 13, 5), (31, 64, 100)]  # fmt: skip
    before = torch.get_num_threads()
    for m, k, n in shapes:
        x, y = random_tensor(rng, (m, k), dtype), random_tensor(rng, (k, n), dtype)
        wanted = wide(x) @ wide(y)
        most = 4 * torch.finfo(dtype).eps * float((abs(wide(x)) @ abs(wide(y))).max())
        ways = list(itertools.product(variants(x), variants(y)))
        for a, b in ways[:: 3 if k * n > 1e5 else 1]:
            found = []
            for threads in (1, 3):
                torch.set_num_threads(threads)
                found.append((a @ b).numpy())
            np.testing.assert_array_equal(*found)
            np.testing.assert_allclose(found[0], wanted, rtol=0, atol=most)
    torch.set_num_threads(before)
