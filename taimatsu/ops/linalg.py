"""Products of matrices and vectors; powers and exponentials of matrices."""

from __future__ import annotations

import math

from .matrix import (
    LINALG,
    adjoint,
    check_inexact,
    check_square,
    conj,
    identity,
    times,
)
from .shape import wrap_dim
from .table import composite, indexed, native


def _scaled(g, factor):
    """The gradient of `times`."""
    return times(g, factor.conjugate() if isinstance(factor, complex) else factor)


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
).gradient(self=lambda g, mat2: g.mm(adjoint(mat2)), mat2=lambda g, self: adjoint(self).mm(g))

def _mm_sums_gradient(g_product, g_sums, self, mat2, left, needs):
    by_self = by_mat2 = None
    if needs[0]:
        by_self = g_product.mm(adjoint(mat2))
        by_self = by_self + g_sums.unsqueeze(1) if left else by_self
    if needs[1]:
        by_mat2 = adjoint(self).mm(g_product)
        by_mat2 = by_mat2 if left else by_mat2 + g_sums
    return by_self, by_mat2


mm_sums = native(
    "_mm_sums(Tensor self, Tensor mat2, bool left) -> (Tensor product, Tensor sums)",
    method=False,
    doc="""The product of two matrices, and the sums of the left one's rows or the right's columns.

    What a layer's weight and bias have for gradients: a library may read the matrix once for both.
    """,
)
mm_sums.gradient(_mm_sums_gradient)

bmm = native(
    "bmm(Tensor self, Tensor mat2) -> Tensor",
    out="exact",
    doc="""The products of two batches of matrices: (b, n, k) @ (b, k, m) -> (b, n, m).""",
).gradient(self=lambda g, mat2: g.bmm(adjoint(mat2)), mat2=lambda g, self: adjoint(self).bmm(g))

mv = native(
    "mv(Tensor self, Tensor vec) -> Tensor",
    out=True,
    doc="The product of a matrix and a vector: (n, k) @ (k) -> (n).",
).gradient(
    self=lambda g, vec: g.unsqueeze(1) * conj(vec),
    vec=lambda g, self: adjoint(self).mv(g),
)

dot = native(
    "dot(Tensor self, Tensor tensor) -> Tensor",
    out="exact",
    doc="""The sum of products of two vectors of one length.

    >>> taimatsu.dot(taimatsu.tensor([1, 2]), taimatsu.tensor([3, 4]))
    tensor(11)
    """,
).gradient(self=lambda g, tensor: g * conj(tensor), tensor=lambda g, self: g * conj(self))

addmm = native(
    "addmm(Tensor self, Tensor mat1, Tensor mat2, *, Number beta=1, Number alpha=1) -> Tensor",
    inplace=True,
    out="exact",
    doc="""beta * self + alpha * mat1 @ mat2; `self` broadcasts. With beta = 0 it is not read.""",
).gradient(
    self=lambda g, beta: _scaled(g, beta),
    mat1=lambda g, mat2, alpha: _scaled(g.mm(adjoint(mat2)), alpha),
    mat2=lambda g, mat1, alpha: _scaled(adjoint(mat1).mm(g), alpha),
)


@addmm.gradients("self", "mat2")
def _(g, self_like, mat1, beta, alpha):
    if g.is_cuda and self_like.dim() == 1:
        by_mat2, by_self = mm_sums(adjoint(mat1), g, False)
    else:
        by_mat2, by_self = adjoint(mat1).mm(g), g
    return _scaled(by_self, beta), _scaled(by_mat2, alpha)


baddbmm = native(
    "baddbmm(Tensor self, Tensor batch1, Tensor batch2, *, Number beta=1, Number alpha=1)"
    " -> Tensor",
    inplace=True,
    out="exact",
    doc="beta * self + alpha * (batch1 @ batch2), matrix by matrix; `self` broadcasts.",
).gradient(
    self=lambda g, beta: _scaled(g, beta),
    batch1=lambda g, batch2, alpha: _scaled(g.bmm(adjoint(batch2)), alpha),
    batch2=lambda g, batch1, alpha: _scaled(adjoint(batch1).bmm(g), alpha),
)


