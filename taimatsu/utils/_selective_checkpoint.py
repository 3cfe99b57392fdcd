"""Checkpoints that keep the results of some ops: see `create_selective_checkpoint_contexts`.

Interpreters of ops stand above the tape. An op whose result was kept isn't called again, so what
the tape saves in the call has to be found otherwise: it is one of the op's arguments or results.
"""

from __future__ import annotations

import contextlib
import enum
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import taimatsu as torch
from taimatsu import Tensor
from taimatsu._interpreter import Interpreter
from taimatsu._op_namespaces import OpOverload, overload_of

__all__ = [
    "SAC_IGNORED_OPS", "CheckpointPolicy", "SelectiveCheckpointContext",
    "create_selective_checkpoint_contexts",
]  # fmt: skip


class CheckpointPolicy(enum.Enum):
    """Whether an op's result is kept for backward, or kept in main memory, or computed again.

    Those of PREFER may be overruled by a compiler, those of MUST not; here none is.
    """

    MUST_SAVE = 0
    PREFER_SAVE = 1
    MUST_RECOMPUTE = 2
    PREFER_RECOMPUTE = 3
    MUST_CPU_OFFLOAD = 4
    PREFER_CPU_OFFLOAD = 5


_KEPT = (CheckpointPolicy.MUST_SAVE, CheckpointPolicy.PREFER_SAVE)
_OFFLOADED = (CheckpointPolicy.MUST_CPU_OFFLOAD, CheckpointPolicy.PREFER_CPU_OFFLOAD)

# What costs nothing; a policy isn't asked about it.
SAC_IGNORED_OPS = {
    torch.ops.aten.detach.default, torch.ops.aten.lift_fresh.default,
    torch.ops.aten.view.default, torch.ops.aten.reshape.default,
}  # fmt: skip


class SelectiveCheckpointContext:
    """What a policy is told besides the op and its arguments: the op's result."""

    def __init__(self, *, is_recompute: bool, op_output: Any = None):
        self.is_recompute, self.op_output = is_recompute, op_output


class _Running(threading.local):
    frame: Any = None  # the checkpoint that the thread computes, for the first time or again


_running = _Running()


@contextlib.contextmanager
def pass_of(frame: Any) -> Iterator[None]:
    """Inside, ``frame`` is the checkpoint that is computed."""
    before, _running.frame = _running.frame, frame
    try:
        yield
    finally:
        _running.frame = before


def geometry(t: Tensor) -> tuple:
    """What is the same of two tensors that are one."""
    place = t.data_ptr() if t.layout is torch.strided and t.device.type != "meta" else id(t)
    return place, t.dtype, tuple(t.shape), t.stride() if t.layout is torch.strided else ()


@dataclass
class _Kept:
    """The results of a call, and of what it saved: (whether a result, which tensor of them)."""

    results: Any
    single: bool
    trained: list[bool]
    devices: list[Any]
    versions: list[int]
    saved: list[tuple[bool, int]]


def _tensors(values: Any) -> list[Tensor]:
    found = []
    for value in values if isinstance(values, (tuple, list)) else (values,):
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (tuple, list)):
            found += _tensors(value)
    return found


def _form(op: Any, args: tuple) -> Any:
    """The op of ATen that a policy knows a call by: layers are products there."""
    if op.name == "linear":
        aten = torch.ops.aten
        return aten.mm.default if args[2] is None else aten.addmm.default
    return overload_of(op, False)


class _Pass(Interpreter):
    """One of the two computations: it counts the calls of ops, of which composites are made."""

    def __init__(self, kept: dict[int, _Kept]):
        self.kept, self.count = kept, 0

    def __enter__(self):
        self.count = 0
        return super().__enter__()

    def call(self, op: Any, args: tuple, targets: tuple | None) -> Any:
        if op.kind == "composite":
            return self.descend(op, args, targets)
        self.count += 1
        return self.counted(self.count, op, args, targets)

    def counted(self, index: int, op: Any, args: tuple, targets: tuple | None) -> Any:
        raise NotImplementedError


