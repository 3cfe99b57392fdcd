"""Checkpointing: parts of a model that are computed again in backward instead of being kept."""

from __future__ import annotations

import contextlib
import warnings
import weakref
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import taimatsu as torch
from taimatsu import _core
from taimatsu._core import Tensor
from taimatsu.autograd import Function
from taimatsu.autograd.graph import saved_tensors_hooks
from taimatsu.utils._pytree import tree_leaves
from taimatsu.utils._selective_checkpoint import (
    SAC_IGNORED_OPS,
    CheckpointPolicy,
    SelectiveCheckpointContext,
    create_selective_checkpoint_contexts,
    geometry,
    pass_of,
)

__all__ = [
    "SAC_IGNORED_OPS",
    "CheckpointError",
    "CheckpointFunction",
    "CheckpointPolicy",
    "DefaultDeviceType",
    "GraphExecGroup",
    "SelectiveCheckpointContext",
    "check_backward_validity",
    "checkpoint",
    "checkpoint_sequential",
    "create_selective_checkpoint_contexts",
    "detach_variable",
    "get_device_states",
    "noop_context_fn",
    "set_checkpoint_debug_enabled",
    "set_checkpoint_early_stop",
    "set_device_states",
]

DEFAULT_DETERMINISM_MODE = "default"
_early_stop = True
_debug: bool | None = None


class CheckpointError(RuntimeError):
    """The second computation of a checkpointed function was not like the first."""


def noop_context_fn() -> tuple[Any, Any]:
    """Two contexts that do nothing: for the forward pass and for the computation in backward."""
    return contextlib.nullcontext(), contextlib.nullcontext()


@contextlib.contextmanager
def set_checkpoint_early_stop(enable: bool):
    """Whether checkpoints made inside stop computing again once all that is needed is there."""
    global _early_stop
    before, _early_stop = _early_stop, enable
    try:
        yield
    finally:
        _early_stop = before


@contextlib.contextmanager
def set_checkpoint_debug_enabled(enabled: bool | None):
    """Whether checkpoints made inside compare what is computed again; None: as they say."""
    global _debug
    before, _debug = _debug, enabled
    try:
        yield
    finally:
        _debug = before


class GraphExecGroup:
    """Backward passes inside share what checkpoints compute again: each is computed once.

    The passes must not run over the same part of a graph. RuntimeError for groups inside of groups.

    >>> h = torch.utils.checkpoint.checkpoint(model[:2], x, use_reentrant=False)
    >>> with torch.utils.checkpoint.GraphExecGroup():
    ...     h.sum().backward(retain_graph=True)
    ...     model[2](h).sum().backward()
    """

    _current: GraphExecGroup | None = None

    def __enter__(self) -> GraphExecGroup:
        if GraphExecGroup._current is not None:
            raise RuntimeError("GraphExecGroup contexts cannot be nested")
        GraphExecGroup._current = self
        return self

    def __exit__(self, *exc: object) -> None:
        GraphExecGroup._current = None

    @classmethod
    def _get_current_group(cls) -> GraphExecGroup | None:
        return cls._current


def detach_variable(inputs: tuple) -> tuple:
    """The tensors without their history; they require grad as before.

    RuntimeError unless it is a tuple.
    """
    if not isinstance(inputs, tuple):
        raise RuntimeError(
            f"Only tuple of tensors is supported. Got Unsupported input type: {type(inputs)}"
        )
    return tuple(
        x.detach().requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x for x in inputs
    )


def check_backward_validity(inputs: Iterable[Any]) -> None:
    """Warns if none of the inputs requires grad: a checkpoint would give no gradients."""
    if not any(isinstance(x, Tensor) and x.requires_grad for x in inputs):
        warnings.warn(
            "None of the inputs have requires_grad=True. Gradients will be None", stacklevel=3
        )


