"""The forms that follow from an entry: method, alias, in-place, out=, meta tensors, threads."""

from __future__ import annotations

import pytest

import taimatsu as torch

from .families import ELSEWHERE, HINTS
from .samples import (
    DTYPES,
    INTEGERS,
    PUBLIC,
    REFUSED,
    each,
    lookup,
    raw,
    samples,
    snapshot,
    tensors,
)  # fmt: skip
from .test_values import supported

NAMES = sorted(PUBLIC)
# What comes out is random, or what the memory held.
UNDETERMINED = [n for n in NAMES if lookup(ELSEWHERE, n) and not n.startswith("optim.")]
# How much comes out depends on the elements.
BY_ELEMENTS = frozenset((
    "nonzero", "argwhere", "masked_select", "unique", "unique_consecutive", "bincount",
    "repeat_interleave", "repeat_interleave.counts", "masked_scatter", "index_put", "index_put_",
    "narrow.Tensor",
))  # fmt: skip


def calls(name: str, dtype=None, **options):
    dtype = dtype or next(d for d in (torch.float32, *supported(name)) if d in supported(name))
    return samples(name, dtype, **options)


def same(a, b) -> bool:
    """The same sizes, dtypes and bits."""
    xs, ys = tensors(a), tensors(b)
    return [(x.shape, x.dtype, raw(x)) for x in xs] == [(y.shape, y.dtype, raw(y)) for y in ys]


def copied(value):
    return each(value, lambda x: x.clone())


@pytest.mark.parametrize("name", [n for n in NAMES if n not in UNDETERMINED])
def test_function_method_and_aliases(name):
    """Whatever it is called by, the result is the same."""
    op = PUBLIC[name]
    base = op.name.partition(".")[0]
    for args, kwargs in calls(name):
        plain = op(*copied(args), **kwargs)
        for alias in (base, *op.names):
            if op.module not in ("Tensor", "optim"):
                function = torch.ops.namespaces[op.module][alias]
                assert same(function(*copied(args), **kwargs), plain), alias
            if op.method and isinstance(args[0], torch.Tensor):
                first, *rest = copied(args)
                assert same(getattr(first, alias)(*rest, **kwargs), plain), alias


OPERATORS = {
    "add": lambda x, y: x + y, "sub": lambda x, y: x - y, "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y, "floor_divide": lambda x, y: x // y,
    "remainder": lambda x, y: x % y, "pow": lambda x, y: x**y, "matmul": lambda x, y: x @ y,
    "eq": lambda x, y: x == y, "ne": lambda x, y: x != y, "lt": lambda x, y: x < y,
    "le": lambda x, y: x <= y, "gt": lambda x, y: x > y, "ge": lambda x, y: x >= y,
    "bitwise_and": lambda x, y: x & y, "bitwise_or": lambda x, y: x | y,
    "bitwise_xor": lambda x, y: x ^ y, "bitwise_left_shift": lambda x, y: x << y,
    "bitwise_right_shift": lambda x, y: x >> y, "neg": lambda x: -x, "abs": abs,
    "bitwise_not": lambda x: ~x, "positive": lambda x: +x,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_operators(name):
    for args, kwargs in calls(name):
        if not kwargs:
            assert same(OPERATORS[name](*args), PUBLIC[name](*args))


@pytest.mark.parametrize("name", [n for n in NAMES if PUBLIC[n].inplace and n not in UNDETERMINED])
def test_in_place(name):
    """As the plain form, written to the first argument; refused whole where it can't be."""
    op = PUBLIC[name]
    base = op.name.partition(".")[0] + "_"
    for args, kwargs in calls(name):
        if not isinstance(args[0], torch.Tensor):
            continue
        plain = op(*args, **kwargs)
        target, *rest = copied(args)
        version = target._version
        if op.method:
            write = getattr(target, base)
        else:
            function = torch.ops.namespaces[op.module][base]
            write = lambda *a, f=function, x=target, **k: f(x, *a, **k)
        fits = target.shape == plain.shape and torch.can_cast(plain.dtype, target.dtype)
        fits = fits and (op.out != "exact" or plain.dtype == target.dtype)
        if not fits:
            before = snapshot([target])
            with pytest.raises(RuntimeError):
                write(*rest, **kwargs)
            assert snapshot([target]) == before
            continue
        assert write(*rest, **kwargs) is target
        assert same(target, plain.to(target.dtype))
        assert target._version > version


@pytest.mark.parametrize("name", [
    n for n in NAMES if PUBLIC[n].out and n not in UNDETERMINED and PUBLIC[n].module != "Tensor"
])
def test_out(name):
    """As the plain form, in given tensors: of the right size, empty, or with gaps in memory."""
    op = PUBLIC[name]
    function = torch.ops.namespaces[op.module][op.name.partition(".")[0]]
    for args, kwargs in calls(name):
        plain = op(*args, **kwargs)
        if len(tensors(plain)) != len(op.parsed.outputs):
            continue  # nonzero(as_tuple=True)
        many = not isinstance(plain, torch.Tensor)
        for make in (
            lambda x: x.new_empty(0),
            lambda x: x.new_zeros(x.shape),
            lambda x: x.new_zeros((*x.shape, 2))[..., 0],
        ):
            out = tuple(map(make, plain)) if many else make(plain)
            result = function(*args, **kwargs, out=out)
            assert all(a is b for a, b in zip(tensors(result), tensors(out), strict=True))
            assert same(result, plain)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in BY_ELEMENTS])
