"""The derivative of an op, as a plan: calls of new ops of the same kind, derived in turn.

A derived op's formula differentiates the original's when it is called, so that it follows the
operands' dtypes; what it takes is found out once, by a trial with stand-ins for everything: only
what the gradients then mention is a parameter, and so saved.

    pointwise   one op for all gradients (one for each, where that has too many operands)
    row         one op for the gradients of rows and cells; those of shared inputs, summed over the
                rows, are a second op whose rows run the other way. It gets the scalars per row
                that it needs from the first
    indexed     one op for each gradient (`scatter`: gathered where the index map can be inverted)
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from . import lang, scatter
from .algebra import Algebra, Product
from .derivatives import Reverse, call_gradient
from .derived import (
    Source,
    Sources,
    derived_op,
    list_sources,
    mentioned,
    role,
    source_names,
    trial_dtypes,
)  # fmt: skip
from .ir import I64, Axis, Buffer, DType, Expr, load, topological, transform
from .lang import Context, Value, context, tracing
from .simplify import cast
from .trace import ROLES, Inputs, as_tuple, attributes, make_axes, place, signature, single_dim

if TYPE_CHECKING:
    from taimatsu.ops.schema import SchemaParam
    from taimatsu.ops.table import Op

MAX_OPERANDS = 15  # of one kernel, with one to spare for a tensor that only tells a dtype


def plan(
    op: Op, mask: int, statics: Mapping[str, Any], present: Mapping[str, bool]
) -> tuple[list, list]:
    """The steps and gradients of a `table.Plan` for the parameters in `mask`.

    Raises NotImplementedError if there is no derivative.
    """
    params = op.parsed.params
    asked = [i for i in range(len(params)) if mask >> i & 1]
    wanted = [
        i for i in asked if op.takes_gradient(params[i]) and present.get(params[i].name, True)
    ]
    if isinstance(op.backward, dict) or (op.backward and not op.is_formula):
        steps, grads = given_plan(op, wanted)
    elif op.kind == "indexed":
        steps, grads = scatter.indexed_plan(op, wanted, statics, present)
    elif op.is_formula:
        steps, grads = formula_plan(op, wanted, statics, present)
    else:
        raise NotImplementedError(f"{op.name}: the derivative isn't implemented")
    return steps, [grads.get(i) for i in asked]


@cache
def _flat() -> Op:
    from taimatsu.ops.table import Op

    return Op("_flat(Tensor self) -> Tensor", "pointwise", lambda x: lang.cast(0, x.dtype))


# ---- gradients given as functions of tensors --------------------------------------------------


def given_plan(op: Op, wanted: list[int]) -> tuple[list, dict[int, Source]]:
    params = op.parsed.params
    if isinstance(op.backward, dict):
        steps: list = []
        grads: dict[int, Source] = {}
        left = {params[i].name: i for i in wanted}
        for names in sorted(op.backward, key=len, reverse=True):  # several at once come first
            if not all(name in left for name in names):
                continue
            function = op.backward[names]
            grads |= {left.pop(name): ("step", (len(steps), n)) for n, name in enumerate(names)}
            steps.append((function, named_sources(op, function, {}), len(names)))
        return steps, grads
    inputs = [i for i, p in enumerate(params) if op.takes_gradient(p)]
    needs = tuple(i in wanted for i in inputs)
    sources = named_sources(op, op.backward, {"needs": needs})
    step = (op.backward, sources, len(inputs))
    return [step], {i: ("step", (0, n)) for n, i in enumerate(inputs) if i in wanted}


def named_sources(op: Op, function: Any, values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What a gradient function's parameters stand for, by their names."""
    known = {k: ("value", v) for k, v in values.items()} | source_names(op)
    names = inspect.signature(function).parameters
    if unknown := [n for n in names if n not in known]:
        raise TypeError(
            f"{op.name}: its gradient takes {', '.join(unknown)}; known are {', '.join(known)}"
        )
    return [
        ("g?", known[n][1]) if known[n][0] == "g" and p.default is None else known[n]
        for n, p in names.items()
    ]


