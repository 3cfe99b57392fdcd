"""Products and sums as derivatives need them: normal forms over expressions.

An adjoint is kept as a `Product`: a coefficient, factors with whole exponents, and guards (the
value is zero where one doesn't hold, whatever the factors are there: a select's zero stays
outside of the product). That is what lets factors that are the same along a row leave a sum, equal
ones cancel, and a saved output be recognised in `exp(x - m) / s`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from . import monoids
from .ir import I64, Axis, DType, Expr, const, reduce
from .lang import context
from .simplify import cast, logical, negate, node, where


@dataclass(frozen=True)
class Product:
    """coefficient * prod(factor ** exponent), and zero where a guard is false."""

    dtype: DType
    coefficient: complex | float = 1.0
    factors: dict[Expr, int] = field(default_factory=dict)
    guards: frozenset[Expr] = frozenset()

    @staticmethod
    def of(e: Expr) -> Product:
        """`e` taken apart at multiplications, divisions and selects against zero."""
        t = e.dtype
        if e.op == "const" and not t.integral:
            return Product(t, e.arg)
        if e.op == "neg":
            return Product.of(e.src[0]).scaled(-1)
        if e.op == "mul":
            return Product.of(e.src[0]) * Product.of(e.src[1])
        if e.op == "div":
            return Product.of(e.src[0]) * Product.of(e.src[1]).inverse()
        if e.op == "where" and not t.integral:
            cond, a, b = e.src
            if b.op == "const" and b.arg == 0:
                return Product.of(a).guarded(cond)
            if a.op == "const" and a.arg == 0:
                return Product.of(b).guarded(negate(cond))
        return Product(t, 1.0, {e: 1})

    @property
    def axes(self) -> frozenset[Axis]:
        return frozenset().union(*(e.axes for e in (*self.factors, *self.guards)))

    @property
    def zero(self) -> bool:
        return self.coefficient == 0

    def key(self) -> tuple:
        """What two terms that can be added up share."""
        return frozenset(self.factors.items()), self.guards

    def __mul__(self, other: Product) -> Product:
        factors = dict(self.factors)
        for f, n in other.factors.items():
            factors[f] = factors.get(f, 0) + n
        return Product(
            self.dtype,
            self.coefficient * other.coefficient,
            {f: n for f, n in factors.items() if n},
            self.guards | other.guards,
        )

    def inverse(self) -> Product:
        """1 / self. A guarded divisor is one factor: its zero must divide as zero."""
        if self.guards or self.coefficient == 0:
            return Product(self.dtype, 1.0, {self.expr(): -1})
        return Product(self.dtype, 1 / self.coefficient, {f: -n for f, n in self.factors.items()})

    def scaled(self, by: complex | float) -> Product:
        return Product(self.dtype, self.coefficient * by, self.factors, self.guards)

    def guarded(self, *conds: Expr) -> Product:
        return Product(
            self.dtype, self.coefficient, self.factors, self.guards | _conjuncts(conds)
        )

    def without_guards(self) -> Product:
        return Product(self.dtype, self.coefficient, self.factors)

    def guard(self) -> Expr | None:
        """All guards as one condition."""
        if not self.guards:
            return None
        first, *rest = sorted(self.guards, key=repr)
        for g in rest:
            first = logical("and", first, g)
        return first

    def divided(self, pattern: Product) -> Product | None:
        """self / pattern, if every factor of the pattern is in self to that power; else None."""
        factors = dict(self.factors)
        for f, n in pattern.factors.items():
            have = factors.get(f, 0)
            if have * n < n * n:
                return None
            factors[f] = have - n
        return Product(
            self.dtype,
            self.coefficient / pattern.coefficient,
            {f: n for f, n in factors.items() if n},
            self.guards,
        )

    def expr(self) -> Expr:
        """The expression, what is invariant along the rows computed first."""
        t = self.dtype
        row = context().row
        inner = {
            f: n for f, n in self.factors.items() if any(a in row or a.role == "w" for a in f.axes)
        }
        outer = {f: n for f, n in self.factors.items() if f not in inner}
        coefficient = const(self.coefficient, t)
        if not inner or not outer:
            value = _quotient(coefficient, inner or outer)
        else:
            value = node("mul", _quotient(coefficient, outer), _quotient(const(1, t), inner))
        guard = self.guard()
        return value if guard is None else where(guard, value, const(0, t))


def _conjuncts(conds: Iterable[Expr]) -> frozenset[Expr]:
    found: set[Expr] = set()
    for c in conds:
        if c.op == "and":
            found |= _conjuncts(c.src)
        elif not (c.op == "const" and c.arg):
            found.add(c)
    return frozenset(found)


def _quotient(coefficient: Expr, factors: dict[Expr, int]) -> Expr:
    value = coefficient
    for f, n in factors.items():
        for _ in range(n):
            value = node("mul", value, f)
    for f, n in factors.items():
        for _ in range(-n):  # one by one: f * f may overflow where the quotient is finite
            value = node("div", value, f)
    return value


def terms(e: Expr) -> list[Product]:
    """`e` taken apart at additions and subtractions."""
    if e.op == "add":
        return [*terms(e.src[0]), *terms(e.src[1])]
    if e.op == "sub":
        return [*terms(e.src[0]), *(p.scaled(-1) for p in terms(e.src[1]))]
    return [Product.of(e)]


class Algebra:
    """Sums of products for one derivative, and the outputs that it can use.

    `made` are the sums that the derivation itself built: only over these is a row's sum
    distributed, which in a formula's own sums could cost accuracy (cancellation).
    """

    def __init__(self) -> None:
        self.made: set[Expr] = set()
        self.quotients: list[tuple[Product, Expr]] = []
        self.logarithms: list[tuple[Expr, int, list[Product], Expr]] = []

    def recognise(self, value: Expr, saved: Expr) -> None:
        """Lets products use the output `saved`, which holds `value`.

        Where they contain `value`, if it is a product itself; and if it is a sum with a logarithm,
        y = rest + log(s), in exp(u) / s = exp(u + rest - y).
        """
        whole = Product.of(value)
        if len(whole.factors) > 1 and not whole.guards and whole.coefficient == 1:
            self.quotients.append((whole, saved))
        if not value.dtype.floating:
            return
        parts = terms(value)
        for p in parts:
            if len(parts) > 1 and len(p.factors) == 1 and p.coefficient in (1, -1):
                ((f, n),) = p.factors.items()
                if f.op == "log" and n == 1 and not p.guards:
                    rest = [q for q in parts if q is not p]
                    self.logarithms.append((f.src[0], int(p.coefficient.real), rest, saved))

    def express(self, p: Product) -> Expr:
        """The expression of `p`, outputs recognised."""
        return self.recognised(p).expr()

    def recognised(self, p: Product) -> Product:
        """`p` in terms of the outputs that it contains."""
        for pattern, saved in self.quotients:
            found = p.divided(pattern)
            if found is not None:
                p = found * Product(p.dtype, 1.0, {saved: 1})
        for s, n, rest, saved in self.logarithms:
            p = self._exponential(p, s, n, rest, saved)
        return p

    def _exponential(self, p: Product, s: Expr, n: int, rest: list[Product], y: Expr) -> Product:
        """exp(u) * s**e as one exponential in y = rest + n log(s), if that is simpler."""
        e = p.factors.get(s, 0)
        for f, m in p.factors.items():
            if f.op != "exp" or m != 1 or e == 0:
                continue
            e = 1 if e > 0 else -1
            sign = e * n  # u + e log(s) = (u - sign * rest) + sign * y
            left = _like_terms([*terms(f.src[0]), *(q.scaled(-sign) for q in rest)])
            if len(left) > 1:
                continue
            exponent = self.add([*left, Product(y.dtype, sign, {y: 1})])
            others = p.divided(Product(p.dtype, 1.0, {f: 1, s: e}))
            if exponent is not None and others is not None:
                return others * Product(p.dtype, 1.0, {node("exp", exponent.expr()): 1})
        return p

    def add(self, products: Iterable[Product]) -> Product | None:
        """The sum, as one product: like terms added up, common factors outside. None is zero."""
        left = _like_terms(products)
        if len(left) < 2:
            return left[0] if left else None
        common = _common(left)
        rest = [p.divided(common) for p in left]
        total: Expr | None = None
        for p in sorted(rest, key=lambda p: _negative(p.coefficient)):
            p = Product(p.dtype, p.coefficient, p.factors, p.guards - common.guards)
            if total is None:
                total = self.express(p)
            elif _negative(p.coefficient):
                total = node("sub", total, self.express(p.scaled(-1)))
            else:
                total = node("add", total, self.express(p))
        self.made.add(total)
        whole = Product.of(total) if total.op == "const" else Product(total.dtype, 1.0, {total: 1})
        return common * whole

    def sum_over(self, p: Product, axes: tuple[Axis, ...]) -> Product | None:
        """The sum of `p` over `axes`; invariant factors come out."""
        over = set(axes)
        p = self.recognised(p)
        if any(g.axes & over for g in p.guards):
            total = reduce(monoids.SUM, axes, self.express(p))
            return Product(p.dtype, 1.0, {total: 1})
        inside = {f: n for f, n in p.factors.items() if f.axes & over}
        outside = Product(
            p.dtype,
            p.coefficient,
            {f: n for f, n in p.factors.items() if f not in inside},
            p.guards,
        )
        if not inside:
            return outside * Product(p.dtype, 1.0, {count(axes, p.dtype): 1})
        (only, power), *others = inside.items()
        if power == 1 and not others and only.op in ("add", "sub"):
            parts = [self.sum_over(q, axes) for q in terms(only)]
            whole: Any = self.add(q for q in parts if q is not None)
            if whole is None or only in self.made:
                return None if whole is None else outside * whole
        body = self.express(Product(p.dtype, 1.0, inside))
        return outside * Product(p.dtype, 1.0, {reduce(monoids.SUM, axes, body): 1})


def count(axes: tuple[Axis, ...], dtype: DType) -> Expr:
    """The number of elements along `axes`."""
    n = const(1, I64)
    for a in axes:
        extent = Expr("size", (), a.origin, I64) if a.extent is None else const(a.extent, I64)
        n = node("mul", n, extent)
    return cast(n, dtype)


def _negative(c: complex | float) -> bool:
    return not isinstance(c, complex) and c < 0


def _like_terms(products: Iterable[Product]) -> list[Product]:
    """The terms that are left when those with the same factors are added up."""
    like: dict[tuple, Product] = {}
    for p in products:
        have = like.get(p.key())
        like[p.key()] = p if have is None else _plus(have, p)
    return [p for p in like.values() if not p.zero]


def _plus(a: Product, b: Product) -> Product:
    return Product(a.dtype, a.coefficient + b.coefficient, a.factors, a.guards)


def _common(products: list[Product]) -> Product:
    """The factors and guards that all share."""
    first, *rest = products
    factors = dict(first.factors)
    guards = first.guards
    for p in rest:
        guards &= p.guards
        for f, n in list(factors.items()):
            m = p.factors.get(f, 0)
            keep = 0 if m * n <= 0 else min(n, m) if n > 0 else max(n, m)
            if keep:
                factors[f] = keep
            else:
                del factors[f]
    return Product(first.dtype, 1.0, factors, guards)
