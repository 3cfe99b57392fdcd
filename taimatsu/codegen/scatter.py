"""Derivatives of indexed ops: a load's derivative is a delta, solved for where it lands.

Reverse mode leaves, for every load x[f(c, w)] of the formula (c: the output's coordinates, w:
windows), an adjoint A(c, w). Then

    gx[p] = sum over c and w of A(c, w) where f(c, w) == p

If the equations can be solved for the coordinates with unit step, that is a gather: what is left
to sum are windows (or nothing: a select). Else it is a scatter, gx[f(c, w)] += A(c, w).
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import lang, monoids
from .algebra import Algebra, Product
from .derivatives import Reverse
from .derived import (
    Source,
    Sources,
    derived_op,
    list_sources,
    mentioned,
    source_names,
    trial_dtypes,
)  # fmt: skip
from .ir import (
    BOOL,
    I64,
    Axis,
    Buffer,
    DType,
    Expr,
    Store,
    axis,
    const,
    load,
    reduce,
    substitute,
    topological,
)  # fmt: skip
from .lang import Context, Value, context, tracing
from .operands import Accumulator, Operand
from .simplify import cast, logical, negate, node, where
from .trace import Inputs, as_tuple, attributes, signature

if TYPE_CHECKING:
    from taimatsu.ops.table import Op

_MAX_PIECES = 16  # of a piecewise index map, before scattering is the shorter code


class Unsolvable(Exception):
    """The index map can't be inverted: scatter."""


@dataclass(frozen=True)
class Contribution:
    """What one load adds: gx[index] += value, over all axes free in them."""

    index: tuple[Expr, ...]
    value: Product


@dataclass
class Call:
    """One call of the original formula: operands (real ones or stand-ins) and coordinates."""

    op: Op
    operands: dict[str, Operand | None]
    gs: list[Operand]
    coordinates: tuple[Axis, ...]
    attrs: Mapping[str, Any]
    compute: DType

    def contributions(self, wanted: list[str]) -> dict[str, list[Contribution]]:
        """For each wanted input what its loads add."""
        seeds = self.seeds()
        leaves: dict[Expr, tuple[str, Expr]] = {}
        buffers = {self.operands[name].buffer: name for name in wanted}
        for e in topological(e for e, _, _ in seeds):
            # A widened load is the leaf, so that adjoints stay in the wide type.
            inner = e.src[0] if e.op == "cast" else e
            if inner.op == "load" and inner.arg in buffers:
                leaves[e] = buffers[inner.arg], inner
        algebra = Algebra()
        found = Reverse(leaves, lambda a: a.role == "w", algebra).run(seeds)
        result: dict[str, list[Contribution]] = {}
        for e, p in found.items():
            name, inner = leaves[e]
            result.setdefault(name, []).append(Contribution(inner.src, p))
        return result

    def outcome(self) -> tuple[list[Expr], list[Store]]:
        """What the formula returns, or adds to accumulators."""
        formula, op = self.op.formula, self.op
        targets = [Accumulator(g.buffer) for g in self.gs] if op.accumulates else []
        args = [*targets, *self.operands.values(), *(Value(axis(a)) for a in self.coordinates)]
        wanted = signature(formula, len(args) - len(self.coordinates)).wanted(
            {p.name: None for p in op.parsed.attributes} | dict(self.attrs)
        )
        with tracing(Context("indexed", self.compute, (), self.coordinates)) as inner:
            result = formula(*args, **wanted)
            values = [] if targets else [lang.value(v).expr for v in as_tuple(result)]
        return values, inner.stores

    def seeds(self) -> list[tuple[Expr, Product, frozenset[Axis]]]:
        """Outputs, their adjoints, and the axes they are stored over."""
        values, stores = self.outcome()
        at = tuple(map(axis, self.coordinates))
        seeds = [
            (e, Product.of(cast(load(g.buffer, *at), e.dtype)), frozenset(self.coordinates))
            for e, g in zip(values, self.gs, strict=False)
            if not e.dtype.integral
        ]
        for s in stores:
            e = s.value
            seed = Product.of(cast(load(s.buffer, *s.index), e.dtype))
            if s.guard is not None:
                seed = seed.guarded(s.guard)
            seeds.append((e, seed, e.axes.union(*(i.axes for i in s.index))))
        return seeds

    def extent(self, a: Axis) -> Expr:
        """How far the axis of the original formula runs."""
        if a.extent is not None:
            return const(a.extent, I64)
        over = self.operands[self.op.over] if self.op.over else self.gs[0]
        return over._size(self.coordinates.index(a))


# ---- solving ----------------------------------------------------------------------------------


