"""State dicts inside of state dicts, as one dict by names with points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import taimatsu as torch

__all__ = ["flatten", "put"]

Path = tuple[str | int, ...]


def _holds_tensors(value: Any) -> bool:
    if isinstance(value, Mapping):
        return True
    if isinstance(value, (list, tuple)):
        return any(map(_holds_tensors, value))
    return isinstance(value, torch.Tensor)


def flatten(state: Mapping) -> tuple[dict[str, Any], dict[str, Path]]:
    """The values by name, and the path to each. Lists without tensors are values.

    >>> flatten({"a": {"b": 1}, "c": [2, 3]})[0]
    {'a.b': 1, 'c': [2, 3]}
    """
    values: dict[str, Any] = {}
    paths: dict[str, Path] = {}

    def walk(value: Any, path: Path) -> None:
        if isinstance(value, Mapping) and value:
            for key, inner in value.items():
                walk(inner, (*path, str(key)))
        elif isinstance(value, (list, tuple)) and _holds_tensors(value):
            for i, inner in enumerate(value):
                walk(inner, (*path, i))
        else:
            name = ".".join(map(str, path))
            if name in values:
                raise ValueError(f"duplicated flatten key {name}")
            values[name], paths[name] = value, path

    for key, value in state.items():
        walk(value, (str(key),))
    return values, paths


def put(state: Any, path: Path, value: Any) -> None:
    """Replaces what is at a path, making what is missing on the way."""
    for step, after in zip(path[:-1], path[1:], strict=True):
        inner = _get(state, step)
        if inner is None or isinstance(inner, tuple):
            inner = list(inner) if inner else ([] if isinstance(after, int) else {})
            _set(state, step, inner)
        state = inner
    _set(state, path[-1], value)


def _key(state: Any, step: str | int) -> Any:
    if isinstance(state, Mapping) and step not in state:
        return next((k for k in state if str(k) == str(step)), step)
    return step


def _get(state: Any, step: str | int) -> Any:
    if isinstance(state, Mapping):
        return state.get(_key(state, step))
    return state[step] if int(step) < len(state) else None


def _set(state: Any, step: str | int, value: Any) -> None:
    if isinstance(state, list):
        state.extend([None] * (int(step) + 1 - len(state)))
    state[_key(state, step)] = value
