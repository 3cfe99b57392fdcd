"""``backends.mkldnn``: oneDNN, which computes convolutions and large products of matrices.

``enabled`` and the others are kept; whether a build has oneDNN is decided when it is made.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

from taimatsu import _core

__all__ = ["VERBOSE_OFF", "VERBOSE_ON", "flags", "is_available", "verbose"]

VERBOSE_OFF, VERBOSE_ON, VERBOSE_ON_CREATION = 0, 1, 2

enabled = True
deterministic = False
allow_tf32 = False
fp32_precision = "none"


def is_available() -> bool:
    """Whether this build has it."""
    return _core._has_mkldnn


def set_flags(
    _enabled: bool | None = None, _deterministic: bool | None = None,
    _allow_tf32: bool | None = None, _fp32_precision: str | None = None,
) -> tuple:  # fmt: skip
    """Sets those that are given; what was set before."""
    global enabled, deterministic, allow_tf32, fp32_precision
    before: Any = enabled, deterministic, allow_tf32, fp32_precision
    new: Any = _enabled, _deterministic, _allow_tf32, _fp32_precision
    enabled, deterministic, allow_tf32, fp32_precision = (
        b if n is None else n for b, n in zip(before, new, strict=True)
    )
    return before


@contextmanager
def flags(
    enabled: bool = False, deterministic: bool = False, allow_tf32: bool = True,
    fp32_precision: str = "none",
):  # fmt: skip
    """Settings that hold inside the block."""
    before = set_flags(enabled, deterministic, allow_tf32, fp32_precision)
    try:
        yield
    finally:
        set_flags(*before)


class verbose:
    """A context in which oneDNN reports its calls: set ONEDNN_VERBOSE=1 before the program instead.

    RuntimeError on entering with another level than `VERBOSE_OFF`.
    """

    def __init__(self, level: int):
        self.level = level

    def __enter__(self) -> verbose:
        if self.level != VERBOSE_OFF:
            raise RuntimeError("mkldnn.verbose: set ONEDNN_VERBOSE=1 in the environment instead")
        return self

    def __exit__(self, *exc: object) -> None:
        pass