def _rows(x):
    """All dims but the last as one."""
    return x if x.dim() == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def _linear_gradient(g, input, weight, bias_like, needs):
    by_weight = by_bias = None
    if weight.dim() == 1:
        g, weight = g.unsqueeze(-1), weight.unsqueeze(0)
        by_weight = _rows(conj(input)).mT.mv(g.reshape(-1)) if needs[1] else None
    elif needs[1] and needs[2] and g.is_cuda:
        by_weight, by_bias = mm_sums(_rows(g).mT, _rows(conj(input)), True)
    elif needs[1]:
        by_weight = _rows(g).mT.mm(_rows(conj(input)))
    by_input = g.matmul(conj(weight)) if needs[0] else None
    if needs[2]:
        if by_bias is None:
            by_bias = _rows(g).sum(0)
        if by_bias.shape != bias_like.shape:
            by_bias = by_bias.sum_to_size(bias_like.shape)
    return by_input, by_weight, by_bias


linear = native(
    "linear(Tensor input, Tensor weight, Tensor? bias=None) -> Tensor",
    module="nn.functional",
    method=False,
    out=True,
    doc="""input @ weight.T + bias.

    input: (*, in), weight: (out, in) or (in), bias: (out). Result: (*, out) or (*).

    >>> taimatsu.nn.functional.linear(taimatsu.ones(2), taimatsu.ones(3, 2))
    tensor([2., 2., 2.])
    """,
)
linear.gradient(_linear_gradient)


@composite("bilinear(Tensor input1, Tensor input2, Tensor weight, Tensor? bias=None) -> Tensor",
           method=False)
def bilinear(input1, input2, weight, bias):
    """sum_ij x1_i W_kij x2_j + b_k: (*, I), (*, J), (K, I, J) -> (*, K).

    RuntimeError for sizes or dtypes that don't match.
    """
    if input1.shape[:-1] != input2.shape[:-1]:
        raise RuntimeError("bilinear(): input batch dimensions do not match: got "
                           f"{list(input1.shape)} and {list(input2.shape)}")
    if weight.dim() != 3 or (input1.size(-1), input2.size(-1)) != tuple(weight.shape[1:]):
        raise RuntimeError("bilinear(): the inputs' last sizes must be those of the weight, "
                           f"{list(weight.shape)}; got {list(input1.shape)}, {list(input2.shape)}")
    if bias is not None and list(bias.shape) != [weight.size(0)]:
        raise RuntimeError("bilinear(): bias size does not match weight size: got "
                           f"{list(bias.shape)} but expected {weight.size(0)}")
    types = {x.dtype for x in (input1, input2, weight)}
    if len(types) > 1:
        raise RuntimeError("bilinear(): All tensors must have the same dtype, got "
                           f"{', '.join(sorted(map(str, types)))}")
    k, i, j = weight.shape
    rows1, rows2 = input1.reshape(-1, i, 1), input2.reshape(-1, j)
    half = (rows2 @ weight.reshape(k * i, j).mT).reshape(-1, k, i)
    out = (half @ rows1).reshape(*input1.shape[:-1], k)
    return out if bias is None else out + bias


def _matmul_by_self(g, self, other):
    if other.dim() == 1:
        return g.unsqueeze(-1) * conj(other)
    if self.dim() == 1:
        return other.conj_physical().matmul(g.unsqueeze(-1)).squeeze(-1)
    return g.matmul(adjoint(other))


def _matmul_by_other(g, self, other_like):
    if self.dim() == 1:
        left = conj(self)
        return left * g if other_like.dim() == 1 else left.unsqueeze(-1) * g.unsqueeze(-2)
    if other_like.dim() == 1:
        return _rows(conj(self)).mT.mv(g.reshape(-1))
    if other_like.dim() == 2:  # summed over all leading dims at once
        return _rows(conj(self)).mT.mm(_rows(g))
    return adjoint(self).matmul(g)


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


@composite("matmul(Tensor self, Tensor other) -> Tensor", out=True, **LINALG)
def linalg_matmul(self, other):
    """`matmul`."""
    return matmul(self, other)


# ---- of vectors --------------------------------------------------------------------------------


def _check_vectors(name, **vectors):
    for what, x in vectors.items():
        if x.dim() != 1:
            raise RuntimeError(f"{name}: Expected 1-D argument {what}, but got {x.dim()}-D")


@composite("outer(Tensor self, Tensor vec2) -> Tensor", names=("ger",), out=True)
def outer(self, vec2):
    """All products of the elements of two vectors: (n), (m) -> (n, m)."""
    _check_vectors("outer", self=self, vec2=vec2)
    return self.unsqueeze(1) * vec2


