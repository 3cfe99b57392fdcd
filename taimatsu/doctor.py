"""What this installation finds on this machine, what is missing, and the command that mends it.

    python -m taimatsu.doctor

Nothing is changed. The exit status is 0 if the CPU side is whole; a machine without a GPU is whole.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import typing
from collections.abc import Iterator
from pathlib import Path


class Finding(typing.NamedTuple):
    """One line: whether all is well with it, and what mends it otherwise."""

    name: str
    text: str
    well: bool = True
    mend: str = ""
    needed: bool = True  # without it the installation is not whole


def python() -> Iterator[Finding]:
    """The interpreter, this package and what it is installed with."""
    from .version import __version__, torch_api

    yield Finding("taimatsu", f"{__version__}, the interface of PyTorch {torch_api}")
    yield Finding("python", f"{platform.python_version()} on {platform.platform()}")
    for name in ("numpy", "llvmlite"):
        try:
            yield Finding(name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "not found", False, f"pip install {name}")


def cpu() -> Iterator[Finding]:
    """The processor, threads and the libraries beside the module."""
    from . import _core
    from .codegen import engine

    target = engine.host()
    wide = [f for f in ("avx512f", "avx2", "neon", "sve") if f"+{f}" in target.features.split(",")]
    yield Finding("processor", f"{target.cpu}, {platform.machine()}, {', '.join(wide) or 'scalar'}")
    yield Finding("threads", f"{_core.get_num_threads()} of {os.cpu_count()} cores")
    folder = Path(_core.__file__).parent
    for name, pattern, bundled, mend in (
        ("OpenBLAS", "libscipy_openblas*", True, "pip install --force-reinstall taimatsu"),
        ("oneDNN", "libdnnl*", _core._has_mkldnn, "USE_MKLDNN=1 pip install --no-cache ."),
    ):
        found = next(folder.glob(pattern), None)
        if found:
            yield Finding(name, f"{found.name}, {found.stat().st_size >> 20} MB")
        elif bundled:
            yield Finding(name, f"{pattern} is not in {folder}", False, mend)
        else:
            yield Finding(name, "not in this build", False, mend, needed=False)


def cache() -> Iterator[Finding]:
    """Where kernels are kept."""
    from .codegen.cache import cache

    folder = cache().directory
    if folder is None:
        yield Finding("kernel cache", "none: each process compiles its kernels", False,
                      "set TAIMATSU_CACHE to a directory that can be written", False)  # fmt: skip
        return
    at = Path(folder)
    while not at.exists():
        at = at.parent
    if os.access(at, os.W_OK):
        yield Finding("kernel cache", folder)
    else:
        yield Finding("kernel cache", f"{folder} can't be written", False,
                      f"chmod u+w {at}, or set TAIMATSU_CACHE to another", False)  # fmt: skip


def gpu() -> Iterator[Finding]:
    """The driver, GPUs, and NVIDIA's libraries."""
    from . import cuda
    from .cuda._driver import core, why_absent
    from .cuda._libraries import LIBRARIES, command, found

    if not cuda.is_available():
        yield Finding("CUDA", why_absent(), needed=False)
        return
    version = core().driver_version()
    yield Finding("CUDA driver", f"of CUDA {version // 1000}.{version % 1000 // 10}")
    yield from settings()
    supported = cuda.get_arch_list()
    for i in range(cuda.device_count()):
        about = cuda.get_device_properties(i)
        target = f"sm_{about.major}{about.minor}"
        text = (
            f"{about.name}, {target}, {about.total_memory / 2**30:.1f} GiB, "
            f"{about.multi_processor_count} multiprocessors"
        )
        known = target in supported
        mend = "" if known else f"code generation knows {', '.join(supported)}"
        yield Finding(f"GPU {i}", text, known, mend, needed=False)
        try:
            free, total = cuda.mem_get_info(i)
        except RuntimeError as error:  # another program has all of it, or the GPU has failed
            yield Finding(f"memory {i}", str(error), False, "see what nvidia-smi says", False)
            continue
        text = f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free, "
        text += "expandable segments" if core().expandable(i) else "segments of fixed size"
        yield Finding(f"memory {i}", text)
    yield assembler()
    for stem, library in LIBRARIES.items():
        file = found(stem)
        yield Finding(library.name, file or f"not found ({library.purpose})", bool(file),
                      "" if file else command(stem), False)  # fmt: skip


def settings() -> Iterator[Finding]:
    """Variables of the environment that change what a GPU does."""
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_LAUNCH_BLOCKING", "PYTORCH_CUDA_ALLOC_CONF",
                 "TAIMATSU_LIBCUDA", "TAIMATSU_CUDA_LIBRARIES", "TAIMATSU_PTXAS"):  # fmt: skip
        if name in os.environ:
            yield Finding("environment", f"{name}={os.environ[name]}")


def assembler() -> Finding:
    """What keeps kernels on disk assembled."""
    from .codegen import ptx

    found = ptx.assembler()
    return Finding("ptxas", found or "not found: the driver assembles kernels in each process",
                   bool(found), "" if found else "pip install nvidia-cuda-nvcc", False)  # fmt: skip


def findings() -> Iterator[Finding]:
    """All of them."""
    for part in (python, cpu, cache, gpu):
        yield from part()


def main() -> int:
    """Prints all findings; the number of needed ones that are missing."""
    missing = 0
    for f in findings():
        print(f"{'ok ' if f.well else '-- '}{f.name:<13} {f.text}")
        if f.mend:
            print(f"{'':<16} -> {f.mend}")
        missing += f.needed and not f.well
    return missing


if __name__ == "__main__":
    sys.exit(main())
