"""The derivative of every op against finite differences, first and second, in double precision."""

from __future__ import annotations

import pytest

import taimatsu as torch
from taimatsu.autograd import gradcheck, gradgradcheck

from .families import ELSEWHERE, GRADIENT_SAMPLES, HERMITIAN, NO_GRADIENT, NO_SECOND
from .samples import DEVICE, PUBLIC, Maker, each, lookup, placed, samples, tensors
from .test_values import supported

DIFFERENTIABLE = sorted(
    name for name, op in PUBLIC.items()
    if torch.float64 in supported(name) and op.module != "optim"
    and lookup(ELSEWHERE, name) is None and lookup(NO_GRADIENT, name) is None
    and "(a!)" not in op.schema
)  # fmt: skip


def problems(name, device=DEVICE, dtype=torch.float64):
    """(function, inputs that require grad) for each sample whose result can be differentiated."""
    op = PUBLIC[name]
    special = lookup(GRADIENT_SAMPLES, name)
    if special is not None:
        calls = [placed((c if isinstance(c, tuple) else (c,), {}), op, device)
                 for c in special(Maker(dtype))]  # fmt: skip
    else:
        calls = samples(name, dtype, device=device)
    for args, kwargs in calls:
        inputs = [
            x.detach().clone().requires_grad_() for x in tensors([args, kwargs])
            if x.dtype == dtype
        ]  # fmt: skip
        if not inputs:
            continue

        def function(*given, args=args, kwargs=kwargs):
            fresh = iter(given)
            full = each((args, kwargs), lambda x: next(fresh) if x.dtype == dtype else x)
            if lookup(HERMITIAN, name):
                x, *rest = full[0]
                full = ((x @ x.mH, *rest), full[1])
            found = tensors(op(*full[0], **full[1]))
            return tuple(y for y in found if y.is_floating_point() or y.is_complex())

        if function(*inputs):
            yield function, inputs


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_first_and_second(name):
    checked = 0
    for function, inputs in problems(name):
        assert any(y.requires_grad for y in function(*inputs)), "the result has no history"
        assert gradcheck(function, inputs)
        checked += 1
        # A derivative that is constant has no history of its own.
        first = torch.autograd.grad(
            [y.abs().sum() for y in function(*inputs) if y.requires_grad], inputs,
            allow_unused=True, create_graph=True,
        )  # fmt: skip
        if lookup(NO_SECOND,
                  name) is None and any(g is not None and g.requires_grad for g in first):
            assert gradgradcheck(function, inputs, fast_mode=True)
    if not checked:
        pytest.skip("gives no floating results")


# Composites are made of these. A gradient of complex numbers is easily the conjugate of itself.
COMPLEX = [
    name for name in DIFFERENTIABLE
    if torch.complex128 in supported(name)
    or (PUBLIC[name].backward is not None and not PUBLIC[name].is_formula)
]  # fmt: skip


@pytest.mark.parametrize("name", COMPLEX)
def test_of_complex_numbers(name):
    try:
        found = next(problems(name, dtype=torch.complex128), None)
    except RuntimeError:
        if torch.complex128 in supported(name):
            raise
        pytest.skip("takes no complex numbers")
    if found is None:
        pytest.skip("gives no complex results")
    function, inputs = found
    assert gradcheck(function, inputs, fast_mode=True)
    if lookup(NO_SECOND, name) is None:
        assert gradgradcheck(function, inputs, fast_mode=True)
