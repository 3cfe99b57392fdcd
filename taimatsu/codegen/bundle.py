"""Rows in bundles: each is passed over by itself, but what is one value per row has them in lanes.

A row of some dozens of elements takes longer to fold into one value, and that to be gone on with,
than to be passed over. Of eight rows at a time, the last lanes are folded and exchanged at once,
by the same merges in the same order as those of a row by itself, and logarithms, roots and
quotients of sums are vectors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .ir import I64, Axis, DType, Expr, topological
from .llvm import Value, literal
from .loops import Fields, Scope
from .rows import RowPass, State, single
from .schedule import BUNDLE, Pass

if TYPE_CHECKING:
    from .kernel import Kernel


class Bundle:
    """The rows k0 .. k0 + 7, in the lanes of a scope."""

    def __init__(self, kernel: Kernel, scope: Scope) -> None:
        self.kernel, self.build, self.scope = kernel, kernel.build, scope
        self.rows = kernel.nest.axes[1]
        scope.vector = self.rows

    def run(self) -> None:
        kernel, schedule = self.kernel, self.kernel.schedule
        kernel.row_scope = self.scope
        for p in schedule.passes:
            self.run_pass(p)
        for s in schedule.after:
            kernel.store(self.scope, s)
        kernel.row_scope = None

    def run_pass(self, p: Pass) -> None:
        kernel, turn = self.kernel, Axis("turn")
        cells = kernel.schedule.cells(p)
        for e in cells:
            kernel.value(e, self.scope)
        left: list[BundledPass] = []

        def body(row: Scope, _: list[Value]) -> list[Value]:
            self.enter(row, turn, cells)
            kernel.row_scope = row
            left.append(BundledPass(kernel, p, row, turn))
            left[0].run()
            return []

        kernel.loop(self.scope, turn, literal(0, I64), literal(BUNDLE, I64), 1, 1, [], body)
        kernel.row_scope = self.scope
        left[0].gather(self.scope)

    def enter(self, row: Scope, turn: Axis, cells: list[Expr]) -> None:
        """Makes a scope that of one row: what is known of all of them, it loads its part of."""
        code, build = row.code, self.build
        place = row.starts[turn]
        first = self.scope.starts[self.rows]
        row.vector = self.kernel.schedule.vector
        row.starts[self.rows] = build.binary(code, "add", first, place)
        given = {e for e in topological(cells) if e in cells or e.op in ("reduce", "item")}
        variables: dict[Value, Value] = {}

        def part(v: Value) -> Value:
            if v.lanes == 1:
                return v
            if v not in variables:
                variables[v] = self.kernel.variable(v.dtype, v.lanes)
                build.store(self.scope.code, variables[v], v)
            return build.load(code, build.gep(code, variables[v], v.dtype, place), v.dtype, 1)

        def lane(e: Any) -> Value | Fields | None:
            found = self.scope.find(e) if e in given else None
            if found is None:
                return None
            return [part(v) for v in found[0]] if isinstance(found[0], list) else part(found[0])

        row.lane = lane


class BundledPass(RowPass):
    """A pass over one row of a bundle. Its accumulators, in few lanes, are left to be gathered."""

    def __init__(self, kernel: Kernel, p: Pass, scope: Scope, turn: Axis) -> None:
        super().__init__(kernel, p, scope, whole=True)
        self.turn = turn

    def run(self) -> None:
        wide, narrow, last = self.accumulators()
        merged = [self.narrowed(*each) for each in zip(self.p.reduces, wide, narrow, strict=True)]
        self.narrow, self.last = self.leave(merged), self.leave(last)

    def leave(self, state: State) -> State:
        """Stores the row's state; gives the variables, those of the rows after one another."""
        build, code, row = self.build, self.scope.code, self.scope.starts[self.turn]
        variables = []
        for fields in state:
            variables.append([self.kernel.variable(v.dtype, BUNDLE * v.lanes) for v in fields])
            for place, v in zip(variables[-1], fields, strict=True):
                offset = build.binary(code, "mul", row, literal(v.lanes, I64))
                build.store(code, build.gep(code, place, v.dtype, offset), v)
        return variables

    def gather(self, scope: Scope) -> None:
        """Leaves the results of all rows, in lanes, in the memo of the bundle."""
        self.scope, code = scope, scope.code
        for e, narrow, last in zip(self.p.reduces, self.narrow, self.last, strict=True):
            types = [v.dtype for v in self.chunk_identity(e, 1)]

            total = self.transposed(e, [self.load(narrow, types, i) for i in range(BUNDLE)])
            total = self.kernel.merge(code, self.merges[e], total, self.load(last, types, 0))
            scope.memo[e] = single(self.widened(scope, e, total))

    def load(self, variables: Fields, types: list[DType], i: int) -> Fields:
        """The i-th vector of each variable."""
        code, build, at = self.scope.code, self.build, literal(BUNDLE * i, I64)
        return [build.load(code, build.gep(code, v, t, at), t, BUNDLE)
                for v, t in zip(variables, types, strict=True)]  # fmt: skip

    def transposed(self, e: Expr, rows: list[Fields]) -> Fields:
        """As `fold` to one lane does with each row: the rows' results in lanes.

        A vector holds so many lanes of each of some rows. Two of them are halved at once: the first
        halves of all these segments in one, the second halves in another.
        """
        length = BUNDLE
        while len(rows) > 1:
            few, half = len(rows) // 2, length // 2
            segments = [i + v for i in range(0, BUNDLE, length) for v in (0, BUNDLE)]
            low = [s + j for s in segments for j in range(half)]
            pairs = zip(rows[:few], rows[few:], strict=True)
            rows = [self.merged(e, a, b, low, [i + half for i in low]) for a, b in pairs]
            length = half
        return rows[0]

    def merged(self, e: Expr, a: Fields, b: Fields, low: list[int], high: list[int]) -> Fields:
        code, build = self.scope.code, self.build
        sides = ([build.shuffle(code, x, order, y) for x, y in zip(a, b, strict=True)]
                 for order in (low, high))  # fmt: skip
        return self.kernel.merge(code, self.merges[e], *sides)