def checkpoint(
    function: Callable,
    *args: Any,
    use_reentrant: bool | None = None,
    context_fn: Callable[[], tuple[Any, Any]] = noop_context_fn,
    determinism_check: str = DEFAULT_DETERMINISM_MODE,
    debug: bool = False,
    preserve_rng_state: bool = True,
    early_stop: bool = True,
    **kwargs: Any,
) -> Any:
    """``function(*args, **kwargs)``, computed again in backward instead of keeping what that needs.

    use_reentrant       False: saved tensors are replaced one by one (supports nesting, keyword
                        arguments, autograd.grad). True: the whole call is one node whose backward
                        runs a backward pass of its own; gradients flow only to tensors in ``args``
    context_fn          gives the contexts for the first and for the second computation
    determinism_check   "default" compares sizes, dtype and device of the recomputed tensors,
                        "none" nothing
    preserve_rng_state  random numbers are the same in both computations
    early_stop          stop computing again as soon as everything needed is there

    CheckpointError if the second computation saves other tensors than the first.

    >>> y = torch.utils.checkpoint.checkpoint(model, x, use_reentrant=False)
    """
    if use_reentrant is None:
        warnings.warn(
            "checkpoint: the use_reentrant parameter should be passed explicitly; "
            "use_reentrant=False is recommended, and it is what is used now.",
            stacklevel=2,
        )
        use_reentrant = False
    if not use_reentrant:
        return _checkpoint(
            function, args, kwargs, context_fn, determinism_check, preserve_rng_state, early_stop
        )
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    if context_fn is not noop_context_fn or debug:
        raise ValueError(
            "Passing `context_fn` or `debug` is only supported when use_reentrant=False."
        )
    return CheckpointFunction.apply(function, preserve_rng_state, *args)


def checkpoint_sequential(
    functions: torch.nn.Sequential | Iterable[Callable],
    segments: int,
    input: Any,
    use_reentrant: bool | None = None,
    **kwargs: Any,
) -> Any:
    """Run a sequence of modules in ``segments`` parts, each but the last one checkpointed.

    >>> y = torch.utils.checkpoint.checkpoint_sequential(model, 2, x, use_reentrant=False)
    """
    preserve = kwargs.pop("preserve_rng_state", True)
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    if isinstance(functions, torch.nn.Sequential):
        functions = functions.children()
    steps = list(functions)
    size = len(steps) // segments

    def part(first: int, last: int) -> Callable:
        def run(x: Any) -> Any:
            for step in steps[first:last]:
                x = step(x)
            return x

        return run

    start = 0
    for _ in range(segments - 1):
        input = checkpoint(
            part(start, start + size), input,
            use_reentrant=use_reentrant, preserve_rng_state=preserve,
        )  # fmt: skip
        start += size
    return part(start, len(steps))(input)


def get_device_states(*args: Any) -> tuple[list[int], list[Tensor]]:
    """The GPUs on which the tensors in ``args`` are, and the states of their random numbers."""
    gpus = {t.get_device() for t in tree_leaves(args) if isinstance(t, Tensor) and t.is_cuda}
    return sorted(gpus), [torch.cuda.get_rng_state(i) for i in sorted(gpus)]


def set_device_states(
    devices: Iterable[int], states: Iterable[Tensor], *, device_type: str | None = None
) -> None:
    """Sets what `get_device_states` gave."""
    for index, state in zip(devices, states, strict=True):
        torch.cuda.set_rng_state(state, index)


class DefaultDeviceType:
    """The type of device whose random numbers a checkpoint keeps where no tensor tells it."""

    _default_device_type = "cuda"

    @staticmethod
    def set_device_type(device: str = "cuda") -> None:
        """Sets it."""
        DefaultDeviceType._default_device_type = device

    @staticmethod
    def get_device_type() -> str:
        """What was set."""
        return DefaultDeviceType._default_device_type


class _Rng:
    """The state of the random number generator at one moment."""

    def __init__(self, keep: bool):
        self.state = torch.get_rng_state() if keep else None

    @contextlib.contextmanager
    def again(self):
        """Inside, random numbers continue from that moment; after it, from where they were."""
        if self.state is None:
            yield
            return
        now = torch.get_rng_state()
        torch.set_rng_state(self.state)
        try:
            yield
        finally:
            torch.set_rng_state(now)


# ---- One node, whose backward runs a backward -------------------------------------------------


class CheckpointFunction(Function):
    """``apply(function, preserve_rng_state, *args)``: the call as one node."""

    @staticmethod
    def forward(ctx, function, preserve_rng_state, *args):
        check_backward_validity(args)
        ctx.function, ctx.rng = function, _Rng(preserve_rng_state)
        ctx.tensors = [i for i, a in enumerate(args) if isinstance(a, Tensor)]
        ctx.others = [None if isinstance(a, Tensor) else a for a in args]
        ctx.save_for_backward(*(args[i] for i in ctx.tensors))
        return function(*args)

    @staticmethod
    def backward(ctx, *grads):
        args = list(ctx.others)
        for i, t in zip(ctx.tensors, ctx.saved_tensors, strict=True):
            args[i] = t.detach().requires_grad_(t.requires_grad)
        with ctx.rng.again(), torch.enable_grad():
            outputs = ctx.function(*args)
        outputs = (outputs,) if isinstance(outputs, Tensor) else outputs
        pairs = [
            (y, g)
            for y, g in zip(outputs, grads, strict=True)
            if isinstance(y, Tensor) and y.requires_grad and g is not None
        ]
        if not pairs:
            raise RuntimeError(
                "none of output has requires_grad=True, this checkpoint() is not necessary"
            )
        torch.autograd.backward([y for y, _ in pairs], [g for _, g in pairs])
        return None, None, *(a.grad if isinstance(a, Tensor) else None for a in args)


