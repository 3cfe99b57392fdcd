"""Matrix products and linear algebra."""

from __future__ import annotations

from .table import composite, native


def _adjoint(x):
    """The conjugate transpose of the last two dims."""
    return x.mT.conj_physical() if x.is_complex() else x.mT


def _conj(x):
    return x.conj_physical() if x.is_complex() else x


def _times(x, factor):
    return x if factor == 1 else x * factor


def _scaled(g, factor):
    """The gradient of `_times`."""
    return _times(g, factor.conjugate() if isinstance(factor, complex) else factor)


# ---- products -----------------------------------------------------------------------------------

mm = native(
    "mm(Tensor self, Tensor mat2) -> Tensor",
    out=True,
    doc="""The product of two matrices: (n, k) @ (k, m) -> (n, m).

    RuntimeError unless both are matrices of one dtype and the inner sizes agree.

    >>> taimatsu.mm(taimatsu.ones(2, 3), taimatsu.ones(3, 1))
    tensor([[3.],
            [3.]])
    """,
).gradient(self=lambda g, mat2: g.mm(_adjoint(mat2)), mat2=lambda g, self: _adjoint(self).mm(g))

bmm = native(
    "bmm(Tensor self, Tensor mat2) -> Tensor",
    out=True,
    doc="""The products of two batches of matrices: (b, n, k) @ (b, k, m) -> (b, n, m).""",
).gradient(self=lambda g, mat2: g.bmm(_adjoint(mat2)), mat2=lambda g, self: _adjoint(self).bmm(g))

mv = native(
    "mv(Tensor self, Tensor vec) -> Tensor",
    out=True,
    doc="The product of a matrix and a vector: (n, k) @ (k) -> (n).",
).gradient(
    self=lambda g, vec: g.unsqueeze(1) * _conj(vec),
    vec=lambda g, self: _adjoint(self).mv(g),
)

dot = native(
    "dot(Tensor self, Tensor tensor) -> Tensor",
    out=True,
    doc="""The sum of products of two vectors of one length.

    >>> taimatsu.dot(taimatsu.tensor([1, 2]), taimatsu.tensor([3, 4]))
    tensor(11)
    """,
).gradient(self=lambda g, tensor: g * _conj(tensor), tensor=lambda g, self: g * _conj(self))

addmm = native(
    "addmm(Tensor self, Tensor mat1, Tensor mat2, *, Number beta=1, Number alpha=1) -> Tensor",
    inplace=True,
    out=True,
    doc="""beta * self + alpha * mat1 @ mat2; `self` broadcasts. With beta = 0 it is not read.""",
).gradient(
    self=lambda g, beta: _scaled(g, beta),
    mat1=lambda g, mat2, alpha: _scaled(g.mm(_adjoint(mat2)), alpha),
    mat2=lambda g, mat1, alpha: _scaled(_adjoint(mat1).mm(g), alpha),
)

baddbmm = native(
    "baddbmm(Tensor self, Tensor batch1, Tensor batch2, *, Number beta=1, Number alpha=1)"
    " -> Tensor",
    inplace=True,
    out=True,
    doc="beta * self + alpha * (batch1 @ batch2), matrix by matrix; `self` broadcasts.",
).gradient(
    self=lambda g, beta: _scaled(g, beta),
    batch1=lambda g, batch2, alpha: _scaled(g.bmm(_adjoint(batch2)), alpha),
    batch2=lambda g, batch1, alpha: _scaled(_adjoint(batch1).bmm(g), alpha),
)


def _rows(x):
    """All dims but the last as one."""
    return x if x.dim() == 2 else x.reshape(-1, x.shape[-1])


def _linear_gradient(g, input, weight, bias_like, needs):
    if weight.dim() == 1:
        g, weight = g.unsqueeze(-1), weight.unsqueeze(0)
        by_weight = _rows(_conj(input)).mT.mv(g.reshape(-1)) if needs[1] else None
    else:
        by_weight = _rows(g).mT.mm(_rows(_conj(input))) if needs[1] else None
    by_input = g.matmul(_conj(weight)) if needs[0] else None
    by_bias = None
    if needs[2]:
        by_bias = _rows(g).sum(0)
        if by_bias.shape != bias_like.shape:
            by_bias = by_bias.sum_to_size(bias_like.shape)
    return by_input, by_weight, by_bias