@composite("vdot(Tensor self, Tensor other) -> Tensor", out="exact")
def vdot(self, other):
    """The dot product of two vectors, the first conjugated."""
    return dot(conj(self), other)


@composite("vecdot(Tensor x, Tensor y, *, int dim=-1) -> Tensor", out=True, **LINALG)
def vecdot(x, y, dim):
    """The sums of products along `dim`, those of x conjugated; the other dims broadcast.

    RuntimeError for integers, or different dtypes.

    >>> taimatsu.linalg.vecdot(taimatsu.tensor([[1.0, 2.0], [3.0, 4.0]]), taimatsu.ones(2))
    tensor([3., 7.])
    """
    check_inexact("linalg.vecdot", x)
    if x.dtype != y.dtype:
        raise RuntimeError("linalg.vecdot: Expected x and y to have the same dtype, but found x of "
                           f"type {x.dtype} and y of type {y.dtype} instead")
    return (conj(x) * y).sum(dim)


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


@indexed("_cross(Tensor x, Tensor y) -> Tensor", module=None, method=False)
def _cross(x, y, i, c, j):
    """The cross products along the middle one of three dims."""
    first, second = (c + 1) % 3, (c + 2) % 3
    return x[i, first, j] * y[i, second, j] - x[i, second, j] * y[i, first, j]


@composite("cross(Tensor self, Tensor other, *, int dim=-1) -> Tensor", out=True, **LINALG)
def linalg_cross(self, other, dim):
    """The cross product of vectors of three elements along `dim`; the other dims broadcast.

    RuntimeError unless both have as many dims, and 3 elements along `dim`.

    >>> taimatsu.linalg.cross(taimatsu.tensor([1, 0, 0]), taimatsu.tensor([0, 1, 0]))
    tensor([0, 0, 1])
    """
    from taimatsu import broadcast_tensors

    x, y = self, other
    if x.dim() != y.dim():
        raise RuntimeError("linalg.cross: inputs must have the same number of dimensions; got "
                           f"{x.dim()} and {y.dim()}")
    if x.size(dim) != 3 or y.size(dim) != 3:
        raise RuntimeError(f"linalg.cross: inputs dimension {dim} must have length 3. Got "
                           f"{x.size(dim)} and {y.size(dim)}")
    if x.dtype != y.dtype:
        raise RuntimeError(f"linalg.cross: expected scalar type {x.dtype} but found {y.dtype}")
    x, y = broadcast_tensors(x, y)
    dim %= x.dim()
    sizes = (math.prod(x.shape[:dim]), 3, math.prod(x.shape[dim + 1 :]))
    return _cross(x.reshape(sizes), y.reshape(sizes)).reshape(x.shape)


@composite("cross(Tensor self, Tensor other, int? dim=None) -> Tensor", out=True)
def cross(self, other, dim):
    """`linalg.cross` along `dim`, or along the first dim of three elements."""
    if dim is None:
        dim = next((d for d, n in enumerate(self.shape) if n == 3), None)
        if dim is None:
            raise RuntimeError("cross: no dimension of size 3 in input; its sizes are "
                               f"{list(self.shape)}")
    return linalg_cross(self, other, dim=dim)


@composite("vander(Tensor x, *, int? N=None) -> Tensor", out=False, **LINALG)
def vander(x, N):
    """The powers 0 to N - 1 of each element along a new last dim; N is x's last size if None.

    x: (*, n). Result: (*, n, N). RuntimeError for N under 2, for bools and 16-bit floats.

    >>> taimatsu.linalg.vander(taimatsu.tensor([1, 2, 3]))
    tensor([[1, 1, 1],
            [1, 2, 4],
            [1, 3, 9]])
    """
    from taimatsu import bfloat16, bool, cat, float16, int64

    if x.dtype in (bool, bfloat16, float16):
        raise RuntimeError("linalg.vander supports floating point, complex, and integer tensors, "
                           f"but got {x.dtype}")
    if x.dim() == 0:
        x = x.reshape(1)
    N = x.shape[-1] if N is None else N
    if N <= 1:
        raise RuntimeError("N must be greater than 1.")
    if not (x.is_floating_point() or x.is_complex()):
        x = x.to(int64)
    powers = x.unsqueeze(-1).expand(*x.shape, N - 1).cumprod(-1)
    return cat((x.new_ones((*x.shape, 1)), powers), -1)


