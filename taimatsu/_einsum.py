"""``einsum``: sums of products by the names of dims.

The equation becomes labels for the dims of each operand; pairs of operands are contracted, each by
one batched matrix product of permuted views, until one is left. Which ops that takes follows from
labels and sizes alone, so it is found once, with stand-ins that have sizes only, and kept as steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import prod
from typing import Any

import taimatsu as torch
from taimatsu.backends import opt_einsum

from . import _core

Tensor = torch.Tensor
# Of letters the place in _LETTERS; the dims of "..." are negative, the last is -1.
Labels = tuple[int, ...]

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def einsum(*args: Any) -> Tensor:
    """Sums of products of the operands' elements, along dims that are named by letters.

    einsum(equation, *operands): "ij,jk->ik" names the dims of each operand, and those of the
    result; what is not in the result is summed. Without "->" the result has the letters that occur
    once, in alphabetical order. "..." stands for dims that broadcast. A letter twice in one operand
    is a diagonal. Dims of size 1 broadcast.

    einsum(operand, sublist, ..., [result]): lists of ints under 52, and Ellipsis, for letters.

    RuntimeError for an equation that doesn't fit the operands, or different dtypes; ValueError
    without operands, or for ints out of range. `backends.opt_einsum` says in which order more than
    two operands are contracted.

    >>> taimatsu.einsum("ij,jk->ik", taimatsu.ones(2, 3), taimatsu.ones(3, 2))
    tensor([[3., 3.],
            [3., 3.]])
    """
    if len(args) < 2:
        raise ValueError(
            "einsum(): must specify the equation string and at least one operand, or at least one "
            "operand and its subscripts list"
        )
    operands: list[Any]
    if len(args) == 2 and isinstance(args[0], str) and isinstance(args[1], (list, tuple)):
        return einsum(args[0], *args[1])  # so that overrides see operands one by one
    if _core._has_torch_function(args):
        from .overrides import handle_torch_function

        return handle_torch_function(einsum, args, *args)
    if isinstance(args[0], Tensor):
        equation, operands = _from_sublists(args)
    else:
        equation, operands = args[0], list(args[1:])
    for i, x in enumerate(operands):
        if not isinstance(x, Tensor):
            raise TypeError(
                f"einsum(): expected Tensor as element {i} in argument 1, but got "
                f"{type(x).__name__}"
            )
        if x.dtype != operands[0].dtype:
            raise RuntimeError(
                f"einsum(): expected scalar type {operands[0].dtype} but found {x.dtype}; convert "
                "the operands to one dtype"
            )
    for function, slots, arguments in _steps(equation, tuple([x.shape for x in operands]),
                                             _strategy()):  # fmt: skip
        taken = [operands[i] for i in slots]
        for i in slots:  # nothing is needed twice
            operands[i] = None
        operands.append(function(*taken, *arguments))
    return operands[-1]


def _from_sublists(args: Sequence[Any]) -> tuple[str, list[Any]]:
    """The equation for operands that alternate with lists."""

    def letters(sublist: Any) -> str:
        names = []
        for n in sublist:
            if n is not Ellipsis and not 0 <= n < len(_LETTERS):
                raise ValueError(
                    f"einsum(): {n} in a subscript list is not within the valid range "
                    f"[0, {len(_LETTERS)})"
                )
            names.append("..." if n is Ellipsis else _LETTERS[n])
        return "".join(names)

    pairs = len(args) // 2
    equation = ",".join(map(letters, args[1 : 2 * pairs : 2]))
    if len(args) % 2:
        equation += "->" + letters(args[-1])
    return equation, list(args[: 2 * pairs : 2])


# ---- The equation ------------------------------------------------------------------------------


def _terms(text: str, where: str) -> tuple[list[int], int | None]:
    """The letters of one operand (or the result), and before which of them "..." stands."""
    labels: list[int] = []
    ellipsis: int | None = None
    i = 0
    while i < len(text):
        if text[i] == ".":
            if ellipsis is not None:
                raise RuntimeError(
                    f"einsum(): found '.' for {where} for which an ellipsis was already found"
                )
            if text[i : i + 3] != "...":
                raise RuntimeError(
                    f"einsum(): found '.' for {where} that is not part of any ellipsis"
                )
            ellipsis, i = len(labels), i + 3
        elif text[i] in _LETTERS:
            labels.append(_LETTERS.index(text[i]))
            i += 1
        else:
            raise RuntimeError(
                f"einsum(): invalid subscript {text[i]!r} given for {where}, subscripts must be in "
                "[a-zA-Z]"
            )
    return labels, ellipsis


def _parse(equation: str, ndims: tuple[int, ...]) -> tuple[tuple[Labels, ...], Labels]:
    """The labels of each operand's dims, and of the result's."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    texts = left.split(",")
    if len(texts) != len(ndims):
        fewer = "fewer" if len(ndims) < len(texts) else "more"
        raise RuntimeError(
            f"einsum(): {fewer} operands were provided than specified in the equation "
            f"{equation!r}: {len(ndims)}"
        )
    inputs: list[Labels] = []
    widest = 0  # how many dims "..." stands for
    for i, (text, ndim) in enumerate(zip(texts, ndims, strict=True)):
        labels, at = _terms(text, f"operand {i}")
        rest = ndim - len(labels)
        if rest < 0 or (rest and at is None):
            given = "more dimensions than" if rest < 0 else "no ellipsis for all of"
            raise RuntimeError(
                f"einsum(): the subscripts {text!r} give {given} the {ndim} dimensions of operand "
                f"{i}"
            )
        if at is not None:
            widest = max(widest, rest)
            labels[at:at] = range(-rest, 0)
        inputs.append(tuple(labels))
    broadcast = list(range(-widest, 0))
    seen = [n for labels in inputs for n in labels]
    if not arrow:
        once = sorted(n for n in set(seen) if n >= 0 and seen.count(n) == 1)
        return tuple(inputs), (*broadcast, *once)
    labels, at = _terms(right, "the output")
    for n in labels:
        if n not in seen:
            raise RuntimeError(
                f"einsum(): output subscript {_LETTERS[n]} does not appear in the equation for any "
                "input operand"
            )
        if labels.count(n) > 1:
            raise RuntimeError(
                f"einsum(): output subscript {_LETTERS[n]} appears more than once in the output"
            )
    if at is not None:
        labels[at:at] = broadcast
    return tuple(inputs), tuple(labels)


