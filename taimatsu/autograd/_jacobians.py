"""What `gradcheck` compares: Jacobians by differences, by backward and by forward mode.

A tensor is the vector of its real and imaginary parts.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

import taimatsu as torch
from taimatsu import _core
from taimatsu._core import Tensor

from .gradcheck import GradcheckError


def requires_grad(x: Any) -> bool:
    return isinstance(x, Tensor) and x.requires_grad


def _outputs(result: Any) -> tuple[Tensor, ...]:
    return (result,) if isinstance(result, Tensor) else tuple(result)


def differentiable(result: Any) -> tuple[Tensor, ...]:
    return tuple(y for y in _outputs(result) if requires_grad(y))


def _vector(t: Tensor) -> np.ndarray:
    """The elements as a float64 vector; of a complex tensor real and imaginary parts in turn."""
    a = np.array(t.detach().cpu().numpy()).reshape(-1)  # a copy
    if np.iscomplexobj(a):
        return a.astype(np.complex128).view(np.float64)
    return a.astype(np.float64)


def _write(t: Tensor, v: np.ndarray) -> None:
    """The reverse of `_vector`, into the memory of ``t``, unseen by the tape."""
    a = (v.view(np.complex128) if t.is_complex() else v).reshape(tuple(t.shape))
    t.data.copy_(torch.from_numpy(a))


def _tensor(v: np.ndarray, like: Tensor) -> Tensor:
    a = (v.view(np.complex128) if like.is_complex() else v).reshape(tuple(like.shape))
    t = torch.from_numpy(a)
    return t.to(dtype=like.dtype, device=like.device)


def _size(t: Tensor) -> int:
    return t.numel() * (2 if t.is_complex() else 1)


def random_like(y: Tensor, gaps: bool) -> Tensor:
    g = torch.randn(y.shape, dtype=y.dtype, device=y.device)
    if gaps:
        g = torch.stack([g, torch.zeros_like(g)], -1).select(-1, 0)
    return g.detach().requires_grad_()


def check_inputs(args: tuple[Any, ...]) -> None:
    if not any(requires_grad(x) for x in args):
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of the them "
            "have requires_grad=True."
        )
    for i, x in enumerate(args):
        if not requires_grad(x):
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


class Check:
    def __init__(self, func, args, eps, atol, rtol, nondet_tol, check_dtypes):
        self.func, self.args, self.eps = func, args, eps
        self.atol, self.rtol, self.nondet_tol = atol, rtol, nondet_tol
        self.check_dtypes = check_dtypes
        self.wanted = [i for i, x in enumerate(args) if requires_grad(x)]
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

    def tangents(self, k: int, v: np.ndarray) -> list[np.ndarray]:
        """The derivative of each output along ``v`` of an input, by forward mode."""
        found = self.forward(k, _tensor(v, self.inputs[k]))
        return [np.zeros(_size(y)) if t is None else _vector(t)
                for y, t in zip(self.outputs, found, strict=True)]  # fmt: skip

    def forward(self, k: int, tangent: Tensor) -> list[Tensor | None]:
        from . import forward_ad

        args = list(self.args)
        with forward_ad.dual_level():
            args[self.wanted[k]] = forward_ad.make_dual(self.inputs[k], tangent)
            return [forward_ad.unpack_dual(y).tangent for y in _outputs(self.func(*args))]

    def run(self, backward: bool, forward: bool, fast: bool) -> None:
        """All elements of all Jacobians; ``fast``: along a random direction in each input, of a
        random combination of each output."""
        random = np.random.default_rng(0)

        def directions(t: Tensor) -> np.ndarray:  # one a row
            return _unit(random.standard_normal((1, _size(t)))) if fast else np.eye(_size(t))

        sides = [directions(x) for x in self.inputs]
        mixes = [directions(y) for y in self.outputs]
        note = "in a random direction (fast_mode): " if fast else ""

        def compare(o: int, k: int, numerical: Sequence, analytical: np.ndarray, way: str) -> None:
            """``numerical``: for each direction in input k the derivatives of the outputs."""
            columns = [mixes[o] @ derivatives[o] for derivatives in numerical]
            shape = (len(mixes[o]), len(sides[k]))
            self.compare(o, self.wanted[k], np.array(columns).T.reshape(shape),
                         analytical.reshape(shape), way + note)  # fmt: skip

        numerical = [[self.difference(x, u) for u in side]
                     for x, side in zip(self.inputs, sides, strict=True)]  # fmt: skip
        for k, side in enumerate(sides if forward else ()):
            tangents = [self.tangents(k, u) for u in side]
            for o, mix in enumerate(mixes):
                columns = np.array([mix @ t[o] for t in tangents])
                compare(o, k, numerical[k], columns.T, "by forward mode: ")
        for o, mix in enumerate(mixes if backward else ()):
            rows = [(self.product if n else self.reproducible)(o, v) for n, v in enumerate(mix)]
            for k, side in enumerate(sides):
                compare(o, k, numerical[k], np.array([side @ r[k] for r in rows]), "")

    def batched(self) -> None:
        """Gradients of a batch at once are those of its members."""
        from taimatsu.autograd import grad

        for y in self.outputs:
            if not y.requires_grad:
                continue
            batch = torch.stack([random_like(y, False).detach() for _ in range(2)])
            at_once = grad(
                y, self.inputs, batch, retain_graph=True, allow_unused=True, is_grads_batched=True
            )
            for k, v in enumerate(batch):
                alone = _core.run_grad(y, self.inputs, v, True, False, True)
                for a, b in zip(at_once, alone, strict=True):
                    if a is not None and b is not None and not np.allclose(_vector(a[k]),
                                                                           _vector(b)):
                        raise GradcheckError("the gradients of a batch differ from those apart")

    def batched_forward(self) -> None:
        """Tangents of a batch at once are those of its members."""
        for k, x in enumerate(self.inputs):
            batch = torch.stack([random_like(x, False).detach() for _ in range(2)])

            def forward(v: Tensor, k: int = k) -> tuple[Tensor, ...]:
                return tuple(t for t in self.forward(k, v) if t is not None)

            at_once = torch.func.vmap(forward)(batch)
            for n, v in enumerate(batch):
                for a, b in zip(at_once, forward(v), strict=True):
                    if not np.allclose(_vector(a[n]), _vector(b)):
                        raise GradcheckError("the tangents of a batch differ from those apart")


def _unit(v: np.ndarray) -> np.ndarray:
    return v / (np.linalg.norm(v) or 1.0)
