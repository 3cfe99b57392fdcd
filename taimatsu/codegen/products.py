"""Sums of products on a GPU, y[i, j] = sum over k of a[i, k] b[k, j], by tiles in shared memory.

A row formula is such a sum where one factor stays the same along the inner kept axis, which its
layout class tells, and the other along the outer one, which the geometry tells: so the kernel looks
at that, and has the loops of any other row formula besides. A block makes a tile of 64 by 64
results; its 256 threads read both factors' tiles once, and each adds up 16 results.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .ir import I64, Axis, Buffer, Expr, topological
from .kernel import Kernel
from .llvm import Code, Value, literal
from .loops import Scope
from .monoids import SUM

if TYPE_CHECKING:
    from .gpu import GpuKernel
    from .schedule import Schedule

TILE, DEPTH, SIDE = 64, 16, 16  # results along each axis, products at a time, threads along each
EACH = TILE // SIDE  # results of a thread along each axis


def factors(schedule: Schedule) -> tuple[Expr, Expr, int] | None:
    """The factor that is the same along k0, the other one, and the position of its operand."""
    if schedule.kind != "row" or len(schedule.passes) != 1:
        return None
    (p,) = schedule.passes
    if len(p.reduces) != 1 or p.scans or p.stores or p.reduces[0].arg[0] is not SUM:
        return None
    (body,) = p.reduces[0].src
    if body.op != "mul" or body.dtype.kind not in "fiu":
        return None
    for x, y in (body.src, body.src[::-1]):
        (a,), (b,) = (_operands(e) or [None] for e in (x, y))
        if a and b and schedule.classes[a][0] == "u" and schedule.classes[b][0] != "u":
            return x, y, schedule.nest.operands.index(b)
    return None


def _operands(e: Expr) -> list[Buffer] | None:
    """The one operand that `e` reads, as it is; None for anything else."""
    inner = e.src[0] if e.op == "cast" else e
    if inner.op != "load" or any(i.op not in ("axis", "const") for i in inner.src):
        return None
    return [n.arg for n in topological([inner]) if n.op == "load"]


def fits(kernel: GpuKernel, scope: Scope) -> Value:
    """Whether the geometry is that of a product: see `grid`, whose formula asks the same."""
    build, code, nest = kernel.build, scope.code, kernel.nest
    first, end = Kernel.bounds(kernel, scope, nest.reduced[0])
    one = build.compare(code, "eq", build.binary(code, "sub", end, first), literal(1, I64))
    stride = kernel.geometry(scope, 2 * len(nest.axes) + len(nest.axes) * kernel.plan.product)
    same = build.compare(code, "eq", stride, literal(0, I64))
    wide = build.compare(code, "eq", kernel.register(scope, "ntid.x"), literal(SIDE, I64))
    return build.logic(code, "and", build.logic(code, "and", one, same), wide)


def tiled_product(kernel: GpuKernel, entry: Scope) -> None:
    """All tiles of results, dealt out to blocks along x (k0) and y (k1)."""
    from .gpu import Share

    build, nest, schedule = kernel.build, kernel.nest, kernel.schedule
    found = factors(schedule)
    assert found is not None
    x, y, _ = found
    (total,) = schedule.passes[0].reduces
    k1, k0, r1, r0 = nest.axes
    ends = {a: Kernel.bounds(kernel, entry, a) for a in nest.axes}
    tx, ty = kernel.register(entry, "tid.x"), kernel.register(entry, "tid.y")
    t1, t0, depth = Axis("tile1"), Axis("tile0"), Axis("depth")
    for t, d in ((t1, "y"), (t0, "x")):
        share = Share(kernel.register(entry, f"ctaid.{d}"), kernel.register(entry, f"nctaid.{d}"))
        kernel.shares[t] = lambda _, share=share: share  # type: ignore[misc]
    zero = literal(0, total.dtype)
    arrays = [kernel.shared_array(f"factor{i}", zero, n) for i, n in
              enumerate((TILE * (DEPTH + 1), DEPTH * (TILE + 1)))]  # fmt: skip

    def plus(code: Code, a: Value, n: int | Value) -> Value:
        return build.binary(code, "add", a, n if isinstance(n, Value) else literal(n, I64))

    def position(code: Code, line: Value, pitch: int, column: Value) -> Value:
        return plus(code, build.binary(code, "mul", line, literal(pitch, I64)), column)

    def fetch(inner: Scope, e: Expr, a: Axis, at: Value, k: Value) -> Value:
        """The factor's element at `at` along a and `k` along the row; past its end, zero."""
        code = inner.code
        branch = Scope(inner, code, 1)
        branch.starts |= {d: ends[d][0] for d in (k1, k0, r1)}  # where it doesn't matter
        inside = build.compare(code, "lt", k, ends[r0][1])
        for d, v in ((a, at), (r0, k)):
            branch.starts[d] = kernel.least(code, v, plus(code, ends[d][1], -1))
        return build.select(code, inside, kernel.operand(e, branch, 1), zero)

    def step(inner: Scope, sums: list[Value]) -> list[Value]:
        code = inner.code
        base1, base0 = inner.binder(t1).starts[t1], inner.binder(t0).starts[t0]
        first = inner.starts[depth]
        kernel.barrier(code)  # the tiles before have been read
        flat = position(code, ty, SIDE, tx)
        for i in range(EACH):
            row = plus(code, ty, SIDE * i)
            v = fetch(inner, x, k1, plus(code, base1, row), plus(code, first, tx))
            kernel.put_shared(code, arrays[0], position(code, row, DEPTH + 1, tx), v)
            # Neighbours read what lies together, along k0 or along the row.
            if schedule.classes[nest.operands[kernel.plan.product]][0] == "c":
                column = build.binary(code, "and", flat, literal(TILE - 1, I64))
                k = build.binary(code, "lshr", flat, literal(6, I64))
                k = plus(code, k, DEPTH // EACH * i)
            else:
                column, k = row, tx
            v = fetch(inner, y, k0, plus(code, base0, column), plus(code, first, k))
            kernel.put_shared(code, arrays[1], position(code, k, TILE + 1, column), v)
        kernel.barrier(code)
        for d in range(DEPTH):
            xs = [
                kernel.get_shared(code, arrays[0], plus(code, position(
                    code, plus(code, ty, SIDE * i), DEPTH + 1, literal(0, I64)), d), zero.dtype)
                for i in range(EACH)
            ]  # fmt: skip
            ys = [
                kernel.get_shared(code, arrays[1], plus(code, tx, d * (TILE + 1) + SIDE * j),
                                  zero.dtype)
                for j in range(EACH)
            ]  # fmt: skip
            sums = [multiplied(code, xs[i], ys[j], sums[EACH * i + j])
                    for i in range(EACH) for j in range(EACH)]  # fmt: skip
        return sums

    def multiplied(code: Code, a: Value, b: Value, c: Value) -> Value:
        if zero.dtype.kind == "f":
            return build.intrinsic(code, "fma", a, b, c)
        return build.binary(code, "add", build.binary(code, "mul", a, b), c)

    def one(scope: Scope, _: list[Value]) -> list[Value]:
        sums = kernel.loop(scope, depth, *ends[r0], DEPTH, 1, [zero] * EACH**2, step)
        code = scope.code
        for n, v in enumerate(sums):
            at = {
                k1: plus(code, plus(code, scope.binder(t1).starts[t1], ty), SIDE * (n // EACH)),
                k0: plus(code, plus(code, scope.starts[t0], tx), SIDE * (n % EACH)),
            }
            inside = [build.compare(code, "lt", p, ends[a][1]) for a, p in at.items()]

            def store(branch: Scope, at=at, v=v) -> None:
                branch.starts |= at
                branch.memo[total] = v
                kernel._after(branch)
                kernel.row_scope = None

            kernel.when(scope, build.logic(code, "and", *inside), store)
        return []

    def line(scope: Scope, _: list[Value]) -> list[Value]:
        kernel.loop(scope, t0, *ends[k0], TILE, 1, [], one)
        return []

    kernel.loop(entry, t1, *ends[k1], TILE, 1, [], line)
