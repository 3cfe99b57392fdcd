"""Forward-mode differentiation: dual numbers, tensors with a tangent that ops carry along.

>>> import taimatsu.autograd.forward_ad as fwAD
>>> with fwAD.dual_level():
...     x = fwAD.make_dual(torch.tensor([0., 1.]), torch.tensor([1., 1.]))
...     fwAD.unpack_dual(x * x).tangent
tensor([0., 2.])

Inside a level an interpreter sees each op. Views are linear; the derivative of a pointwise op is
that of the tape, not summed; of any other op it is the derivative of its backward pass, which is
linear in the gradient.
"""

from __future__ import annotations

import typing
from typing import Any

import taimatsu as torch
from taimatsu import Tensor, _core
from taimatsu._interpreter import Interpreter, frames
from taimatsu.func._batching import below
from taimatsu.func._tape import Tape, gradients
from taimatsu.func._transforms import jvp

__all__ = [
    "UnpackedDualTensor",
    "dual_level",
    "enter_dual_level",
    "exit_dual_level",
    "make_dual",
    "unpack_dual",
]


class UnpackedDualTensor(typing.NamedTuple):
    """A tensor and its tangent; None of one that has none."""

    primal: Tensor
    tangent: Tensor | None


class Duals(Interpreter):
    """Carries tangents through ops. The tangent of a tensor is an attribute of it."""

    def __init__(self, level: int):
        self.level, self.name = level, f"_tangent{level}"
        # The tape gives back an output that it saved as another tensor of the same memory.
        self._saved: dict[tuple, tuple[Tensor, Tensor]] = {}

    def _place(self, x: Tensor) -> tuple:
        return x.untyped_storage().data_ptr(), x.storage_offset(), x.shape, x.stride(), x.dtype

    def tangent(self, x: Any) -> Tensor | None:
        """The tangent of x at this level, if x is a tensor that has one."""
        if not isinstance(x, Tensor):
            return None
        found = getattr(x, self.name, None)
        if found is None and self._saved and x.grad_fn is not None:
            found = self._saved.get(self._place(x), (None, None))[1]
        return found

    def attach(self, x: Any, tangent: Tensor | None) -> Any:
        """x with this tangent."""
        if tangent is not None:
            setattr(x, self.name, tangent)
            if x.requires_grad and not x.is_leaf:
                self._saved[self._place(x)] = (x, tangent)
        return x

    def write(self, x: Tensor, tangent: Tensor | None) -> None:
        """Gives x, which was written to in place, a new tangent; views share in it."""
        old = self.tangent(x)
        if old is not None:
            old.zero_() if tangent is None else old.copy_(tangent)
        elif tangent is not None and x._base is not None and self.tangent(x._base) is None:
            whole = torch.zeros_like(x._base)
            self.attach(x._base, whole)
            start = x.storage_offset() - x._base.storage_offset()
            part = whole.as_strided(x.shape, x.stride(), start)
            self.attach(x, part.copy_(tangent))
        else:
            self.attach(x, tangent)

    def became(self, x: Tensor, view: Tensor) -> None:
        self.attach(x, self.tangent(view))

    def call(self, op: Any, args: tuple, targets: tuple | None) -> Any:
        if op.kind == "composite" and op.backward is None:
            return self.descend(op, args, targets)
        flat: list[Any] = []  # the tensors, of lists too
        for a in args:
            flat.extend(a if isinstance(a, (tuple, list)) else [a])
        tangents = [self.tangent(a) for a in flat]
        if all(t is None for t in tangents):
            return self.below(op, args, targets)
        if op.kind == "view":
            return self._view(op, args, tangents[0])
        if "!" in op.schema.partition("->")[0]:
            return self._mutation(op, args, tangents)
        if targets is not None and targets[0] is not args[0]:
            raise RuntimeError(f"{op.name}: functions with out= don't support forward-mode AD")
        output, tangent = self._pushed(op, args, tangents)
        if targets is not None:
            result = self.below(op, args, targets)
            self.write(targets[0], tangent[0])
            return result
        results = output if isinstance(output, (tuple, list)) else (output,)
        for y, t in zip(results, tangent, strict=True):
            # A copy's tangent is one too: what is written to the one isn't to the other.
            shared = t is not None and any(
                a is not None and a.untyped_storage().data_ptr() == t.untyped_storage().data_ptr()
                for a in tangents
            )
            self.attach(y, t.clone() if shared else t)
        return output

    def _view(self, op: Any, args: tuple, tangent: Tensor | None) -> Any:
        primal = self.below(op, args)
        moved = self.below(op, (tangent, *args[1:]))
        if isinstance(primal, Tensor):
            return self.attach(primal, moved)
        for y, t in zip(primal, moved, strict=True):
            self.attach(y, t)
        return primal

    def _mutation(self, op: Any, args: tuple, tangents: list) -> Any:
        target = args[0]
        if op.name == "copy_":
            source = tangents[1]
            tangent = None if source is None else source.expand(target.shape)
        elif op.draws:  # filled with numbers that depend on nothing
            tangent = None
        else:
            (tangent,) = self._pushed(op, args, tangents)[1]
        result = self.below(op, args)
        self.write(target, tangent)
        return result

    def _pushed(self, op: Any, args: tuple, tangents: list) -> tuple[Any, list]:
        """The op's result, and the tangent of each of its tensors."""
        at = iter(range(len(tangents)))
        places = [[next(at) for _ in a] if isinstance(a, (tuple, list)) else next(at) for a in args]
        moving = [i for i, t in enumerate(tangents) if t is not None]
        flat = [x for a in args for x in (a if isinstance(a, (tuple, list)) else [a])]
        writes = "!" in op.schema.partition("->")[0]

        def function(*values: Tensor) -> Any:
            given = dict(zip(moving, values, strict=True))
            filled = [
                type(args[k])(given.get(i, flat[i]) for i in place) if isinstance(place, list)
                else given.get(place, flat[place])
                for k, place in enumerate(places)
            ]  # fmt: skip
            if writes:
                filled[0] = filled[0].clone()
            result = _core.call(op, *filled)
            return tuple(result) if isinstance(result, (tuple, list)) else result

        primals = tuple(flat[i] for i in moving)
        along = tuple(tangents[i] for i in moving)
        output = args[0] if writes else self.below(op, args)
        if (
            op.kind == "pointwise"
            and not op.single
            and len(op.parsed.outputs) == 1
            and not any(p.is_complex() for p in (*primals, output))
        ):
            return output, [self._diagonal(output, function, primals, along)]
        _, pushed = jvp(function, primals, along)
        several = isinstance(pushed, tuple)
        results = output if several else (output,)
        return output, [
            t if y.is_floating_point() or y.is_complex() else None
            for y, t in zip(results, pushed if several else (pushed,), strict=True)
        ]

    def _diagonal(
        self, output: Tensor, function: Any, primals: tuple, along: tuple
    ) -> Tensor | None:
        """Each element of a pointwise result depends on one of each operand: the Jacobian is
        diagonal, and the backward pass of the tangents is the product."""
        if not output.is_floating_point():
            return None
        total = None
        recording = torch.is_grad_enabled()
        for i, (x, t) in enumerate(zip(primals, along, strict=True)):
            with torch.enable_grad():
                tape = Tape()
                leaf = tape.follow(x.expand(output.shape))
                y = function(*(leaf if k == i else p for k, p in enumerate(primals)))
                keep = recording and tape.shared([y, t])
                weights = t.expand(output.shape).to(y.dtype)
                (part,) = gradients([y], [leaf], [weights], create_graph=keep)
            part = (part if keep else part.detach()).to(output.dtype)
            total = part if total is None else total + part
        return total

    def function(self, cls: Any, args: tuple) -> Any:
        """A custom Function, by its `jvp`."""
        tangents = [self.tangent(a) for a in args]
        output = self.function_below(cls, args)
        if all(t is None for t in tangents):
            return output
        ctx = _SavedForForward()
        if cls._separate_context:
            cls.setup_context(ctx, args, output)
        else:
            cls.forward(ctx, *args)
        pushed = cls.jvp(ctx, *tangents)
        several = isinstance(output, tuple)
        for y, t in zip(output if several else (output,), pushed if isinstance(pushed, tuple)
                        else (pushed,), strict=True):  # fmt: skip
            self.attach(y, t)
        return output


