"""What `import taimatsu` costs, told by what it doesn't load."""

import struct
import subprocess
import sys

import pytest

import taimatsu as torch

SLOW = (
    "numpy", "llvmlite", "inspect", "dataclasses", "fractions", "decimal", "json", "socket", "ast",
    "taimatsu.nn", "taimatsu.optim",
)  # fmt: skip


def test_import_loads_no_slow_modules_and_no_libraries():
    script = (
        "import sys, taimatsu\n"
        f"print(*(m for m in {SLOW} if m in sys.modules))\n"
        "maps = open('/proc/self/maps').read() if sys.platform == 'linux' else ''\n"
        "print(*(name for name in ('openblas', 'dnnl') if name in maps))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


def test_libraries_are_loaded_when_they_are_needed():
    script = (
        "import taimatsu as torch\n"
        "x = torch.linalg.solve(torch.eye(3), torch.ones(3))\n"
        "assert x.tolist() == [1.0, 1.0, 1.0]\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_import_stays_small():
    script = (
        "import sys, taimatsu\n"
        "print(*(m for m in sys.modules if m[:9] == 'taimatsu.' and m[:13] != 'taimatsu.ops.'))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert len(run.stdout.split()) <= 24, run.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="looks into an ELF file")
def test_thread_local_memory_leaves_room_for_other_libraries():
    # What is loaded at run time has 1664 bytes of static thread-local memory in all (glibc); an
    # OpenMP runtime of another package, as scikit-learn's, needs some too.
    with open(torch._core.__file__, "rb") as file:
        header = file.read(64)
        start, size, count = struct.unpack_from("<Q14xHH", header, 32)
        file.seek(start)
        segments = [file.read(size) for _ in range(count)]
    thread_local = [s for s in segments if struct.unpack_from("<I", s)[0] == 7]
    assert sum(struct.unpack_from("<Q", s, 40)[0] for s in thread_local) <= 1100