# ---- products and sums -------------------------------------------------------------------------

_SCALES = "*, Number beta=1, Number alpha=1"


@composite(f"addmv(Tensor self, Tensor mat, Tensor vec, {_SCALES}) -> Tensor", inplace=True,
           out="exact")
def addmv(self, mat, vec, beta, alpha):
    """beta * self + alpha * mat @ vec; `self` broadcasts. With beta = 0 it is not read."""
    if mat.dim() != 2 or vec.dim() != 1 or self.dim() > 1:
        raise RuntimeError(f"addmv: vector + matrix @ vector expected, got {self.dim()}, "
                           f"{mat.dim()}, {vec.dim()}")
    return addmm(self.unsqueeze(-1), mat, vec.unsqueeze(-1), beta=beta, alpha=alpha).squeeze(-1)


@composite(f"addbmm(Tensor self, Tensor batch1, Tensor batch2, {_SCALES}) -> Tensor", inplace=True,
           out="exact")
def addbmm(self, batch1, batch2, beta, alpha):
    """beta * self + alpha * the sum of the products of two batches of matrices.

    batch1: (b, n, k), batch2: (b, k, m); self broadcasts to (n, m).
    """
    for x, name in ((batch1, "batch1"), (batch2, "batch2")):
        if x.dim() != 3:
            raise RuntimeError(f"addbmm: {name} must be a 3D tensor; got {x.dim()}-D")
    b, n, k = batch1.shape
    if batch2.shape[:2] != (b, k):
        raise RuntimeError(f"addbmm: Expected size for first two dimensions of batch2 tensor to "
                           f"be: [{b}, {k}] but got: {list(batch2.shape[:2])}.")
    # One product: the batch is one more index of the sum.
    left, right = batch1.permute(1, 0, 2).reshape(n, b * k), batch2.reshape(b * k, -1)
    if batch2.numel() == 0:
        right = batch2.reshape(b * k, batch2.shape[2])
    return addmm(self, left, right, beta=beta, alpha=alpha)


@composite(f"addr(Tensor self, Tensor vec1, Tensor vec2, {_SCALES}) -> Tensor", inplace=True,
           out=True)
def addr(self, vec1, vec2, beta, alpha):
    """beta * self + alpha * outer(vec1, vec2); `self` broadcasts. With beta = 0 it is not read.

    RuntimeError for fractions beta and alpha of integers.
    """
    from taimatsu import broadcast_shapes, result_type

    _check_vectors("addr", vec1=vec1, vec2=vec2)
    sizes = (vec1.shape[0], vec2.shape[0])
    if broadcast_shapes(self.shape, sizes) != sizes:
        raise RuntimeError(f"addr: size mismatch, input: {list(self.shape)}, v1: "
                           f"{list(vec1.shape)}, v2: {list(vec2.shape)}")
    if self.dtype == vec1.dtype == vec2.dtype and (
            self.dtype.is_floating_point or self.dtype.is_complex):
        return addmm(self, vec1.unsqueeze(1), vec2.unsqueeze(0), beta=beta, alpha=alpha)
    product = outer(vec1, vec2)
    dtype = result_type(self, product)
    if not (dtype.is_floating_point or dtype.is_complex):
        for name, factor in (("beta", beta), ("alpha", alpha)):
            if isinstance(factor, (float, complex)):
                raise RuntimeError(f"addr: For integral input tensors, argument {name} must not be "
                                   "a floating point number.")
    product = times(product, alpha).to(dtype)
    return product.expand(sizes) if beta == 0 else times(self, beta).to(dtype) + product


@composite("kron(Tensor self, Tensor other) -> Tensor", out=True)
def kron(self, other):
    """The Kronecker product: each element of `self` times `other`, as blocks.

    The result has the products of sizes; missing leading dims are ones.

    >>> taimatsu.kron(taimatsu.tensor([1, 10]), taimatsu.tensor([1, 2]))
    tensor([ 1,  2, 10, 20])
    """
    dims = max(self.dim(), other.dim())
    left = (1,) * (dims - self.dim()) + tuple(self.shape)
    right = (1,) * (dims - other.dim()) + tuple(other.shape)
    blocks = self.reshape([n for size in left for n in (size, 1)])
    blocks = blocks * other.reshape([n for size in right for n in (1, size)])
    return blocks.reshape([n * m for n, m in zip(left, right, strict=True)])