class _SavedForForward:
    """The ``ctx`` of a `Function.jvp`: what forward, or setup_context, left in it."""

    def __init__(self) -> None:
        self.saved_tensors: tuple = ()
        self.needs_input_grad: tuple = ()

    def save_for_forward(self, *tensors: Any) -> None:
        self.saved_tensors = tensors

    def save_for_backward(self, *tensors: Any) -> None:
        self.saved_tensors = self.saved_tensors or tensors

    def mark_dirty(self, *tensors: Any) -> None:
        pass

    mark_non_differentiable = mark_dirty

    def set_materialize_grads(self, value: bool) -> None:
        pass


def _levels() -> list[Duals]:
    return [f for f in frames() if isinstance(f, Duals)]


def enter_dual_level() -> int:
    """Start a level, in which tensors can have tangents; returns its number. They don't nest."""
    level = len(_levels())
    if level:
        raise RuntimeError("enter_dual_level: levels do not nest; use func.jvp")
    Duals(level).__enter__()
    return level


def exit_dual_level(*, level: int | None = None) -> None:
    """End the level; tensors lose their tangents. RuntimeError if there is none, or another."""
    levels = _levels()
    if not levels or level not in (None, levels[-1].level):
        raise RuntimeError(
            f"exit_dual_level: level {level} is not the innermost; there are {len(levels)}"
        )
    levels[-1].__exit__()


