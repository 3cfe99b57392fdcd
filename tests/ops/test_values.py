"""Every op of the table against its oracle: all dtypes, memory layouts, shapes of no element."""

import warnings

import numpy as np
import pytest

import taimatsu as torch

from .families import (
    CHECKS,
    COMPLEX_ONLY,
    ELSEWHERE,
    HINTS,
    INTEGER_ONLY,
    NEEDS_ALL_ELEMENTS,
    ORACLES,
)
from .samples import (
    DTYPES,
    FLOATS,
    LAYOUTS,
    PUBLIC,
    REFUSED,
    each,
    lookup,
    raw,
    samples,
    snapshot,
    tensors,
    tolerance,
    wide,
)  # fmt: skip

COMPARED = sorted(name for name in PUBLIC if lookup(ELSEWHERE, name) is None)


def supported(name: str) -> tuple:
    """The dtypes that an op must take; others it may refuse."""
    op = PUBLIC[name]
    if lookup(INTEGER_ONLY, name):
        return (torch.int32, torch.int64)
    if lookup(COMPLEX_ONLY, name):
        return (torch.complex64, torch.complex128)
    if op.is_formula and op.dtypes is not None:
        named = {t.name for t in op.dtypes}
        return tuple(d for d in DTYPES if d._code in named)
    return DTYPES if op.is_formula else (torch.float32, torch.float64)


def expected(name, args, kwargs):
    """The oracle's results as a list of arrays."""
    kwargs = {k: v for k, v in kwargs.items() if k != "device"}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        out = lookup(ORACLES, name)(*each(args, wide), **each(kwargs, wide))
    return list(out) if isinstance(out, (tuple, list)) else [np.asarray(out)]


def compare(name, args, kwargs, result):
    found = tensors(result)
    check = lookup(CHECKS, name)
    if check is not None:
        arrays = tuple(wide(x) for x in found)
        check(arrays if len(arrays) > 1 else arrays[0], *each(args, wide), **each(kwargs, wide))
        return
    wanted = expected(name, args, kwargs)
    assert len(found) == len(wanted)
    inputs = [x.dtype for x in tensors([args, kwargs])]
    for got, want in zip(found, wanted, strict=True):
        assert tuple(got.shape) == want.shape
        kinds = "b" if got.dtype == torch.bool else "fc" if got.dtype.is_floating_point or \
            got.dtype.is_complex else "iu"
        assert want.dtype.kind in kinds or want.dtype.kind not in "b", f"{got.dtype} {want.dtype}"
        # What went in with fewer digits can't come out with more.
        digits = max([tolerance(d) for d in (*inputs, got.dtype)])
        got = wide(got)
        # Errors are relative to what went in as well, where it cancels.
        scale = max([1e-3, *(np.abs(v[np.isfinite(v)]).max(initial=0) for v in
                             [want, *map(wide, tensors([args, kwargs]))])])
        if digits == 0 and want.dtype.kind in "iu":
            want = want.astype(got.dtype)  # integers wrap
        np.testing.assert_allclose(got, want, rtol=digits, atol=digits * float(scale))


@pytest.mark.parametrize("name", COMPARED)
def test_dtypes(name):
    """Right results in every dtype it supports; a clean refusal of others."""
    op, failures = PUBLIC[name], []
    must = supported(name)
    for dtype in DTYPES:
        for args, kwargs in samples(name, dtype) if dtype in must else _samples(name, dtype):
            before = snapshot([args, kwargs])
            inputs = each((args, kwargs), lambda x: x.clone())
            try:
                result = op(*args, **kwargs)
            except REFUSED as e:
                assert dtype not in must, f"{dtype}: {e}"
                assert snapshot([args, kwargs]) == before
                continue
            try:
                compare(name, *inputs, result)
            except AssertionError as e:
                failures.append(f"{dtype} {inputs}: {e}")
    assert not failures, "\n".join(failures[:3])


def _samples(name, dtype):
    try:
        return samples(name, dtype)
    except REFUSED:
        return []  # the sample itself needs an op that refuses the dtype