linear = native(
    "linear(Tensor input, Tensor weight, Tensor? bias=None) -> Tensor",
    module="nn.functional",
    method=False,
    doc="""input @ weight.T + bias.

    input: (*, in), weight: (out, in) or (in), bias: (out). Result: (*, out) or (*).

    >>> taimatsu.nn.functional.linear(taimatsu.ones(2), taimatsu.ones(3, 2))
    tensor([2., 2., 2.])
    """,
)
linear.gradient(_linear_gradient)


def _matmul_by_self(g, self, other):
    if other.dim() == 1:
        return g.unsqueeze(-1) * _conj(other)
    if self.dim() == 1:
        return other.conj_physical().matmul(g.unsqueeze(-1)).squeeze(-1)
    return g.matmul(_adjoint(other))


def _matmul_by_other(g, self, other_like):
    if self.dim() == 1:
        left = _conj(self)
        return left * g if other_like.dim() == 1 else left.unsqueeze(-1) * g.unsqueeze(-2)
    if other_like.dim() == 1:
        return _rows(_conj(self)).mT.mv(g.reshape(-1))
    if other_like.dim() == 2:  # summed over all leading dims at once
        return _rows(_conj(self)).mT.mm(_rows(g))
    return _adjoint(self).matmul(g)


matmul = native(
    "matmul(Tensor self, Tensor other) -> Tensor",
    out=True,
    doc="""The matrix product of the last two dims; the others broadcast.

    A vector on the left is a row, on the right a column, and that dim is not in the result.
    RuntimeError for 0-dim tensors, inner sizes that differ, or different dtypes.

    >>> (taimatsu.ones(5, 2, 3) @ taimatsu.ones(3, 4)).shape
    torch.Size([5, 2, 4])
    """,
).gradient(self=_matmul_by_self, other=_matmul_by_other)


# ---- combinations -------------------------------------------------------------------------------


@composite("outer(Tensor self, Tensor vec2) -> Tensor", names=("ger",), out=True)
def outer(self, vec2):
    """All products of the elements of two vectors: (n), (m) -> (n, m)."""
    if self.dim() != 1 or vec2.dim() != 1:
        raise RuntimeError(f"outer: expected two 1-D tensors, but got {self.dim()}-D and "
                           f"{vec2.dim()}-D")
    return self.unsqueeze(1) * vec2


@composite("vdot(Tensor self, Tensor other) -> Tensor", out=True)
def vdot(self, other):
    """The dot product of two vectors, the first conjugated."""
    return dot(_conj(self), other)


@composite("inner(Tensor self, Tensor other) -> Tensor", out=True)
def inner(self, other):
    """Sums of products along the last dims: (*a, k), (*b, k) -> (*a, *b)."""
    if self.dim() == 0 or other.dim() == 0:
        return self * other
    if self.shape[-1] != other.shape[-1]:
        raise RuntimeError("inner() the last dimension must match on both input tensors but got "
                           f"shapes {list(self.shape)} and {list(other.shape)}")
    sizes = (*self.shape[:-1], *other.shape[:-1])
    return _rows(self).matmul(_rows(other).mT).reshape(sizes)


@composite("addmv(Tensor self, Tensor mat, Tensor vec, *, Number beta=1, Number alpha=1)"
           " -> Tensor", inplace=True, out=True)
def addmv(self, mat, vec, beta, alpha):
    """beta * self + alpha * mat @ vec."""
    product = _times(mat.mv(vec), alpha)
    return product if beta == 0 else _times(self, beta) + product


@composite("addbmm(Tensor self, Tensor batch1, Tensor batch2, *, Number beta=1, Number alpha=1)"
           " -> Tensor", inplace=True, out=True)
def addbmm(self, batch1, batch2, beta, alpha):
    """beta * self + alpha * the sum of the products of two batches of matrices."""
    product = _times(batch1.bmm(batch2).sum(0), alpha)
    return product if beta == 0 else _times(self, beta) + product


@composite("addr(Tensor self, Tensor vec1, Tensor vec2, *, Number beta=1, Number alpha=1)"
           " -> Tensor", inplace=True, out=True)
def addr(self, vec1, vec2, beta, alpha):
    """beta * self + alpha * outer(vec1, vec2)."""
    product = _times(outer(vec1, vec2), alpha)
    return product if beta == 0 else _times(self, beta) + product


@composite("chain_matmul(Tensor[] matrices) -> Tensor", method=False)
def chain_matmul(matrices):
    """The product of several matrices, from left to right."""
    out = matrices[0]
    for m in matrices[1:]:
        out = out.mm(m)
    return out