def __getattr__(name: str) -> Any:
    if name == "_current_level":  # PyTorch's global: the number of the innermost level, or -1
        return len(_levels()) - 1
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class dual_level:
    """The context manager of a level; its value is the level's number."""

    def __enter__(self) -> int:
        return enter_dual_level()

    def __exit__(self, *exc: object) -> None:
        exit_dual_level()


def _level(level: int | None, function: str) -> Duals:
    levels = _levels()
    if not levels or (level is not None and not 0 <= level < len(levels)):
        raise RuntimeError(
            f"{function}: there is no level to be in; call it inside `with dual_level():`"
        )
    return levels[-1 if level is None else level]


def make_dual(tensor: Tensor, tangent: Tensor, *, level: int | None = None) -> Tensor:
    """A view of ``tensor`` that has ``tangent``.

    RuntimeError outside of a level, for other sizes or another dtype, and for a dtype that is
    neither floating nor complex.
    """
    duals = _level(level, "make_dual")
    if not (tensor.is_floating_point() or tensor.is_complex()):
        raise ValueError(
            f"Expected primal to be floating point or complex, but got: {tensor.dtype}"
        )
    if not (tangent.is_floating_point() or tangent.is_complex()):
        raise ValueError(
            f"Expected tangent to be floating point or complex, but got: {tangent.dtype}"
        )
    if tensor.shape != tangent.shape:
        raise RuntimeError(
            "make_dual: expected the tangent to have the primal's sizes "
            f"{tuple(tensor.shape)}; got {tuple(tangent.shape)}"
        )
    if tensor.dtype != tangent.dtype:
        raise RuntimeError(
            f"make_dual: expected the tangent to have the primal's dtype {tensor.dtype}; got "
            f"{tangent.dtype}"
        )
    with below(duals):
        dual = tensor.view_as(tensor)
    return duals.attach(dual, tangent)


def unpack_dual(tensor: Tensor, *, level: int | None = None) -> UnpackedDualTensor:
    """The primal and the tangent of a tensor; outside of a level, or without one, it is None."""
    levels = _levels()
    if not levels:
        return UnpackedDualTensor(tensor, None)
    duals = _level(level, "unpack_dual")
    tangent = duals.tangent(tensor)
    if tangent is None:
        return UnpackedDualTensor(tensor, None)
    with below(duals):
        return UnpackedDualTensor(tensor.view_as(tensor), tangent)