class _First(_Pass):
    def __init__(self, kept: dict[int, _Kept], policy: Callable):
        super().__init__(kept)
        self.policy = policy

    def counted(self, index: int, op: Any, args: tuple, targets: tuple | None) -> Any:
        frame = _running.frame
        before = len(frame.geometries)
        result = self.below(op, args, targets)
        form = _form(op, args)
        if targets is not None or op.kind == "view" or form is None or form in SAC_IGNORED_OPS:
            return result
        context = SelectiveCheckpointContext(is_recompute=False, op_output=result)
        decided = self.policy(context, form, *args)
        if isinstance(decided, bool):
            decided = _KEPT[0] if decided else CheckpointPolicy.PREFER_RECOMPUTE
        if decided in _KEPT or decided in _OFFLOADED:
            self._keep(index, args, result, frame.geometries[before:], decided in _OFFLOADED)
        return result

    def _keep(self, index: int, args: tuple, result: Any, saved: list, offload: bool) -> None:
        results = _tensors(result)
        known = {geometry(t): (False, i) for i, t in enumerate(_tensors(args))}
        known |= {geometry(t): (True, i) for i, t in enumerate(results)}
        if not all(key in known for key in saved):
            return  # something of its own: it has to be computed again
        self.kept[index] = _Kept(
            [t.detach().cpu() if offload else t.detach() for t in results],
            isinstance(result, Tensor),
            [t.requires_grad for t in results],
            [t.device for t in results],
            [t._version for t in results],
            [known[key] for key in saved],
        )


class _Again(_Pass):
    def __init__(self, kept: dict[int, _Kept], allow_mutation: bool):
        super().__init__(kept)
        self.allow_mutation = allow_mutation

    def counted(self, index: int, op: Any, args: tuple, targets: tuple | None) -> Any:
        kept = self.kept.get(index)
        if kept is None:
            return self.below(op, args, targets)
        results = []
        for t, trained, device, version in zip(
            kept.results, kept.trained, kept.devices, kept.versions, strict=True
        ):
            if not self.allow_mutation and t.device == device and t._version != version:
                raise RuntimeError(
                    "Tensor cached during selective activation checkpoint has been mutated: "
                    f"a result of {op.name}; pass allow_cache_entry_mutation=True if it may be"
                )
            results.append(t.to(device).detach().requires_grad_(trained))
        given = _tensors(args)
        for of_result, i in kept.saved:
            _running.frame.keep((results if of_result else given)[i])
        return results[0] if kept.single else tuple(results)


def create_selective_checkpoint_contexts(
    policy_fn_or_list: Callable | Sequence[Any], allow_cache_entry_mutation: bool = False
) -> tuple[Any, Any]:
    """The contexts of a checkpoint that keeps the results of some ops: for its ``context_fn``.

    ``policy_fn_or_list``: ops of `torch.ops.aten` whose results are kept, or a function
    ``policy(ctx, op, *args, **kwargs)`` that gives a `CheckpointPolicy`. In-place calls and views
    are made again in any case. RuntimeError in backward if a kept result was written to, unless
    ``allow_cache_entry_mutation``. ValueError for ops that aren't overloads.

    >>> import functools
    >>> from taimatsu.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts
    >>> keep = functools.partial(
    ...     create_selective_checkpoint_contexts, [torch.ops.aten.mm.default]
    ... )
    >>> y = checkpoint(model, x, use_reentrant=False, context_fn=keep)
    """
    policy = policy_fn_or_list
    if not callable(policy):
        chosen = list(policy)
        for op in chosen:
            if not isinstance(op, OpOverload):
                raise ValueError(
                    "create_selective_checkpoint_contexts: expected overloads of ops, such as "
                    f"torch.ops.aten.mm.default; got {op!r}"
                )

        def policy(ctx: Any, op: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
            return _KEPT[0] if op in chosen else CheckpointPolicy.PREFER_RECOMPUTE

    kept: dict[int, _Kept] = {}
    return _First(kept, policy), _Again(kept, allow_cache_entry_mutation)
