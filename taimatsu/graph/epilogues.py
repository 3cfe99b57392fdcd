"""What a library does with a product of matrices as it writes it, in place of calls that follow.

`EPILOGUES` says which calls those are: a formula that means what one there means, of the dtypes for
which the library's result is as good. They join the product's unit as others join a kernel's.

The library doesn't round what it adds to or applies a function to, and may sum in another order
than for the product alone; so results can differ from eager calls in their last bits.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from taimatsu.codegen.engine import fingerprint
from taimatsu.ops import activation, arithmetic
from taimatsu.ops.table import Op

from .units import Call, Slot, Tensor, Unit

HALF = frozenset(("f16", "bf16"))
NARROW = HALF | {"f32"}


class Epilogue(typing.NamedTuple):
    does: str
    op: Callable[[], Op]
    statics: Mapping[str, Any]
    dtypes: frozenset[str]
    after: tuple[str, ...]  # what may have been done already; "" for nothing


def _gelu_gradient() -> Op:
    return activation.gelu.plan(1, _TANH).steps[0][0]


_TANH = {"approximate": "tanh"}

# The library's GELU is that by tanh, with errors that 16-bit floats don't show. What relu has for
# gradient looks at its result, so a product that gives a gradient has no mask to look at instead.
EPILOGUES = (
    Epilogue("bias", lambda: arithmetic.add, {}, NARROW, ("",)),
    Epilogue("relu", lambda: activation.relu, {}, NARROW, ("", "bias")),
    Epilogue("gelu", lambda: activation.gelu, _TANH, HALF, ("", "bias")),
    Epilogue("gelu_gradient", _gelu_gradient, _TANH, HALF, ("",)),
)


@cache
def _known(dtype: str) -> dict[bytes, Epilogue]:
    """The epilogues by what their formulas mean for operands of a dtype."""
    known = {}
    for e in EPILOGUES:
        if dtype in e.dtypes:
            op = e.op()
            operands = ((dtype, "tensor"),) * len(op.parsed.tensors)
            known[fingerprint(op.variant(operands, e.statics).nest)] = e
    return known


def _is_bias(t: Tensor, made: Tensor) -> bool:
    return t.sizes == made.sizes[-1:] and t.dtype == made.dtype and t.strides in ((1,), (0,))


def _alike(t: Tensor, made: Tensor) -> bool:
    """Whether it is laid out as the product."""
    return t._replace(slot=0, offset=0) == made._replace(slot=0, offset=0)


class Product(Unit):
    """A product, and the calls that the library makes with it."""

    def __init__(self, number: int, call: Call) -> None:
        super().__init__(number, call)
        self.made = call.tensors[0]  # what comes of the calls so far
        self.mention = call.first  # and where that is among all calls' tensors
        self.done = "bias" if len(call.tensors) > 3 else ""
        self.bias = self.before = -1  # mentions
        self.applied_to: Tensor | None = None  # what `before` mentions, if GELU is applied to it

    def might_take(self, call: Call) -> bool:
        same_place = call.kind == "pointwise" and call.device == self.device
        return same_place and self.made.slot in call.reads

    def joins(self, call: Call, needed: Callable[[Slot, Unit], bool]) -> str | None:
        """What the library does in the call's place, or None."""
        e = _known(self.made.dtype).get(fingerprint(call.nest))
        out, *operands = call.tensors
        if e is None or self.done not in e.after or not _alike(out, self.made):
            return None
        others = [t for t in operands if t != self.made]
        kept = out.slot != self.made.slot and needed(self.made.slot, self)
        if e.does == "bias":
            fits = len(others) == 1 and _is_bias(others[0], self.made) and not kept
        elif e.does == "gelu_gradient":
            fits = operands[0] == self.made and _alike(operands[1], self.made) and not kept
        else:
            fits = not others and (e.does == "gelu" or not kept)
        return e.does if fits else None

    def join(self, number: int, call: Call, level: str) -> None:
        out, *operands = call.tensors
        if level == "bias":
            self.bias = call.first + 1 + (operands[0] == self.made)
        elif level == "gelu_gradient":
            self.before = call.first + 2
        elif level == "gelu" and out.slot != self.made.slot:
            self.before, self.applied_to = self.mention, self.made
        self.made, self.mention, self.done = out, call.first, level
        self.members.append(number)
        self.mentions(call)

    def action(self, needed: Callable[[Slot, Unit], bool]) -> tuple:
        """(the calls, the activation or "", then mentions: of the result, of the bias, of what is
        written or read before the activation; -1 where there is none)."""
        idle = self.applied_to is not None and not needed(self.applied_to.slot, self)
        activation = "" if self.done == "bias" else self.done
        return self.members, activation, self.mention, self.bias, -1 if idle else self.before
