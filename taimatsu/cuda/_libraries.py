"""NVIDIA's libraries: the pip packages that bring them, where they are found, what mends a lack.

The core asks `found` when an op first has use of one; without it, ops are computed by kernels that
are generated, and what needs the library says `missing`.
"""

from __future__ import annotations

import ctypes
import os
import re
import typing
from functools import cache
from importlib.util import find_spec
from pathlib import Path


class Library(typing.NamedTuple):
    """A library: its file is lib`stem`.so, with a version behind."""

    name: str
    stem: str
    package: str
    purpose: str
    numbered: bool = True  # the package's name tells CUDA's major version, in CUDA 13 too
    needs: tuple[str, ...] = ()  # stems of what is loaded before it


LIBRARIES = {
    each.stem: each
    for each in (
        Library("cuBLASLt", "cublasLt", "nvidia-cublas", "matrix products", False),
        Library("cuDNN", "cudnn", "nvidia-cudnn", "convolution, attention", True, ("cublasLt",)),
        Library("cuSOLVER", "cusolver", "nvidia-cusolver", "linear algebra", False,
                ("nvJitLink", "cublasLt", "cublas", "cusparse")),
        Library("cuFFT", "cufft", "nvidia-cufft", "Fourier transforms", False),
        Library("NCCL", "nccl", "nvidia-nccl", "several GPUs"),
    )
}  # fmt: skip

# Names the folder that has them, instead of all others.
FOLDER = "TAIMATSU_CUDA_LIBRARIES"


def _folders() -> list[Path]:
    """Where libraries may lie, the likeliest first."""
    given = os.environ.get(FOLDER)
    if given:
        return [Path(given)]
    spec = find_spec("nvidia")  # the packages share this namespace
    packages = [Path(p) for p in (spec and spec.submodule_search_locations) or ()]
    folders = [lib for p in packages for lib in sorted(p.glob("*/lib"), reverse=True)]
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    return folders + [Path(home) / "lib64" for home in homes if home]


def _version(file: Path) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", file.name.partition(".so")[2]))


def _newest(stem: str) -> str:
    for folder in _folders():
        files = sorted(folder.glob(f"lib{stem}.so*"), key=_version)
        if files:
            return str(files[-1])
    return ""


def _loads(file: str) -> bool:
    try:
        ctypes.CDLL(file)
    except OSError:
        return False
    return True


@cache
def found(stem: str) -> str:
    """What to give to dlopen for a library, what it needs being loaded; empty if it isn't there."""
    for need in LIBRARIES[stem].needs if stem in LIBRARIES else ():
        file = _newest(need)
        if file:
            _loads(file)
    file = _newest(stem) or ("" if os.environ.get(FOLDER) else f"lib{stem}.so")
    return file if file and _loads(file) else ""


def command(stem: str) -> str:
    """The command that brings a library for the driver that is there."""
    from ._driver import core

    library, major = LIBRARIES[stem], core().driver_version() // 1000
    # Of CUDA 13, what comes with the toolkit has no number in its name any more.
    plain = major >= 13 and not library.numbered
    return f"pip install {library.package}" + ("" if plain else f"-cu{major}")


def missing(stem: str, who: str) -> str:
    """What to say where `who` can't do without a library."""
    library = LIBRARIES[stem]
    return (f"{who}: {library.name} is not found (lib{stem}.so, in NVIDIA's packages and where the "
            f"loader looks); {command(stem)}")  # fmt: skip
