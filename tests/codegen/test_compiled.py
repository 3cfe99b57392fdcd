"""Formulas and their derived gradients as machine code, against the interpreter."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from machine import Call
from reference import call, steps_of
from test_derive import CASES, mask_of

from taimatsu.codegen import interp


def compiled(nest, inputs, scalars=(), extents=None, sizes=None):
    """`interp.run` by the back end."""
    outputs = [np.zeros_like(o) for o in interp.run(nest, inputs, scalars, extents, sizes)]
    inputs = [np.ascontiguousarray(x) for x in inputs]
    indexed = not nest.reduced and nest.axes[0].name != "a1"
    run = Call(nest, [*outputs, *inputs], scalars, extents=extents, indexed=indexed)
    assert run() == 0
    return outputs


@pytest.mark.parametrize("name", CASES)
def test_compiled_equals_interpreted(name, monkeypatch):
    op, args = CASES[name]
    gs = [np.random.default_rng(2).normal(size=o.shape) for o in call(op, *args)]
    steps = steps_of(op, args, gs, mask_of(op, args))
    for callee, values in [(op, args), *(step[:2] for step in steps)]:
        expected = call(callee, *values)
        monkeypatch.setattr(reference, "runner", [compiled])
        got = call(callee, *values)
        monkeypatch.setattr(reference, "runner", [interp.run])
        for g, e in zip(got, expected, strict=True):
            np.testing.assert_allclose(g, e, rtol=1e-12, atol=1e-14, err_msg=callee.schema)
