"""Reverse mode over expressions: the table of local derivatives, and the walk that uses it.

A row of `TABLE` gives, for each operand, what an adjoint is multiplied by: a function of the result
y and the operands, written in terms of the result where that saves work. None is zero. What isn't
a multiplication (selects, reductions, scans, complex parts) has a rule of its own in `Reverse`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from . import lang, monoids
from .algebra import Algebra, Product
from .ir import BOOL, Axis, Expr, Loop, axis, const, item, reduce, scan, substitute, topological
from .lang import Value, where
from .simplify import cast, negate, node

_LN2, _LN10 = math.log(2), math.log(10)
_TWO_OVER_ROOT_PI = 2 / math.sqrt(math.pi)

Local = Callable[..., tuple]

TABLE: dict[str, Local] = {
    "neg": lambda y, x: (-1,),
    "add": lambda y, a, b: (1, 1),
    "sub": lambda y, a, b: (1, -1),
    "mul": lambda y, a, b: (b, a),
    "div": lambda y, a, b: (1 / b, -a / (b * b)),
    "fma": lambda y, a, b, c: (b, a, 1),
    "sqrt": lambda y, x: (0.5 / y,),
    "rsqrt": lambda y, x: (-0.5 * y * y * y,),
    "exp": lambda y, x: (y,),
    "exp2": lambda y, x: (y * _LN2,),
    "expm1": lambda y, x: (y + 1,),
    "log": lambda y, x: (1 / x,),
    "log2": lambda y, x: (1 / (x * _LN2),),
    "log10": lambda y, x: (1 / (x * _LN10),),
    "log1p": lambda y, x: (1 / (x + 1),),
    "sin": lambda y, x: (lang.cos(x),),
    "cos": lambda y, x: (-lang.sin(x),),
    "tan": lambda y, x: (y * y + 1,),
    "asin": lambda y, x: (lang.rsqrt(1 - x * x),),
    "acos": lambda y, x: (-lang.rsqrt(1 - x * x),),
    "atan": lambda y, x: (1 / (x * x + 1),),
    "sinh": lambda y, x: (lang.cosh(x),),
    "cosh": lambda y, x: (lang.sinh(x),),
    "tanh": lambda y, x: (1 - y * y,),
    "asinh": lambda y, x: (lang.rsqrt(x * x + 1),),
    "acosh": lambda y, x: (lang.rsqrt(x * x - 1),),
    "atanh": lambda y, x: (1 / (1 - x * x),),
    "erf": lambda y, x: (_TWO_OVER_ROOT_PI * lang.exp(-(x * x)),),
    "erfc": lambda y, x: (-_TWO_OVER_ROOT_PI * lang.exp(-(x * x)),),
    "erfinv": lambda y, x: (lang.exp(y * y) / _TWO_OVER_ROOT_PI,),
    "lgamma": lambda y, x: (lang.digamma(x),),
    "digamma": lambda y, x: (lang.trigamma(x),),
    "trigamma": lambda y, x: (lang.polygamma(2, x),),
    # By the exponent it has no name: zeta is derived with a constant one only.
    "zeta": lambda y, s, q: (None, -s * lang.zeta(s + 1, q)),
    "pow": lambda y, a, b: (
        where(b == 0, 0, b * lang.pow(a, b - 1)),
        where((a == 0) & (lang.real(b) >= 0), 0, y * lang.log(a)),
    ),
    "atan2": lambda y, a, b: _over_square(b, -a, lang.hypot(a, b)),
    "hypot": lambda y, a, b: (a / y, b / y),
    "fmod": lambda y, a, b: (1, -lang.trunc(a / b)),
    "abs": lambda y, x: (lang.sign(x),),
    "copysign": lambda y, a, b: (where(a == 0, 0, y / a), None),
    # At a tie both operands are the result: each gets half.
    "min": lambda y, a, b: (_share(a < b, a == b), _share(b < a, a == b)),
    "max": lambda y, a, b: (_share(a > b, a == b), _share(b > a, a == b)),
    "floor": lambda y, x: (None,),
    "ceil": lambda y, x: (None,),
    "trunc": lambda y, x: (None,),
    "rint": lambda y, x: (None,),
    "nextafter": lambda y, a, b: (None, None),
}

# What has no derivative: the walk ends here.
_ENDS = frozenset((
    "const", "param", "axis", "size", "load", "stop", "lt", "le", "eq", "ne", "and", "or",
    "xor", "not", "shl", "shr", "check", "idiv", "irem", "bitcast", "popcount", "clz",
))  # fmt: skip


def _over_square(p: Value, q: Value, r: Value) -> tuple:
    """(p / r**2, q / r**2), which divide twice: a square may overflow, or vanish."""
    return p / (r * r), q / (r * r)


def _share(wins: Value, tie: Value) -> Value:
    return where(tie, 0.5, where(wins, 1.0, 0.0))


class Underivable(NotImplementedError):
    """An expression has no derivative here; the message says which."""


class Reverse:
    """Adjoints of `leaves` from those of outputs.

    `summed` are the axes that adjoints are summed over as they pass to an operand that lacks them:
    the row's, or windows. Other axes that a leaf lacks (a weight's rows) are left to the caller.
    """

    def __init__(self, leaves: Iterable[Expr], summed: Callable[[Axis], bool], algebra: Algebra):
        self.leaves = set(leaves)
        self.summed, self.algebra = summed, algebra
        self.adjoints: dict[Expr, list[Product]] = {}

    def run(self, seeds: list[tuple[Expr, Product, frozenset[Axis]]]) -> dict[Expr, Product]:
        """seeds: (output, its adjoint, the axes that the output is stored over)."""
        order = topological(e for e, _, _ in seeds)
        self.active: set[Expr] = set()
        for e in order:
            if e in self.leaves or any(s in self.active for s in _operands(e)):
                self.active.add(e)
        for e, seed, axes in seeds:
            self._give(e, seed, axes)
        found: dict[Expr, Product] = {}
        for e in reversed(order):
            given = self.adjoints.pop(e, None)
            total = self.algebra.add(given) if given else None
            if total is None:
                continue
            if e in self.leaves:
                found[e] = total
            else:
                self._pass(e, total)
        return found

    def _give(self, operand: Expr, p: Product | None, axes: frozenset[Axis]) -> None:
        """Adds `p`, which a consumer with `axes` gives, to the operand's adjoint."""
        if p is None or p.zero or operand not in self.active:
            return
        lacking = [a for a in axes if self.summed(a) and a not in operand.axes]
        if lacking:
            p = self.algebra.sum_over(p, tuple(sorted(lacking, key=lambda a: a.serial)))
        if p is not None:
            self.adjoints.setdefault(operand, []).append(p)

    def _pass(self, e: Expr, p: Product) -> None:
        rule = getattr(self, f"_{e.op}", None)
        if rule is not None:
            rule(e, p)
        elif e.op in TABLE:
            self._local(e, p)
        else:
            raise Underivable(f"{e.op}: has no derivative; give the op's by .gradient")

    def _local(self, e: Expr, p: Product) -> None:
        if e.op == "abs" and e.src[0].dtype.kind == "c":
            self._complex_abs(e, p)
            return
        factors = TABLE[e.op](Value(e), *map(Value, e.src))
        for operand, d in zip(e.src, factors, strict=True):
            if d is None or operand not in self.active:
                continue
            local = _product(d, e)
            self._give(operand, p * local, e.axes)

    def _complex_abs(self, e: Expr, p: Product) -> None:
        (x,) = e.src
        unit = node("div", x, cast(e, x.dtype))
        zero = node("eq", e, const(0, e.dtype), dtype=BOOL)
        g = cast(self.algebra.express(p), x.dtype)
        self._give(x, Product.of(node("mul", g, unit)).guarded(negate(zero)), e.axes)

    def _where(self, e: Expr, p: Product) -> None:
        cond, a, b = e.src
        self._give(a, p.guarded(cond), e.axes)
        self._give(b, p.guarded(negate(cond)), e.axes)

    def _cast(self, e: Expr, p: Product) -> None:
        (x,) = e.src
        if not (x.dtype.integral or e.dtype.integral):
            self._convert(x, self.algebra.express(p), e)

    def _convert(self, x: Expr, g: Expr, e: Expr) -> None:
        self._give(x, Product.of(cast(g, x.dtype)), e.axes)

    def _complex(self, e: Expr, p: Product) -> None:
        g = self.algebra.express(p)
        for x, part in zip(e.src, ("re", "im"), strict=True):
            self._convert(x, node(part, g, dtype=g.dtype.real), e)

    def _re(self, e: Expr, p: Product) -> None:
        self._convert(e.src[0], self.algebra.express(p), e)

    def _im(self, e: Expr, p: Product) -> None:
        (x,) = e.src
        g = self.algebra.express(p)
        self._convert(x, node("complex", const(0, g.dtype), g, dtype=x.dtype), e)

    def _custom(self, e: Expr, p: Product) -> None:
        """An op with a gradient of its own, called in the formula."""
        call, operands = e.arg, e.src[1:]
        env = dict(call.attributes)
        rest = iter(operands)
        env |= {
            t.name: Value(next(rest)) if there else None
            for t, there in zip(call.op.parsed.tensors, call.present, strict=True)
        }
        env["g"] = env["g0"] = Value(self.algebra.express(p))
        env[call.op.parsed.outputs[0].name] = env["result"] = Value(e)
        grads = iter(call_gradient(call.op, env))
        for t in call.op.parsed.tensors:
            if not call.op.takes_gradient(t):
                continue
            g, x = next(grads), env[t.name]
            if g is not None and isinstance(x, Value):
                self._give(x.expr, Product.of(cast(lang.value(g).expr, x.dtype)), e.axes)

    # Reductions, scans, loops. `item` nodes hand the adjoint of one field on.

    def _reduce(self, e: Expr, p: Product, field: int = 0) -> None:
        monoid, axes = e.arg
        rule = getattr(self, f"_reduce_{monoid.name}", None)
        if monoid in (monoids.ANY, monoids.ALL):
            return
        if rule is None:
            raise Underivable(f"{monoid.name}: the reduction has no derivative")
        self.inside = e.axes | set(axes)  # what the reduction's operands may vary with
        rule(e, p, field)

    def _scan(self, e: Expr, p: Product, field: int = 0) -> None:
        monoid, line = e.arg
        other = {monoids.SUM: monoids.SUM_REVERSED, monoids.SUM_REVERSED: monoids.SUM}.get(monoid)
        if other is None:
            raise Underivable(f"{monoid.name}: of scans only sums are derived; give a .gradient")
        g = scan(other, line, self.algebra.express(p))
        self._give(e.src[0], Product(p.dtype, 1.0, {g: 1}), e.axes)

    def _item(self, e: Expr, p: Product) -> None:
        (source,) = e.src
        rule = {"reduce": self._reduce, "scan": self._scan, "loop": self._loop}[source.op]
        rule(source, p, e.arg)

    def _loop(self, e: Expr, p: Product, field: int) -> None:
        for i, operand in enumerate(e.src):
            if operand in self.active and operand.dtype.floating:
                d = loop_derivative(e, field, i)
                self._give(operand, p * Product(p.dtype, 1.0, {cast(d, p.dtype): 1}), e.axes)

    def _reduce_sum(self, e: Expr, p: Product, _: int) -> None:
        self._give(e.src[0], p, self.inside)

    def _reduce_prod(self, e: Expr, p: Product, _: int) -> None:
        """The product of the other elements: also where one is zero."""
        (x,), (monoid, axes) = e.src, e.arg
        zero = Value(x) == 0
        zeros = Value(reduce(monoids.SUM, axes, cast(zero.expr, x.dtype)))
        rest = Value(reduce(monoid, axes, where(zero, 1, Value(x)).expr))
        d = where(zero, where(zeros == 1, rest, 0), where(zeros == 0, Value(e) / Value(x), 0))
        self._give(x, p * Product(x.dtype, 1.0, {d.expr: 1}), self.inside)

    def _reduce_max(self, e: Expr, p: Product, _: int) -> None:
        """Shared evenly among ties."""
        (x,), (_, axes) = e.src, e.arg
        tie = (Value(x) == Value(e)) | lang.isnan(Value(x))
        ties = reduce(monoids.SUM, axes, cast(tie.expr, x.dtype))
        self._give(x, (p * Product(x.dtype, 1.0, {ties: -1})).guarded(tie.expr), self.inside)

    _reduce_min = _reduce_max

    def _reduce_argmax(self, e: Expr, p: Product, field: int) -> None:
        """The element at the position found gets it all."""
        if field == 0:
            found = (
                node("eq", at, item(e, j), dtype=BOOL) for j, at in enumerate(e.src[1:], start=1)
            )
            self._give(e.src[0], p.guarded(*found), self.inside)

    _reduce_argmin = _reduce_argmax

    def _reduce_welford(self, e: Expr, p: Product, field: int) -> None:
        x = e.src[1]
        if field == 1:  # the count is written without the row, which then needn't be saved
            count = cast(lang._count(e.arg[1]).expr, x.dtype)
            self._give(x, p * Product(x.dtype, 1.0, {count: -1}), self.inside)
        elif field == 2:
            deviation = node("sub", x, item(e, 1))
            self._give(x, p * Product(x.dtype, 2.0, {deviation: 1}), self.inside)

    def _reduce_logaddexp(self, e: Expr, p: Product, _: int) -> None:
        share = node("exp", node("sub", e.src[0], e))
        self._give(e.src[0], p * Product(p.dtype, 1.0, {share: 1}), self.inside)

    def _pick(self, e: Expr, p: Product) -> None:
        row, index = e.src
        self._give(row, p.guarded(node("eq", axis(e.arg), index, dtype=BOOL)), e.axes | {e.arg})


