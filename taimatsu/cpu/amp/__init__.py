"""``cpu.amp``: the old names of `taimatsu.amp` for the CPU."""

from __future__ import annotations

from typing import Any

import taimatsu as torch
from taimatsu import amp as _amp
from taimatsu._lazy import submodules

__getattr__ = submodules(__name__)


__all__ = ["GradScaler", "autocast"]


class autocast(_amp.autocast):
    """`amp.autocast` of "cpu"."""

    def __init__(
        self, enabled: bool = True, dtype: Any = torch.bfloat16, cache_enabled: bool = True
    ):
        super().__init__("cpu", dtype=dtype, enabled=enabled, cache_enabled=cache_enabled)


class GradScaler(_amp.GradScaler):
    """`amp.GradScaler` of "cpu"."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__("cpu", *args, **options)
