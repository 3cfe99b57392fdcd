"""Generated kernels: pointwise ops and ops on rows, in the cache and beyond it."""

from __future__ import annotations

from functools import partial

from .table import Group, Workload, workloads

COLUMNS = 1000


def matrices(torch, rows):
    """Matrices of `rows` rows of COLUMNS, and what ops on them need besides."""
    F = torch.nn.functional
    x, y = torch.randn(rows, COLUMNS), torch.randn(rows, COLUMNS)
    positive = torch.rand(rows, COLUMNS) + 0.5
    mask = x > 0
    weight, bias = torch.rand(COLUMNS), torch.rand(COLUMNS)
    target = torch.randint(0, COLUMNS, (rows,))
    return locals() | {"COLUMNS": COLUMNS}


FORWARD = workloads(
    add="x + y",
    mul="x * y",
    exp="torch.exp(x)",
    log="torch.log(positive)",
    tanh="torch.tanh(x)",
    sigmoid="torch.sigmoid(x)",
    relu="torch.relu(x)",
    gelu="F.gelu(x)",
    gelu_tanh="F.gelu(x, approximate='tanh')",
    where="torch.where(mask, x, y)",
    sum="x.sum()",
    sum_inner="x.sum(1)",
    sum_outer="x.sum(0)",
    mean_inner="x.mean(1)",
    var_inner="x.var(1)",
    max_with_index="x.max(1)",
    softmax="torch.softmax(x, 1)",
    log_softmax="torch.log_softmax(x, 1)",
    layer_norm="F.layer_norm(x, (COLUMNS,), weight, bias)",
    cumsum="x.cumsum(1)",
    cross_entropy="F.cross_entropy(x, target)",
)
IN_PLACE = Workload("add_", "z.add_(y)", setup="z = x.clone()")


def backward(name: str, forward: str) -> Workload:
    """The gradient of `forward` with respect to `a`; the forward pass is not timed."""
    setup = f"""
a = positive.clone().requires_grad_()
out = {forward}
g = torch.rand_like(out.detach())
"""
    return Workload(f"{name} backward", "torch.autograd.grad(out, a, g, retain_graph=True)", setup)


BACKWARD = tuple(
    backward(name, forward)
    for name, forward in {
        "exp": "torch.exp(a)",
        "log": "torch.log(a)",
        "tanh": "torch.tanh(a)",
        "relu": "torch.relu(a)",
        "gelu": "F.gelu(a)",
        "softmax": "torch.softmax(a, 1)",
        "log_softmax": "torch.log_softmax(a, 1)",
        "layer_norm": "F.layer_norm(a, (COLUMNS,), weight, bias)",
        "cross_entropy": "F.cross_entropy(a, target)",
    }.items()
)

GROUPS = (
    Group(
        "kernels, 1e5 elements",
        partial(matrices, rows=100),
        (*FORWARD, IN_PLACE, *BACKWARD),
        mean=1.8,
        floor=0.95,
    ),
    Group(
        "kernels, 1e7 elements",
        partial(matrices, rows=10_000),
        (*FORWARD, IN_PLACE, *BACKWARD),
        mean=1.1,
        floor=0.95,
    ),
)
