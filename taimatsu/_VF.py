"""Functions of the top level, by the name that PyTorch's own modules use: ``torch._VF.lstm``."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    import taimatsu

    return getattr(taimatsu, name)
