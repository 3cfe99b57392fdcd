"""``utils.cpp_extension``: extensions against PyTorch's C++ interface, which isn't offered.

An op of one's own is a Python formula here, compiled for the CPU at hand, with its derivative:
see `taimatsu.pointwise`. Questions about the compiler are answered; building raises RuntimeError.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Any, NoReturn

__all__ = [
    "BuildExtension", "CUDAExtension", "CppExtension", "SyclExtension", "check_compiler_is_gcc",
    "check_compiler_ok_for_platform", "get_cxx_compiler", "get_default_build_root",
    "include_paths", "is_ninja_available", "library_paths", "load", "load_inline",
    "verify_ninja_availability",
]  # fmt: skip

CUDA_HOME = ROCM_HOME = SYCL_HOME = None


def _refuse(*args: Any, **kwargs: Any) -> NoReturn:
    """Raises RuntimeError: there is no C++ interface to compile against."""
    raise RuntimeError(
        "cpp_extension: extensions in C++ can't be built, there is no libtorch to build them "
        "against; write the op as a formula with @taimatsu.pointwise, or call a C library by ctypes"
    )


load = load_inline = CppExtension = CUDAExtension = SyclExtension = _refuse
include_paths = library_paths = _refuse


class BuildExtension:
    """A command of setuptools. Raises RuntimeError: see the module."""

    def __init__(self, *args: Any, **kwargs: Any):
        _refuse()

    @classmethod
    def with_options(cls, **options: Any) -> type:
        """The command with these options."""
        return cls


def get_cxx_compiler() -> str:
    """The compiler: ``$CXX``, else c++."""
    return os.environ.get("CXX", "c++")


def check_compiler_is_gcc(compiler: str) -> bool:
    """Whether a compiler is GCC, by what it says."""
    path = shutil.which(compiler)
    if path is None:
        return False
    said = subprocess.run([path, "-v"], capture_output=True, text=True).stderr
    return "gcc version" in said


def check_compiler_ok_for_platform(compiler: str) -> bool:
    """Whether there is such a compiler."""
    return shutil.which(compiler) is not None


def is_ninja_available() -> bool:
    """Whether ninja can be run."""
    return shutil.which("ninja") is not None


def verify_ninja_availability() -> None:
    """Raises RuntimeError without ninja."""
    if not is_ninja_available():
        raise RuntimeError("Ninja is required to load C++ extensions (pip install ninja to get it)")


def get_default_build_root() -> str:
    """Where extensions would be built."""
    return os.path.join(os.path.expanduser("~"), ".cache", "torch_extensions")
