"""Derivatives of functions as functions: from the left by the tape, from the right by its
derivative.

The product of a Jacobian with a vector from the left, u -> u J, is one backward pass, and linear in
u. Its derivative by u along t is J t: what a forward pass of dual numbers gives, at the price of a
second pass.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import taimatsu as torch
from taimatsu import Tensor
from taimatsu.utils._pytree import tree_flatten, tree_map, tree_unflatten

from ._tape import Tape, gradients

__all__ = ["grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "linearize", "vjp"]

Argnums = int | tuple[int, ...]


# ---- what they share ----------------------------------------------------------------------------


def _positions(argnums: Argnums, count: int, name: str) -> tuple[int, ...]:
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    if not numbers:
        raise RuntimeError(f"{name}: argnums must name at least one argument")
    for n in numbers:
        if not isinstance(n, int):
            raise RuntimeError(f"{name}: argnums must be an int or a tuple of ints; got {argnums}")
        if not -count <= n < count:
            raise RuntimeError(f"{name}: got argnum={n}, but only {count} positional inputs")
    positions = tuple(n % count for n in numbers)
    if len(set(positions)) < len(positions):
        raise RuntimeError(f"{name}: argnums must be unique; got {argnums}")
    return positions


def _differentiable(x: Any, name: str) -> Tensor:
    if not isinstance(x, Tensor):
        raise ValueError(
            f"{name}: expected the arguments that are differentiated by to be tensors, or trees "
            f"of them; got {type(x).__name__}"
        )
    return x


class _Run:
    """A function, run on arguments of which some are followed."""

    def __init__(self, name: str, func: Callable, args: tuple, at: Sequence[int], kwargs: dict,
                 has_aux: bool):  # fmt: skip
        recording = torch.is_grad_enabled()
        with torch.enable_grad():
            result = self._follow(name, func, args, at, kwargs)
        self._keep(name, result, has_aux)
        # Where nobody else follows, nothing has to be recorded of the derivative.
        self.shared = recording and self.tape.shared(self.outputs)

    def _follow(self, name: str, func: Callable, args: tuple, at: Sequence[int], kwargs: dict):
        self.tape = Tape()
        self.inputs: list[Tensor] = []
        self.specs = []
        followed = list(args)
        for i in at:
            leaves, spec = tree_flatten(args[i])
            aliases = [self.tape.follow(_differentiable(x, name)) for x in leaves]
            followed[i] = tree_unflatten(aliases, spec)
            self.inputs += aliases
            self.specs.append(spec)
        return func(*followed, **kwargs)

    def _keep(self, name: str, result: Any, has_aux: bool) -> None:
        self.aux: Any = None
        if has_aux:
            if not isinstance(result, tuple) or len(result) != 2:
                raise RuntimeError(
                    f"{name}: with has_aux=True the function must return a tuple (output, aux); "
                    f"got {type(result).__name__}"
                )
            result, self.aux = result
        self.outputs, self.out_spec = tree_flatten(result)
        for y in self.outputs:
            if not isinstance(y, Tensor):
                raise RuntimeError(
                    f"{name}: expected the function to return tensors; got {type(y).__name__}"
                )
        self.single = isinstance(result, Tensor)

    def shown(self, tree: Any) -> Any:
        """Results, connected to the tape only where somebody else follows them."""
        if self.shared:
            return tree
        return tree_map(lambda t: t.detach() if isinstance(t, Tensor) else t, tree)

    def by_input(self, values: Sequence[Any]) -> list[Any]:
        """Values, one for each leaf, as trees like the arguments."""
        trees, at = [], 0
        for spec in self.specs:
            trees.append(tree_unflatten(values[at : at + spec.num_leaves], spec))
            at += spec.num_leaves
        return trees


def _pack(trees: list[Any], argnums: Argnums) -> Any:
    return trees[0] if isinstance(argnums, int) else tuple(trees)


# ---- from the left ------------------------------------------------------------------------------


def grad_and_value(func: Callable, argnums: Argnums = 0, has_aux: bool = False) -> Callable:
    """The function that gives (gradient, value) of ``func``, which gives a scalar.

    ``argnums``: by which arguments, one or a tuple of them. ``has_aux``: ``func`` gives (value,
    aux), and the result is (gradient, (value, aux)).

    >>> torch.func.grad_and_value(lambda x: (x * x).sum())(torch.tensor([1., 2.]))
    (tensor([2., 4.]), tensor(5.))
    """

    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        at = _positions(argnums, len(args), "grad")
        run = _Run("grad", func, args, at, kwargs, has_aux)
        if not run.single:
            raise RuntimeError(
                "grad: expected the function to return a tensor; got a "
                f"{run.out_spec.type and run.out_spec.type.__name__}"
            )
        (value,) = run.outputs
        if value.dim() != 0:
            raise RuntimeError(
                "grad: expected the function to return a scalar tensor, got a tensor with "
                f"{value.dim()} dims. Maybe you wanted to use the vjp or jacrev transforms?"
            )
        with torch.enable_grad():
            found = gradients([value], run.inputs, [None], run.shared, retain_graph=run.shared)
        result = run.shown((_pack(run.by_input(found), argnums), value))
        return (result[0], (result[1], run.shown(run.aux))) if has_aux else result

    return wrapped


def grad(func: Callable, argnums: Argnums = 0, has_aux: bool = False) -> Callable:
    """The function that gives the gradient of ``func``, which gives a scalar.

    ``argnums``: by which arguments, one or a tuple of them; an argument may be a tree of tensors.
    ``has_aux``: ``func`` gives (value, aux), and the result is (gradient, aux).

    RuntimeError if the value is no scalar tensor.

    >>> torch.func.grad(torch.func.grad(torch.sin))(torch.tensor(0.5))
    tensor(-0.4794)
    """
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        gradient, value = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return wrapped


def vjp(func: Callable, *primals: Any, has_aux: bool = False) -> Any:
    """``func(*primals)``, and the function from a gradient of it to those of the primals.

    Returns (output, vjp_fn), with ``has_aux`` (output, vjp_fn, aux). ``vjp_fn`` takes a tree like
    the output, and gives a tuple with a gradient for each primal.

    >>> _, vjp_fn = torch.func.vjp(torch.sin, torch.zeros(2))
    >>> vjp_fn(torch.ones(2))
    (tensor([1., 1.]),)
    """
    run = _Run("vjp", func, primals, range(len(primals)), {}, has_aux)

    def vjp_fn(cotangents: Any, retain_graph: bool = True, create_graph: Any = None) -> Any:
        leaves, spec = tree_flatten(cotangents)
        if spec != run.out_spec:
            raise RuntimeError(
                "vjp_fn: expected a gradient for each output, in the structure of the output"
            )
        for g, y in zip(leaves, run.outputs, strict=True):
            if g.shape != y.shape:
                raise RuntimeError(
                    f"vjp_fn: expected a gradient of shape {tuple(y.shape)}; got {tuple(g.shape)}"
                )
        recording = torch.is_grad_enabled()
        with torch.enable_grad():
            keep = recording and (run.shared or Tape().shared(leaves))
            found = gradients(run.outputs, run.inputs, leaves, keep)
        found = found if keep else [g.detach() for g in found]
        return tuple(run.by_input(found))

    output = run.shown(tree_unflatten(run.outputs, run.out_spec))
    return (output, vjp_fn, run.shown(run.aux)) if has_aux else (output, vjp_fn)


def _basis(like: Tensor) -> list[Tensor]:
    """The unit tensors of its sizes, in order."""
    eye = torch.eye(like.numel(), dtype=like.dtype, device=like.device)
    return list(eye.reshape(like.numel(), *like.shape).unbind(0))


def jacrev(
    func: Callable,
    argnums: Argnums = 0,
    *,
    has_aux: bool = False,
    chunk_size: int | None = None,
    _preallocate_and_copy: bool = False,
) -> Callable:
    """The function that gives the Jacobian of ``func``, a backward pass for each of its elements.

    The Jacobian of an output of sizes (m,) by an argument of sizes (n,) has sizes (m, n); of trees
    it is a tree of outputs of trees of arguments. ``chunk_size`` has no effect.

    >>> torch.func.jacrev(torch.sin)(torch.zeros(2))
    tensor([[1., 0.],
            [0., 1.]])
    """

    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        at = _positions(argnums, len(args), "jacrev")
        run = _Run("jacrev", func, args, at, kwargs, has_aux)
        by_output = []
        with torch.enable_grad():
            for y in run.outputs:
                rows = [gradients([y], run.inputs, [u], run.shared) for u in _basis(y)]
                by_output.append(_pack(run.by_input([
                    torch.stack(column).reshape(*y.shape, *x.shape) if column
                    else x.new_zeros(*y.shape, *x.shape)
                    for column, x in zip(
                        zip(*rows, strict=True) if rows else [[]] * len(run.inputs), run.inputs,
                        strict=True)
                ]), argnums))  # fmt: skip
        jacobian = run.shown(_unflatten(by_output, run))
        return (jacobian, run.shown(run.aux)) if has_aux else jacobian

    return wrapped


def _unflatten(values: list[Any], run: _Run) -> Any:
    return tree_unflatten(values, run.out_spec)


# ---- from the right -----------------------------------------------------------------------------


class _Pushed:
    """A run function, and its backward pass with a gradient that is itself followed."""

    def __init__(self, name: str, func: Callable, args: tuple, at: Sequence[int], kwargs: dict,
                 has_aux: bool):  # fmt: skip
        self.run = run = _Run(name, func, args, at, kwargs, has_aux)
        inexact = [y.is_floating_point() or y.is_complex() for y in run.outputs]
        self.zeros = [
            run.tape.follow(torch.zeros_like(y).detach()) if ok else None
            for y, ok in zip(run.outputs, inexact, strict=True)
        ]
        ys = [y for y, ok in zip(run.outputs, inexact, strict=True) if ok]
        us = [u for u in self.zeros if u is not None]
        with torch.enable_grad():
            self.back = gradients(ys, run.inputs, us, create_graph=True)  # linear in us

    def along(self, tangents: Sequence[Tensor], create_graph: bool) -> list[Tensor]:
        """The derivative of each output along tangents of the inputs."""
        us = [u for u in self.zeros if u is not None]
        with torch.enable_grad():
            found = iter(gradients(self.back, us, tangents, create_graph))
        return [
            torch.zeros_like(y) if u is None else next(found)
            for u, y in zip(self.zeros, self.run.outputs, strict=True)
        ]


def _tangents(name: str, run: _Run, tangents: tuple, count: int) -> list[Tensor]:
    if not isinstance(tangents, tuple):
        raise RuntimeError(f"{name}: expected the tangents as a tuple; got {type(tangents)}")
    leaves = []
    if len(tangents) != count:
        raise RuntimeError(f"{name}: expected {count} tangents, one for each primal; got "
                           f"{len(tangents)}")  # fmt: skip
    for tree, spec in zip(tangents, run.specs, strict=True):
        values, found = tree_flatten(tree)
        if found != spec:
            raise RuntimeError(f"{name}: expected primals and tangents to have one structure")
        leaves += values
    for t, x in zip(leaves, run.inputs, strict=True):
        if t.shape != x.shape:
            raise RuntimeError(
                f"{name}: expected a tangent of shape {tuple(x.shape)}; got {tuple(t.shape)}"
            )
    return leaves


def jvp(
    func: Callable, primals: Any, tangents: Any, *, strict: bool = False, has_aux: bool = False
) -> Any:
    """``func(*primals)``, and its derivative along the tangents, one for each primal.

    Returns (output, tangent of the output), with ``has_aux`` also aux.

    >>> torch.func.jvp(torch.sin, (torch.zeros(2),), (torch.tensor([1., 2.]),))
    (tensor([0., 0.]), tensor([1., 2.]))
    """
    if not isinstance(primals, tuple) or not primals:
        raise RuntimeError(
            f"jvp: expected the primals as a tuple with at least one element; got {primals!r}"
        )
    recording = torch.is_grad_enabled()
    pushed = _Pushed("jvp", func, primals, range(len(primals)), {}, has_aux)
    run = pushed.run
    leaves = _tangents("jvp", run, tangents, len(primals))
    keep = recording and (run.shared or Tape().shared(leaves))
    found = pushed.along(leaves, keep)
    tangent = tree_unflatten(found if keep else [t.detach() for t in found], run.out_spec)
    output = run.shown(tree_unflatten(run.outputs, run.out_spec))
    return (output, tangent, run.shown(run.aux)) if has_aux else (output, tangent)


def linearize(func: Callable, *primals: Any) -> tuple[Any, Callable]:
    """``func(*primals)``, and the function from tangents of the primals to that of the output.

    Computes ``func`` once, however many tangents there are.

    >>> _, jvp_fn = torch.func.linearize(torch.sin, torch.zeros(2))
    >>> jvp_fn(torch.tensor([1., 2.]))
    tensor([1., 2.])
    """
    pushed = _Pushed("linearize", func, primals, range(len(primals)), {}, False)

    def jvp_fn(*tangents: Any) -> Any:
        leaves = _tangents("linearize", pushed.run, tangents, len(primals))
        keep = torch.is_grad_enabled() and (pushed.run.shared or Tape().shared(leaves))
        found = pushed.along(leaves, keep)
        found = found if keep else [t.detach() for t in found]
        return tree_unflatten(found, pushed.run.out_spec)

    return pushed.run.shown(tree_unflatten(pushed.run.outputs, pushed.run.out_spec)), jvp_fn


def jacfwd(
    func: Callable, argnums: Argnums = 0, has_aux: bool = False, *, randomness: str = "error"
) -> Callable:
    """The function that gives the Jacobian of ``func``, a pass for each element of its arguments.

    The result is that of `jacrev`, and cheaper where there are fewer arguments than outputs.

    >>> torch.func.jacfwd(torch.sin)(torch.tensor([0.0, 1.0]))
    tensor([[1.0000, 0.0000],
            [0.0000, 0.5403]])
    """

    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        at = _positions(argnums, len(args), "jacfwd")
        pushed = _Pushed("jacfwd", func, args, at, kwargs, has_aux)
        run = pushed.run
        columns: list[list[Tensor]] = []  # for each input the Jacobian of each output
        for i, x in enumerate(run.inputs):
            along = []
            for t in _basis(x):
                tangents = [torch.zeros_like(z) for z in run.inputs]
                tangents[i] = t
                along.append(pushed.along(tangents, run.shared))
            columns.append([
                torch.stack([a[k] for a in along], -1).reshape(*y.shape, *x.shape) if along
                else y.new_zeros(*y.shape, *x.shape)
                for k, y in enumerate(run.outputs)
            ])  # fmt: skip
        by_output = [
            _pack(run.by_input([column[k] for column in columns]), argnums)
            for k in range(len(run.outputs))
        ]
        jacobian = run.shown(_unflatten(by_output, run))
        return (jacobian, run.shown(run.aux)) if has_aux else jacobian

    return wrapped


def hessian(func: Callable, argnums: Argnums = 0) -> Callable:
    """The function that gives the second derivatives of ``func``: ``jacfwd(jacrev(func))``.

    >>> torch.func.hessian(lambda x: (x ** 3).sum())(torch.tensor([1., 2.]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    return jacfwd(jacrev(func, argnums), argnums)
