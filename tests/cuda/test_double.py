"""Runs the tests of this folder on the double of the driver, each file in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import driver_double
import pytest

HERE = Path(__file__).parent
SETTINGS = {  # besides the plain ones: see double/stream.c
    "test_allocator.py": ["virtual=0"],
    "test_streams.py": ["threads=1"],
    "test_graphs.py": ["threads=1"],
}
RUNS = [
    (f.name, setting)
    for f in sorted(HERE.glob("test_*.py"))
    if f.name not in ("test_double.py", "test_absent.py", "test_hardware.py")
    for setting in ["", *SETTINGS.get(f.name, [])]
]


@pytest.fixture(scope="session")
def library() -> str:
    if not sys.platform.startswith("linux"):
        pytest.skip("the double needs Linux")
    if not shutil.which(os.environ.get("CC", "cc")):
        pytest.skip("the double needs a C compiler")
    return str(driver_double.build())


@pytest.mark.parametrize(("file", "setting"), RUNS)
def test_on_the_double(library, file, setting):
    environment = {**os.environ, "TAIMATSU_LIBCUDA": library, "TAIMATSU_DOUBLE": setting}
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", HERE / file]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
