"""The named tuples that ops with several results return, so that pickles find them by name.

>>> taimatsu.return_types.max
<class 'taimatsu.return_types.max'>
"""

from __future__ import annotations

import typing

from . import _core
from .ops import table


def _named(op: table.Op) -> str:
    base = op.name.partition(".")[0]
    return f"linalg_{base}" if op.module == "linalg" else base


def __getattr__(name: str) -> typing.Any:
    for op in table.ENTRIES:
        if _named(op) == name:
            outputs = op.parsed.outputs
            if len(outputs) > 1 and outputs[0].name != "result0":
                return _core.return_type(op)
    raise AttributeError(f"module 'taimatsu.return_types' has no attribute {name!r}")
