"""What a benchmark is: groups of workloads, each with the target that it is measured by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any


@dataclass(frozen=True)
class Workload:
    """A statement to time, in the notation of `timeit`: what `setup` binds, `statement` may use.

    Statements, and not functions, because a call of an empty Python function costs more than a
    small op does here. Names that `setup` doesn't bind are the operands of the group.
    """

    name: str
    statement: str
    setup: str = "pass"


@dataclass(frozen=True)
class Group:
    """Workloads that share operands and targets.

    `operands(torch)` gives the names that their statements use, for either library. `mean` is the
    least geometric mean of the ratios (peer's time / ours) to reach, `floor` the least of each.
    """

    name: str
    operands: Callable[[ModuleType], dict[str, Any]]
    workloads: tuple[Workload, ...]
    mean: float | None = None
    floor: float | None = None


def workloads(**statements: str) -> tuple[Workload, ...]:
    """Workloads without a setup of their own, `_` in names read as a blank, trailing ones kept."""
    return tuple(Workload(spelled(name), text) for name, text in statements.items())


def spelled(name: str) -> str:
    stem = name.rstrip("_")
    return stem.replace("_", " ") + name[len(stem) :]
