"""Settings of the process, and questions about the build, that are functions of the top level."""

from __future__ import annotations

import sys
from typing import Any

from . import _core

__all__ = [
    "compiled_with_cxx11_abi", "get_deterministic_debug_mode", "get_device_module",
    "get_float32_matmul_precision", "get_num_interop_threads", "has_lapack", "has_mkl",
    "has_openmp", "has_spectral", "is_deterministic_algorithms_warn_only_enabled",
    "is_vulkan_available", "is_warn_always_enabled", "set_deterministic_debug_mode",
    "set_float32_matmul_precision", "set_num_interop_threads",
    "set_warn_always",
]  # fmt: skip

has_lapack = has_openmp = has_spectral = True
has_mkl = False

_precision = "highest"
_interop_threads: int | None = None
_warn_always = False


def get_float32_matmul_precision() -> str:
    """ "highest", "high" or "medium"."""
    from taimatsu.backends._precision import matmul

    if matmul.fp32_precision != "tf32":
        return "highest"
    return "high" if _precision == "highest" else _precision


def set_float32_matmul_precision(precision: str) -> None:
    """How exact products of float32 matrices have to be at least.

    "high" and "medium" let GPUs multiply in TF32, with 10 bits behind the point; on the CPU all are
    "highest". RuntimeError for other names.
    """
    global _precision
    if precision not in ("highest", "high", "medium"):
        raise RuntimeError(
            "set_float32_matmul_precision: expected 'highest', 'high' or 'medium'; "
            f"got {precision!r}"
        )
    _precision = precision
    from taimatsu.backends._precision import matmul

    matmul.fp32_precision = "ieee" if precision == "highest" else "tf32"


def get_num_interop_threads() -> int:
    """The number of threads for ops beside one another, which only `jit.fork` would use."""
    return _core.get_num_threads() if _interop_threads is None else _interop_threads


def set_num_interop_threads(n: int) -> None:
    """Sets that number, once. RuntimeError if it isn't positive or was set before."""
    global _interop_threads
    if n <= 0:
        raise RuntimeError(f"set_num_interop_threads expects a positive integer; got {n}")
    if _interop_threads is not None:
        raise RuntimeError(
            "Error: cannot set number of interop threads after parallel work has started or "
            "set_num_interop_threads called"
        )
    _interop_threads = n


def get_deterministic_debug_mode() -> int:
    """0 "default", 2 "error": what `use_deterministic_algorithms` was given."""
    return 2 if _core.are_deterministic_algorithms_enabled() else 0


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """`use_deterministic_algorithms` by "default" (0) or "error" (2).

    "warn" (1) is "error" here: every op has a deterministic way. TypeError, RuntimeError else.
    """
    names = {"default": 0, "warn": 1, "error": 2}
    if not isinstance(debug_mode, (int, str)):
        raise TypeError(f"debug_mode must be str or int, but got {type(debug_mode)}")
    mode = names.get(debug_mode) if isinstance(debug_mode, str) else debug_mode
    if mode not in (0, 1, 2):
        raise RuntimeError(
            f"invalid value of debug_mode, expected 'default', 'warn' or 'error'; got {debug_mode}"
        )
    _core.use_deterministic_algorithms(mode != 0)


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """Whether ops without a deterministic way only warn: False, there are none."""
    return False


def is_warn_always_enabled() -> bool:
    """What `set_warn_always` set."""
    return _warn_always


def set_warn_always(b: bool) -> None:
    """Whether warnings are given each time; Python's `warnings` decide on that here too."""
    global _warn_always
    if not isinstance(b, bool):
        raise TypeError(f"setWarnOnlyOnce expects a bool, but got {type(b).__name__}")
    _warn_always = b


def compiled_with_cxx11_abi() -> bool:
    """Whether C++ strings are those of C++11: True."""
    return True


def is_vulkan_available() -> bool:
    """False."""
    return False


def get_device_module(device: Any = None) -> Any:
    """The module of a device's type: ``torch.cuda`` of "cuda:1". RuntimeError if there is none."""
    import taimatsu

    if device is None:
        kind = "cpu"
    else:
        kind = device.type if isinstance(device, _core.device) else _core.device(device).type
    module = getattr(taimatsu, kind, None)
    if module is None or not isinstance(module, type(sys)):
        raise RuntimeError(f"Invalid device module: torch.{kind}")
    return module
