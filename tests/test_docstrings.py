"""The examples in the docstrings of Python modules, run; those of ops are in ops/test_docs.py.

They know the names of their module and of its package, those in `NAMES`, and what everybody has: a
`model`, an input `x`, a `loss`, an `optimizer` and, of distributed modules, a group of one process.
"""

from __future__ import annotations

import builtins
import doctest
import importlib
import types
from pathlib import Path

import pytest

import taimatsu as torch
from taimatsu import distributed, fx

ROOT = Path(torch.__file__).parent
MODULES = sorted(
    ".".join(file.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")
    for file in ROOT.rglob("*.py")
    if ">>> " in file.read_text() and file.parent.name != "ops"
)
NAMES = {"taimatsu": torch, "torch": torch, "nn": torch.nn, "F": torch.nn.functional,
         "dist": distributed, "fx": fx}  # fmt: skip



def names_for(module: types.ModuleType, package: types.ModuleType) -> dict[str, object]:
    torch.manual_seed(0)
    torch.set_printoptions(profile="default")
    x = torch.ones(4, 3, requires_grad=True)
    model = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    everybodys = {"model": model, "x": x, "loss": model(x).pow(2).mean(),
                  "optimizer": torch.optim.SGD(model.parameters(), lr=0.1)}  # fmt: skip
    theirs = {**vars(package), **everybodys, **vars(module)}
    return {n: v for n, v in {**theirs, **NAMES}.items() if not hasattr(builtins, n)}


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, tmp_path, monkeypatch):
    if name.startswith("taimatsu.cuda") and not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    if "tensorboard" in name:
        pytest.importorskip("tensorboard")
    module = importlib.import_module(name)
    package = importlib.import_module(name.rpartition(".")[0] or name)
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, name, globs={}):
        test.globs = names_for(module, package)
        if "distributed" in name and "init_process_group" not in (test.docstring or ""):
            distributed.init_process_group(store=distributed.HashStore(), rank=0, world_size=1)
        runner.run(test, out=said.append)
        if distributed.is_initialized():
            distributed.destroy_process_group()
    assert not said, "".join(said)