@pytest.mark.parametrize("name", COMPARED)
def test_layouts(name):
    """The same for operands that aren't contiguous."""
    dtype = next(d for d in (torch.float32, *supported(name)) if d in supported(name))
    for layout in LAYOUTS[1:]:
        if layout == "expanded" and lookup(NEEDS_ALL_ELEMENTS, name, "(a!)" in PUBLIC[name].schema):
            continue
        for args, kwargs in samples(name, dtype, layout):
            inputs = each((args, kwargs), lambda x: x.clone())
            compare(name, *inputs, PUBLIC[name](*args, **kwargs))


SHAPED = [n for n in COMPARED if PUBLIC[n].kind in ("pointwise", "row")]


@pytest.mark.parametrize("name", SHAPED)
def test_no_dims_and_no_elements(name):
    """0-dim tensors and empty ones: the oracle's result, or an error where it has none."""
    if lookup(HINTS, name) is not None:
        pytest.skip("its samples have their own shapes")
    op, dtypes = PUBLIC[name], supported(name)
    dtype = next(d for d in (torch.float32, *dtypes) if d in dtypes)
    for shape in ((), (0,), (0, 4), (3, 0)):
        for args, kwargs in samples(name, dtype, shape=shape):
            if not shape and op.kind == "row" and ("dim" in kwargs or len(args) > 1):
                assert tensors(op(*args, **kwargs))[0].numel() == 1
                continue
            try:
                wanted = lookup(CHECKS, name) or expected(name, args, kwargs)
            except (ValueError, IndexError):
                wanted = None
            if wanted is None:
                with pytest.raises((RuntimeError, IndexError, ValueError)):
                    op(*args, **kwargs)
            else:
                compare(name, args, kwargs, op(*args, **kwargs))


REALS = [n for n in COMPARED if PUBLIC[n].kind == "pointwise" and "(a!)" not in PUBLIC[n].schema]


@pytest.mark.parametrize("name", REALS)
def test_same_bits_in_any_company(name):
    """An element's result doesn't depend on how many others there are, nor on where it stands."""
    op = PUBLIC[name]
    for dtype in set(FLOATS) & set(supported(name)) or supported(name)[:1]:
        for args, kwargs in samples(name, dtype):
            # Seven copies of the operands next to each other in memory, with their common shape.
            sizes = torch.broadcast_shapes(*(x.shape for x in tensors(args)))
            repeated = each(args, lambda x, n=sizes: x.expand(7, *n).clone() if x.dim() else x)
            one, more = op(*args, **kwargs), op(*repeated, **kwargs)
            for a, b in zip(tensors(one), tensors(more), strict=True):
                for copy in b if b.dim() > a.dim() else [b]:
                    assert raw(copy) == raw(a), (dtype, args)


@pytest.mark.parametrize("f", [
    lambda x: torch.nn.functional.pad(x, (-1, 1, -1, 0), mode="replicate"),
    lambda x: torch.nn.functional.conv2d(x, x[:2]),
    lambda x: torch.cat([x, x], 1).flatten(),
    lambda x: x @ x.mT,
])  # fmt: skip
def test_strides_of_dims_of_one_tell_nothing(f):
    x = torch.arange(60.0).reshape(3, 1, 5, 4)
    other = x.as_strided(x.shape, (20, 7, 4, 1))
    assert other.is_contiguous()
    torch.testing.assert_close(f(other), f(x))


def test_values_alone_have_gradients_where_vectors_have_none():
    """Repeated singular values and eigenvalues; NumPy's definition of their sum: the trace."""
    for f in (torch.linalg.svdvals, torch.linalg.eigvalsh, lambda x: torch.linalg.eigvals(x).real):
        x = (2 * torch.eye(3)).requires_grad_()
        f(x).sum().backward()
        np.testing.assert_allclose(x.grad, np.eye(3), atol=1e-6)


def test_every_entry_has_an_oracle():
    """A new op needs a line in a module of tests/ops/families."""
    told = {*ORACLES, *CHECKS, *ELSEWHERE}
    assert not [n for n in PUBLIC if lookup(dict.fromkeys(told, True), n) is None]
    known = {n for name, op in PUBLIC.items() for n in (name,
                                                        name.removesuffix(f".{op.name.partition('.')[2]}"))}
    assert not told - known, "lines for ops that are no more"


def test_every_entry_is_documented():
    assert not [name for name, op in PUBLIC.items() if not op.doc]
