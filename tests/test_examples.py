"""The example programs, small: they run, resume, and under PyTorch print the same losses."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest

import taimatsu as torch

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SMALL = ["--width", "32", "--layers", "2", "--heads", "2", "--context", "32", "--batch", "4"]


def program(name: str, framework: str = "taimatsu") -> types.ModuleType:
    """The example as a module of its own, importing `framework` as its torch."""
    source = (EXAMPLES / f"{name}.py").read_text()
    changed = source.replace("import taimatsu as torch\n", f"import {framework} as torch\n")
    module = types.ModuleType(f"{name}_on_{framework}")
    exec(compile(changed, f"{name}.py", "exec"), module.__dict__)
    return module


def run(module, monkeypatch, capsys, *arguments) -> str:
    monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, arguments)])
    module.main()
    return capsys.readouterr().out


@pytest.fixture
def _plots():
    pytest.importorskip("tqdm")
    pytest.importorskip("matplotlib")


@pytest.mark.usefixtures("_plots")
def test_digits(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    out = run(program("digits"), monkeypatch, capsys, "--epochs", 2, "--out", tmp_path)
    assert float(re.search(r"test accuracy: ([\d.]+) %", out)[1]) > 60
    assert {p.name for p in tmp_path.iterdir()} == {"curves.png", "errors.png", "model.pt"}


@pytest.mark.usefixtures("_plots")
def test_chargpt_goes_on_where_it_stopped(tmp_path, monkeypatch, capsys):
    module = program("chargpt")
    small = [*SMALL, "--every", 5, "--steps", 12, "--sample", 5]
    out = run(module, monkeypatch, capsys, *small, "--out", tmp_path / "whole")
    assert "test loss: " in out
    names = {p.name for p in (tmp_path / "whole").iterdir()}
    assert names == {"loss.png", "sample.txt", "checkpoint.pt"}

    step = module.Run.step

    def interrupted(self, x, y):
        if len(self.losses) == 7:
            raise KeyboardInterrupt
        return step(self, x, y)

    monkeypatch.setattr(module.Run, "step", interrupted)
    out = run(module, monkeypatch, capsys, *small, "--out", tmp_path / "halves")
    assert "stopped after step 7" in out
    monkeypatch.setattr(module.Run, "step", step)
    out = run(module, monkeypatch, capsys, *small, "--out", tmp_path / "halves", "--resume")
    whole, halves = (torch.load(tmp_path / d / "checkpoint.pt") for d in ("whole", "halves"))
    assert whole["losses"] == halves["losses"]
    assert "7 steps in " in out  # from the checkpoint of step 5


@pytest.mark.usefixtures("_plots")
def test_chargpt_says_what_a_text_lacks(tmp_path, monkeypatch, capsys):
    (tmp_path / "short").write_text("short")
    with pytest.raises(SystemExit, match="too short"):
        run(
            program("chargpt"), monkeypatch, capsys, "--text", tmp_path / "short", "--out", tmp_path
        )
    with pytest.raises(SystemExit, match="--prompt"):
        run(program("chargpt"), monkeypatch, capsys, "--prompt", "\0", "--out", tmp_path)


@pytest.mark.parity
@pytest.mark.usefixtures("_plots")
def test_chargpt_has_pytorchs_losses(tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch")
    losses = {}
    for name in ("taimatsu", "torch"):
        module = program("chargpt", name)
        run(module, monkeypatch, capsys, *SMALL, "--steps", 100, "--sample", 1, "--out", tmp_path)
        losses[name] = module.torch.load(tmp_path / "checkpoint.pt")["losses"]
    assert losses["taimatsu"] == pytest.approx(losses["torch"], rel=1e-3)


def test_layers_around_scipy():
    pytest.importorskip("scipy")
    module = program("scipy_layers")
    module.check()
    assert module.learn_an_edge_filter(150) < 1e-2
