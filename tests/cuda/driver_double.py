"""The double of libcuda (double/*.c): building it, and the CPU code of the kernels it runs.

    TAIMATSU_LIBCUDA=$(python tests/cuda/driver_double.py) python -m pytest tests/cuda

NVIDIA's libraries are those that TAIMATSU_CUDA_LIBRARIES names: `libraries()`, or none.

After `follow_kernels`, whatever is rendered for a GPU is compiled for this CPU too, and the double
told which code a kernel's name stands for.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent / "double"
FLAGS = ["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-fPIC", "-shared", "-pthread",
         "-fvisibility=hidden"]  # fmt: skip


def build() -> Path:
    """The library, compiled where its sources have changed."""
    sources = sorted(HERE.glob("*.[ch]"))
    digest = hashlib.sha256(b"".join(s.read_bytes() for s in sources)).hexdigest()[:16]
    library = Path(tempfile.gettempdir()) / f"taimatsu-double-{os.getuid()}-{digest}.so"
    if not library.exists():
        partial = library.with_suffix(f".{os.getpid()}")
        files = [str(s) for s in sources if s.suffix == ".c"]
        subprocess.run([os.environ.get("CC", "cc"), *FLAGS, "-o", partial, *files, "-lm"],
                       check=True)  # fmt: skip
        partial.rename(library)
    return library


# Which the double is too.
LIBRARIES = ("cublasLt", "cudnn", "cufft", "cusolver", "nccl", "nvidia-ml")


def libraries() -> Path:
    """A folder in which the double has the names of NVIDIA's libraries."""
    double = build()
    folder = double.with_suffix(".libraries")
    folder.mkdir(exist_ok=True)
    for stem in LIBRARIES:
        link = folder / f"lib{stem}.so.1"
        if not link.exists():
            partial = folder / f"{stem}.{os.getpid()}"
            partial.symlink_to(double)
            partial.rename(link)
    return folder


class Double:
    """What tests set and ask: see double/control.c."""

    def __init__(self, path: str) -> None:
        self.library = ctypes.CDLL(path)
        self.library.double_violation.restype = ctypes.c_char_p
        self.library.double_trace_end.restype = ctypes.c_char_p
        self.library.double_functions.restype = ctypes.c_char_p
        self.library.double_used.restype = ctypes.c_size_t
        self.library.double_grid.restype = ctypes.POINTER(ctypes.c_uint * 6)
        for name in ("calls", "pending", "epilogues"):
            getattr(self.library, f"double_{name}").restype = ctypes.c_long

    @property
    def threads(self) -> bool:
        """Whether each stream has a thread; else nothing runs before it is waited for."""
        return "threads=1" in os.environ.get("TAIMATSU_DOUBLE", "")

    @property
    def virtual(self) -> bool:
        """Whether the devices have virtual memory."""
        return "virtual=0" not in os.environ.get("TAIMATSU_DOUBLE", "")

    def fail(self, function: str, error: int, after: int = 0, times: int = 1) -> None:
        self.library.double_fail(
            function.encode(), ctypes.c_long(after), ctypes.c_long(times), error
        )

    def calls(self, function: str | None = None) -> int:
        return self.library.double_calls(function and function.encode())

    def grid(self) -> tuple[int, ...]:
        """Blocks, then threads, of the latest launch: along x, y and z."""
        return tuple(self.library.double_grid().contents)

    def functions(self) -> list[str]:
        """Those that were called so far."""
        return sorted(self.library.double_functions().decode().split())

    def epilogues(self, bits: int) -> int:
        """Products so far that cuBLASLt has done something of its own with: cublasLtEpilogue_t."""
        return self.library.double_epilogues(bits)

    def violation(self) -> str:
        return self.library.double_violation().decode()

    def set_memory(self, bytes: int, device: int = 0) -> None:
        self.library.double_set_memory(device, ctypes.c_size_t(bytes))

    def used(self, device: int = 0) -> int:
        """Bytes of physical memory."""
        return self.library.double_used(device)

    def pending(self) -> int:
        """Tasks that are queued and have not run."""
        return self.library.double_pending()

    @contextmanager
    def trace(self) -> Iterator[list[tuple]]:
        """What is queued inside: (stream, "launch"), (stream, "wait", the stream waited for) ..."""
        queued: list[tuple] = []
        self.library.double_trace_begin()
        try:
            yield queued
        finally:
            for line in self.library.double_trace_end().decode().splitlines():
                stream, what, *others = line.split()
                queued.append((int(stream), what, *map(int, others)))

    def recover(self) -> None:
        self.library.double_recover()

    def register(self, launch: Any, nest: Any, classes: tuple[str, ...], rows: str) -> None:
        """The CPU code of a kernel. It does the work of all sections, so finishing is nothing."""
        from taimatsu.codegen import engine

        loaded = engine.kernel(nest, classes, rows=rows)
        row = 0b1100 if nest.reduced else 0
        for name, code in ((launch.name, loaded[0]), (launch.finish, 0)):
            if name:
                self.library.double_register(
                    name.encode(), ctypes.c_void_p(code), *launch.arguments,
                    ctypes.c_size_t(loaded[3]), row,
                )  # fmt: skip


@cache
def double() -> Double | None:
    """The double, where it is what this process takes for the driver."""
    path = os.environ.get("TAIMATSU_LIBCUDA", "")
    return Double(path) if "taimatsu-double" in path else None


def follow_kernels() -> None:
    """From now on, kernels that are rendered for a GPU are compiled for this CPU too.

    No PTX is made unless TAIMATSU_DOUBLE_PTX is set: tests/codegen tests that, and it takes time.
    """
    from taimatsu.codegen import engine, ptx

    known = double()
    if known is None:
        return
    launches: dict[str, Any] = {}
    emit = engine.emit

    def kernel(nest: Any, classes: Any, target: str, rows: str = "whole") -> Any:
        key = ptx.key(nest, classes, target, rows)
        if key in launches:
            return launches[key]
        name = f"k{key[:24]}"
        if not os.environ.get("TAIMATSU_DOUBLE_PTX"):
            engine.emit = lambda *args, **kwargs: f".visible .entry {name}() {name}_finish"
        try:
            launch = ptx.render(nest, classes, ptx.TARGETS[target], name, rows)
        finally:
            engine.emit = emit
        known.register(launch, nest, tuple(classes), rows)
        launches[key] = replace(launch, image=launch.ptx.encode() + b"\0")
        return launches[key]

    ptx.kernel = kernel
    ptx.recall = launches.get


if __name__ == "__main__":
    print(build())
