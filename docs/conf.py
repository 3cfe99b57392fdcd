"""Sphinx: the pages written by hand, and a reference page for each group of ops, from the table."""

from __future__ import annotations

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))
sys.path.insert(0, str(DOCS))

import pages  # noqa: E402

import taimatsu  # noqa: E402

project = "Taimatsu"
copyright = "Taimatsu contributors, BSD 3-Clause"
version = release = taimatsu.__version__
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {"description": project + ": PyTorch's programming model, rebuilt"}

pages.write(DOCS / "reference")  # made, not kept
