"""A schedule as a module of LLVM IR: `Kernel(schedule, target, name).render()`."""

from __future__ import annotations

from .bundle import Bundle
from .evaluate import Evaluator
from .ir import I64, Axis
from .llvm import Target, Value, literal
from .loops import Scope
from .rows import Blocks, RowPass
from .schedule import BUNDLE, TILE, Schedule

Span = tuple[Axis, Value, Value]  # an axis from one value to another


class Kernel(Evaluator):
    """The functions of a kernel: `name`, and `name`_finish for a blocked reduction."""

    def __init__(self, schedule: Schedule, target: Target, name: str) -> None:
        super().__init__(schedule, target)
        self.name = name

    def render(self) -> str:
        """The text of the module."""
        arguments = "ptr %ptr, ptr %geometry, ptr %scalars, ptr %scratch"
        functions = [self.define(self.name, arguments, self.main)]
        if self.schedule.blocked:
            arguments += ", i64 %blocks"
            functions.append(self.define(self.name + "_finish", arguments, Blocks(self).finish))
        parts = [f'target triple = "{self.target.triple}"', *self.build.constants(), *functions]
        parts += [*self.outlined.values(), *sorted(set(self.build.declarations.values()))]
        return "\n\n".join(parts) + "\n"

    def main(self, entry: Scope) -> None:
        spans = [(a, *self.bounds(entry, a)) for a in self.schedule.outer]
        tiled = next((s for s in spans if s[0] is self.schedule.tiled), None)
        if tiled is None:
            self.outer(entry, spans)
        else:
            self.tiles(entry, tiled, [s for s in spans if s is not tiled])

    def tiles(self, scope: Scope, span: Span, others: list[Span]) -> None:
        """Splits an axis in tiles, inside which it runs innermost."""
        a, first, end = span
        build, tile = self.build, Axis("tile")

        def body(inner: Scope, _: list[Value]) -> list[Value]:
            begin = inner.starts[tile]
            far = build.binary(inner.code, "add", begin, literal(TILE, I64))
            near = build.compare(inner.code, "lt", far, end)
            stop = build.select(inner.code, near, far, end)
            self.outer(inner, [*others, (a, begin, stop)])
            return []

        self.loop(scope, tile, first, end, TILE, 1, [], body)

    def outer(self, scope: Scope, spans: list[Span]) -> None:
        """The loops over elements or rows. The vector axis has one for each width."""
        if not spans:
            self.innermost(scope)
            return
        (a, first, end), rest = spans[0], spans[1:]

        def body(inner: Scope, _: list[Value]) -> list[Value]:
            self.outer(inner, rest)
            return []

        if self.schedule.bundled and not rest:
            stop = self.aligned(scope, first, end, BUNDLE)
            self.loop(scope, a, first, stop, BUNDLE, BUNDLE, [], self.bundle)
            first = stop
        for lanes in self.schedule.lanes if a is self.schedule.vector else (1,):
            stop = self.aligned(scope, first, end, lanes)
            self.loop(scope, a, first, stop, lanes, max(lanes, scope.lanes), [], body)
            first = stop

    def bundle(self, scope: Scope, _: list[Value]) -> list[Value]:
        Bundle(self, scope).run()
        return []

    def innermost(self, scope: Scope) -> None:
        """The inside of these loops: an element, or the passes over a row."""
        schedule = self.schedule
        if not self.nest.reduced:
            for s in schedule.stores:
                self.store(scope, s)
            return
        self.row_scope = scope
        for p in schedule.passes:
            RowPass(self, p, scope).run()
        if schedule.blocked:
            Blocks(self).save(scope)
        else:
            for s in schedule.after:
                self.store(scope, s)
        self.row_scope = None
