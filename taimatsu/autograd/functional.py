"""Jacobians, Hessians and their products with vectors.

Products from the left (vjp, vhp) are one backward pass. Products from the right (jvp, hvp) are the
derivative of the product from the left, which is linear in its vector.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import taimatsu as torch
from taimatsu import _core
from taimatsu._core import Tensor

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]

Tensors = Tensor | Sequence[Tensor]


def vjp(
    func: Callable[..., Tensors],
    inputs: Tensors,
    v: Tensors | None = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """``func(*inputs)``, and ``v`` times its Jacobian: (outputs, gradients of the inputs).

    ``v`` has the outputs' sizes and may be missing for a single-element output. ``create_graph``:
    the results can be differentiated. ``strict``: RuntimeError where an output doesn't depend on
    an input, instead of zeros.

    >>> torch.autograd.functional.vjp(lambda x: x * x, torch.tensor([1., 2.]), torch.ones(2))
    (tensor([1., 4.]), tensor([2., 4.]))
    """
    with torch.enable_grad():
        xs, single_in = _prepare(inputs, create_graph, "vjp")
        ys, single_out = _outputs(func, xs, strict, "vjp")
        vs = _vectors(v, ys, "vjp")
        grads = _grad(ys, xs, vs, create_graph, strict, "vjp")
    return _shown(ys, single_out, create_graph), _shown(grads, single_in, create_graph)


def jvp(
    func: Callable[..., Tensors],
    inputs: Tensors,
    v: Tensors | None = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """``func(*inputs)``, and its Jacobian times ``v``: (outputs, their directional derivatives).

    ``v`` has the inputs' sizes and may be missing for a single-element input.

    >>> torch.autograd.functional.jvp(torch.exp, torch.tensor([0.0]), torch.tensor([2.0]))
    (tensor([1.]), tensor([2.]))
    """
    with torch.enable_grad():
        xs, _ = _prepare(inputs, create_graph, "jvp")
        vs = _vectors(v, xs, "jvp")
        ys, single_out = _outputs(func, xs, strict, "jvp")
        us = tuple(torch.zeros_like(y, requires_grad=True) for y in ys)
        back = _grad(ys, xs, us, True, strict, "jvp")  # linear in us
        along = _grad(back, us, vs, create_graph, strict, "jvp")
    return _shown(ys, single_out, create_graph), _shown(along, single_out, create_graph)


def vhp(
    func: Callable[..., Tensor],
    inputs: Tensors,
    v: Tensors | None = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """``func(*inputs)``, a scalar, and ``v`` times its Hessian.

    >>> torch.autograd.functional.vhp(lambda x: (x**3).sum(), torch.tensor([1.0, 2.0]),
    ...     torch.tensor([1.0, 0.0]))
    (tensor(9.), tensor([6., 0.]))
    """
    with torch.enable_grad():
        xs, single_in = _prepare(inputs, create_graph, "vhp")
        vs = _vectors(v, xs, "vhp")
        y = _scalar(func, xs, strict, "vhp")
        first = _grad((y,), xs, None, True, strict, "vhp")
        product = _grad(first, xs, vs, create_graph, strict, "vhp")
    return _shown((y,), True, create_graph), _shown(product, single_in, create_graph)


def hvp(
    func: Callable[..., Tensor],
    inputs: Tensors,
    v: Tensors | None = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """``func(*inputs)``, a scalar, and its Hessian times ``v``; ``vhp`` is cheaper.

    >>> torch.autograd.functional.hvp(lambda x: (x**3).sum(), torch.tensor([1.0, 2.0]),
    ...     torch.tensor([1.0, 0.0]))
    (tensor(9.), tensor([6., 0.]))
    """
    with torch.enable_grad():
        xs, single_in = _prepare(inputs, create_graph, "hvp")
        vs = _vectors(v, xs, "hvp")
        y = _scalar(func, xs, strict, "hvp")
        first = _grad((y,), xs, None, True, strict, "hvp")
        us = tuple(torch.zeros_like(x, requires_grad=True) for x in xs)
        back = _grad(first, xs, us, True, strict, "hvp")
        product = _grad(back, us, vs, create_graph, strict, "hvp")
    return _shown((y,), True, create_graph), _shown(product, single_in, create_graph)


def jacobian(
    func: Callable[..., Tensors],
    inputs: Tensors,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """The Jacobian of ``func`` at ``inputs``: sizes of the output, then those of the input.

    A tensor for one output and one input, a tuple over the inputs for one output and a tuple of
    inputs, a tuple over outputs of that for several outputs. ``strategy`` "forward-mode" computes
    it by columns instead of rows: cheaper where inputs have fewer elements than outputs.

    >>> torch.autograd.functional.jacobian(lambda x: x * x, torch.tensor([1., 2.]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    if strategy not in ("reverse-mode", "forward-mode"):
        raise ValueError(
            f"jacobian: strategy must be 'reverse-mode' or 'forward-mode'; got {strategy!r}"
        )
    if strict and vectorize:
        raise RuntimeError("jacobian: strict=True and vectorize=True can't be given together")
    with torch.enable_grad():
        xs, single_in = _prepare(inputs, create_graph, "jacobian")
        ys, single_out = _outputs(func, xs, strict, "jacobian")
        rows = _by_rows if strategy == "reverse-mode" else _by_columns
        blocks = [rows(y, xs, create_graph, strict) for y in ys]
    shown = tuple(_shown(b, single_in, create_graph) for b in blocks)
    return shown[0] if single_out else shown


def hessian(
    func: Callable[..., Tensor],
    inputs: Tensors,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """The second derivatives of a scalar function: for inputs i and j a tensor of both's sizes.

    A tensor for one input, a tuple of tuples for a tuple of inputs.

    >>> torch.autograd.functional.hessian(lambda x: (x**3).sum(), torch.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    single_in = isinstance(inputs, Tensor)

    def gradient(*xs: Tensor) -> Any:
        y = _scalar(func, xs, strict, "hessian")
        grads = _grad((y,), xs, None, True, strict, "hessian")
        return grads[0] if single_in else grads

    return jacobian(
        gradient, inputs, create_graph, strict, vectorize, strategy=outer_jacobian_strategy
    )


def _by_rows(y: Tensor, xs: tuple, create_graph: bool, strict: bool) -> tuple[Tensor, ...]:
    rows: list[tuple] = []
    for k in range(y.numel()):
        v = torch.zeros(y.numel(), dtype=y.dtype, device=y.device)
        v[k] = 1
        rows.append(_grad((y,), xs, (v.reshape(y.shape),), create_graph, strict, "jacobian"))
    return tuple(
        torch.stack([r[i] for r in rows]).reshape(y.shape + x.shape)
        if rows
        else torch.zeros(y.shape + x.shape, dtype=x.dtype, device=x.device)
        for i, x in enumerate(xs)
    )


def _by_columns(y: Tensor, xs: tuple, create_graph: bool, strict: bool) -> tuple[Tensor, ...]:
    u = torch.zeros_like(y, requires_grad=True)
    back = _grad((y,), xs, (u,), True, strict, "jacobian")  # linear in u
    blocks = []
    for x, g in zip(xs, back, strict=True):
        columns = []
        for k in range(x.numel()):
            v = torch.zeros(x.numel(), dtype=x.dtype, device=x.device)
            v[k] = 1
            (column,) = _grad((g,), (u,), (v.reshape(x.shape),), create_graph, strict, "jacobian")
            columns.append(column.reshape(-1))
        flat = torch.stack(columns, 1) if columns else torch.zeros(y.numel(), 0, dtype=y.dtype)
        blocks.append(flat.reshape(y.shape + x.shape))
    return tuple(blocks)


# ---- Arguments and results --------------------------------------------------------------------


def _tuple(values: Any, what: str, name: str) -> tuple[tuple[Tensor, ...], bool]:
    single = isinstance(values, Tensor)
    out = (values,) if single else tuple(values) if isinstance(values, (tuple, list)) else None
    if out is None or not all(isinstance(t, Tensor) for t in out):
        raise TypeError(
            f"{name}: {what} must be a tensor or a tuple of tensors; got {type(values).__name__}"
        )
    return out, single


def _prepare(inputs: Tensors, create_graph: bool, name: str) -> tuple[tuple[Tensor, ...], bool]:
    """The inputs as tensors that gradients can be taken of, apart from the caller's."""
    xs, single = _tuple(inputs, "inputs", name)
    return tuple(
        x.view_as(x) if create_graph and x.requires_grad else x.detach().requires_grad_()
        for x in xs
    ), single


def _outputs(func: Callable, xs: tuple, strict: bool, name: str) -> tuple[tuple[Tensor, ...], bool]:
    ys, single = _tuple(func(*xs), "the result of func", name)
    if strict:
        for i, y in enumerate(ys):
            if not y.requires_grad:
                raise RuntimeError(
                    f"{name}: output {i} of the user-provided function does not require gradients. "
                    "The outputs must be computed in a differentiable manner from the input when "
                    "running in strict mode."
                )
    return ys, single


def _scalar(func: Callable, xs: tuple, strict: bool, name: str) -> Tensor:
    ys, single = _outputs(func, xs, strict, name)
    if not single or ys[0].numel() != 1:
        raise RuntimeError(
            f"{name}: the function must return a single scalar; got sizes "
            f"{[tuple(y.shape) for y in ys]}"
        )
    return ys[0].reshape(())


def _vectors(v: Tensors | None, like: tuple[Tensor, ...], name: str) -> tuple[Tensor, ...]:
    if v is None:
        if len(like) != 1 or like[0].numel() != 1:
            raise RuntimeError(
                f"{name}: the vector v can only be None if there is a single element; got sizes "
                f"{[tuple(t.shape) for t in like]}"
            )
        return (torch.ones_like(like[0]),)
    vs, _ = _tuple(v, "v", name)
    if len(vs) != len(like) or any(a.shape != b.shape for a, b in zip(vs, like, strict=True)):
        raise RuntimeError(
            f"{name}: v must have the sizes {[tuple(t.shape) for t in like]}; got "
            f"{[tuple(t.shape) for t in vs]}"
        )
    return vs


def _grad(ys, xs, vs, create_graph: bool, strict: bool, name: str) -> tuple[Tensor, ...]:
    """Gradients of ``ys`` with respect to ``xs``, zeros where there is none."""
    used = [k for k, y in enumerate(ys) if y.requires_grad]
    results: tuple = (None,) * len(xs)
    if used:
        results = _core.run_grad(
            [ys[k] for k in used],
            xs,
            None if vs is None else [vs[k] for k in used],
            True,
            create_graph,
            True,
        )
    if strict and any(g is None for g in results):
        i = next(i for i, g in enumerate(results) if g is None)
        raise RuntimeError(
            f"{name}: the function is independent of input {i}, which is not allowed in strict mode"
        )
    return tuple(
        torch.zeros_like(x) if g is None else g for g, x in zip(results, xs, strict=True)
    )


def _shown(values: tuple, single: bool, create_graph: bool) -> Any:
    values = values if create_graph else tuple(t.detach() for t in values)
    return values[0] if single else values
