"""Loops inside an element: recurrences whose length depends on it."""

from __future__ import annotations

from collections.abc import Callable

from .ir import Expr, Loop, item, topological
from .lang import Value, expr_of, truth
from .simplify import cast as cast_to


def iterate(
    limit: int,
    going: Callable[..., Value],
    step: Callable[..., tuple],
    state: tuple[Value, ...],
    *others: Value,
) -> tuple[Value, ...]:
    """What becomes of `state` by state = step(*state, *others), while going(*state, *others).

    For recurrences whose length depends on the element: each goes on for as long as it needs, but
    for `limit` steps at most. The two functions see their arguments alone. The derivative follows
    each step's; where the steps converge to something, that is to be of use only if it converges,
    too, by the time that `going` ends.

        (root,) = iterate(60, lambda r, x: abs(r * r - x) > 1e-12 * x,
                          lambda r, x: ((r + x / r) / 2,), (x,), x)
    """
    operands = tuple(expr_of(x) for x in (*state, *others))
    holes = [Value(Expr("hole", (), i, x.dtype)) for i, x in enumerate(operands)]
    following = tuple(
        cast_to(expr_of(x, h.dtype), h.dtype) for x, h in zip(step(*holes), holes, strict=False)
    )
    if len(following) != len(state):
        raise TypeError(
            f"iterate: a step returns the next state, {len(state)} values; got {len(following)}"
        )
    loop = Loop(limit, truth(going(*holes)), following)
    known = {h.expr for h in holes}
    for e in topological((loop.going, *following)):
        if not e.src and e.op != "const" and e not in known:
            raise TypeError(f"iterate: a step uses {e}; pass to it what it needs, after the state")
    result = Expr("loop", operands, loop, operands[0].dtype)
    return tuple(Value(item(result, i)) for i in range(len(state)))