@composite("multi_dot(Tensor[] tensors) -> Tensor", out=True, **LINALG)
def multi_dot(tensors):
    """The product of two or more matrices in the cheapest order.

    The first and last may be vectors. RuntimeError for fewer than two, other dims, or different
    dtypes.

    >>> taimatsu.linalg.multi_dot([taimatsu.ones(3), taimatsu.ones(3, 2), taimatsu.ones(2)])
    tensor(6.)
    """
    last = len(tensors) - 1
    if last < 1:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(tensors)}")
    for i, x in enumerate(tensors):
        wanted = (1, 2) if i in (0, last) else (2,)
        if x.dim() not in wanted:
            raise RuntimeError(f"multi_dot(): tensor {i} must be "
                               f"{' or '.join(f'{d}D' for d in wanted)} but got {x.dim()}D")
        if x.dtype != tensors[0].dtype:
            raise RuntimeError("multi_dot(): all tensors must have be the same dtype but tensor 0 "
                               f"is {tensors[0].dtype} and tensor {i} {x.dtype}")
    row, column = tensors[0].dim() == 1, tensors[-1].dim() == 1
    chain = list(tensors)
    if row:
        chain[0] = chain[0].unsqueeze(0)
    if column:
        chain[-1] = chain[-1].unsqueeze(1)
    order = _chain_order([x.shape[0] for x in chain] + [chain[-1].shape[1]])

    def product(i, j):
        if i == j:
            return chain[i]
        s = order[i, j]
        return mm(product(i, s), product(s + 1, j))

    out = product(0, last)
    out = out.squeeze(0) if row else out
    return out.squeeze(-1) if column else out


def _chain_order(sizes):
    """After which matrix a chain i ... j is best split, by (i, j); matrix i is sizes[i:i+2]."""
    n = len(sizes) - 1
    cost = {(i, i): 0 for i in range(n)}
    split = {}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            cost[i, j], split[i, j] = min(
                (cost[i, s] + cost[s + 1, j] + sizes[i] * sizes[s + 1] * sizes[j + 1], s)
                for s in range(i, j)
            )
    return split


@composite("tensordot(Tensor a, Tensor b, Any dims=2) -> Tensor", out="exact", method=False)
def tensordot(a, b, dims):
    """Sums of products along several dims of each.

    dims: how many, the last of `a` and the first of `b`; or two lists, those of `a` and those of
    `b` (also as a tensor of two rows). The result has the other dims of `a`, then those of `b`.
    RuntimeError where sizes differ (1 broadcasts), or dtypes.

    >>> taimatsu.tensordot(taimatsu.ones(2, 3), taimatsu.ones(3, 2), dims=1)
    tensor([[3., 3.],
            [3., 3.]])
    """
    along_a, along_b = _contracted(a, b, dims)
    if a.dtype != b.dtype:
        raise RuntimeError("tensordot: both inputs should have same dtype; got "
                           f"{a.dtype} and {b.dtype}")
    for i, j in zip(along_a, along_b, strict=True):
        n, m = a.shape[i], b.shape[j]
        if n != m and 1 not in (n, m):
            raise RuntimeError("tensordot: contracted dimensions need to match, but first has size "
                               f"{n} in dim {i} and second has size {m} in dim {j}")
        if m == 1:  # the sum of the other alone
            a = a.sum(i, keepdim=True).to(a.dtype)
        elif n == 1:
            b = b.sum(j, keepdim=True).to(b.dtype)
    kept_a = [d for d in range(a.dim()) if d not in along_a]
    kept_b = [d for d in range(b.dim()) if d not in along_b]
    sizes = [a.shape[d] for d in kept_a] + [b.shape[d] for d in kept_b]
    k = math.prod(a.shape[d] for d in along_a)
    n, m = (math.prod(x.shape[d] for d in kept) for x, kept in ((a, kept_a), (b, kept_b)))
    left = a.permute([*kept_a, *along_a]).reshape(n, k)
    return mm(left, b.permute([*along_b, *kept_b]).reshape(k, m)).reshape(sizes)


