"""Sparse tensors against PyTorch's: results, layouts, flags, text and kinds of error."""

import numpy as np
import pytest

import taimatsu

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

EXPRESSIONS = """
repr(s); repr(c); repr(h); repr(k); repr(k.to_sparse_csc()); repr(c.to_sparse_bsr((1, 3)))
repr(g); repr(t.sparse_coo_tensor((2, 3))); repr(t.tensor(3.0).to_sparse()); repr(h.half())
s + s; c + c; c - u; t.add(d, s, alpha=2); s * 2; s * d; d * s; s * s; c * u; s / 2; s**2; -s
s.abs(); s.sin(); s.sqrt(); s.sgn(); s.isnan(); s.nan_to_num(); t.relu(s); s.round()
t.div(s, 2, rounding_mode="floor"); s.to(t.float64); s.int(); s.bool(); s.conj(); s.clone()
s + d; s + 1; s / d; 2 / s; s.exp(); s.mean(); s.max(); t.where(s, s, s); c == c; c.fill_(1)
s.sum(); s.sum(0); t.sparse.sum(s, 1); t.sparse.sum(s, (0, 1)); t.sparse.sum(h, 0)
t.sparse.sum(h, 1); s.norm(); s.norm(1); s.norm(dim=0); t.any(c)
t.sparse.softmax(s, 1); t.sparse.softmax(s, 0); t.sparse.log_softmax(c, 1); t.softmax(c, 1)
s.t(); s.T; s.transpose(0, 1); h.transpose(0, 1); s.permute(1, 0); s.unsqueeze(0); s[0]; s[0, 2]
s[:, 0]; s.index_select(0, t.tensor([1])); t.cat([s, s]); t.stack([s, s]); t.cat([s, d])
s.reshape(3, 2); s.unbind(); c.expand(2, 2, 3); [r for r in c]; s.unsqueeze(2)
s @ w; v @ s; s @ s.t(); t.mm(s, w); t.sparse.mm(s, w); t.sparse.mm(c, c.t()); s @ w[:, 0]
t.addmm(t.ones(2, 2), s, w, beta=2); t.sparse.addmm(t.ones(2, 2), s, w); t.smm(s, w)
t.hspmm(s, w); t.bmm(t.ones(2, 2, 2).to_sparse(), t.ones(2, 2, 2)); s @ s; s @ w.double()
d.to_sparse(); d.to_sparse(1); d.to_sparse(3); s.to_sparse(); d.sparse_mask(c); s.sparse_mask(c)
c.indices(); s.indices(); s._indices(); c.values(); s.is_coalesced(); c.is_coalesced()
(s + s).is_coalesced(); (c + c).is_coalesced(); s.coalesce().is_coalesced(); c._nnz()
c.sparse_dim(); c.dense_dim(); h.dense_dim(); d.sparse_dim(); d.dense_dim(); d.coalesce(); d._nnz()
c.stride(); c.is_contiguous(); c.untyped_storage(); c.numpy(); c.tolist(); c.type(); len(c)
t.zeros_like(c); t.empty_like(c); t.zeros(2, 3, layout=t.sparse_coo); t.ones_like(c)
k + k; k * 2; k * k; k * d; k @ w; v @ k; k.t(); k.sum(); k.sin(); -k; k.to_dense(); k.to_sparse()
k.crow_indices(); k.col_indices(); k.values(); k.ccol_indices(); k.indices(); k.is_coalesced()
k.to_sparse_csc(); c.to_sparse_csr(); d.to_sparse_bsr((1, 3)); d.to_sparse_bsc((2, 1)); k.is_sparse
k.is_sparse_csr; k.sparse_dim(); k._nnz(); k.transpose(0, 1); k.double(); k[0]; k.cos()
t.sparse.sampled_addmm(k, v, d, beta=2, alpha=3); t.sparse.mm(k, w, "mean")
t.sparse.mm(k, w, "amax"); t.sparse.spdiags(t.ones(2, 3), t.tensor([0, 1]), (3, 3))
t.sparse_csr_tensor([0, 1, 2], [0, 1], [1.0, 2.0]); g.is_leaf; g.requires_grad
t.sparse_bsr_tensor([0, 1, 2], [0, 1], [[[3.0, 4.0]], [[5.0, 6.0]]]); h.is_leaf
t.sparse_coo_tensor(i, x[:2], (2, 3)); t.sparse_coo_tensor(i, x, (2, 3, 4))
t.autograd.grad(t.sparse.mm(g, w).sum(), g); t.autograd.grad(g.to_dense().pow(2).sum(), g)
t.autograd.grad(t.sparse.sum(g * 2), g); t.autograd.grad(t.sparse.softmax(g, 1).to_dense()[0].sum(), g)
"""  # noqa: E501
CASES = [e.strip() for e in EXPRESSIONS.replace("\n", ";").split(";") if e.strip()]


def names(t) -> dict:
    i, x = t.tensor([[0, 1, 1], [2, 0, 2]]), t.tensor([3.0, 4.0, 5.0])
    d = t.arange(6.0).reshape(2, 3) - 2
    s = t.sparse_coo_tensor(i, x, (2, 3))
    u = t.sparse_coo_tensor(t.tensor([[0, 1], [2, 1]]), t.tensor([1.0, 2.0]), (2, 3))
    return {
        "t": t, "i": i, "x": x, "d": d, "s": s, "c": s.coalesce(), "w": d.t().clone() * 0.5,
        "v": t.tensor([[1.0, -2.0], [0.5, 3.0]]), "k": d.to_sparse_csr(),
        "u": u.coalesce(),
        "h": t.sparse_coo_tensor(t.tensor([[0, 2]]), t.ones(2, 3, requires_grad=True), (4, 3)),
        "g": t.sparse_coo_tensor(i, x, (2, 3)).coalesce().requires_grad_(),
    }  # fmt: skip


def plain(value, t):
    """Something that compares: of tensors the layout, dtype, shape and elements."""
    if isinstance(value, t.Tensor):
        dense = value.detach().to_dense().to(t.float64)
        whole = np.array(dense.tolist()).reshape(tuple(value.shape))
        return str(value.layout), str(value.dtype), tuple(value.shape), whole
    if isinstance(value, (list, tuple)):
        return [plain(v, t) for v in value]
    return value


def outcome(t, expression: str):
    try:
        return plain(eval(expression, names(t)), t)
    except Exception as error:
        return type(error)


def assert_equal(ours, theirs) -> None:
    if isinstance(theirs, (list, tuple)) and not isinstance(theirs, str):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert_equal(a, b)
    elif isinstance(theirs, np.ndarray):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    elif isinstance(theirs, type):
        assert isinstance(ours, type) and issubclass(ours, theirs)
    elif isinstance(theirs, str) and "grad_fn=" in theirs:  # the nodes have names of their own
        assert ours.partition("grad_fn=")[0].split() == theirs.partition("grad_fn=")[0].split()
    else:
        assert ours == theirs


@pytest.mark.parametrize("expression", CASES)
def test_as_pytorch(expression):
    assert_equal(outcome(taimatsu, expression), outcome(torch, expression))