# ---- pointwise and row ops --------------------------------------------------------------------


@dataclass
class Bound:
    """The original op's tensors as values: real ones where given, stand-ins for the others."""

    tensors: dict[str, Value | None]
    gs: list[Value]
    outs: list[Value | None]
    sources: dict[Buffer, Source]  # of the stand-ins


def bind(
    op: Op, given: Mapping[Source, Value], present: Mapping[str, bool], axes: tuple[Axis, ...],
    single: bool, compute: DType, stand_ins: bool = False,
) -> Bound:  # fmt: skip
    """`given` sources as values; `stand_ins`: outputs get one too, not only what must exist."""
    bound = Bound({}, [], [], {})

    def value(source: Source, name: str, type_: str, t: DType) -> Value:
        if source in given:
            return given[source]
        role = ROLES[type_] if op.kind == "row" else None
        buffer = Buffer(name, t, len(axes), None, role)
        bound.sources[buffer] = source
        return Value(load(buffer, *place(role, axes, single)))

    for i, p in enumerate(op.parsed.params):
        if p.tensor:
            there = present.get(p.name, True)
            t = compute if op.takes_gradient(p) else I64
            bound.tensors[p.name] = value(("arg", i), p.name, p.type, t) if there else None
    for i, o in enumerate(op.parsed.outputs):
        bound.gs.append(value(("g", i), f"g{i}", o.type, compute))
        out = ("out", i)
        there = stand_ins or out in given
        bound.outs.append(value(out, o.name, o.type, compute) if there else None)
    return bound


@dataclass
class Gradients:
    """Adjoints of the wanted inputs, and what turns them into final expressions."""

    products: list[Product | None]
    algebra: Algebra
    known: dict[Expr, Expr]  # an output's value -> the saved output

    def expr(self, p: Product) -> Expr:
        return transform([self.algebra.express(p)], lambda _: None, self.known)[0]


# An output that one of these computes isn't worth saving, nor would it be right: whoever writes to
# it in place, as in `y = a * b; y += c`, expects that to work.
_CHEAP = frozenset((
    "add", "sub", "mul", "div", "neg", "where", "cast", "const", "load",
    "and", "or", "not", "lt", "le", "eq", "ne",
))  # fmt: skip


def differentiate(op: Op, wanted: list[int], bound: Bound, attrs: Mapping[str, Any]) -> Gradients:
    """The adjoints of `wanted`; in a row op, of shared inputs before they are summed over rows."""
    params, outputs = op.parsed.params, op.parsed.outputs
    algebra = Algebra()
    if callable(op.backward):
        return Gradients(_own_gradient(op, wanted, bound, attrs), algebra, {})
    values = [lang.value(v).expr for v in as_tuple(call_formula(op, bound, attrs))]
    known: dict[Expr, Expr] = {}
    for value, out in zip(values, bound.outs, strict=True):
        if out is None or value.op in ("load", "const"):
            continue
        binds = any(e.op in ("reduce", "scan") for e in topological([value]))
        if binds or value.op not in _CHEAP:
            known[value] = cast(out.expr, value.dtype)
            if binds:
                algebra.recognise(value, known[value])
    row = set(context().row)
    seeds = []
    for value, g, o in zip(values, bound.gs, outputs, strict=True):
        if not value.dtype.integral:
            stored = row if ROLES[o.type] == "row" else set()
            seed = Product.of(cast(g.expr, value.dtype))
            seeds.append((value, seed, value.axes | frozenset(stored)))
    leaves = [_as_given(bound.tensors[params[i].name].expr) for i in wanted]
    found = Reverse(leaves, row.__contains__, algebra).run(seeds)
    return Gradients([found.get(leaf) for leaf in leaves], algebra, known)


def _as_given(e: Expr) -> Expr:
    """A real operand among complex ones: a formula that casts it back mentions it as it was."""
    among_complex = e.op == "cast" and e.dtype.kind == "c" and e.src[0].dtype.kind == "f"
    return e.src[0] if among_complex else e


