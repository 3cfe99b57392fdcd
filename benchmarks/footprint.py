"""What the library costs beside time: import, memory, disk, and a first run's compiling."""

from __future__ import annotations

import importlib.metadata as metadata
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from .compare import OURS, environment

ROOT = Path(__file__).parent.parent

IMPORT = """
import sys, time
began = time.perf_counter()
import {library}
seconds = time.perf_counter() - began
with open("/proc/self/status") as status:
    kib = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
print(seconds, kib / 1024)
"""

FIRST_RUN = """
import runpy, sys, tempfile
with tempfile.TemporaryDirectory() as folder:
    sys.argv = ["digits.py", "--epochs", "1", "--out", folder]
    runpy.run_path({program!r}, run_name="__main__")
from taimatsu.codegen.cache import statistics
print(statistics().compile_ms / 1000)
"""


STEPS = """
import sys
import {library} as torch
from benchmarks import models, networks
torch.set_num_threads(1)
def kib(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field))
networks.mlp(torch, lr=0.1)["train_step"]()
before = kib("VmRSS")
train_step = next(g for g in models.TRAINED if g.name == {group!r}).operands(torch)["train_step"]
for _ in range(5):
    train_step()
print((kib("VmHWM") - before) / 1024)
"""

WORKERS = """
import sys
from {library}.utils import data

class Names(data.Dataset):
    def __init__(self, names):
        self.names, self.read = names, 0
    def __len__(self):
        return len(self.names)
    def __getitem__(self, i):
        self.read = self.read or sum(map(len, self.names))
        return pss()

def pss():
    with open("/proc/self/smaps_rollup") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Pss:"))

def together(names):
    loader = data.DataLoader(Names(names), num_workers=4, sampler=range(8))
    epoch = iter(loader)
    return sum([next(epoch).item() for _ in range(8)][4:]) + pss()  # when all have read all

names = getattr(data, "shared", list)(["x"])
together(names)
base = together(names)
before = pss()
names = [f"images/of/a/folder/{{i:08d}}.jpg" for i in range(2_000_000)]
copy = pss() - before
names = getattr(data, "shared", list)(names)
print((together(names) - base) / copy)
"""


@dataclass
class Figure:
    """A quantity of which less is better; `peer` is None where the peer has nothing like it."""

    name: str
    unit: str
    ours: float
    peer: float | None
    limit: float


def fresh(code: str, **variables: str) -> list[float]:
    """The numbers in the last line that a new process prints."""
    out = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(1) | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    ).stdout
    return [float(word) for word in out.strip().splitlines()[-1].split()]


def imports(peer: str, rounds: int) -> list[Figure]:
    """Seconds of the import and resident memory after it, each in fresh processes, in turn."""
    times: dict[str, list[list[float]]] = {peer: [], OURS: []}
    with tempfile.TemporaryDirectory() as bytecode:
        for _ in range(rounds + 1):
            for library, got in times.items():
                code = IMPORT.format(library=library)
                got.append(fresh(code, PYTHONPYCACHEPREFIX=bytecode, PYTHONDONTWRITEBYTECODE=""))
    (peer_s, peer_mb), (our_s, our_mb) = (
        [median(column) for column in zip(*got[1:], strict=True)]  # the first writes bytecode
        for got in (times[peer], times[OURS])
    )
    return [
        Figure("import", "s", our_s, peer_s, 0.1),
        Figure("memory after import", "MB", our_mb, peer_mb, 60),
    ]


def requirements(name: str, seen: set[str]) -> Iterator[metadata.Distribution]:
    """A distribution and what it requires, each once; markers of extras are left out."""
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in seen:
        return
    seen.add(key)
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:  # required on another platform
        return
    yield found
    for line in found.requires or ():
        if "extra ==" not in line:
            yield from requirements(re.match(r"[\w.-]+", line)[0], seen)


def installed_mb(library: str) -> float:
    """All files of a library and of the distributions that it requires, without bytecode."""
    seen: set[str] = set()
    if library == OURS and not _is_installed(OURS):  # built in place
        package = Path(importlib.util.find_spec(OURS).origin).parent
        files = [p for p in package.rglob("*") if p.is_file()]
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        names = [re.match(r"[\w.-]+", line)[0] for line in project["dependencies"]]
    else:
        files, names = [], [library]
    for name in names:
        for distribution in requirements(name, seen):
            files += [Path(distribution.locate_file(f)) for f in distribution.files or ()]
    sizes = (p.stat().st_size for p in files if p.suffix != ".pyc" and p.is_file())
    return sum(sizes) / 1e6


def _is_installed(name: str) -> bool:
    return any(True for _ in metadata.distributions(name=name))


def first_run(peer: str, rounds: int) -> list[Figure]:
    """Compile time of all kernels of examples/digits.py, from an empty cache (needs `examples`)."""
    program = str(ROOT / "examples" / "digits.py")
    with tempfile.TemporaryDirectory() as cache:
        (seconds,) = fresh(FIRST_RUN.format(program=program), TAIMATSU_CACHE=cache)
    return [Figure("compiling in a first run of digits.py", "s", seconds, None, 2)]


def sizes(peer: str, rounds: int) -> list[Figure]:
    return [
        Figure("installed, with dependencies", "MB", installed_mb(OURS), installed_mb(peer), 350)
    ]


def peak_memory(peer: str, rounds: int) -> list[Figure]:
    """What train steps add at most to the memory that is taken after one of a tiny model.

    That one brings in the libraries' code. A run before the measured one fills the cache of
    kernels. Linux only.
    """
    from .models import TRAINED

    figures = []
    for group in TRAINED:
        programs = [STEPS.format(library=name, group=group.name) for name in (OURS, OURS, peer)]
        _, ours, theirs = (fresh(code)[0] for code in programs)
        figures.append(Figure(f"peak, {group.name}", "MB", ours, theirs, theirs))
    return figures


def workers(peer: str, rounds: int) -> list[Figure]:
    """Memory of a process and 4 workers that all read a list of 2 million strings, as a multiple
    of the list's."""
    ours, theirs = (fresh(WORKERS.format(library=name))[0] for name in (OURS, peer))
    return [Figure("4 workers over 2,000,000 strings", "copies", ours, theirs, 1.3)]


MEASUREMENTS: dict[str, Callable[[str, int], list[Figure]]] = {
    "import": imports,
    "installed size": sizes,
    "first run": first_run,
    "peak memory": peak_memory,
    "workers' memory": workers,
}