def steps_of(e: Expr) -> dict[Axis, int]:
    """How far an affine index moves with each axis; Unsolvable if it isn't affine."""
    if e.op == "axis":
        return {e.arg: 1}
    if not e.axes:
        return {}
    if e.op in ("add", "sub"):
        a, b = map(steps_of, e.src)
        sign = 1 if e.op == "add" else -1
        total = {x: a.get(x, 0) + sign * b.get(x, 0) for x in (*a, *b)}
        return {x: n for x, n in total.items() if n}
    if e.op == "neg":
        return {x: -n for x, n in steps_of(e.src[0]).items()}
    if e.op == "mul":
        for k, x in (e.src, e.src[::-1]):
            if k.op == "const":
                return {y: n * k.arg for y, n in steps_of(x).items() if k.arg}
    raise Unsolvable


def pieces(e: Expr) -> list[tuple[Expr, tuple[Expr, ...]]]:
    """The cases of a piecewise index: (expression without selects, conditions it holds under)."""
    if e.op == "abs":
        zero = const(0, I64)
        return [
            case
            for x, conds in pieces(e.src[0])
            for case in (
                (x, (*conds, node("le", zero, x, dtype=BOOL))),
                (node("neg", x), (*conds, node("lt", x, zero, dtype=BOOL))),
            )
        ]
    if e.op == "where":
        cond, a, b = e.src
        yes = [(x, (*conds, cond)) for x, conds in pieces(a)]
        return yes + [(x, (*conds, negate(cond))) for x, conds in pieces(b)]
    if e.op in ("min", "max"):
        a, b = e.src
        first = node("lt", *((a, b) if e.op == "min" else (b, a)), dtype=BOOL)
        return pieces(Expr("where", (first, a, b), None, e.dtype))
    if e.op in ("add", "sub", "mul", "neg") and e.axes:
        return [
            (node(e.op, *(x for x, _ in case)), tuple(c for _, conds in case for c in conds))
            for case in itertools.product(*map(pieces, e.src))
        ]
    return [(e, ())]


def solve(
    index: tuple[Expr, ...], places: tuple[Expr, ...], extent: Callable[[Axis], Expr]
) -> tuple[dict[Expr, Expr], list[Expr]]:
    """The axes for which `index` is `places`, and the conditions for there to be any.

    Unsolvable if an equation has no axis with a step of one that isn't solved for yet.
    """
    solved: dict[Expr, Expr] = {}
    conds: list[Expr] = []
    for e, p in sorted(zip(index, places, strict=True), key=lambda pair: len(pair[0].axes)):
        full = substitute(e, solved)
        steps = {a: n for a, n in steps_of(full).items() if axis(a) not in places}
        if not steps:
            conds.append(node("eq", full, p, dtype=BOOL))
            continue
        # The largest axis: a coordinate rather than a window.
        units = sorted((a for a, n in steps.items() if abs(n) == 1), key=lambda a: a.role == "w")
        if not units:
            raise Unsolvable
        a, n = units[0], steps[units[0]]
        others = substitute(full, {axis(a): const(0, I64)})
        found = node("sub", p, others) if n == 1 else node("sub", others, p)
        solved = {k: substitute(v, {axis(a): found}) for k, v in solved.items()}
        solved[axis(a)] = found
    for axis_expr, found in solved.items():
        if found.op != "axis":
            conds.append(node("le", const(0, I64), found, dtype=BOOL))
        conds.append(node("lt", found, extent(axis_expr.arg), dtype=BOOL))
    return solved, conds


def gather(
    contributions: list[Contribution], places: tuple[Expr, ...], extent: Callable[[Axis], Expr]
) -> Expr:
    """gx[places] as a sum over the solutions; Unsolvable if it would take a scatter."""
    total: Expr | None = None
    for c in contributions:
        cases = list(itertools.product(*map(pieces, c.index)))
        if len(cases) > _MAX_PIECES:
            raise Unsolvable
        for case in cases:
            index = tuple(x for x, _ in case)
            part = _one_gather(index, [k for _, ks in case for k in ks], c.value, places, extent)
            total = part if total is None else node("add", total, part)
    assert total is not None, "gather: nothing to add"
    return total


def _one_gather(index, case, value: Product, places, extent) -> Expr:
    solved, conds = solve(index, places, extent)
    body, guard = value.without_guards().expr(), value.guard()
    tests = [substitute(k, solved) for k in [*case, *([] if guard is None else [guard])]]
    cond: Expr = const(True, BOOL)
    for test in [*conds, *tests]:
        cond = logical("and", cond, test)
    body = substitute(body, solved)
    t = body.dtype
    body = where(cond, body, const(0, t))
    left = {a for a in body.axes if axis(a) not in places}
    if any(a.role != "w" for a in left):
        raise Unsolvable
    if left:
        windows = tuple(sorted(left, key=lambda a: a.serial))
        body = reduce(monoids.SUM, windows, body)
    return body


