"""``cuda.amp``: the old names of `taimatsu.amp` for GPUs."""

from __future__ import annotations

import functools
import importlib
from typing import Any

import taimatsu.amp as _amp
from taimatsu._lazy import submodules

__getattr__ = submodules(__name__)


__all__ = ["GradScaler", "amp_definitely_not_available", "autocast", "custom_bwd", "custom_fwd"]


def amp_definitely_not_available() -> bool:
    """Whether there is no GPU."""
    return not importlib.import_module("taimatsu.cuda").is_available()


class GradScaler(_amp.GradScaler):
    """`amp.GradScaler` of "cuda"."""

    def __init__(
        self, init_scale: float = 2.0**16, growth_factor: float = 2.0,
        backoff_factor: float = 0.5, growth_interval: int = 2000, enabled: bool = True,
    ):  # fmt: skip
        super().__init__(
            "cuda", init_scale, growth_factor, backoff_factor, growth_interval, enabled
        )


class autocast(_amp.autocast):
    """`amp.autocast` of "cuda"."""

    def __init__(self, enabled: bool = True, dtype: Any = None, cache_enabled: bool = True):
        super().__init__("cuda", dtype=dtype, enabled=enabled, cache_enabled=cache_enabled)


custom_fwd = functools.partial(_amp.custom_fwd, device_type="cuda")
custom_bwd = functools.partial(_amp.custom_bwd, device_type="cuda")