def _extents(operands: Sequence[Sized], inputs: Sequence[Labels]) -> dict[int, int]:
    """The size of each label."""
    sizes: dict[int, int] = {}
    for i, (x, labels) in enumerate(zip(operands, inputs, strict=True)):
        for label, n in zip(labels, x.shape, strict=True):
            known = sizes.setdefault(label, n)
            if known == 1:
                sizes[label] = n
            elif n not in (1, known):
                name = _LETTERS[label] if label >= 0 else "..."
                raise RuntimeError(
                    f"einsum(): subscript {name} has size {n} for operand {i} which does not "
                    f"broadcast with previously seen size {known}"
                )
    return sizes


# ---- Contraction -------------------------------------------------------------------------------


# A function, the slots of the tensors it takes, its other arguments. A slot is an operand or, from
# there on, the result of a step.
Step = tuple[Callable[..., Tensor], tuple[int, ...], tuple[Any, ...]]


class Sized:
    """Stands in for a tensor: has its sizes, and notes what is done with it as steps."""

    def __init__(self, shape: tuple[int, ...], slot: int, steps: list[Step], operands: int):
        self.shape, self.slot, self.steps = shape, slot, steps
        self.operands = operands  # how many slots there were before the first step

    def then(
        self, shape: Sequence[int], function: Callable, *arguments: Any, other: Sized | None = None
    ) -> Sized:
        """What `function` makes of it (and another one): something of that shape."""
        slots = (self.slot,) if other is None else (self.slot, other.slot)
        self.steps.append((function, slots, arguments))
        slot = self.operands + len(self.steps) - 1
        return Sized(tuple(shape), slot, self.steps, self.operands)

    def permute(self, dims: list[int]) -> Sized:
        if dims == list(range(len(dims))):
            return self
        return self.then([self.shape[d] for d in dims], Tensor.permute, dims)

    def reshape(self, shape: Sequence[int]) -> Sized:
        if tuple(shape) == self.shape:
            return self
        return self.then(shape, Tensor.reshape, list(shape))

    def sum(self, dims: list[int], function: Callable = Tensor.sum) -> Sized:
        rest = [n for d, n in enumerate(self.shape) if d not in dims]
        return self.then(rest, function, dims)


