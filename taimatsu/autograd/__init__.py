"""Reverse-mode differentiation: gradients of tensors, functions with a backward of one's own.

>>> x = torch.tensor([1.0, 2.0], requires_grad=True)
>>> (g,) = torch.autograd.grad((x * x).sum(), x)
>>> g
tensor([2., 4.])

Modules: `function` (Function), `graph` (nodes, saved tensors, hooks), `grad_mode` (no_grad and its
kin), `gradcheck` (against finite differences), `functional` (jacobian, hessian ...),
`anomaly_mode` (which forward call a failing backward belongs to).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from taimatsu import _core
from taimatsu._core import Tensor
from taimatsu._lazy import submodules

from .anomaly_mode import detect_anomaly, set_detect_anomaly
from .function import Function, NestedIOFunction
from .grad_mode import (
    enable_grad,
    enforce_grad_layout_policy,
    inference_mode,
    no_grad,
    set_grad_enabled,
    set_multithreading_enabled,
)
from .gradcheck import gradcheck, gradgradcheck
from .graph import GradientEdge
from .variable import Variable

__all__ = [
    "Function",
    "GradientEdge",
    "NestedIOFunction",
    "Variable",
    "anomaly_mode",
    "backward",
    "detect_anomaly",
    "enable_grad",
    "enforce_grad_layout_policy",
    "function",
    "functional",
    "grad",
    "grad_mode",
    "gradcheck",
    "gradgradcheck",
    "graph",
    "inference_mode",
    "no_grad",
    "set_detect_anomaly",
    "set_grad_enabled",
    "set_multithreading_enabled",
    "variable",
]


def variable(*args: Any, **kwargs: Any) -> NoReturn:
    """What `taimatsu.tensor` was called before PyTorch 0.4: ValueError."""
    raise ValueError(
        "torch.autograd.variable(...) is deprecated, use torch.tensor(...) instead; the class is "
        "torch.autograd.Variable"
    )


Tensors = Tensor | Sequence[Tensor]
Grads = Tensor | Sequence[Tensor | None] | None


def backward(
    tensors: Tensors,
    grad_tensors: Grads = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    grad_variables: Grads = None,
    inputs: Tensors | None = None,
) -> None:
    """Add the gradients of ``tensors`` with respect to the leaves to the leaves' ``grad``.

    ``grad_tensors``: for each tensor the gradient of what comes after, of its sizes; None for a
    scalar means 1. ``inputs``: accumulate only into these. ``retain_graph`` keeps what was saved
    for another pass (default: as ``create_graph``, which records the pass itself).

    RuntimeError if a tensor requires no grad, if a gradient is missing or has other sizes, or if
    the graph was freed by an earlier pass.

    >>> x = torch.ones(2, requires_grad=True)
    >>> torch.autograd.backward([x.sum(), (3 * x).sum()])
    >>> x.grad
    tensor([4., 4.])
    """
    if grad_variables is not None:
        if grad_tensors is not None:
            raise RuntimeError(
                "backward: `grad_tensors` and `grad_variables` (deprecated) arguments both passed; "
                "use only `grad_tensors`"
            )
        grad_tensors = grad_variables
    _core.run_backward(tensors, grad_tensors, retain_graph, create_graph, inputs)


def grad(
    outputs: Tensors,
    inputs: Tensors,
    grad_outputs: Grads = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of ``outputs`` with respect to ``inputs``, one for each; no ``grad`` changes.

    ``allow_unused``: give None for an input that the outputs don't depend on; otherwise that is a
    RuntimeError. ``materialize_grads``: give zeros instead. ``is_grads_batched``: each of
    ``grad_outputs`` has a leading dimension of gradients, and so have the results.

    >>> x = torch.tensor(2.0, requires_grad=True)
    >>> torch.autograd.grad(x**3, x)
    (tensor(12.),)
    """
    if not only_inputs:
        raise ValueError("grad: only_inputs=False is not supported; call backward() instead")
    if materialize_grads and allow_unused is False:
        raise ValueError(
            "grad: expected allow_unused to be True or not passed when materialize_grads=True; "
            "got allow_unused=False"
        )
    unused = materialize_grads if allow_unused is None else allow_unused
    if is_grads_batched:
        run = _batched_grad
    else:
        run = _core.run_grad
    results = run(outputs, inputs, grad_outputs, retain_graph, create_graph, unused)
    if materialize_grads:
        given = (inputs,) if isinstance(inputs, Tensor) else inputs
        results = tuple(
            _zeros_like(x) if g is None else g for g, x in zip(results, given, strict=True)
        )
    return results


def _zeros_like(x: Tensor) -> Tensor:
    import taimatsu

    return taimatsu.zeros_like(x)


def _batched_grad(outputs, inputs, grad_outputs, retain_graph, create_graph, unused):
    """`run_grad` once for each gradient of a batch; the results stacked."""
    import taimatsu

    batches = (grad_outputs,) if isinstance(grad_outputs, Tensor) else tuple(grad_outputs or ())
    lengths = {b.shape[0] for b in batches if b is not None}
    if len(lengths) != 1:
        raise RuntimeError(
            "grad: with is_grads_batched=True every one of grad_outputs needs a leading dimension "
            f"of the same size; got {sorted(lengths)}"
        )
    n = lengths.pop()
    keep = create_graph if retain_graph is None else retain_graph
    rows = [
        _core.run_grad(
            outputs,
            inputs,
            [None if b is None else b[i] for b in batches],
            keep or i < n - 1,
            create_graph,
            unused,
        )
        for i in range(n)
    ]
    return tuple(
        None if all(g is None for g in column) else taimatsu.stack(list(column))
        for column in zip(*rows, strict=True)
    )


def _profiler_enabled() -> bool:
    """Whether the thread's ops are being recorded."""
    from .profiler import innermost_recording

    return innermost_recording() is not None


def _disable_profiler() -> None:
    """Ends the innermost recording, if there is one."""
    from .profiler import innermost_recording

    recording = innermost_recording()
    if recording is not None:
        recording.__exit__()


__getattr__ = submodules(__name__)  # functional, forward_ad, profiler: large, and rarely needed