def call_formula(op: Op, bound: Bound, attrs: Mapping[str, Any]) -> Any:
    """What the original formula returns for the bound tensors."""
    attrs = {p.name: None for p in op.parsed.attributes} | dict(attrs)
    wanted = signature(op.formula, len(bound.tensors)).wanted(attrs)
    return op.formula(*bound.tensors.values(), **wanted)


def _own_gradient(
    op: Op, wanted: list[int], bound: Bound, attrs: Mapping[str, Any]
) -> list[Product | None]:
    """What `op`'s gradient formula says."""
    params, outputs = op.parsed.params, op.parsed.outputs
    env: dict[str, Any] = {**attrs, **bound.tensors, "g": bound.gs[0], "result": bound.outs[0]}
    # The formula's own parameter names may be used too: x for self.
    for name, tensor in zip(_tensor_names(op), bound.tensors.values(), strict=False):
        env.setdefault(name, tensor)
    for i, o in enumerate(outputs):
        env[f"g{i}"] = env[f"g_{o.name}"] = bound.gs[i]
        env.setdefault(o.name, bound.outs[i])
    inputs = [i for i, p in enumerate(params) if op.takes_gradient(p)]
    results = call_gradient(op, env)
    if len(results) != len(inputs):
        raise TypeError(
            f"{op.name}: its gradient returns {len(results)} values for {len(inputs)} inputs"
        )
    compute = context().compute
    found = {}
    for i, g in zip(inputs, results, strict=True):
        if g is not None:
            e = lang.value(g).expr
            found[i] = Product.of(cast(e, compute) if e.dtype.integral else e)
    row, products = set(context().row), []
    for i in wanted:
        p = found.get(i)
        lacks = row if params[i].type == "Cell" else set()
        products.append(Algebra().sum_over(p, tuple(lacks)) if p and lacks & p.axes else p)
    return products


def _tensor_names(op: Op) -> list[str]:
    names = inspect.signature(op.formula).parameters.values()
    return [p.name for p in names if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]


@dataclass(eq=False)
class Derived:
    """The formula of the first op: gradients of rows, cells, points; scalars for the second op."""

    op: Op
    wanted: list[int]
    shared: list[int]
    sources: list[Source]
    present: Mapping[str, bool]

    def __call__(self, *tensors: Value, **attrs: Any) -> tuple[Value, ...]:
        ctx = context()
        given = dict(zip(self.sources, tensors, strict=True))
        single = len(ctx.row) == 1
        # A declared gradient names outputs that the gradients wanted here may not need.
        bound = bind(
            self.op, given, self.present, ctx.axes, single, ctx.compute,
            stand_ins=callable(self.op.backward),
        )  # fmt: skip
        exprs, summed = self.results(bound, attrs)
        return tuple(map(Value, (*exprs, *row_scalars(summed, ctx.row))))

    def results(self, bound: Bound, attrs: Mapping[str, Any]) -> tuple[list[Expr], list[Expr]]:
        """Final expressions of the wanted gradients, and of the shared ones before their sum."""
        both = differentiate(self.op, self.wanted + self.shared, bound, attrs)
        exprs = [lang.value(0).expr if p is None else both.expr(p) for p in both.products]
        n = len(self.wanted)
        return exprs[:n], exprs[n:]


@dataclass(eq=False)
class Complement:
    """The formula of the second op, whose rows are the first one's kept dims: Σ over rows."""

    op: Op
    shared: list[int]
    sources: list[Source]
    present: Mapping[str, bool]
    single: bool
    nscalars: int

    def __call__(self, *tensors: Value, **attrs: Any) -> tuple[Value, ...]:
        ctx = context()
        n = len(self.sources)
        given = dict(zip(self.sources, tensors[:n], strict=True))
        k1, k0, r1, r0 = ctx.axes
        row = (k0,) if self.single else (k1, k0)
        inner = Context("row", ctx.compute, row, (r1, r0, k1, k0))
        with tracing(inner):
            bound = bind(
                self.op, given, self.present, inner.axes, self.single, ctx.compute,
                stand_ins=callable(self.op.backward),
            )  # fmt: skip
            _, exprs = Derived(self.op, [], self.shared, [], self.present).results(bound, attrs)
            scalars = row_scalars(exprs, row)
        assert len(scalars) == self.nscalars, (self.op, scalars)
        known = {e: v.expr for e, v in zip(scalars, tensors[n:], strict=True)}
        sums = []
        for e in transform(exprs, lambda _: None, known):
            total = Algebra().sum_over(Product.of(e), ctx.row)
            sums.append(lang.value(0) if total is None else Value(total.expr()))
        return tuple(sums)


