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

# The names of types where an argument or a method is called the same.
_bool, _bytes, _complex, _float, _int, _str = (
    builtins.bool, builtins.bytes, builtins.complex, builtins.float, builtins.int, builtins.str,
)  # fmt: skip
_device, _dtype, _layout, _size = _core.device, _core.dtype, _core.layout, _core.Size
