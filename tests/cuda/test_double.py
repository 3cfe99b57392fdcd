"""Runs the tests of this folder, and those of the op matrix, on the double of the driver: each file
in a process of its own."""

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
    "test_backward_streams.py": ["threads=1"],
    "test_compiled.py": ["threads=1"],
    "test_compiled_graphs.py": ["threads=1"],
    "test_history.py": ["virtual=0"],
    "test_sharing.py": ["virtual=0"],
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


def run(library: str, *tests: str | Path, **settings: str) -> None:
    """Of NVIDIA's libraries there are the doubles."""
    folder = str(driver_double.libraries())
    environment = {**os.environ, "TAIMATSU_LIBCUDA": library, "TAIMATSU_CUDA_LIBRARIES": folder,
                   **settings}  # fmt: skip
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


@pytest.mark.parametrize(("file", "setting"), RUNS)
def test_on_the_double(library, file, setting):
    run(library, HERE / file, TAIMATSU_DOUBLE=setting)


def test_compiled_functions_elsewhere(library):
    run(library, HERE.parent / "graph" / "test_compile.py", TAIMATSU_TEST_DEVICE="cuda")


OPS = HERE.parent / "ops"
BRIEFLY = ["test_device.py::test_value", "test_device.py::test_gradient",
           "test_forms.py::test_in_place"]  # fmt: skip
AT_LENGTH = ["test_device.py::test_second_gradient", "test_values.py", "test_forms.py",
             "test_gradients.py"]  # fmt: skip


def every_op(library: str, tests: str, libraries: str) -> None:
    run(library, f"{OPS}/{tests}", TAIMATSU_TEST_DEVICE="cuda", TAIMATSU_CUDA_LIBRARIES=libraries)


@pytest.mark.parametrize("tests", BRIEFLY)
def test_every_op(library, tests, tmp_path):
    """Without NVIDIA's libraries."""
    every_op(library, tests, str(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("tests", AT_LENGTH)
def test_every_op_at_length(library, tests, tmp_path):
    every_op(library, tests, str(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("tests", [*BRIEFLY, *AT_LENGTH])
def test_every_op_with_libraries(library, tests):
    every_op(library, tests, str(driver_double.libraries()))
