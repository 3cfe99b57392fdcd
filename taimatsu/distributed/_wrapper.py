"""Modules around another one, whose members and names in state dicts are that one's."""

from __future__ import annotations

from typing import Any

from taimatsu import nn


class Wrapper(nn.Module):
    """What isn't found here is looked for in the module inside.

    ``INSIDE``: under which name that is registered.
    """

    INSIDE: str

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__(self.INSIDE), name)

    def __getitem__(self, key: Any) -> Any:
        return getattr(self, self.INSIDE)[key]


def without_wrapper(module: Wrapper, state: dict, prefix: str, *others: Any) -> None:
    """Gives the entries of a state dict the names that they have in the module inside."""
    inner = f"{prefix}{module.INSIDE}."
    for key in [k for k in state if k.startswith(inner)]:
        state[prefix + key[len(inner) :]] = state.pop(key)


def with_wrapper(module: Wrapper, state: dict, prefix: str, *others: Any) -> None:
    """The other way."""
    inner = f"{prefix}{module.INSIDE}."
    for key in [k for k in state if k.startswith(prefix) and not k.startswith(inner)]:
        state[inner + key[len(prefix) :]] = state.pop(key)
