"""Calling ops on NumPy arrays through the interpreter: a model of what the core does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from taimatsu.codegen import interp
from taimatsu.codegen.ir import DTYPES
from taimatsu.ops.table import FORMULA_KINDS, Op

NAMES = {
    interp.numpy_dtype(t): name
    for name, t in DTYPES.items()
    if interp.numpy_dtype(t).itemsize * 8 == t.bits  # of the others NumPy has none
}


# What runs a nest; a test may push another, with the interpreter's signature.
runner = [interp.run]


def name_of(x: Any) -> tuple[str, str] | None:
    if x is None:
        return None
    if isinstance(x, np.ndarray | np.generic):
        return NAMES[np.asarray(x).dtype], "tensor"
    kinds = {bool: "bool", int: "i64", float: "f64", complex: "c128"}
    return kinds[type(x)], "number"


def statics_of(op: Op, given: dict[str, Any]) -> dict[str, Any]:
    """The attributes that select a kernel."""
    return {
        p.name: given.get(p.name)
        for p in op.parsed.attributes
        if op.is_static(p) or given.get(p.name) is None
    }


def call(op: Op, *args: Any, **kwargs: Any) -> tuple[np.ndarray, ...]:
    """The outputs of `op`."""
    assert op.kind in FORMULA_KINDS, op
    given = op.bind(args, kwargs)
    tensors = [given.get(p.name) for p in op.parsed.tensors]
    statics = statics_of(op, given)
    v = op.variant(tuple(map(name_of, tensors)), statics)
    arrays = [x for x in tensors if name_of(x) and name_of(x)[1] == "tensor"]
    scalars = [x for x in tensors if name_of(x) and name_of(x)[1] == "number"]
    for p in op.parsed.attributes:
        if p.name not in statics and not op.names_rows(p):
            scalars.extend(given[p.name] if p.length else [given[p.name]])
    run = {"pointwise": _pointwise, "row": _row, "indexed": _indexed}[op.kind]
    return run(op, v, arrays, scalars, given, statics)


def _pointwise(op, v, arrays, scalars, given, statics):
    shape = np.broadcast_shapes(*(a.shape for a in arrays))
    flat = [np.broadcast_to(a, shape).reshape(1, -1) for a in arrays]
    outs = runner[-1](v.nest, flat, scalars, extents=(1, int(np.prod(shape))))
    return tuple(np.broadcast_to(o, flat[0].shape).reshape(shape) for o in outs)


def row_dims(op: Op, spec: Any, given: dict, ndim: int) -> tuple[int, ...]:
    if isinstance(spec, int):
        return (spec % ndim,)
    if spec == "all":
        return tuple(range(ndim))
    if isinstance(spec, tuple) and spec[0] == "not":
        inner = row_dims(op, spec[1], given, ndim)
        return tuple(d for d in range(ndim) if d not in inner)
    if isinstance(spec, tuple):
        return tuple(range(ndim - len(given[spec[1]]), ndim))
    dim = given[spec]
    if dim is None:
        return tuple(range(ndim))
    dims = dim if isinstance(dim, tuple) else (dim,)
    return tuple(sorted(d % ndim for d in dims))


def _row(op, v, arrays, scalars, given, statics):
    present = [p for p in op.parsed.tensors if given.get(p.name) is not None]
    full = next(a for p, a in zip(present, arrays, strict=True) if p.type in ("Row", "Tensor"))
    rdims = row_dims(op, op.row_spec, given, full.ndim)
    kdims = tuple(d for d in range(full.ndim) if d not in rdims)
    ksizes, rsizes = [full.shape[d] for d in kdims], [full.shape[d] for d in rdims]
    k = (1, int(np.prod(ksizes)))
    r = (1, int(np.prod(rsizes))) if len(rdims) < 2 else (rsizes[0], int(np.prod(rsizes[1:])))
    placed = []
    for p, a in zip(present, arrays, strict=True):
        if p.type == "Cell":
            placed.append(a.reshape(*k, 1, 1))
        elif p.type == "Shared":
            placed.append(a.reshape(1, 1, *r))
        else:
            placed.append(np.broadcast_to(a, full.shape).transpose(kdims + rdims).reshape(k + r))
    sizes = [k + r if role == "row" else (*k, 1, 1) for _, role in v.outputs]
    outs = runner[-1](v.nest, placed, scalars, extents=k + r, sizes=sizes)
    result = []
    for o, (_, role) in zip(outs, v.outputs, strict=True):
        if role == "row":
            o = o.reshape(ksizes + rsizes).transpose(np.argsort(kdims + rdims))
        elif given.get("keepdim"):
            o = o.reshape([1 if d in rdims else n for d, n in enumerate(full.shape)])
        else:
            o = o.reshape(ksizes)
        result.append(o)
    return tuple(result)


def _indexed(op, v, arrays, scalars, given, statics):
    shapes = [a.shape for a in arrays]
    out = shapes[0] if not callable(op.out) else op.out(*shapes, **statics)
    sizes = list(out) if out and isinstance(out[0], list | tuple) else [out] * len(v.outputs)
    sizes = [tuple(s) for s in sizes]
    over = [*sizes, *shapes][v.over]
    return tuple(runner[-1](v.nest, arrays, scalars, extents=tuple(over), sizes=sizes))


def execute(op: Op, args: tuple, gs: list, mask: int) -> tuple[list, list]:
    """Runs the plan: the gradients; and for each step (callee, arguments, which are read)."""
    outs = call(op, *args)
    given = op.bind(args, {})
    params = op.parsed.params
    present = {p.name: given.get(p.name) is not None for p in op.parsed.tensors}
    steps, grads = op.plan(mask, statics_of(op, given), present)
    done: list[tuple] = []

    def value(source):
        kind, i = source
        if kind == "step":
            return done[i[0]][i[1]]
        if kind == "like":
            x = np.asarray(given[params[i].name])
            return np.broadcast_to(np.full((), np.nan, x.dtype), x.shape)
        if kind == "arg":
            return given.get(params[i].name)
        return {"g": gs, "out": outs}[kind][i] if kind != "value" else i

    trace = []
    for callee, sources, nout in steps:
        values = tuple(map(value, sources))
        trace.append((callee, values, [kind != "like" for kind, _ in sources]))
        result = call(callee, *values) if isinstance(callee, Op) else callee(*values)
        result = result if isinstance(result, tuple) else (result,)
        assert len(result) == nout
        done.append(result)
    return [None if s is None else value(s) for s in grads], trace


def gradients(op: Op, args: tuple, gs: list, mask: int) -> list:
    """The gradients of the inputs in `mask`, summed to their sizes; None for zero."""
    wanted = [np.shape(a) for i, a in enumerate(args) if mask >> i & 1]
    grads, _ = execute(op, args, gs, mask)
    return [None if g is None else sum_to(g, s) for g, s in zip(grads, wanted, strict=True)]


def steps_of(op: Op, args: tuple, gs: list, mask: int) -> list:
    """The plan's steps that are ops."""
    return [step for step in execute(op, args, gs, mask)[1] if isinstance(step[0], Op)]


def perturbed(loss: Callable, args: tuple, i: int, eps: float = 1e-5) -> np.ndarray:
    """The derivative of `loss(args)` by argument `i`, by central differences."""
    x = args[i]
    slope = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        high, low = x.copy(), x.copy()
        high[at] += eps
        low[at] -= eps
        ends = [loss((*args[:i], v, *args[i + 1 :])) for v in (high, low)]
        slope[at] = (ends[0] - ends[1]) / (2 * eps)
    return slope


def sum_to(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """`g` summed over the dims that `shape` was broadcast along."""
    g = np.asarray(g)
    while g.ndim > len(shape):
        g = g.sum(0)
    for d, n in enumerate(shape):
        if n == 1 and g.shape[d] != 1:
            g = g.sum(d, keepdims=True)
    return g.reshape(shape)