def test_meta(name):
    """On the meta device: the same sizes and dtypes, without elements."""
    op = PUBLIC[name]
    for args, kwargs in calls(name):
        if not tensors([args, kwargs]):
            real = op(*args, **kwargs)
            found = op(*args, **kwargs | {"device": "meta"})
        else:
            real = op(*copied(args), **kwargs)
            given = each((args, kwargs), lambda x: x.to("meta"))
            try:
                found = op(*given[0], **given[1])
            except NotImplementedError as e:
                assert "meta" in str(e)
                continue
        if op.name in ("cpu", "to", "linalg.lstsq", "lstsq"):  # lstsq: residuals depend on the rank
            continue
        for a, b in zip(tensors(found), tensors(real), strict=True):
            assert (a.shape, a.dtype, a.device.type) == (b.shape, b.dtype, "meta")


# Formulas whose shapes may grow, and library routines that promise it.
THREADED = [
    n for n in NAMES if n not in UNDETERMINED and "(a!)" not in PUBLIC[n].schema
    and ((PUBLIC[n].kind in ("pointwise", "row") and lookup(HINTS, n) is None)
         or n in ("matmul", "addmm", "sort", "topk", "where", "cat", "masked_fill", "gather",
                  "add"))
]  # fmt: skip


@pytest.mark.parametrize("name", THREADED)
def test_same_bits_for_any_number_of_threads(name):
    # Batches of matrices grow in all dims: by 64, those among the samples take gigabytes.
    scale, nth = (16, 2) if name == "matmul" else (64, 0)
    args, kwargs = calls(name, scale=scale)[nth]
    results = []
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        results.append(PUBLIC[name](*copied(args), **kwargs))
    assert same(results[0], results[1]) and same(results[0], results[2])


@pytest.mark.parametrize("name", [n for n in NAMES if PUBLIC[n].is_formula and PUBLIC[n].dtypes])
def test_unsupported_dtypes(name):
    """What a formula isn't defined for is refused in words, and nothing is touched."""
    op = PUBLIC[name]
    args, kwargs = calls(name)[0]
    for dtype in set(DTYPES) - set(supported(name)):
        if op.promote == "float" and dtype in (*INTEGERS, torch.bool):
            continue  # becomes floating
        given = each(args, lambda x, d=dtype: (x * 2).to(d) if x.dtype != torch.bool else x)
        if dtype not in [x.dtype for x in tensors(given)]:
            continue
        before = snapshot(given)
        with pytest.raises(REFUSED, match="."):
            op(*given, **kwargs)
        assert snapshot(given) == before