def _contracted(a, b, dims):
    """The dims that `tensordot` sums over, of each tensor."""
    if hasattr(dims, "tolist"):
        dims = dims.tolist()
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(a.dim(), b.dim()):
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        return list(range(a.dim() - dims, a.dim())), list(range(dims))
    first, second = ([d] if isinstance(d, int) else list(d) for d in dims)
    if len(first) != len(second):
        raise RuntimeError("tensordot: both dimension lists should have same length; got "
                           f"{first} and {second}")
    return _wrapped(first, a), _wrapped(second, b)


def _wrapped(dims, x):
    wrapped = [wrap_dim(d, x.dim()) for d in dims]
    if len(set(wrapped)) != len(wrapped):
        raise RuntimeError(f"tensordot: a dim appears multiple times in the list of dims {dims}")
    return wrapped


# ---- functions of matrices ---------------------------------------------------------------------


def _matrix_power(A, n):
    from .systems import inv

    check_square("linalg.matrix_power", A)
    if n == 0:
        return A.clone().copy_(identity(A).expand(A.shape))
    if n < 0:
        A, n = inv(A), -n
    if n == 1:
        return A.clone()
    out = None
    while True:  # by squaring
        if n & 1:
            out = A if out is None else matmul(out, A)
        n >>= 1
        if n == 0:
            return out
        A = matmul(A, A)


@composite("matrix_power(Tensor self, int n) -> Tensor", out=True, **LINALG)
def matrix_power(self, n):
    """The n-th power of square matrices; of the inverse for negative n."""
    return _matrix_power(self, n)


@composite("matrix_power(Tensor self, int n) -> Tensor", out=True)
def matrix_power_method(self, n):
    """`linalg.matrix_power`."""
    return _matrix_power(self, n)


# Padé approximants of exp: coefficients of the numerator, and the 1-norm up to which they are as
# good as the dtype (Higham, The scaling and squaring method for the matrix exponential revisited,
# 2005).
_PADE_7 = (17297280, 8648640, 1995840, 277200, 25200, 1512, 56, 1), 3.925724783138660
_PADE_13 = (
    64764752532480000, 32382376266240000, 7771770303897600, 1187353796428800, 129060195264000,
    10559470521600, 670442572800, 33522128640, 1323241920, 40840800, 960960, 16380, 182, 1,
), 5.371920351148152  # fmt: skip


def _matrix_exp(A):
    from taimatsu import complex128, float32, float64, where

    from .systems import solve

    check_inexact("linalg.matrix_exp", check_square("linalg.matrix_exp", A))
    if A.dtype.itemsize == 2:
        return _matrix_exp(A.to(float32)).to(A.dtype)
    if A.numel() == 0 or A.is_meta:
        return A.clone()
    coefficients, bound = _PADE_13 if A.dtype in (float64, complex128) else _PADE_7
    # Each matrix is halved until its norm is within the bound, and squared as often.
    norm = A.detach().abs().sum(-2).amax(-1)
    halvings = (norm / bound).log2().ceil().clamp(0, 1100).nan_to_num(0)
    A = A * (0.5**halvings).unsqueeze(-1).unsqueeze(-1)
    square, power = matmul(A, A), identity(A)
    even, odd = power * coefficients[0], power * coefficients[1]
    for i in range(2, len(coefficients), 2):
        power = matmul(power, square)
        even, odd = even + power * coefficients[i], odd + power * coefficients[i + 1]
    odd = matmul(A, odd)
    out = solve(even - odd, even + odd)
    halvings = halvings.unsqueeze(-1).unsqueeze(-1)
    for i in range(int(halvings.amax())):
        out = where(halvings > i, matmul(out, out), out)
    return out


@composite("matrix_exp(Tensor self) -> Tensor")
def matrix_exp(self):
    """The exponential of square matrices, 1 + A + A^2 / 2 + ... A: (*, n, n).

    >>> taimatsu.matrix_exp(taimatsu.zeros(2, 2))
    tensor([[1., 0.],
            [0., 1.]])
    """
    return _matrix_exp(self)


@composite("matrix_exp(Tensor self) -> Tensor", **LINALG)
def linalg_matrix_exp(self):
    """`matrix_exp`."""
    return _matrix_exp(self)


@composite("diagonal(Tensor(a) A, *, int offset=0, int dim1=-2, int dim2=-1) -> Tensor(a)",
           **LINALG)
def linalg_diagonal(A, offset, dim1, dim2):
    """A view of the diagonals of matrices: `diagonal` of the last two dims."""
    return A.diagonal(offset, dim1, dim2)
