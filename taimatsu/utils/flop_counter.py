"""How many floating-point operations a program does: products and convolutions, a multiplication
and an addition counting as two."""

from __future__ import annotations

import math
import typing
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from taimatsu import Tensor
from taimatsu._op_namespaces import OpOverload, namespace

from ._python_dispatch import TorchDispatchMode
from .module_tracker import ModuleTracker

__all__ = ["FlopCounterMode", "register_flop_formula"]

Formula = Callable[..., int]
aten = namespace("aten")
flop_registry: dict[Any, Formula] = {}  # by op


def register_flop_formula(targets: Any, get_raw: bool = False) -> Callable[[Formula], Formula]:
    """A decorator: the function counts an op, or a list of them: ``torch.ops.aten.mm``.

    It takes the sizes of the op's tensors and its other arguments, and ``out_shape``; with
    ``get_raw`` the arguments as they are, and ``out_val``.
    """
    listed = targets if isinstance(targets, (list, tuple)) else [targets]

    def register(formula: Formula) -> Formula:
        counted = formula if get_raw else _on_sizes(formula)
        flop_registry.update((_packet(target), counted) for target in listed)
        return formula

    return register


def _on_sizes(formula: Formula) -> Formula:
    def on_sizes(*args: Any, out_val: Any = None, **kwargs: Any) -> int:
        named = {k: _sizes(v) for k, v in kwargs.items()}
        return formula(*map(_sizes, args), out_shape=_sizes(out_val), **named)

    return on_sizes


def _packet(target: Any) -> Any:
    """Under what an op is counted: all its forms together."""
    if isinstance(target, str):
        return getattr(aten, target)
    return target.overloadpacket if isinstance(target, OpOverload) else target


def _sizes(x: Any) -> Any:
    if isinstance(x, Tensor):
        return tuple(x.shape)
    return type(x)(map(_sizes, x)) if type(x) in (tuple, list) else x


@register_flop_formula([aten.mm, aten.bmm, aten.mv, aten.dot])
def _product(a: tuple, b: tuple, *_: Any, out_shape: tuple, **__: Any) -> int:
    return 2 * math.prod(out_shape) * a[-1]


@register_flop_formula([aten.addmm, aten.baddbmm])
def _added_product(x: tuple, a: tuple, b: tuple, *_: Any, out_shape: tuple, **__: Any) -> int:
    return 2 * math.prod(out_shape) * a[-1]


@register_flop_formula(aten.convolution)
def _convolution(
    x: tuple, weight: tuple, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool,
    *_: Any, out_shape: tuple, **__: Any,
) -> int:  # fmt: skip
    # Each element of the output, or of a transposed one's input, meets a window of the weight.
    places = x if transposed else out_shape
    return 2 * math.prod(places) * math.prod(weight[1:])


def _weight_gradient(
    grad: Tensor, x: Tensor, sizes: Any, stride: Any, padding: Any, dilation: Any,
    transposed: bool, *_: Any, out_val: Any = None,
) -> int:  # fmt: skip
    places = x.shape if transposed else grad.shape
    return 2 * math.prod(places) * math.prod(sizes[1:])


def _attention(query: tuple, key: tuple, value: tuple, *_: Any, **__: Any) -> int:
    pairs = math.prod(query[:-1]) * key[-2]
    return 2 * pairs * (query[-1] + value[-1])


def _attention_gradient(
    grad: tuple, query: tuple, key: tuple, value: tuple, *_: Any, **__: Any
) -> int:
    pairs = math.prod(query[:-1]) * key[-2]  # the scores again, and two products for each operand
    return 2 * pairs * (3 * query[-1] + 2 * value[-1])


# Ops of this package's own, and what they are counted as.
_OWN: dict[str, tuple[str, Formula]] = {
    "_convolution_weight": ("convolution_backward", _weight_gradient),
    "_attention": ("_scaled_dot_product_flash_attention", _on_sizes(_attention)),
    "_attention_backward": (
        "_scaled_dot_product_flash_attention_backward", _on_sizes(_attention_gradient)
    ),
}  # fmt: skip


class FlopCounterMode(TorchDispatchMode):
    """Counts inside its ``with`` block, in backward passes too, for each module.

    ``depth``: how deep the table goes into modules. ``custom_mapping``: formulas for further ops.
    ``display``: print the table at the end.

    >>> with FlopCounterMode(display=False) as counter:
    ...     _ = torch.ones(2, 3) @ torch.ones(3, 4)
    >>> counter.get_total_flops(), counter.get_flop_counts()["Global"]
    (48, {<OpOverloadPacket(op='aten.mm')>: 48})
    """

    def __init__(
        self,
        mods: Any = None,
        depth: int = 2,
        display: bool = True,
        custom_mapping: dict[Any, Any] | None = None,
    ):
        super().__init__()
        self.depth, self.display = depth, display
        given = {_packet(k): f for k, f in (custom_mapping or {}).items()}
        raw = {k: f if getattr(f, "_get_raw", False) else _on_sizes(f) for k, f in given.items()}
        self.flop_registry = {**flop_registry, **raw}
        self.mod_tracker = ModuleTracker()
        self.flop_counts: dict[str, dict[Any, int]] = {}

    def __enter__(self) -> typing.Self:
        self.flop_counts.clear()
        self.mod_tracker.__enter__()
        return super().__enter__()

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        self.mod_tracker.__exit__(*exc)
        if self.display:
            print(self.get_table(self.depth))

    def __torch_dispatch__(
        self, func: Any, types: tuple, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        packet, formula = func.overloadpacket, self.flop_registry.get(func.overloadpacket)
        if func.namespace == "taimatsu" and func._opname in _OWN:
            name, formula = _OWN[func._opname]
            packet = getattr(aten, name)
        elif packet is aten.convolution and self.mod_tracker.is_bw:
            packet = aten.convolution_backward
        if formula is not None:
            found = formula(*args, **(kwargs or {}), out_val=result)
            for module in self.mod_tracker.parents:
                self.flop_counts.setdefault(module, defaultdict(int))[packet] += found
        return result

    def get_total_flops(self) -> int:
        """The number of operations so far."""
        return sum(self.flop_counts.get("Global", {}).values())

    def get_flop_counts(self) -> dict[str, dict[Any, int]]:
        """The numbers by module and op; "Global" is all of them."""
        return {where: dict(counts) for where, counts in self.flop_counts.items()}

    def get_table(self, depth: int | None = None) -> str:
        """The numbers of modules down to ``depth``, and of their ops, as text."""
        depth = self.depth if depth is None else depth
        total = self.get_total_flops()
        rows: list[tuple[str, int]] = []
        for module in sorted(self.flop_counts, key=lambda name: (name != "Global", name)):
            level = 0 if module == "Global" else module.count(".") + 1
            if level <= depth:
                counts = self.flop_counts[module]
                rows.append(("  " * level + module, sum(counts.values())))
                rows += ((f"{'  ' * level} - {op}", n) for op, n in counts.items())
        rows = rows or [("Global", 0)]
        width = max(len(name) for name, _ in rows)
        return "\n".join(
            f"{name:<{width}}  {n:>16,}  {n / total if total else 0:>7.2%}" for name, n in rows
        )
