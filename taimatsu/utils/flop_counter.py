"""How many floating-point operations a program does: products and convolutions, a multiplication
and an addition counting as two."""

from __future__ import annotations

import math
import typing
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from taimatsu import Tensor
from taimatsu._interpreter import Interpreter

__all__ = ["FlopCounterMode", "register_flop_formula"]

Formula = Callable[..., int]
_formulas: dict[str, Formula] = {}


def register_flop_formula(targets: Any, get_raw: bool = False) -> Callable[[Formula], Formula]:
    """A decorator: the function counts an op, or a list of them, given by name or as functions.

    It takes the sizes of the op's tensors and its other arguments, and ``out_shape``; with
    ``get_raw`` the arguments as they are, and ``out_val``.
    """
    listed = targets if isinstance(targets, (list, tuple)) else [targets]

    def register(formula: Formula) -> Formula:
        def on_sizes(*args: Any, out_val: Any = None, **kwargs: Any) -> int:
            return formula(*map(_sizes, args), out_shape=_sizes(out_val), **kwargs)

        for target in listed:
            name = target if isinstance(target, str) else target.__name__
            _formulas[name] = formula if get_raw else on_sizes
        return formula

    return register


def _sizes(x: Any) -> Any:
    if isinstance(x, Tensor):
        return tuple(x.shape)
    return type(x)(map(_sizes, x)) if type(x) in (tuple, list) else x


@register_flop_formula(["mm", "bmm", "mv", "dot", "matmul"])
def _product(a: tuple, b: tuple, *_: Any, out_shape: tuple, **__: Any) -> int:
    return 2 * math.prod(out_shape) * a[-1]


@register_flop_formula(["addmm", "baddbmm"])
def _added_product(x: tuple, a: tuple, b: tuple, *_: Any, out_shape: tuple, **__: Any) -> int:
    return 2 * math.prod(out_shape) * a[-1]


@register_flop_formula("linear")
def _linear(x: tuple, weight: tuple, *_: Any, out_shape: tuple, **__: Any) -> int:
    return 2 * math.prod(out_shape) * x[-1]


@register_flop_formula("convolution")
def _convolution(
    x: tuple, weight: tuple, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool,
    *_: Any, out_shape: tuple, **__: Any,
) -> int:  # fmt: skip
    # Each element of the output, or of a transposed one's input, meets a window of the weight.
    places = x if transposed else out_shape
    return 2 * math.prod(places) * math.prod(weight[1:])


@register_flop_formula("_convolution_weight", get_raw=True)
def _weight_gradient(
    grad: Tensor, x: Tensor, sizes: Any, stride: Any, padding: Any, dilation: Any,
    transposed: bool, *_: Any, out_val: Any = None,
) -> int:  # fmt: skip
    places = x.shape if transposed else grad.shape
    return 2 * math.prod(places) * math.prod(sizes[1:])


class FlopCounterMode(Interpreter):
    """Counts inside its ``with`` block, in backward passes too.

    ``custom_mapping``: formulas for further ops, by name. ``display``: print the table at the end.

    >>> with FlopCounterMode(display=False) as counter:
    ...     _ = torch.ones(2, 3) @ torch.ones(3, 4)
    >>> counter.get_total_flops()
    48
    """

    def __init__(
        self,
        mods: Any = None,
        depth: int = 2,
        display: bool = True,
        custom_mapping: dict[Any, Formula] | None = None,
    ):
        self.display = display
        self.custom = {
            k if isinstance(k, str) else k.__name__: f for k, f in (custom_mapping or {}).items()
        }
        self.flop_counts: dict[str, dict[str, int]] = {"Global": defaultdict(int)}

    def __enter__(self) -> typing.Self:
        self.flop_counts["Global"].clear()
        return super().__enter__()

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        if self.display:
            print(self.get_table())

    def call(self, op: Any, args: tuple, targets: tuple | None) -> Any:
        formula = self.custom.get(op.name) or _formulas.get(op.name)
        if formula is None and op.kind == "composite":
            return self.descend(op, args, targets)
        result = self.below(op, args, targets)
        if formula is not None:
            self.flop_counts["Global"][op.name] += formula(*args, out_val=result)
        return result

    def get_total_flops(self) -> int:
        """The number of operations so far."""
        return sum(self.flop_counts["Global"].values())

    def get_flop_counts(self) -> dict[str, dict[str, int]]:
        """The numbers by op, under "Global"."""
        return {where: dict(counts) for where, counts in self.flop_counts.items()}

    def get_table(self, depth: int | None = None) -> str:
        """The numbers as text, the largest first."""
        total = self.get_total_flops()
        rows = [("Global", total)]
        counts = self.flop_counts["Global"]
        rows += sorted(((f" - {k}", n) for k, n in counts.items()), key=lambda row: -row[1])
        width = max(len(name) for name, _ in rows)
        return "\n".join(
            f"{name:<{width}}  {n:>16,}  {n / total if total else 0:>7.2%}" for name, n in rows
        )
