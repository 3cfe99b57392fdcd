"""Derivatives of sparse tensors: those of their values."""

import pytest

import taimatsu as torch

check = torch.autograd.gradcheck


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def matrix(rows: int, columns: int, n: int = 7) -> torch.Tensor:
    """A coalesced leaf."""
    at = torch.randperm(rows * columns, generator=generator())[:n].sort().values
    values = torch.randn(n, generator=generator(), dtype=torch.float64)
    indices = torch.stack([at // columns, at % columns])
    return torch.sparse_coo_tensor(indices, values, (rows, columns), is_coalesced=True,
                                   requires_grad=True)  # fmt: skip


def dense(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(), dtype=torch.float64, requires_grad=True)


FUNCTIONS = {
    "to_dense": lambda x, d: x.to_dense(),
    "mm": lambda x, d: torch.sparse.mm(x, d),
    "addmm": lambda x, d: torch.sparse.addmm(d[:4], x, d, beta=2, alpha=3),
    "left": lambda x, d: d.t() @ x.t(),
    "mv": lambda x, d: x @ d[:, 0],
    "sparse product": lambda x, d: torch.sparse.mm(x, x.t()),
    "sum": lambda x, d: torch.sparse.sum(x),
    "sum along": lambda x, d: torch.sparse.sum(x, 0),
    "softmax": lambda x, d: torch.sparse.softmax(x, 1),
    "log_softmax": lambda x, d: torch.sparse.log_softmax(x, 0),
    "add": lambda x, d: x + 2 * x.t().t(),
    "dense plus": lambda x, d: d.t()[:, :5].reshape(3, 5)[:1].expand(4, 5) + x[:, :5],
    "mul": lambda x, d: x * (x * x),
    "times dense": lambda x, d: x * d.t()[0],
    "sin": lambda x, d: x.sin(),
    "cat": lambda x, d: torch.cat([x, x * 2], 1),
    "select": lambda x, d: x[2],
    "index_select": lambda x, d: x.index_select(1, torch.tensor([3, 0])),
    "coalesce": lambda x, d: torch.cat([x, x], 0)[2:6].coalesce(),
    "mask": lambda x, d: (d @ d.t())[:4].sparse_mask(x.detach()) * x,
    "csr": lambda x, d: x.to_sparse_csr() @ d,
    "bsr": lambda x, d: x.to_sparse_bsr((2, 3)).to_dense(),
    "sampled": lambda x, d: torch.sparse.sampled_addmm(x.to_sparse_csr(), d[:4], d.t()),
    "amax": lambda x, d: torch.sparse.mm(x, d, "amax"),
    "norm": lambda x, d: x.norm(),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives_by_values_and_dense_operands(name):
    x, d = matrix(4, 6), dense(6, 3)
    if name == "dense plus":
        d = dense(6, 3)
    assert torch.sparse.as_sparse_gradcheck(check)(FUNCTIONS[name], (x, d))


def test_gradients_of_leaves_have_their_places():
    x, d = matrix(4, 6), dense(6, 3)
    torch.sparse.mm(x, d).sum().backward()
    assert x.grad.is_sparse and x.grad.is_coalesced() and x.grad.shape == x.shape
    assert torch.equal(x.grad.indices(), x.indices())
    torch.testing.assert_close(x.grad.values(), d.detach().sum(1)[x.indices()[1]])
    once = x.grad.values().clone()
    torch.sparse.mm(x, d).sum().backward()
    torch.testing.assert_close(x.grad.values(), 2 * once)
    by_x, by_d = torch.autograd.grad(torch.sparse.mm(x, d).sum(), (x, d))
    assert by_x.is_sparse and by_d.layout is torch.strided
    torch.testing.assert_close(by_x.values(), once)
    x.grad = None
    assert x.grad is None


def test_what_is_a_leaf():
    values = dense(3)
    x = torch.sparse_coo_tensor([[0, 1, 1], [0, 0, 2]], values, (2, 3))
    assert x.requires_grad and not x.is_leaf and x.grad_fn is not None
    x.to_dense().sum().backward()
    assert values.grad.tolist() == [1, 1, 1]
    y = torch.sparse_coo_tensor([[0]], values[:1], (2,), requires_grad=True)
    assert y.is_leaf and not y.detach().requires_grad
    assert not x.detach().requires_grad and y.requires_grad_(False) is y and not y.requires_grad
    whole = torch.eye(3, dtype=torch.float64, requires_grad=True)
    whole.to_sparse().pow(2).sum().backward()
    assert whole.grad.tolist() == (2 * torch.eye(3)).tolist()


def test_a_gradient_may_be_given():
    x = matrix(4, 6)
    y = x * 2
    y.backward(torch.ones(4, 6, dtype=torch.float64))
    assert x.grad.values().tolist() == [2.0] * 7
    x.grad = None
    (x * 3).backward(x.detach())
    torch.testing.assert_close(x.grad.values(), 3 * x.values().detach())


def test_second_derivatives():
    x, d = matrix(4, 6), dense(6, 3)
    (g,) = torch.autograd.grad((torch.sparse.mm(x, d) ** 3).sum(), d, create_graph=True)
    (g**2).sum().backward()
    assert x.grad._nnz() == 7 and bool(torch.isfinite(x.grad.values()).all())
