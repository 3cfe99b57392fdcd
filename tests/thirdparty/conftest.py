"""Programs written for PyTorch, in processes of their own where `import torch` means Taimatsu."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(tmp_path):
    """Runs a program by ``python -m taimatsu.as_torch``, in an empty folder; what it prints."""

    def run(program: str, *arguments: str, needs: tuple[str, ...] = ()) -> str:
        for package in needs:
            if importlib.util.find_spec(package) is None:
                pytest.skip(f"{package} is not installed")
        script = tmp_path / "program.py"
        script.write_text(textwrap.dedent(program))
        done = subprocess.run(
            [sys.executable, "-m", "taimatsu.as_torch", str(script), *arguments],
            cwd=tmp_path,
            env={**__import__("os").environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
