"""The examples in the docstrings of Python modules, run; those of ops are in ops/test_docs.py."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import taimatsu as torch

ELSEWHERE = (  # what needs a package that may be missing, or is no module of Python's
    "taimatsu.as_torch",
    "taimatsu.lib",
    "taimatsu.onnx",
    "taimatsu.utils.tensorboard",
)
MODULES = [m.name for m in pkgutil.walk_packages(torch.__path__, "taimatsu.")
           if not m.name.startswith(ELSEWHERE)]  # fmt: skip
NAMES = {"taimatsu": torch, "torch": torch, "nn": torch.nn, "F": torch.nn.functional}


@pytest.mark.parametrize("name", ["taimatsu", *MODULES])
def test_examples(name, tmp_path, monkeypatch):
    module = importlib.import_module(name)
    tests = doctest.DocTestFinder(exclude_empty=True).find(module, name, globs={})
    if name.startswith("taimatsu.cuda") and not torch.cuda.is_available():
        tests = []
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in tests:
        torch.manual_seed(0)
        torch.set_printoptions(profile="default")
        test.globs = {**vars(module), **NAMES, "__name__": "__main__"}
        runner.run(test, out=said.append)
    assert not said, "".join(said)
