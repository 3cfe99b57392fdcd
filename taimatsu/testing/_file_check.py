"""`FileCheck`: whether a text has certain parts in order."""

from __future__ import annotations

import re
import typing
from typing import Any

__all__ = ["FileCheck"]


class _Check(typing.NamedTuple):
    kind: str
    pattern: str
    times: int = 1
    exactly: bool = False


class FileCheck:
    """Checks, collected by chained calls and carried out by `run`.

    >>> FileCheck().check("add").check_not("mul").check("relu").run("add; relu")
    """

    def __init__(self) -> None:
        self._checks: list[_Check] = []

    def _add(self, *check: Any) -> typing.Self:
        self._checks.append(_Check(*check))
        return self

    def check(self, test_string: str) -> typing.Self:
        """Comes after what was checked before."""
        return self._add("check", test_string)

    def check_not(self, test_string: str) -> typing.Self:
        """Does not come between the checks before and after."""
        return self._add("not", test_string)

    def check_same(self, test_string: str) -> typing.Self:
        """Comes later in the line of the check before."""
        return self._add("same", test_string)

    def check_next(self, test_string: str) -> typing.Self:
        """Comes in the line after that of the check before."""
        return self._add("next", test_string)

    def check_dag(self, test_string: str) -> typing.Self:
        """Comes after what was checked before; neighbouring ones in any order."""
        return self._add("dag", test_string)

    def check_count(self, test_string: str, count: int, exactly: bool = False) -> typing.Self:
        """Comes `count` times, and, if ``exactly``, no more often after that."""
        return self._add("count", test_string, count, exactly)

    def check_regex(self, test_string: str) -> typing.Self:
        """A match of the regular expression comes after what was checked before."""
        return self._add("regex", test_string)

    def check_source_highlighted(self, test_string: str) -> typing.Self:
        """Comes in a line under which it is marked by a line of ``~`` or ``^``."""
        return self._add("highlighted", test_string)

    def run(self, text: str) -> None:
        """RuntimeError naming the first check that doesn't hold."""
        at, nots, i = 0, [], 0
        while i < len(self._checks):
            c = self._checks[i]
            i += 1
            if c.kind == "not":
                nots.append(c)
                continue
            begin, end = at, at
            if c.kind == "dag":
                group = [c]
                while i < len(self._checks) and self._checks[i].kind == "dag":
                    group.append(self._checks[i])
                    i += 1
                found = [self._find(d, text, at) for d in group]
                begin, end = min(b for b, _ in found), max(e for _, e in found)
            elif c.kind == "count":
                for k in range(c.times):
                    b, end = self._find(c, text, end)
                    begin = b if k == 0 else begin
                if c.exactly and c.pattern in text[end:]:
                    self._fail(c, text, f"comes more than {c.times} times")
            else:
                begin, end = self._find(c, text, at)
                between = text[at:begin]
                if c.kind == "same" and "\n" in between:
                    self._fail(c, text, "isn't in the same line")
                if c.kind == "next" and between.count("\n") != 1:
                    self._fail(c, text, "isn't in the next line")
            self._absent(nots, text, at, begin)
            nots, at = [], end
        self._absent(nots, text, at, len(text))

    def _find(self, c: _Check, text: str, start: int) -> tuple[int, int]:
        if c.kind == "highlighted":
            return self._find_highlighted(c, text, start)
        if c.kind == "regex":
            m = re.compile(c.pattern).search(text, start)
            if m:
                return m.span()
        else:
            at = text.find(c.pattern, start)
            if at >= 0:
                return at, at + len(c.pattern)
        self._fail(c, text, f"isn't found from position {start} on")
        raise AssertionError("unreachable")

    def _find_highlighted(self, c: _Check, text: str, start: int) -> tuple[int, int]:
        at = text.find(c.pattern, start)
        while at >= 0:
            line_start, line_end = text.rfind("\n", 0, at) + 1, text.find("\n", at)
            marks = text[line_end + 1 :].partition("\n")[0] if line_end >= 0 else ""
            column = at - line_start
            under = marks[column : column + len(c.pattern)]
            if len(under) == len(c.pattern) and set(under) <= {"~", "^"}:
                return at, line_end + 1 + len(marks)
            at = text.find(c.pattern, at + 1)
        self._fail(c, text, "isn't marked")
        raise AssertionError("unreachable")

    def _absent(self, nots: list[_Check], text: str, begin: int, end: int) -> None:
        for c in nots:
            if c.pattern in text[begin:end]:
                self._fail(c, text, "is there")

    def _fail(self, c: _Check, text: str, why: str) -> None:
        raise RuntimeError(f"FileCheck: {c.kind} {c.pattern!r} {why}, in\n{text}")
