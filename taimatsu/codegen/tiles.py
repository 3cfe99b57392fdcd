"""Transposed operands on a GPU: tiles that go through memory which a block shares.

Threads next to each other read what lies together, along one axis, and write what lies together,
along the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .ir import I64, Axis, Expr, axis, topological
from .llvm import Value, literal
from .loops import Scope, flatten, unflatten

if TYPE_CHECKING:
    from .gpu import GpuKernel
    from .schedule import Schedule

SIDE, ROWS = 32, 8  # of a tile, and the threads along y that share it
PITCH = SIDE + 1  # a column's elements then are in different banks
MOST_BYTES = 40000  # of shared memory


def transposed(schedule: Schedule) -> list[Expr]:
    """The loads of operands that are contiguous along the outer axis only; none if too many."""
    if schedule.kind != "pointwise" or schedule.vector is not schedule.nest.axes[1]:
        return []
    place = tuple(map(axis, schedule.nest.axes))
    found = [
        e
        for e in topological([s.value for s in schedule.stores])
        if e.op == "load" and schedule.classes[e.arg] == "cs" and e.src == place
    ]
    size = sum(e.dtype.bits // 8 for e in found) * SIDE * PITCH
    return found if size <= MOST_BYTES else []


def tiled(kernel: GpuKernel, entry: Scope) -> None:
    """All tiles, dealt out to blocks along x and y."""
    from .gpu import Share

    build, nest = kernel.build, kernel.nest
    a1, a0 = nest.axes
    (first1, end1), (first0, end0) = kernel.bounds(entry, a1), kernel.bounds(entry, a0)
    t1, t0 = Axis("tile1"), Axis("tile0")
    for t, d in ((t1, "y"), (t0, "x")):
        share = Share(kernel.register(entry, f"ctaid.{d}"), kernel.register(entry, f"nctaid.{d}"))
        kernel.shares[t] = lambda _, share=share: share  # type: ignore[misc]
    tx, ty = kernel.register(entry, "tid.x"), kernel.register(entry, "tid.y")
    loads = transposed(kernel.schedule)
    arrays: dict[Expr, list[str]] = {}

    def each(scope: Scope, along1: Value | None, along0: Value | None, body) -> None:
        """`body(branch, row)` at the elements of this thread, where there are any."""
        code = scope.code
        for k in range(0, SIDE, ROWS):
            row = build.binary(code, "add", ty, literal(k, I64))
            at1 = build.binary(code, "add", scope.binder(t1).starts[t1], along1 or row)
            at0 = build.binary(code, "add", scope.starts[t0], along0 or row)
            inside = build.logic(code, "and", build.compare(code, "lt", at1, end1),
                                 build.compare(code, "lt", at0, end0))  # fmt: skip

            def there(branch: Scope, at1=at1, at0=at0, row=row) -> None:
                branch.starts[a1], branch.starts[a0] = at1, at0
                body(branch, row)

            kernel.when(scope, inside, there)

    def place(branch: Scope, line: Value, column: Value) -> Value:
        at = build.binary(branch.code, "mul", line, literal(PITCH, I64))
        return build.binary(branch.code, "add", at, column)

    def read(branch: Scope, row: Value) -> None:
        for i, e in enumerate(loads):
            parts = [build.plain(branch.code, v) for v in flatten([kernel.value(e, branch)])]
            names = [f"tile{i}_{j}" for j in range(len(parts))]
            arrays[e] = [
                kernel.shared_array(n, v, SIDE * PITCH) for n, v in zip(names, parts, strict=True)
            ]
            for array, v in zip(arrays[e], parts, strict=True):
                kernel.put_shared(branch.code, array, place(branch, row, tx), v)

    def write(branch: Scope, row: Value) -> None:
        for e in loads:
            at = place(branch, tx, row)
            parts = [kernel.get_shared(branch.code, n, at, e.dtype.real) for n in arrays[e]]
            shape = Value("", e.dtype, 1, False, tuple(parts)) if len(parts) > 1 else parts[0]
            (branch.memo[e],) = unflatten(parts, [shape])
        for s in kernel.schedule.stores:
            kernel.store(branch, s)

    def one(scope: Scope, _: list[Value]) -> list[Value]:
        each(scope, tx, None, read)
        kernel.barrier(scope.code)
        each(scope, None, tx, write)
        kernel.barrier(scope.code)  # before the next tile takes the place
        return []

    def line(scope: Scope, _: list[Value]) -> list[Value]:
        kernel.loop(scope, t0, first0, end0, SIDE, 1, [], one)
        return []

    kernel.loop(entry, t1, first1, end1, SIDE, 1, [], line)
