"""Sparse gradients: of embeddings, through the tape, into optimizers."""

import pytest

import taimatsu as torch
from taimatsu import nn


def table(sparse: bool, **options) -> nn.Embedding:
    torch.manual_seed(0)
    return nn.Embedding(8, 3, sparse=sparse, **options)


INPUT = torch.tensor([[0, 5, 5], [2, 5, 7]])


@pytest.mark.parametrize("options", [{}, {"padding_idx": 5}, {"max_norm": 0.5}])
def test_embeddings(options):
    grads = []
    for sparse in (True, False):
        e = table(sparse, **options)
        for _ in range(2):
            (e(INPUT) ** 2).sum().backward()
        grads.append(e.weight.grad)
    assert grads[0].is_sparse and grads[0].dense_dim() == 1 and not grads[1].is_sparse
    torch.testing.assert_close(grads[0].to_dense(), grads[1])


@pytest.mark.parametrize("mode", ["sum", "mean"])
@pytest.mark.parametrize("options", [{}, {"padding_idx": 5}])
def test_bags(mode, options):
    grads = []
    for sparse in (True, False):
        torch.manual_seed(0)
        e = nn.EmbeddingBag(8, 3, mode=mode, sparse=sparse, **options)
        (e(INPUT) ** 2).sum().backward()
        grads.append(e.weight.grad)
    assert grads[0].is_sparse
    torch.testing.assert_close(grads[0].to_dense(), grads[1])


def test_sparse_and_dense_gradients_meet():
    for first, second in ((True, False), (False, True)):
        e = table(True)
        for sparse in (first, second):
            nn.functional.embedding(INPUT, e.weight, sparse=sparse).sum().backward()
        assert e.weight.grad.layout is torch.strided
        assert e.weight.grad[:, 0].tolist() == [2, 0, 2, 0, 0, 6, 0, 2]
    e = table(True)  # both in one pass, and through an op
    loss = e(INPUT).sum() + e.weight.sum() + nn.functional.embedding(INPUT, e.weight * 2,
                                                                     sparse=True).sum()  # fmt: skip
    loss.backward()
    assert e.weight.grad[:, 0].tolist() == [4, 1, 4, 1, 1, 10, 1, 4]
    (g,) = torch.autograd.grad(table(True)(INPUT).sum(), [table(True).weight], allow_unused=True)
    assert g is None


@pytest.mark.parametrize("dim", [0, 1])
def test_gathering(dim):
    x = torch.randn(3, 4, requires_grad=True)
    index = torch.tensor([[0, 2, 1], [2, 2, 0]])
    (torch.gather(x, dim, index, sparse_grad=True) ** 2).sum().backward()
    (dense,) = torch.autograd.grad((torch.gather(x, dim, index) ** 2).sum(), x)
    assert x.grad.is_sparse
    torch.testing.assert_close(x.grad.to_dense(), dense)


def test_hooks_see_them():
    e, seen = table(True), []
    e.weight.register_hook(lambda g: seen.append(g.layout) or g * 2)
    e(INPUT).sum().backward()
    assert seen == [torch.sparse_coo] and e.weight.grad.to_dense()[5, 0] == 6


OPTIMIZERS = {
    "SGD": {}, "SGD momentum": {"momentum": 0.9}, "SGD maximize": {"maximize": True},
    "SGD nesterov": {"momentum": 0.9, "nesterov": True}, "Adagrad": {},
    "Adagrad decay": {"lr_decay": 0.1, "initial_accumulator_value": 0.2},
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_step_as_with_dense_gradients(name):
    weights = []
    for sparse in (True, False):
        e = table(sparse)
        optimizer = getattr(torch.optim, name.split()[0])(e.parameters(), lr=0.1,
                                                          **OPTIMIZERS[name])  # fmt: skip
        for i in range(4):
            optimizer.zero_grad(set_to_none=i % 2 == 0)
            (e(INPUT + (i % 2) * (INPUT < 7)) ** 2).sum().backward()
            optimizer.step()
        weights.append(e.weight.detach())
    torch.testing.assert_close(weights[0], weights[1])


def test_sparse_adam_is_adam_of_the_rows_in_use():
    e, twin = table(True), table(False)
    sparse = torch.optim.SparseAdam(e.parameters(), lr=0.1)
    adam = torch.optim.Adam(twin.parameters(), lr=0.1)
    before = e.weight.detach().clone()
    for _ in range(3):
        for module, optimizer in ((e, sparse), (twin, adam)):
            optimizer.zero_grad()
            (module(INPUT) ** 2).sum().backward()
            optimizer.step()
    used = [0, 2, 5, 7]
    torch.testing.assert_close(e.weight[used], twin.weight[used])
    assert torch.equal(e.weight[[1, 3, 4, 6]], before[[1, 3, 4, 6]])
    assert sparse.state[e.weight]["step"] == 3
    again = torch.optim.SparseAdam(e.parameters(), lr=0.5)
    again.load_state_dict(sparse.state_dict())
    assert again.param_groups[0]["lr"] == 0.1


def test_optimizers_that_take_none_say_so():
    e = table(True)
    e(INPUT).sum().backward()
    for name in ("Adam", "AdamW", "RMSprop", "Adadelta", "ASGD", "Rprop", "NAdam", "Adamax"):
        with pytest.raises(RuntimeError, match="sparse gradients"):
            getattr(torch.optim, name)(e.parameters()).step()
    for name in ("SGD", "Adagrad"):
        with pytest.raises(RuntimeError, match="weight_decay"):
            getattr(torch.optim, name)(e.parameters(), weight_decay=0.1).step()
    dense = nn.Parameter(torch.ones(2))
    dense.grad = torch.ones(2)
    with pytest.raises(RuntimeError, match="dense gradients"):
        torch.optim.SparseAdam([dense]).step()
    with pytest.raises(ValueError, match="dense parameter"):
        torch.optim.SparseAdam([nn.Parameter(torch.eye(2).to_sparse())])
    with pytest.raises(ValueError, match="complex"):
        torch.optim.SparseAdam([nn.Parameter(torch.ones(2, dtype=torch.complex64))])
    for bad in ({"lr": 0}, {"eps": 0}, {"betas": (1, 0.5)}):
        with pytest.raises(ValueError, match="Invalid"):
            torch.optim.SparseAdam([dense], **bad)


def test_gradients_are_clipped():
    e = table(True)
    (e(INPUT) ** 2).sum().backward()
    whole = e.weight.grad.to_dense()
    total = nn.utils.clip_grad_norm_(e.parameters(), 0.5)
    torch.testing.assert_close(total, whole.norm())
    torch.testing.assert_close(e.weight.grad.to_dense(), whole * (0.5 / (total + 1e-6)))
    nn.utils.clip_grad_value_(e.parameters(), 0.01)
    assert e.weight.grad.to_dense().max() <= 0.01


def test_frequencies_do_not_go_with_sparse_gradients():
    e = table(True, scale_grad_by_freq=True)
    with pytest.raises(RuntimeError, match="scale_grad_by_freq"):
        e(INPUT).sum().backward()


def test_the_program_pays_for_sparse_tensors_only_where_there_are_some():
    import subprocess
    import sys

    code = "import sys, taimatsu as t; t.ones(2).sum(); sys.exit('taimatsu.sparse' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
