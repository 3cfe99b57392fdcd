"""``torch.classes.space.Class``: what C++ libraries register with TorchScript. There is nothing.

`load_library` loads an extension, as that of `ops` does.
"""

from __future__ import annotations

from typing import Any

from taimatsu._op_namespaces import load_library

__all__ = ["load_library"]


class _Space:
    """Classes of one library, by name. RuntimeError for every name."""

    def __init__(self, name: str):
        self.name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise RuntimeError(
            f"torch.classes: Tried to instantiate class '{self.name}.{name}', but it does not "
            "exist; classes that TorchScript knows from C++ are not supported"
        )


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return _Space(name)
