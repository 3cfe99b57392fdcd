"""Gradients against finite differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

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
    ``check_forward_ad`` compares the tangents of forward mode too. The ``batched`` checks compare
    the derivatives of several directions at once, by vmap, with those of each.

    A complex number counts as two reals throughout: a function of complex tensors is checked as the
    real function that it is, and the gradient of an input is d/dre + i d/dim, as backward defines
    it.

    Gives True, or raises GradcheckError (a RuntimeError) saying which derivative is wrong; with
    ``raise_exception=False`` it gives False instead.

    >>> x = torch.randn(3, dtype=torch.float64, requires_grad=True)
    >>> torch.autograd.gradcheck(torch.sin, (x,))
    True
    """
    from ._jacobians import Check, check_inputs  # only here: it needs NumPy

    if not (check_forward_ad or check_backward_ad):
        raise ValueError("gradcheck: one of check_forward_ad and check_backward_ad must be True")
    if check_batched_grad and not check_backward_ad:
        raise ValueError("gradcheck: check_batched_grad needs check_backward_ad")
    if check_batched_forward_grad and not check_forward_ad:
        raise ValueError("gradcheck: check_batched_forward_grad needs check_forward_ad")
    args = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    try:
        check_inputs(args)
        check = Check(func, args, eps, atol, rtol, nondet_tol, check_grad_dtypes)
        check.run(check_backward_ad, check_forward_ad, fast_mode)
        if check_batched_grad:
            check.batched()
        if check_batched_forward_grad:
            check.batched_forward()
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

    >>> x = torch.randn(3, dtype=torch.float64, requires_grad=True)
    >>> torch.autograd.gradgradcheck(torch.sin, (x,))
    True
    """
    from ._jacobians import differentiable, random_like, requires_grad

    args = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    outputs = differentiable(func(*args))
    if grad_outputs is None:
        grads = tuple(random_like(y, gen_non_contig_grad_outputs) for y in outputs)
    else:
        grads = (grad_outputs,) if isinstance(grad_outputs, Tensor) else tuple(grad_outputs)
    wanted = [i for i, x in enumerate(args) if requires_grad(x)]

    def gradient(*both: Any) -> tuple[Tensor, ...]:
        xs, gs = both[: len(args)], both[len(args) :]
        # Copies: with an input itself, its own gradient would be mixed into the first ones.
        xs = tuple(x.view_as(x) if requires_grad(x) else x for x in xs)
        ys = differentiable(func(*xs))
        results = _core.run_grad(ys, [xs[i] for i in wanted], gs, True, True, True)
        return tuple(g for g in results if g is not None)

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
        check_forward_ad=check_fwd_over_rev,
        check_backward_ad=check_rev_over_rev,
        fast_mode=fast_mode,
        masked=masked,
    )