def row_scalars(exprs: list[Expr], row: tuple[Axis, ...]) -> list[Expr]:
    """The largest parts that reduce or scan a row: what an op along other axes must be given.

    Those that vary along the row (scans) are rows themselves.
    """
    binding = {e for e in topological(exprs) if e.op in ("reduce", "scan")}
    for e in topological(exprs):
        if any(s in binding for s in e.src):
            binding.add(e)
    found: dict[Expr, None] = {}
    stack = list(reversed(exprs))
    while stack:
        e = stack.pop()
        if e not in binding:
            continue
        scanned = e.op == "scan" or (e.op == "item" and e.src[0].op == "scan")
        if scanned or not e.axes & set(row):
            found[e] = None
        else:
            stack.extend(reversed(e.src))
    return list(found)


@dataclass
class Trial:
    """The gradients of a call with stand-ins for everything, in one dtype."""

    exprs: dict[int, Expr]  # by parameter; what has none is zero
    scalars: list[Expr]
    compute: DType
    outputs: list[DType]
    sources: dict[Buffer, Source]
    row: tuple[Axis, ...]

    @property
    def integral(self) -> set[int]:
        """The outputs that are positions, or truth values."""
        return {i for i, t in enumerate(self.outputs) if t.integral}

    def is_gradient(self, i: int) -> Source | None:
        """The output's gradient that parameter `i`'s simply is."""
        e = self.exprs.get(i)
        source = self.sources.get(e.arg) if e is not None and e.op == "load" else None
        return source if source and source[0] == "g" else None

    def mentioned(self, wanted: list[int], scalars: bool) -> set[Source]:
        exprs = [self.exprs[i] for i in wanted if i in self.exprs]
        return mentioned(exprs + (self.scalars if scalars else []), self.sources)

    def mentioned_past(self, wanted: list[int]) -> set[Source]:
        """As `mentioned`, when the scalars are given."""
        known = {s: load(Buffer("s", s.dtype, 0)) for s in self.scalars}
        exprs = [self.exprs[i] for i in wanted if i in self.exprs]
        return mentioned(transform(exprs, lambda _: None, known), self.sources)


def trial(
    op: Op, direct: list[int], shared: list[int], statics: Mapping[str, Any],
    present: Mapping[str, bool], compute: DType,
) -> Trial:  # fmt: skip
    axes = make_axes(op, statics, ())
    single = op.kind == "row" and single_dim(op, statics)
    row = () if op.kind != "row" else axes[3:] if single else axes[2:]
    with tracing(Context(op.kind, compute, row, axes)):
        bound = bind(op, {}, present, axes, single, compute, stand_ins=True)
        attrs = attributes(op, statics, compute, Inputs())
        both = differentiate(op, direct + shared, bound, attrs)
        pairs = zip(direct + shared, both.products, strict=True)
        exprs = {i: both.expr(p) for i, p in pairs if p is not None}
        scalars = row_scalars([exprs[i] for i in shared if i in exprs], row)
        values = as_tuple(call_formula(op, bound, attrs))
        outputs = [lang.value(v).dtype for v in values]
    return Trial(exprs, scalars, compute, outputs, bound.sources, row)


def trials(op: Op, *args: Any) -> list[Trial]:
    """A trial in real numbers, and one in complex ones if the op may take those.

    What a gradient mentions can differ (conj, abs): a derived op takes what either needs.
    """
    first, *rest = trial_dtypes(op)
    found = [trial(op, *args, first)]  # type: ignore[call-arg]
    for compute in rest:
        try:
            found.append(trial(op, *args, compute))  # type: ignore[call-arg]
        except (TypeError, KeyError, NotImplementedError):  # not a formula for complex numbers
            continue
    return found


