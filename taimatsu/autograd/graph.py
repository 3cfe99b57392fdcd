"""The tape as an object: its nodes, what they save, hooks over several gradients."""

from __future__ import annotations

import contextlib
import threading
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from taimatsu import _core
from taimatsu._core import Node, Tensor

__all__ = [
    "GradientEdge",
    "Node",
    "allow_mutation_on_saved_tensors",
    "disable_saved_tensors_hooks",
    "get_gradient_edge",
    "increment_version",
    "register_multi_grad_hook",
    "save_on_cpu",
    "saved_tensors_hooks",
]


class GradientEdge(typing.NamedTuple):
    """Where a tensor's gradient arrives: output ``output_nr`` of ``node``."""

    node: Node
    output_nr: int


def get_gradient_edge(tensor: Tensor) -> GradientEdge:
    """The place on the tape where the gradient of ``tensor`` arrives; for a leaf, its accumulator.

    RuntimeError if the tensor requires no grad.
    """
    return GradientEdge(*_core.gradient_edge(tensor))


def increment_version(tensor: Tensor | Sequence[Tensor]) -> None:
    """Count an in-place write that was made outside of the library's ops."""
    for t in (tensor,) if isinstance(tensor, Tensor) else tensor:
        _core.increment_version(t)


class saved_tensors_hooks:
    """Inside, ``pack_hook(tensor)`` is kept in place of every tensor saved for backward.

    When backward needs the tensor, ``unpack_hook`` gets what was kept and gives a tensor of the
    same content. Neither may write to what it gets. Hooks nest: the innermost pair is used.

    >>> with torch.autograd.graph.saved_tensors_hooks(
    ...     lambda t: t.detach().numpy(), torch.from_numpy
    ... ):
    ...     y = x * x
    """

    def __init__(self, pack_hook: Callable[[Tensor], Any], unpack_hook: Callable[[Any], Tensor]):
        self.pack_hook, self.unpack_hook = pack_hook, unpack_hook

    def __enter__(self) -> None:
        _core.push_saved_tensors_hooks(self.pack_hook, self.unpack_hook)

    def __exit__(self, *exc: object) -> None:
        _core.pop_saved_tensors_hooks()


class save_on_cpu(saved_tensors_hooks):
    """Inside, tensors saved for backward are kept in main memory, and copied back when needed.

    ``pin_memory`` is accepted; it matters only where the device copies from pinned memory.
    """

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda"):
        def pack(tensor: Tensor) -> tuple:
            return tensor.device, tensor.detach().to("cpu", copy=True)

        def unpack(packed: tuple) -> Tensor:
            device, tensor = packed
            return tensor.to(device)

        super().__init__(pack, unpack)


@contextlib.contextmanager
def disable_saved_tensors_hooks(error_message: str) -> Iterator[None]:
    """Inside, using saved_tensors_hooks is a RuntimeError with this message."""
    before = _core.disable_saved_tensors_hooks(error_message)
    try:
        yield
    finally:
        _core.disable_saved_tensors_hooks(before)


class _SavedCopies(saved_tensors_hooks):
    def __init__(self) -> None:
        super().__init__(lambda t: t.detach().clone(), lambda t: t)


@contextlib.contextmanager
def allow_mutation_on_saved_tensors() -> Iterator[None]:
    """Inside, tensors saved for backward may be written to: backward sees them as they were.

    What is saved is copied at once, which costs the memory of the copies.

    >>> with torch.autograd.graph.allow_mutation_on_saved_tensors():
    ...     y = x.sin()
    ...     _ = x.detach().zero_()
    ...     y.sum().backward()
    """
    with _SavedCopies():
        yield


class _Handles:
    """Removes several hooks at once."""

    def __init__(self, handles: Sequence[Any]):
        self.handles = tuple(handles)

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()

    def __enter__(self) -> _Handles:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


def register_multi_grad_hook(
    tensors: Sequence[Tensor],
    fn: Callable[[Any], None],
    *,
    mode: typing.Literal["all", "any"] = "all",
) -> _Handles:
    """Call ``fn`` in every backward pass that computes gradients of ``tensors``.

    mode "all": once the pass has computed all that it will compute, with a list of the gradients,
    None for those that it doesn't compute. mode "any": with the first gradient that is computed.
    The handle's ``remove()`` takes the hooks away.
    """
    if mode not in ("all", "any"):
        raise ValueError(f"register_multi_grad_hook: mode must be 'all' or 'any'; got {mode!r}")
    state: dict[int, list] = {}  # by backward pass
    lock = threading.Lock()

    def arrived(index: int) -> Callable[[Tensor], None]:
        def hook(grad: Tensor) -> None:
            pass_id = _core.current_backward()
            with lock:
                first = pass_id not in state
                grads = state.setdefault(pass_id, [None] * len(tensors))
                grads[index] = grad
                complete = mode == "all" and all(g is not None for g in grads)
                if complete:
                    del state[pass_id]
            if complete:
                fn(grads)
            elif first:
                _core.queue_callback(lambda: finished(pass_id))
                if mode == "any":
                    fn(grad)

        return hook

    def finished(pass_id: int) -> None:
        with lock:
            grads = state.pop(pass_id, None)
        if mode == "all" and grads is not None:
            fn(grads)

    return _Handles([t.register_hook(arrived(i)) for i, t in enumerate(tensors)])
