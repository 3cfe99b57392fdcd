"""`python -m taimatsu.codegen`: what it prints, and that warming fills the cache."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from formulas import cross_entropy, max_pool2d, softmax

from taimatsu.codegen import show
from taimatsu.codegen.__main__ import main
from taimatsu.codegen.show import nest_text


def printed(capsys, *arguments: str) -> str:
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


def test_every_section_of_an_entry(capsys):
    text = printed(capsys, "show", "gelu", "--target", "avx2")
    for section in show.SECTIONS:
        assert f"=== gelu: {section} ===" in text
    assert "none:" not in text
    assert "ymm" in text and ".visible .entry gelu" in text
    assert "0.5 * self[a1, a0] * (1.0 + erf(self[a1, a0] * 0.7071067811865476))" in text


def test_other_targets_and_static_attributes(capsys):
    options = ("--target", "neon", "--set", "approximate=tanh", "--only", "nest", "assembly")
    text = printed(capsys, "show", "gelu", *options)
    assert "tanh(" in text and "fmla" in text and "ptx" not in text


def test_nests_read_as_formulas():
    nest = softmax.variant((("f32", "tensor"),), {"dim": 1}).nest
    assert nest_text(nest) == """\
for each k1, k0, r1, r0, a row along r1, r0
  out result: f32 (row)
  in  self: f32 (row)
    t1 = exp(self[k1, k0, 0, r0] - constant(max[r0](self[k1, k0, 0, r0])))
    result[k1, k0, 0, r0] = t1 / sum[r0](t1)"""
    nest = cross_entropy.variant((("f32", "tensor"), ("i64", "tensor")), {}).nest
    assert "log(sum[r0](exp(" in nest_text(nest)
    statics = {"k": (2, 2), "s": (2, 2), "p": (0, 0)}
    nest = max_pool2d.variant((("f32", "tensor"),), statics).nest
    assert "argmax[w, w]" in nest_text(nest) and "size(self, 2)" in nest_text(nest)


def test_derivatives_say_what_they_are_called_with():
    text = show.Entry(softmax, "f32", {}, "host", "sm_80").derivative()
    assert "step 0: softmax_backward(g, result, dim)" in text
    assert "(g[k1, k0, 0, r0] - sum[r0](g[k1, k0, 0, r0] * result[k1, k0, 0, r0]))" in text
    assert text.endswith("gradient of self: step 0")


def test_an_unknown_op_is_an_error_with_suggestions(capsys):
    assert main(["show", "geluu"]) == 2
    assert "gelu" in capsys.readouterr().err
    with pytest.raises(KeyError, match="geluu"):
        show.show("geluu")


def test_warming_fills_the_cache(tmp_path):
    command = [sys.executable, "-m", "taimatsu.codegen", "warm", "--ops", "exp", "softmax"]
    environment = {**os.environ, "TAIMATSU_CACHE": str(tmp_path)}
    for expected in ("4 compiled", "4 were there already"):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert expected in done.stdout
