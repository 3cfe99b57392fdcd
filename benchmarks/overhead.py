"""The cost of a call: small eager ops, short chains, the tape."""

from __future__ import annotations

from .table import Group, Workload, workloads

SIZE = 4


def plain(torch):
    a, b = torch.rand(SIZE), torch.rand(SIZE)
    m, n = torch.rand(4, 4), torch.rand(4, 4)
    return locals()


def recorded(torch):
    """As `plain`; what is computed from `a` and `m` is recorded on the tape."""
    a, b = torch.rand(SIZE, requires_grad=True), torch.rand(SIZE)
    m, n = torch.rand(4, 4, requires_grad=True), torch.rand(4, 4)
    return locals()


SMALL = workloads(
    add="a + b",
    add_scalar="a + 2.0",
    mul="a * b",
    relu="a.relu()",
    sum="a.sum()",
    view="m.view(16)",
    index="m[1]",
    slice="m[1:3]",
    t="m.t()",
    matmul_4x4="m @ n",
)


def chain(torch):
    x, w, b = (torch.rand(SIZE, requires_grad=True) for _ in range(3))

    def ten_ops():
        y = x * w + b
        y = y.relu() * w - b
        y = y.sigmoid() * x + 1.0
        (y * y).sum().backward()

    return locals()


def tape(torch):
    x, one = torch.rand(SIZE, requires_grad=True), torch.rand(SIZE)

    def record(n):
        y = x
        for _ in range(n):
            y = y * one
        return y

    def record_and_run(n):
        record(n).backward(one)

    return locals()


GROUPS = (
    Group(
        "small ops, 4 elements",
        plain,
        (*SMALL, Workload("add_", "a.add_(b)"), Workload("empty", "torch.empty(4)")),
        mean=8,
        floor=4,
    ),
    Group(
        "small ops, 4 elements, recorded for backward",
        recorded,
        (
            *SMALL,
            Workload("mul, then add_", "(a * b).add_(b)"),
            Workload("empty", "torch.empty(4, requires_grad=True)"),
        ),
        mean=8,
        floor=4,
    ),
    Group(
        "chain of 10 ops, forward and backward",
        chain,
        (Workload("10 ops", "ten_ops()"),),
        mean=15,
    ),
    Group(
        "tape: n ops, recorded and run backward",
        tape,
        tuple(Workload(f"n = {n:,}", f"record_and_run({n})") for n in (10, 100, 1000, 10_000)),
        floor=5,
    ),
)