# ---- the derived ops --------------------------------------------------------------------------


@dataclass(eq=False)
class Derived:
    """The formula of the gradient of one input, gathered or scattered."""

    op: Op
    name: str  # of the input
    sources: list[Source]
    ranks: Mapping[Source, int]
    present: Mapping[str, bool]
    scatters: bool
    coordinates: int  # how many the original formula takes

    def __call__(self, *args: Any, **attrs: Any) -> Any:
        ctx = context()
        start = 1 if self.scatters else 0
        n = len(self.sources)
        given = dict(zip(self.sources, args[start : start + n], strict=True))
        places = tuple(v.expr for v in args[start + n :])
        axes = (
            tuple(p.arg for p in places)
            if self.scatters
            else tuple(Axis(f"c{d}") for d in range(self.coordinates))
        )
        call = stand_in_call(self.op, given, self.ranks, self.present, axes, attrs, ctx.compute)
        contributions = call.contributions([self.name])[self.name]
        if not self.scatters:
            return Value(gather(contributions, places, call.extent))
        (target,) = args[:1]
        for c in contributions:
            t = target.buffer.dtype
            # The guard is in the value too: there it says which loads may be done.
            value = cast(c.value.expr(), t)
            ctx.stores.append(Store(target.buffer, c.index, value, monoids.SUM, c.value.guard()))
        return None


def stand_in_call(
    op: Op, given: Mapping[Source, Operand], ranks: Mapping[Source, int],
    present: Mapping[str, bool], axes: tuple[Axis, ...], attrs: Mapping[str, Any], compute: DType,
) -> Call:  # fmt: skip
    """A call of the formula with `given` operands, and stand-ins for the others."""

    def operand(source: Source, name: str, t: DType) -> Operand:
        if source in given:
            return given[source]
        return Operand(Buffer(name, t, ranks.get(source, Operand.UNKNOWN)), t)

    operands = {
        p.name: operand(("arg", i), p.name, compute if op.takes_gradient(p) else I64)
        if present.get(p.name, True)
        else None
        for i, p in enumerate(op.parsed.params)
        if p.tensor
    }
    for i, p in enumerate(op.parsed.params):  # sizes are real where only these are passed
        if ("like", i) in given:
            operands[p.name] = given["like", i]
    gs = [operand(("g", i), f"g{i}", compute) for i in range(len(op.parsed.outputs))]
    return Call(op, operands, gs, axes, attrs, compute)


def indexed_plan(
    op: Op, wanted: list[int], statics: Mapping[str, Any], present: Mapping[str, bool]
) -> tuple[list, dict[int, Source]]:
    """The plan of an indexed op: a step for each gradient."""
    params, compute = op.parsed.params, trial_dtypes(op)[0]
    names = op.coordinates or _coordinate_names(op)
    axes = tuple(Axis(n) for n in names)
    ranks: dict[Source, int] = {
        ("g", i): op.ranks[op.accumulates[i]] if op.accumulates else len(axes)
        for i in range(len(op.parsed.outputs))
    }
    for i, p in enumerate(params):
        if p.tensor and p.name in op.ranks:
            ranks["arg", i] = op.ranks[p.name]
    with tracing(Context("indexed", compute, (), axes)):
        attrs = attributes(op, statics, compute, Inputs())
        call = stand_in_call(op, {}, ranks, present, axes, attrs, compute)
        if op.backward is None:
            found = call.contributions([params[i].name for i in wanted])
        else:
            values, _ = call.outcome()  # which settles the ranks
            integral = {i for i, e in enumerate(values) if e.dtype.integral}
    for i, p in enumerate(params):
        if p.tensor and call.operands.get(p.name) is not None:
            ranks["arg", i] = ranks["like", i] = call.operands[p.name].buffer.rank
    for i in range(len(op.parsed.outputs)):
        ranks["out", i] = ranks["g", i]
    if op.backward is not None:
        return own_plan(op, wanted, ranks, integral)
    buffers = {call.gs[i].buffer: ("g", i) for i in range(len(call.gs))}
    for i, p in enumerate(params):
        if p.tensor and call.operands.get(p.name) is not None:
            buffers[call.operands[p.name].buffer] = ("arg", i)
    steps: list = []
    grads: dict[int, Any] = {}
    for i in wanted:
        loads = found.get(params[i].name)
        if loads:
            steps.append(solved_step(call, i, loads, ranks, names, present, buffers))
            grads[i] = ("step", (len(steps) - 1, 0))
    return steps, grads


