"""Gradients against finite differences.

A complex number counts as two reals throughout: a function of complex tensors is checked as the
real function that it is, and the gradient of an input is d/dre + i d/dim, as backward defines it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from taimatsu import _core
from taimatsu._core import Tensor

__all__ = ["GradcheckError", "gradcheck", "gradgradcheck"]


class GradcheckError(RuntimeError):
    """A derivative disagrees with finite differences."""


def gradcheck(
    func: Callable[..., Tensor | Sequence[Tensor]],
    inputs: Tensor | Sequence[Any],
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False,
    check_backward_ad: bool = True,
    fast_mode: bool = False,
    masked: bool | None = None,
) -> bool:
    """Compare the gradients of ``func(*inputs)`` with central differences of step ``eps``.

    ``inputs`` that require grad should be float64 or complex128. A derivative passes if it differs
    from the numerical one by at most ``atol + rtol * |numerical|``. ``fast_mode`` compares one
    random directional derivative for each pair of input and output instead of every element.
    ``nondet_tol`` is how much two backward passes may differ. Every output is differentiated on
    its own, so that absent gradients of the others occur (``check_undefined_grad``).

    Gives True, or raises GradcheckError (a RuntimeError) saying which derivative is wrong; with
    ``raise_exception=False`` it gives False instead.

    >>> x = torch.randn(3, dtype=torch.float64, requires_grad=True)
    >>> torch.autograd.gradcheck(torch.sin, (x,))
    True
    """
    if check_forward_ad or check_batched_forward_grad:
        raise NotImplementedError("gradcheck: forward-mode derivatives are not implemented")
    args = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    try:
        _check_inputs(args)
        if check_backward_ad:
            check = _Check(func, args, eps, atol, rtol, nondet_tol, check_grad_dtypes)
            check.fast() if fast_mode else check.full()
            if check_batched_grad:
                check.batched()
        return True
    except GradcheckError:
        if raise_exception:
            raise
        return False


def gradgradcheck(
    func: Callable[..., Tensor | Sequence[Tensor]],
    inputs: Tensor | Sequence[Any],
    grad_outputs: Tensor | Sequence[Tensor] | None = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_fwd_over_rev: bool = False,
    check_rev_over_rev: bool = True,
    fast_mode: bool = False,
    masked: bool = False,
) -> bool:
    """``gradcheck`` of the gradient: the second derivatives of ``func``.

    The gradient is a function of the inputs and of the gradients of the outputs; those are
    ``grad_outputs``, or random ones (``gen_non_contig_grad_outputs``: with gaps in memory).
    """
    if check_fwd_over_rev:
        raise NotImplementedError("gradgradcheck: forward-mode derivatives are not implemented")
    args = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    outputs = _differentiable(func(*args))
    if grad_outputs is None:
        grads = tuple(_random_like(y, gen_non_contig_grad_outputs) for y in outputs)
    else:
        grads = (grad_outputs,) if isinstance(grad_outputs, Tensor) else tuple(grad_outputs)
    wanted = [i for i, x in enumerate(args) if _requires_grad(x)]

    def gradient(*both: Any) -> tuple[Tensor, ...]:
        xs, gs = both[: len(args)], both[len(args) :]
        # Copies: with an input itself, its own gradient would be mixed into the first ones.
        xs = tuple(x.view_as(x) if _requires_grad(x) else x for x in xs)
        ys = _differentiable(func(*xs))
        results = _core.run_grad(ys, [xs[i] for i in wanted], gs, True, True, True)
        return tuple(g for g in results if g is not None)

    if not check_rev_over_rev:
        return True
    return gradcheck(
        gradient,
        args + grads,
        eps=eps,
        atol=atol,
        rtol=rtol,
        raise_exception=raise_exception,
        nondet_tol=nondet_tol,
        check_undefined_grad=check_undefined_grad,
        check_grad_dtypes=check_grad_dtypes,
        check_batched_grad=check_batched_grad,
        fast_mode=fast_mode,
        masked=masked,
    )


# ---- Tensors as real vectors ------------------------------------------------------------------


def _requires_grad(x: Any) -> bool:
    return isinstance(x, Tensor) and x.requires_grad


def _outputs(result: Any) -> tuple[Tensor, ...]:
    return (result,) if isinstance(result, Tensor) else tuple(result)


def _differentiable(result: Any) -> tuple[Tensor, ...]:
    return tuple(y for y in _outputs(result) if _requires_grad(y))


def _vector(t: Tensor) -> np.ndarray:
    """The elements as a float64 vector; of a complex tensor real and imaginary parts in turn."""
    a = np.array(t.detach().cpu().numpy()).reshape(-1)  # a copy
    if np.iscomplexobj(a):
        return a.astype(np.complex128).view(np.float64)
    return a.astype(np.float64)


def _write(t: Tensor, v: np.ndarray) -> None:
    """The reverse of `_vector`, into the memory of ``t``, unseen by the tape."""
    import taimatsu

    a = (v.view(np.complex128) if t.is_complex() else v).reshape(tuple(t.shape))
    t.data.copy_(taimatsu.from_numpy(a))


def _tensor(v: np.ndarray, like: Tensor) -> Tensor:
    import taimatsu

    a = (v.view(np.complex128) if like.is_complex() else v).reshape(tuple(like.shape))
    t = taimatsu.from_numpy(a)
    return t.to(dtype=like.dtype, device=like.device)


def _size(t: Tensor) -> int:
    return t.numel() * (2 if t.is_complex() else 1)


def _random_like(y: Tensor, gaps: bool) -> Tensor:
    import taimatsu

    g = taimatsu.randn(y.shape, dtype=y.dtype, device=y.device)
    if gaps:
        g = taimatsu.stack([g, taimatsu.zeros_like(g)], -1).select(-1, 0)
    return g.detach().requires_grad_()


def _check_inputs(args: tuple[Any, ...]) -> None:
    if not any(_requires_grad(x) for x in args):
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of the them "
            "have requires_grad=True."
        )
    for i, x in enumerate(args):
        if not _requires_grad(x):
            continue
        if x.element_size() < (16 if x.is_complex() else 8):
            warnings.warn(
                f"Input #{i} requires gradient and is not a double precision floating point or "
                "complex. This check will likely fail if all the inputs are not of double "
                "precision floating point or complex. ",
                stacklevel=3,
            )
        if any(stride == 0 and size > 1 for stride, size in zip(x.stride(), x.shape, strict=True)):
            raise RuntimeError(
                f"The {i}th input has a dimension with stride 0. gradcheck only supports inputs "
                "that are non-overlapping to be able to compute the numerical gradients correctly. "
                "You should call .contiguous on the input before passing it to gradcheck."
            )


# ---- The check --------------------------------------------------------------------------------


class _Check:
    def __init__(self, func, args, eps, atol, rtol, nondet_tol, check_dtypes):
        self.func, self.args, self.eps = func, args, eps
        self.atol, self.rtol, self.nondet_tol = atol, rtol, nondet_tol
        self.check_dtypes = check_dtypes
        self.wanted = [i for i, x in enumerate(args) if _requires_grad(x)]
        self.inputs = [args[i] for i in self.wanted]
        self.outputs = _outputs(func(*args))
        for y in self.outputs:
            if not isinstance(y, Tensor):
                raise ValueError(
                    f"gradcheck: func must return a tensor or tensors; got {type(y).__name__}"
                )

    def values(self) -> list[np.ndarray]:
        return [_vector(y) for y in _outputs(self.func(*self.args))]

    def difference(self, x: Tensor, direction: np.ndarray) -> list[np.ndarray]:
        """The derivative of each output along ``direction`` of the input ``x``."""
        at = _vector(x)
        try:
            _write(x, at + self.eps * direction)
            above = self.values()
            _write(x, at - self.eps * direction)
            below = self.values()
        finally:
            _write(x, at)
        return [(a - b) / (2 * self.eps) for a, b in zip(above, below, strict=True)]

    def product(self, output: int, v: np.ndarray) -> list[np.ndarray]:
        """v times the Jacobian of the output, by backward, for each input."""
        y = self.outputs[output]
        if not y.requires_grad:
            return [np.zeros(_size(x)) for x in self.inputs]
        grads = _core.run_grad(y, self.inputs, _tensor(v, y), True, False, True)
        for i, x, g in zip(self.wanted, self.inputs, grads, strict=True):
            if g is None:
                continue
            if g.shape != x.shape:
                raise GradcheckError(
                    f"the gradient of input {i} has sizes {tuple(g.shape)}, the input has "
                    f"{tuple(x.shape)}"
                )
            if self.check_dtypes and g.dtype != x.dtype:
                raise GradcheckError(
                    f"the gradient of input {i} is of dtype {g.dtype}, the input of {x.dtype}"
                )
        return [
            np.zeros(_size(x)) if g is None else _vector(g)
            for x, g in zip(self.inputs, grads, strict=True)
        ]

    def reproducible(self, output: int, v: np.ndarray) -> list[np.ndarray]:
        first, second = self.product(output, v), self.product(output, v)
        for i, a, b in zip(self.wanted, first, second, strict=True):
            if np.any(np.abs(a - b) > self.nondet_tol):
                raise GradcheckError(
                    "Backward is not reentrant, i.e., running backward with same input and "
                    "grad_output multiple times gives different values, although analytical "
                    f"gradient matches numerical gradient: output {output}, input {i}, difference "
                    f"{np.max(np.abs(a - b)):.3g}. The tolerance for nondeterminism was "
                    f"{self.nondet_tol}."
                )
        return first

    def compare(self, output: int, index: int, numerical, analytical, note: str = "") -> None:
        close = np.isclose(analytical, numerical, rtol=self.rtol, atol=self.atol, equal_nan=True)
        if not close.all():
            raise GradcheckError(
                f"{note}Jacobian mismatch for output {output} with respect to input {index},\n"
                f"numerical:{numerical}\nanalytical:{analytical}\n"
            )

    def full(self) -> None:
        """Every element of every Jacobian."""
        numerical = []  # [input][output]: (elements of the output, elements of the input)
        for x in self.inputs:
            columns = [self.difference(x, e) for e in np.eye(_size(x))]
            numerical.append(
                [
                    np.stack([c[o] for c in columns], 1) if columns else np.zeros((_size(y), 0))
                    for o, y in enumerate(self.outputs)
                ]
            )
        for o, y in enumerate(self.outputs):
            rows = [
                self.reproducible(o, e) if k == 0 else self.product(o, e)
                for k, e in enumerate(np.eye(_size(y)))
            ]
            for k, i in enumerate(self.wanted):
                shape = (0, _size(self.inputs[k]))
                analytical = np.stack([r[k] for r in rows]) if rows else np.zeros(shape)
                self.compare(o, i, numerical[k][o], analytical)

    def fast(self) -> None:
        """One random direction in each input, and one in each output."""
        random = np.random.default_rng(0)
        directions = [_unit(random.standard_normal(_size(x))) for x in self.inputs]
        along = [self.difference(x, u) for x, u in zip(self.inputs, directions, strict=True)]
        for o, y in enumerate(self.outputs):
            v = _unit(random.standard_normal(_size(y)))
            products = self.reproducible(o, v)
            for k, i in enumerate(self.wanted):
                self.compare(
                    o, i, np.dot(v, along[k][o]), np.dot(products[k], directions[k]),
                    "in a random direction (fast_mode): ",
                )  # fmt: skip

    def batched(self) -> None:
        """Gradients of a batch at once are those of its members."""
        import taimatsu
        from taimatsu.autograd import grad

        for y in self.outputs:
            if not y.requires_grad:
                continue
            batch = taimatsu.stack([_random_like(y, False).detach() for _ in range(2)])
            at_once = grad(
                y, self.inputs, batch, retain_graph=True, allow_unused=True, is_grads_batched=True
            )
            for k, v in enumerate(batch):
                alone = _core.run_grad(y, self.inputs, v, True, False, True)
                for a, b in zip(at_once, alone, strict=True):
                    if a is not None and b is not None and not np.allclose(_vector(a[k]),
                                                                           _vector(b)):
                        raise GradcheckError("the gradients of a batch differ from those apart")


def _unit(v: np.ndarray) -> np.ndarray:
    return v / (np.linalg.norm(v) or 1.0)
