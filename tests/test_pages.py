"""The examples of the pages: what is in blocks of ```python runs, from one block to the next."""

from __future__ import annotations

import sys
import textwrap
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [p.relative_to(ROOT).as_posix() for p in (ROOT / "README.md", *ROOT.glob("docs/*.md"))
         if p.exists() and "```python\n" in p.read_text()]  # fmt: skip


@pytest.mark.parametrize("name", sorted(PAGES))
def test_examples(name, tmp_path, monkeypatch):
    pytest.importorskip("tqdm")
    pytest.importorskip("sklearn")
    path = ROOT / name
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    page = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", page)
    for block in path.read_text().split("```python\n")[1:]:
        exec(compile(textwrap.dedent(block.split("```")[0]), str(path), "exec"), vars(page))
