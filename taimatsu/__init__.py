"""Taimatsu: PyTorch's programming model, rebuilt Python-first.

    import taimatsu as torch

Subpackages (`nn`, `optim`, ...) are imported on first use, so that `import taimatsu` stays cheap.
"""

from __future__ import annotations

import importlib
from typing import Any

from . import _core
from ._core import *  # noqa: F403  (Tensor, dtypes, devices, modes: the native core's public names)
from ._core import (
    Generator,
    Size,
    Tensor,
    UntypedStorage,
    device,
    dtype,
    layout,
    memory_format,
)
from .version import __version__

# isort: split
from . import ops
from ._tensor import *  # noqa: F403  (Tensor's methods in Python; e, pi, inf ...)
from .functional import *  # noqa: F403  (functions of several ops: einsum, meshgrid ...)

globals().update(ops.namespaces[""])

# Names of the top level that live in subpackages.
_LAZY_NAMES = {
    "save": "serialization",
    "load": "serialization",
    "set_printoptions": "_tensor_str",
    "einsum": "_einsum",
    "lobpcg": "_lobpcg",
    "pca_lowrank": "_lowrank",
    "svd_lowrank": "_lowrank",
    "pointwise": "ops.table",
    "row": "ops.table",
    "indexed": "ops.table",
    "manual_seed": "random",
    "seed": "random",
    "initial_seed": "random",
    "get_rng_state": "random",
    "set_rng_state": "random",
    "vmap": "func",
    "GradScaler": "amp",
    "autocast_decrement_nesting": "amp.autocast_mode",
    "autocast_increment_nesting": "amp.autocast_mode",
    "clear_autocast_cache": "amp.autocast_mode",
    "get_autocast_cpu_dtype": "amp.autocast_mode",
    "get_autocast_dtype": "amp.autocast_mode",
    "get_autocast_gpu_dtype": "amp.autocast_mode",
    "is_autocast_cache_enabled": "amp.autocast_mode",
    "is_autocast_cpu_enabled": "amp.autocast_mode",
    "is_autocast_enabled": "amp.autocast_mode",
    "set_autocast_cache_enabled": "amp.autocast_mode",
    "set_autocast_cpu_dtype": "amp.autocast_mode",
    "set_autocast_dtype": "amp.autocast_mode",
    "set_autocast_gpu_dtype": "amp.autocast_mode",
    "autocast": "amp.autocast_mode",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY_NAMES:
        value = getattr(importlib.import_module(f"{__name__}.{_LAZY_NAMES[name]}"), name)
        globals()[name] = value
        return value
    if not name.startswith("_") or name in ("__config__", "__future__"):
        try:
            return importlib.import_module(f"{__name__}.{name}")
        except ModuleNotFoundError as missing:
            if missing.name != f"{__name__}.{name}":  # one that the submodule needs
                raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    import pkgutil

    found = pkgutil.iter_modules(__path__)  # noqa: F405  (a name of every package)
    submodules = {m.name for m in found if not m.name.startswith("_")}
    return sorted({*globals(), *submodules, *_LAZY_NAMES})


__all__ = [
    "Generator", "Size", "Tensor", "UntypedStorage", "__version__", "_core", "device", "dtype",
    "layout", "memory_format", *ops.namespaces[""],
]  # fmt: skip
