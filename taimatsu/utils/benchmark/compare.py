"""`Compare`: measurements side by side, as a table."""

from __future__ import annotations

import enum
from collections.abc import Iterable

from .measurement import Measurement, select_unit, trim_sigfig, unit_to_english

__all__ = ["Colorize", "Compare"]

_BEST, _GOOD, _BAD, _RESET = "\033[92m\033[1m", "\033[34m", "\033[31m", "\033[0m"


class Colorize(enum.Enum):
    """Which cells are compared for the colours."""

    NONE = "none"
    COLUMNWISE = "columnwise"
    ROWWISE = "rowwise"


class Compare:
    """A table for each label: rows are sub-labels and threads, columns descriptions.

    >>> compare = Compare([Timer("x.sum()", globals=globals(), description="sum").timeit(10)])
    >>> compare.print()  # doctest: +SKIP
    """

    def __init__(self, results: Iterable[Measurement]):
        self._results: list[Measurement] = []
        self.extend_results(results)
        self._trim = self._warn = False
        self._colorize = Colorize.NONE

    def extend_results(self, results: Iterable[Measurement]) -> None:
        """More of them. ValueError for what isn't a measurement."""
        results = list(results)
        for r in results:
            if not isinstance(r, Measurement):
                raise ValueError(f"Expected an instance of `Measurement`, got {type(r)} instead.")
        self._results.extend(results)

    def trim_significant_figures(self) -> None:
        """Show only digits that the spread leaves."""
        self._trim = True

    def colorize(self, rowwise: bool = False) -> None:
        """Mark good and bad times, compared along columns or rows."""
        self._colorize = Colorize.ROWWISE if rowwise else Colorize.COLUMNWISE

    def highlight_warnings(self) -> None:
        """Show the spread where it is large."""
        self._warn = True

    def print(self) -> None:
        """Prints it."""
        print(str(self))

    def __str__(self) -> str:
        merged = Measurement.merge(self._results)
        labels = dict.fromkeys(m.task_spec.label for m in merged)
        tables = [self._table([m for m in merged if m.task_spec.label == n]) for n in labels]
        return "\n".join(tables)

    def _table(self, results: list[Measurement]) -> str:
        unit, length = select_unit(min(m.median for m in results))
        columns = list(dict.fromkeys(m.task_spec.description or "" for m in results))
        keys = [(m.num_threads, m.env or "", m.sub_label or m.stmt) for m in results]
        rows = sorted(dict.fromkeys(keys), key=lambda k: k[0])
        cell = {
            (k, m.task_spec.description or ""): m for k, m in zip(keys, results, strict=True)
        }
        texts = {at: self._text(m, length) for at, m in cell.items()}
        names = {row: f"{row[1]}: {row[2]}" if row[1] else row[2] for row in rows}
        first = max(map(len, names.values()))
        widths = {
            c: max(len(c), *(len(texts.get((r, c), "")) for r in rows)) for c in columns
        }
        title = f"[ {results[0].task_spec.label or results[0].stmt} ]"
        head = " " * (first + 2) + "  |  " + "  |  ".join(c.center(widths[c]) for c in columns)
        lines = [title.center(len(head), "-"), head]
        threads = None
        for row in rows:
            if row[0] != threads:
                threads = row[0]
                lines.append(f"{threads} threads: ".ljust(len(head), "-"))
            cells = [
                self._colored(texts.get((row, c), "").rjust(widths[c]), row, c, cell, rows, columns)
                for c in columns
            ]
            lines.append(f"  {names[row].ljust(first)}  |  " + "  |  ".join(cells))
        return "\n".join([*lines, "", f"Times are in {unit_to_english(unit)}s ({unit}).", ""])

    def _text(self, m: Measurement, length: float) -> str:
        value = trim_sigfig(m.median, m.significant_figures) if self._trim else m.median
        spread = f" (! {m.iqr / m.median:.0%})" if self._warn and m.has_warnings else ""
        return f"{value / length:.1f}{spread}"

    def _colored(self, text, row, column, cell, rows, columns) -> str:
        if self._colorize is Colorize.NONE or (row, column) not in cell:
            return text
        along = [(row, c) for c in columns] if self._colorize is Colorize.ROWWISE else [
            (r, column) for r in rows
        ]  # fmt: skip
        best = min(cell[at].median for at in along if at in cell)
        ratio = cell[row, column].median / best
        color = _BEST if ratio < 1.02 else _GOOD if ratio < 1.2 else _BAD if ratio > 2 else ""
        return f"{color}{text}{_RESET}" if color else text