def loop_derivative(e: Expr, field: int, operand: int) -> Expr:
    """Of one field of a loop's last state by one operand: a loop that carries it on beside.

    Forward mode, unlike the rest: the number of steps is known when it ends, and a state is small.
    """
    loop: Loop = e.arg
    n = loop.fields
    if e.src[field].dtype.kind == "c":
        raise Underivable("loop: of complex numbers has no derivative; give the op's by .gradient")
    smooth = [i for i in range(n) if e.src[i].dtype.floating]
    tangents = {i: n + j for j, i in enumerate(smooth)}  # where each field's is in the new state
    types = [e.src[i].dtype for i in smooth]
    # The operands after the state move up.
    holes = [Expr("hole", (), i, s.dtype) for i, s in enumerate(e.src)]
    moved = {h: Expr("hole", (), h.arg + len(smooth), h.dtype) for h in holes[n:]}
    loop = loop.map(lambda formula: substitute(formula, moved))
    holes = [moved.get(h, h) for h in holes]
    sources = {holes[i]: Expr("hole", (), tangents[i], e.src[i].dtype) for i in smooth}
    if operand >= n:
        sources[holes[operand]] = const(1, e.src[operand].dtype)

    algebra = Algebra()
    following = []
    for i in smooth:
        f = loop.following[i]
        none: frozenset[Axis] = frozenset()
        by = Reverse(sources, lambda _: False, algebra).run([(f, Product(f.dtype), none)])
        total = const(0, f.dtype)
        for h, d in by.items():
            term = node("mul", cast(algebra.express(d), f.dtype), cast(sources[h], f.dtype))
            total = node("add", total, term)
        following.append(total)
    start = [const(float(i == operand), t) for i, t in zip(smooth, types, strict=True)]
    src = (*e.src[:n], *start, *e.src[n:])
    carried = Loop(loop.limit, loop.going, (*loop.following, *following))
    return item(Expr("loop", src, carried, e.dtype), tangents[field])


def _product(d: Value | float, e: Expr) -> Product:
    """A local derivative of `e` as a product; of a complex function the conjugate."""
    if not isinstance(d, Value):
        return Product(e.dtype, float(d))
    d = lang.conj(d) if e.dtype.kind == "c" else d
    return Product.of(cast(d.expr, e.dtype))  # of numbers alone it has the formula's type


def _operands(e: Expr) -> tuple[Expr, ...]:
    """The operands that `e` varies with differentiably."""
    if e.op in _ENDS:
        return ()
    if e.op in ("where", "custom"):
        return e.src[1:]
    return e.src[:1] if e.op == "pick" else e.src


def call_gradient(op, env: dict[str, Value | None]) -> list[Value | float | None]:
    """What `op`'s own gradient formula makes of the values it names: one for each input."""
    import inspect

    names = inspect.signature(op.backward).parameters
    missing = [n for n in names if n not in env]
    if missing:
        known = ", ".join(env)
        raise TypeError(f"{op.name}: its gradient takes {', '.join(missing)}; known are {known}")
    result = op.backward(**{n: env[n] for n in names})
    return list(result) if isinstance(result, tuple | list) else [result]