@lru_cache(512)
def _steps(equation: str, shapes: tuple[tuple[int, ...], ...], strategy: str) -> list[Step]:
    """What to do with operands of these sizes."""
    inputs, output = _parse(equation, tuple(map(len, shapes)))
    steps: list[Step] = []
    operands = [Sized(tuple(shape), i, steps, len(shapes)) for i, shape in enumerate(shapes)]
    result = _contract(operands, inputs, output, strategy)
    if not steps:
        result.then(result.shape, Tensor.view, list(result.shape))  # never the operand itself
    return steps


def _contract(
    operands: Sequence[Sized], inputs: Sequence[Labels], output: Labels, strategy: str
) -> Sized:
    sizes = _extents(operands, inputs)
    terms = [_simple(x, labels, sizes) for x, labels in zip(operands, inputs, strict=True)]
    names = tuple(labels for _, labels in terms)
    if len(terms) > 2:
        pairs = _order(names, output, tuple(sorted(sizes.items())), strategy)
    else:
        pairs = ((0, 1),) * (len(terms) - 1)
    for i, j in pairs:
        a, b = terms[i], terms[j]
        terms = [t for n, t in enumerate(terms) if n not in (i, j)]
        kept = {*output}.union(*(labels for _, labels in terms))
        terms.append(_product(a, b, kept))
    ((x, labels),) = terms
    summed = [d for d, label in enumerate(labels) if label not in output]
    if summed:
        x = x.sum(summed)  # of integers int64, as any sum
        labels = tuple(label for label in labels if label in output)
    for label in output:  # of size 1 in every operand: left out on the way
        if label not in labels:
            x, labels = x.reshape([*x.shape, 1]), (*labels, label)
    return x.permute([labels.index(label) for label in output])


Term = tuple[Sized, Labels]


def _simple(x: Sized, labels: Labels, sizes: dict[int, int]) -> Term:
    """Each label once, as a diagonal; without dims of one that others broadcast."""
    kept: list[int] = []
    for label in labels:
        d = len(kept)
        rest = x.shape[:d] + x.shape[d + 1 :]
        if x.shape[d] == 1 and sizes[label] != 1 and labels.count(label) == 1:
            x = x.then(rest, Tensor.squeeze, d)
        elif label in kept:
            first = kept.index(label)
            if x.shape[first] != x.shape[d]:
                raise RuntimeError(
                    f"einsum(): subscript {_LETTERS[label]} is repeated for one operand but the "
                    f"sizes don't match, {x.shape[d]} != {x.shape[first]}"
                )
            x = x.then(rest, _diagonal, first, d)
        else:
            kept.append(label)
    return x, tuple(kept)


def _diagonal(x: Tensor, first: int, d: int) -> Tensor:
    return x.diagonal(0, first, d).movedim(-1, first)


