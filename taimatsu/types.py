"""Names for annotations."""

from __future__ import annotations

import builtins
import os
import typing

from . import _core

__all__ = ["Device", "FileLike", "Number", "Storage"]

Number: typing.TypeAlias = builtins.int | builtins.float | builtins.bool
Device: typing.TypeAlias = _core.device | builtins.str | builtins.int | None
FileLike: typing.TypeAlias = builtins.str | os.PathLike | typing.IO[builtins.bytes]
Storage: typing.TypeAlias = _core.UntypedStorage
