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
    return locals()


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
    add_="x.add_(y)",
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


def backward(name: str, forward: str) -> Workload:
    """The gradient of `forward` with respect to its leaf `a`, the forward pass not timed."""
    setup = (
        f"a = (positive if {'log(' in forward} else x).clone().requires_grad_()\n"
        f"out = {forward}\n"
        "g = torch.rand_like(out.detach())"
    )
    return Workload(f"{name} backward", "torch.autograd.grad(out, a, g, retain_graph=True)", setup)
