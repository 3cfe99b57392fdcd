"""What `import taimatsu` costs, told by what it doesn't load."""

import subprocess
import sys

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
