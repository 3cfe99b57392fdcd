"""``backends.cudnn``: NVIDIA's library of convolutions, which needs a GPU.

``enabled`` says whether it is used, ``allow_tf32`` and ``conv.fp32_precision`` whether convolutions
may round float32, ``deterministic`` whether attention's gradients have to be the same each time.
The other switches are kept: programs set ``torch.backends.cudnn.benchmark = True`` on any machine.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

from . import _precision

__all__ = [
    "allow_tf32", "benchmark", "benchmark_limit", "conv", "deterministic", "enabled", "flags",
    "is_acceptable", "is_available", "rnn", "set_flags", "version",
]  # fmt: skip

enabled = True
benchmark = False
benchmark_limit = 10
deterministic = False
allow_tf32 = True
conv, rnn = _precision.conv, _precision.rnn
_precision.gives(__name__, _precision.cudnn)


def is_available() -> bool:
    """Whether there are a GPU and the library."""
    from taimatsu import cuda
    from taimatsu.cuda._libraries import found

    return cuda.is_available() and bool(found("cudnn"))


def version() -> int | None:
    """10000 * major + 100 * minor + patch; None where it isn't available."""
    if not is_available():
        return None
    import ctypes

    from taimatsu.cuda._libraries import found

    return int(ctypes.CDLL(found("cudnn")).cudnnGetVersion())


def is_acceptable(tensor: Any) -> bool:
    """Whether cuDNN computes with a tensor: of a GPU, floating, where it is there and enabled."""
    return bool(enabled and tensor.is_cuda and tensor.is_floating_point() and is_available())


def set_flags(
    _enabled: bool | None = None, _benchmark: bool | None = None,
    _benchmark_limit: int | None = None, _deterministic: bool | None = None,
    _allow_tf32: bool | None = None, _fp32_precision: str | None = None,
) -> tuple:  # fmt: skip
    """Sets those that are given; what was set before."""
    global enabled, benchmark, benchmark_limit, deterministic, allow_tf32
    precision = _precision.cudnn.fp32_precision
    before: Any = enabled, benchmark, benchmark_limit, deterministic, allow_tf32, precision
    new: Any = _enabled, _benchmark, _benchmark_limit, _deterministic, _allow_tf32, _fp32_precision
    enabled, benchmark, benchmark_limit, deterministic, allow_tf32, precision = (
        b if n is None else n for b, n in zip(before, new, strict=True)
    )
    _precision.cudnn.fp32_precision = precision
    return before


@contextmanager
def flags(
    enabled: bool = False, benchmark: bool = False, benchmark_limit: int = 10,
    deterministic: bool = False, allow_tf32: bool = True, fp32_precision: str = "none",
):  # fmt: skip
    """Settings that hold inside the block."""
    before = set_flags(
        enabled, benchmark, benchmark_limit, deterministic, allow_tf32, fp32_precision
    )
    try:
        yield
    finally:
        set_flags(*before)