def solved_step(
    call: Call, i: int, contributions: list[Contribution], ranks: Mapping[Source, int],
    names: tuple[str, ...], present: Mapping[str, bool], buffers: Mapping[Buffer, Source],
) -> tuple:  # fmt: skip
    """The step for the gradient of parameter `i`: a gather if there is one, else a scatter."""
    op, name = call.op, call.op.parsed.params[i].name
    targets = tuple(axis(Axis(f"p{d}")) for d in range(ranks["arg", i]))
    with tracing(Context("indexed", call.compute, (), call.coordinates)):
        try:
            exprs, scatters = [gather(contributions, targets, call.extent)], False
        except Unsolvable:
            exprs = [e for c in contributions for e in (*c.index, c.value.expr())]
            scatters = True
    sources = Sources.sorted(op, mentioned(exprs, buffers))
    for e in topological(exprs):  # operands of which only the sizes are used
        if e.op == "size" and isinstance(e.arg, tuple):
            sources.want_sizes(buffers[e.arg[0]])
    sources.want_sizes(("arg", i))
    over = _over_source(op, sources) if scatters else None
    formula = Derived(op, name, sources.order, ranks, present, scatters, len(call.coordinates))
    places = names if scatters else tuple(f"p{d}" for d in range(len(targets)))
    at = sources.position(i)
    callee = derived_op(
        op, f"backward_{name}", formula, sources, [f"Tensor g_{name}"],
        coordinates=places, accumulates=(name,) if scatters else (), over=over,
        ranks={sources.names[s]: ranks[s] for s in sources.order} | {name: ranks["arg", i]},
        out=lambda *sizes, **_: list(sizes[at]),
    )  # fmt: skip
    return callee, list_sources(op, sources), 1


def _coordinate_names(op: Op) -> tuple[str, ...]:
    skip = len(op.parsed.tensors) + len(op.accumulates)
    return signature(op.formula, skip).positional[skip:]


def _over_source(op: Op, sources: Sources) -> str:
    """The operand of a scatter that has the original's coordinates."""
    if op.over is None:
        return sources.names[next(s for s in sources.order if s[0] == "g")]
    i = op.parsed.position(op.over)
    sources.want_sizes(("arg", i))
    return op.over


def own_plan(
    op: Op, wanted: list[int], ranks: Mapping[Source, int], integral: set[int]
) -> tuple[list, dict[int, Source]]:
    """The plan by the gradient that the op declares: one step.

    Its formula takes accumulators (`g` and an input's name), then tensors, then coordinates; with
    no accumulators it returns the gradient at a coordinate of the one input.
    """
    params = op.parsed.params
    formula = op.backward
    known = source_names(op)
    called = {name: i for name, (kind, i) in known.items() if kind == "arg" and params[i].tensor}
    targets, order = [], []
    for name in inspect.signature(formula).parameters:
        if name in known:
            order.append(known[name])
        elif name[0] == "g" and name[1:] in called:
            targets.append(called[name[1:]])
        else:
            break
    results = targets or [i for i, p in enumerate(params) if op.takes_gradient(p)][:1]
    sources = Sources(op, list(order))
    for i in results:
        sources.want_sizes(("arg", i))
    extra = len(sources.order) - len(order)
    skip = len(targets) + len(order)
    positional = signature(formula, skip).positional
    at = [sources.position(i) for i in results]
    over = sources.names[next(s for s in order if s[0] == "g")]
    callee = derived_op(
        op,
        "backward",
        Own(formula, skip, extra) if extra else formula,
        sources,
        [f"Tensor g_{params[i].name}" for i in results],
        integral,
        coordinates=positional[skip:],
        accumulates=tuple(params[i].name for i in targets),
        over=over if targets else None,
        ranks={sources.names[s]: ranks[s] for s in sources.order}
        | {params[i].name: ranks["arg", i] for i in results},
        out=lambda *sizes, **_: [list(sizes[n]) for n in at],
    )
    step = (callee, list_sources(op, sources), len(results))
    return [step], {i: ("step", (0, n)) for n, i in enumerate(results) if i in wanted}


@dataclass(eq=False)
class Own:
    """A declared gradient, given operands after its own that are there for their sizes."""

    formula: Callable
    skip: int
    extra: int

    def __call__(self, *args: Any, **attrs: Any) -> Any:
        own = (*args[: self.skip], *args[self.skip + self.extra :])
        return self.formula(*own, **signature(self.formula, self.skip).wanted(attrs))
