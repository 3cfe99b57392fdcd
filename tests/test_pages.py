"""The examples of the pages that say that they are run."""

from __future__ import annotations

import sys
import textwrap
import types
from pathlib import Path

import pytest

PAGES = Path(__file__).resolve().parent.parent / "docs"


@pytest.mark.parametrize("name", ["data", "extending"])
def test_examples(name, tmp_path, monkeypatch):
    pytest.importorskip("tqdm")
    pytest.importorskip("sklearn")
    path = PAGES / f"{name}.md"
    if not path.exists():
        pytest.skip("the pages are not here")
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    page = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", page)
    for block in path.read_text().split("```python\n")[1:]:
        exec(compile(textwrap.dedent(block.split("```")[0]), str(path), "exec"), vars(page))