def formula_plan(
    op: Op, wanted: list[int], statics: Mapping[str, Any], present: Mapping[str, bool]
) -> tuple[list, dict[int, Source]]:
    """The plan of a pointwise or row op."""
    params = op.parsed.params
    shared = [i for i in wanted if params[i].type == "Shared"]
    direct = [i for i in wanted if i not in shared]
    tried = trials(op, direct, shared, statics, present)
    first = tried[0]
    nonzero = [i for i in wanted if any(i in t.exprs for t in tried)]
    shared = [i for i in shared if i in nonzero]
    grads: dict[int, Any] = {}
    for i in direct:  # a gradient that just is an output's needs no op
        same = {t.is_gradient(i) for t in tried}
        source = same.pop() if len(same) == 1 else None
        if source and _same_role(op, params[i], source[1]):
            grads[i] = source
    direct = [i for i in direct if i in nonzero and i not in grads]
    kinds = ["Row" if s.axes & set(first.row) else "Cell" for s in first.scalars]
    steps: list[tuple] = []
    together = {s for t in tried for s in t.mentioned(direct, True)}
    crowded = len(together) + len(direct) + len(kinds) > MAX_OPERANDS
    groups = [[i] for i in direct] if crowded and direct else [direct] if direct or kinds else []
    for at, group in enumerate(groups):
        put_out = kinds if at == 0 else []  # the scalars, by the first
        sources = Sources.sorted(op, {s for t in tried for s in t.mentioned(group, at == 0)})
        _complete(sources, op)
        if any(t.kind == "f" for one in tried if one.compute.kind == "c" for t in one.outputs):
            sources.want_sizes(("arg", wanted[0]))  # a real output doesn't tell of a complex input
        formula: Any = Derived(op, group, shared if put_out else [], sources.order, present)
        outputs = [f"{role(op, params[i].type)} g_{params[i].name}" for i in group]
        outputs += [f"{kind} s{n}" for n, kind in enumerate(put_out)]
        rows = op.row_spec if op.kind == "row" else None
        callee = derived_op(op, "backward", formula, sources, outputs, first.integral, rows=rows)
        grads |= {i: ("step", (len(steps), n)) for n, i in enumerate(group)}
        steps.append((callee, list_sources(op, sources), len(outputs)))
    if shared:
        sources = Sources.sorted(op, set().union(*(t.mentioned_past(shared) for t in tried)))
        _complete(sources, op)
        formula = Complement(op, shared, sources.order, present, len(first.row) == 1, len(kinds))
        spec = op.row_spec
        across = spec[1] if isinstance(spec, tuple) and spec[0] == "not" else ("not", spec)
        callee = derived_op(
            op, "backward_shared", formula, sources, [f"Cell g_{params[i].name}" for i in shared],
            first.integral, extra=["Row" if k == "Row" else "Shared" for k in kinds], crossed=True,
            rows=across,
        )  # fmt: skip
        given = [("step", (0, len(groups[0]) + n)) for n in range(len(kinds))]
        steps.append((callee, list_sources(op, sources, *given), len(shared)))
        grads |= {i: ("step", (len(steps) - 1, n)) for n, i in enumerate(shared)}
    if any(t.kind in "fc" for t in first.outputs):
        for i in wanted:
            if i not in grads:  # flat everywhere: zeros, as PyTorch gives, rather than none
                grads[i] = ("step", (len(steps), 0))
                steps.append((_flat(), [("like", i)], 1))
    return steps, grads


def _same_role(op: Op, p: SchemaParam, output: int) -> bool:
    return op.kind != "row" or ROLES[p.type] == ROLES[op.parsed.outputs[output].type]


def _complete(sources: Sources, op: Op) -> None:
    """A row op needs a row among its operands, for the sizes: perhaps one that isn't read."""
    if op.kind == "row" and not any(ROLES[sources.type(s)] == "row" for s in sources.order):
        i = next(i for i, p in enumerate(op.parsed.params) if ROLES.get(p.type) == "row")
        sources.want_sizes(("arg", i))
