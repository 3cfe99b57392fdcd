"""``quantization``: the old place of `taimatsu.ao.quantization`."""

from __future__ import annotations

from typing import Any

from taimatsu.ao import quantization as _place
from taimatsu.ao.quantization import *  # noqa: F403


def __getattr__(name: str) -> Any:
    return getattr(_place, name)
