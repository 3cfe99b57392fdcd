"""Modules of settings: attributes that a program may set, for a while by ``patch``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

_MISSING = object()


def patching(settings: dict[str, Any]) -> Callable:
    """``patch(name=value)`` or ``patch({name: value})``: settings that hold inside a block."""

    @contextlib.contextmanager
    def patch(changes: Any = None, *value: Any, **more: Any):
        changes = {changes: value[0]} if isinstance(changes, str) else changes
        changes = {**(changes or {}), **more}
        before = {name: settings.get(name, _MISSING) for name in changes}
        settings.update(changes)
        try:
            yield
        finally:
            for name, old in before.items():
                if old is _MISSING:
                    del settings[name]
                else:
                    settings[name] = old

    return patch
