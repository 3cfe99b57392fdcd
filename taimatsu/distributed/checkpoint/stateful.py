"""`Stateful`: objects that know their own state."""

from __future__ import annotations

import typing
from typing import Any

__all__ = ["Stateful"]


@typing.runtime_checkable
class Stateful(typing.Protocol):
    """An object with ``state_dict`` and ``load_state_dict``: `save` and `load` call them."""

    def state_dict(self) -> dict[str, Any]:
        """Its state."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes it."""
        ...