def _product(a: Term, b: Term, kept: set[int]) -> Term:
    """Two operands as one: what only they have, and the result hasn't, is summed."""
    (x, xs), (y, ys) = _summed(a, {*b[1], *kept}), _summed(b, {*a[1], *kept})
    batch = tuple(n for n in xs if n in ys and n in kept)
    inner = tuple(n for n in (xs if prod(x.shape) >= prod(y.shape) else ys)
                  if n in xs and n in ys and n not in kept)  # fmt: skip
    left = tuple(n for n in xs if n not in ys)
    right = tuple(n for n in ys if n not in xs)
    labels = (*batch, *left, *right)
    if not inner:
        x = x.permute([xs.index(n) for n in (*batch, *left)])
        y = y.permute([ys.index(n) for n in (*batch, *right)])
        x = x.reshape([*x.shape, *(1,) * len(right)])
        at = len(batch)
        y = y.reshape([*y.shape[:at], *(1,) * len(left), *y.shape[at:]])
        shape = [m if n == 1 else n for m, n in zip(x.shape, y.shape, strict=True)]
        return x.then(shape, Tensor.mul, other=y), labels
    extent = {**dict(zip(xs, x.shape, strict=True)), **dict(zip(ys, y.shape, strict=True))}

    def count(names: Labels) -> int:
        return prod(extent[n] for n in names)

    x = x.permute([xs.index(n) for n in (*batch, *left, *inner)])
    y = y.permute([ys.index(n) for n in (*batch, *inner, *right)])
    groups = [count(batch)] if batch else []
    x = x.reshape([*groups, count(left), count(inner)])
    y = y.reshape([*groups, count(inner), count(right)])
    z = x.then([*groups, count(left), count(right)], Tensor.matmul, other=y)
    return z.reshape([extent[n] for n in labels]), labels


def _summed(term: Term, kept: set[int]) -> Term:
    x, labels = term
    dims = [d for d, n in enumerate(labels) if n not in kept]
    if not dims:
        return term
    return x.sum(dims, _sum_in_dtype), tuple(n for n in labels if n in kept)


def _sum_in_dtype(x: Tensor, dims: list[int]) -> Tensor:
    return x.sum(dims).to(x.dtype)


# ---- The order ---------------------------------------------------------------------------------


def _strategy() -> str:
    return (opt_einsum.strategy or "auto") if opt_einsum.enabled else "left"


@lru_cache(256)
def _order(
    inputs: tuple[Labels, ...], output: Labels, extents: tuple[tuple[int, int], ...], strategy: str
) -> tuple[tuple[int, int], ...]:
    """Which two operands are next; their product goes to the end of the list."""
    sizes = dict(extents)
    terms = [frozenset(labels) for labels in inputs]
    if strategy == "optimal" and len(terms) <= 8:
        return _optimal(tuple(terms), frozenset(output), extents)[1]
    order: list[tuple[int, int]] = []
    while len(terms) > 1:
        pairs = [(i, j) for j in range(len(terms)) for i in range(j)]
        if strategy == "left":  # the product so far is the last, but for the first pair
            i, j = (0, len(terms) - 1) if order else (0, 1)
        else:
            i, j = min(pairs, key=lambda p: _growth(terms, p, output, sizes))
        result = _kept(terms, i, j, output)
        terms = [t for n, t in enumerate(terms) if n not in (i, j)] + [result]
        order.append((i, j))
    return tuple(order)


def _kept(terms: Sequence[frozenset[int]], i: int, j: int, output: Any) -> frozenset[int]:
    others = frozenset(output).union(*(t for n, t in enumerate(terms) if n not in (i, j)))
    return (terms[i] | terms[j]) & others


def _elements(labels: Any, sizes: dict[int, int]) -> int:
    return prod(sizes[n] for n in labels)


def _growth(terms: Any, pair: tuple[int, int], output: Any, sizes: dict[int, int]) -> Any:
    """By how many elements the product is larger than what it replaces; then what it costs."""
    i, j = pair
    before = _elements(terms[i], sizes) + _elements(terms[j], sizes)
    after = _elements(_kept(terms, i, j, output), sizes)
    return after - before, _elements(terms[i] | terms[j], sizes)


@lru_cache(1024)
def _optimal(
    terms: tuple[frozenset[int], ...], output: frozenset[int], extents: tuple[tuple[int, int], ...]
) -> tuple[int, tuple[tuple[int, int], ...]]:
    """The fewest multiplications, and the order that has them."""
    if len(terms) == 1:
        return 0, ()
    sizes = dict(extents)
    best: tuple[int, tuple[tuple[int, int], ...]] | None = None
    for j in range(len(terms)):
        for i in range(j):
            rest = tuple(t for n, t in enumerate(terms) if n not in (i, j))
            cost = _elements(terms[i] | terms[j], sizes)
            later, order = _optimal((*rest, _kept(terms, i, j, output)), output, extents)
            if best is None or cost + later < best[0]:
                best = cost + later, ((i, j), *order)
    assert best is not None
    return best