# ---- Saved tensors replaced one by one --------------------------------------------------------


class _Inputs(Function):
    """A node that only keeps tensors: so they are subject to an outer checkpoint's hooks."""

    @staticmethod
    def forward(ctx, anchor, *tensors):
        ctx.save_for_backward(*tensors)
        return anchor.new_empty(0)

    @staticmethod
    def backward(ctx, *grads):
        raise AssertionError("nothing is computed from a checkpoint's anchor")


class _Holder:
    """What the tape keeps in place of a saved tensor."""

    __slots__ = ("__weakref__", "found")

    def __init__(self) -> None:
        self.found: dict[Any, Tensor] = {}  # by backward pass, or group of them


class _Stop(Exception):
    pass


def _describe(t: Tensor) -> tuple:
    return tuple(t.shape), t.dtype, t.device


class _Frame:
    """One checkpointed call: what it saved, and how to compute that again."""

    def __init__(self, again: Callable[[], Any], check: bool, early_stop: bool):
        self.again, self.check, self.early_stop = again, check, early_stop
        self.holders: list[weakref.ref[_Holder]] = []
        self.described: list[tuple] = []
        self.geometries: list[tuple] = []
        self.keep: Callable[[Tensor], Tensor] | None = None  # while it is computed again

    def pack(self, t: Tensor) -> tuple[_Frame, _Holder]:
        holder = _Holder()
        self.holders.append(weakref.ref(holder))
        self.described.append(_describe(t))
        self.geometries.append(geometry(t))
        return self, holder

    @staticmethod
    def unpack(packed: tuple[_Frame, _Holder]) -> Tensor:
        frame, holder = packed
        # Outside of any backward (a look at `grad_fn._saved_...`) there is nothing to share.
        pass_id = GraphExecGroup._get_current_group() or _core.current_backward() or -1
        if pass_id not in holder.found:
            frame.recompute(pass_id)
        if pass_id not in holder.found:
            frame.fail(f"{len(frame.holders)} tensors were saved, and fewer when computed again")
        return holder.found[pass_id]

    def recompute(self, pass_id: Any) -> None:
        count = 0

        def keep(t: Tensor) -> Tensor:
            nonlocal count
            count += 1
            if count > len(self.holders):
                self.fail(f"{len(self.holders)} tensors were saved, and more when computed again")
            holder = self.holders[count - 1]()
            if holder is not None:
                if self.check and _describe(t) != self.described[count - 1]:
                    self.fail(
                        f"tensor {count - 1} was {self.described[count - 1]} in the forward pass "
                        f"and is {_describe(t)} now"
                    )
                holder.found[pass_id] = t.detach()
            if self.early_stop and count == len(self.holders):
                raise _Stop
            return t.detach()

        hooks = saved_tensors_hooks(keep, lambda t: t)
        self.keep = keep
        with contextlib.suppress(_Stop), hooks, torch.enable_grad(), pass_of(self):
            self.again()
        self.keep = None

    def fail(self, what: str) -> NoReturn:
        raise CheckpointError(
            f"checkpoint: the function was not the same when computed again for backward: {what}. "
            "It must not depend on state that changes in between."
        )


def _checkpoint(
    function, args, kwargs, context_fn, determinism_check, preserve_rng_state, early_stop
):
    if determinism_check not in ("default", "none"):
        raise ValueError(
            f"checkpoint: determinism_check must be 'default' or 'none'; got {determinism_check!r}"
        )
    if not torch.is_grad_enabled():
        return function(*args, **kwargs)
    first, second = context_fn()
    rng = _Rng(preserve_rng_state)
    named = [*enumerate(args), *kwargs.items()]
    places = [key for key, a in named if isinstance(a, Tensor)]
    tensors = [a for _, a in named if isinstance(a, Tensor)]
    others = {key: a for key, a in named if not isinstance(a, Tensor)}
    anchor = _Inputs.apply(torch.empty(0, requires_grad=True), *tensors).grad_fn

    def again() -> Any:
        values = {**others, **dict(zip(places, anchor.saved_tensors, strict=True))}
        positional = [values.pop(i) for i in range(len(args))]
        with rng.again(), second:
            return function(*positional, **values)

    check = determinism_check == "default" if _debug is None else _debug
    frame = _Frame(again, check, early_stop and _early_stop)
    with saved_tensors_hooks(frame.pack, _Frame.unpack), pass_of(frame), first:
        return function(*args, **kwargs)
