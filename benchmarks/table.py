"""What a benchmark is: groups of workloads, each with the target that it is measured by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
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

    def only(self, wanted: Callable[[str], bool]) -> Group:
        """The group with the workloads whose "group: workload" is wanted."""
        left = tuple(w for w in self.workloads if wanted(f"{self.name}: {w.name}"))
        return replace(self, workloads=left)


def workloads(**statements: str) -> tuple[Workload, ...]:
    """Workloads that need no setup of their own, by name."""
    return tuple(Workload(name, text) for name, text in statements.items())
