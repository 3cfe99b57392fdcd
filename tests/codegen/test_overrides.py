"""The rule for overriding a derived gradient, checked over the whole table on special values.

Where a pointwise op is finite, its derived gradient isn't NaN; where it is, the op needs a
`.gradient` of its own (an intermediate was infinite, or 0/0).
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from reference import call, gradients, name_of, statics_of

import taimatsu.ops  # noqa: F401  (fills the table)
from taimatsu.codegen.ir import DTYPES, F32
from taimatsu.ops.schema import REQUIRED
from taimatsu.ops.table import ENTRIES

SPECIAL = np.array(
    [
        0.0, -0.0, 1e-30, -1e-30, 0.25, -0.25, 0.5, 1.0, -1.0, 2.0, -3.0, 10.0, -10.0, 20.5, -20.5,
        89.0, -89.0, 104.0, -104.0, 1e4, -1e4, 1e18, -1e18, 3e38, -3e38,
    ],
    np.float32,
)  # fmt: skip
# The slope really is 0/0 at these points, in PyTorch too.
NO_SLOPE = {"atan2": "at the origin", "hypot": "at the origin"}

DERIVED = [
    op
    for op in ENTRIES
    if op.kind == "pointwise"
    and op.backward is None
    and op.module != "optim"  # an optimizer's step is never differentiated
    and op.module is not None  # private: what calls it sees to its operands
    and not any(p.type == "ScalarType" and p.default is REQUIRED for p in op.parsed.params)
    and (op.dtypes is None or F32 in op.dtypes)
]


def arguments(op):
    """Operands over the grid (all pairs where there are two), and attributes."""
    tensors = [p for p in op.parsed.tensors if op.takes_gradient(p)]
    few = SPECIAL if len(tensors) < 3 else SPECIAL[::3]
    pairs = itertools.product(few, repeat=len(tensors))
    grid = [np.array(x, np.float32) for x in zip(*pairs, strict=True)]
    values = dict(zip((p.name for p in tensors), grid, strict=True))
    args = []
    for p in op.parsed.params:
        if p.tensor:
            args.append(values.get(p.name, np.arange(grid[0].size) % 2 == 0))
        elif p.default is REQUIRED:
            args.append({"float": 0.5, "Number": 0.5, "int": 1, "bool": False}[p.type])
        else:
            args.append(p.default)
    return tuple(args)


@pytest.mark.parametrize("op", DERIVED, ids=lambda op: op.name)
def test_derived_gradient_is_a_number_where_the_value_is(op):
    args = arguments(op)
    types = tuple(name_of(a) for p, a in zip(op.parsed.params, args, strict=True) if p.tensor)
    variant = op.variant(types, statics_of(op, op.bind(args, {})))
    if not all(DTYPES[t].floating for t, _ in variant.outputs):
        pytest.skip("not differentiable")
    outs = call(op, *args)
    mask = sum(1 << i for i, p in enumerate(op.parsed.params) if op.takes_gradient(p))
    finite = np.all([np.isfinite(o) for o in outs], axis=0)
    got = gradients(op, args, [np.ones_like(o) for o in outs], mask)
    for g in got:
        if g is None:
            continue
        wrong = finite & np.isnan(g)
        if op.name in NO_SLOPE:
            wrong &= np.any([a != 0 for a in args if isinstance(a, np.ndarray)], axis=0)
        at = [tuple(a[wrong][:3]) for a in args if isinstance(a, np.ndarray)]
        assert not wrong.any(), f"{op.name}: the derived gradient is NaN at {at}; override it"
