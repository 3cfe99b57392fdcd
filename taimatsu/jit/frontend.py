"""The source of what is compiled, as a syntax tree that knows its file and lines; its errors.

`Source.of` reads a function's text. `Source.error` names the file, the line and the place in it:

    undefined value y:
      File "model.py", line 12
        return x + y
                   ~ <--- HERE
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

__all__ = [
    "FrontendError", "FrontendTypeError", "NotSupportedError", "Source", "UnsupportedNodeError",
    "get_jit_class_def", "get_jit_def",
]  # fmt: skip


class FrontendError(RuntimeError):
    """The program isn't one of TorchScript's."""


class NotSupportedError(FrontendError):
    """Something of Python's that TorchScript doesn't have."""


class UnsupportedNodeError(NotSupportedError):
    """A statement or expression that TorchScript doesn't have."""


class FrontendTypeError(FrontendError):
    """A type that TorchScript doesn't have."""


# What each is called in errors; all others by the class of their node.
_STATEMENTS = {
    ast.FunctionDef: "function definitions", ast.AsyncFunctionDef: "async function definitions",
    ast.ClassDef: "class definitions", ast.Try: "try blocks", ast.Import: "import statements",
    ast.ImportFrom: "import statements", ast.Global: "global variables",
    ast.Nonlocal: "nonlocal variables", ast.AsyncFor: "async for loops",
    ast.AsyncWith: "async with statements",
}  # fmt: skip


class Source:
    """A function's or class's text and syntax tree."""

    def __init__(self, path: str, lines: list[str], first: int):
        text = "".join(lines)
        self.path, self._lines, self._first = path, text.splitlines(), first
        self._margin = len(text) - len(text.lstrip())
        body = ast.parse(textwrap.dedent(text)).body
        self.tree: Any = body[0] if body else None

    @classmethod
    def of(cls, target: Any) -> Source:
        """The source of a function or class. OSError if it can't be found."""
        target = inspect.unwrap(target)
        path = inspect.getsourcefile(target) or ""
        try:
            lines, first = inspect.getsourcelines(target)
            return cls(path, lines, first)
        except (OSError, TypeError, SyntaxError) as error:
            raise OSError(
                f"Can't get source for {target}. TorchScript requires source access in order to "
                f"carry out compilation, make sure original .py files are available."
            ) from error

    def text_at(self, line: int) -> str:
        """A line by its number in the tree."""
        return self._lines[line - 1] if line <= len(self._lines) else ""

    def line(self, node: ast.AST) -> int:
        """The node's line in its file."""
        return self._first + getattr(node, "lineno", 1) - 1

    def place(self, node: ast.AST) -> str:
        """The file and line of a node, the line itself, and a mark below it."""
        index = getattr(node, "lineno", 1) - 1
        text = self._lines[index] if index < len(self._lines) else ""
        start = self._margin + getattr(node, "col_offset", 0)
        one_line = getattr(node, "end_lineno", None) == getattr(node, "lineno", None)
        end = self._margin + (getattr(node, "end_col_offset", 0) or 0) if one_line else len(text)
        marks = " " * start + "~" * max(end - start, 1)
        return f'  File "{self.path}", line {self.line(node)}\n{text}\n{marks} <--- HERE\n'

    def error(
        self, node: ast.AST, message: str, kind: Callable[[str], Exception] = RuntimeError
    ) -> Exception:
        """An error at a node."""
        return kind(f"{message}:\n{self.place(node)}")

    def unsupported(self, node: ast.AST) -> Exception:
        """What TorchScript doesn't have."""
        what = _STATEMENTS.get(type(node), type(node).__name__)
        return self.error(node, f"{what} aren't supported", UnsupportedNodeError)


def get_jit_def(fn: Any, def_name: str, self_name: str | None = None, **options: Any) -> Any:
    """The syntax tree of a function."""
    return Source.of(fn).tree


def get_jit_class_def(cls: type, self_name: str) -> Any:
    """The syntax tree of a class."""
    return Source.of(cls).tree
