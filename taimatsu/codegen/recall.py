"""Variants and kernels that an earlier process made, found by who asks instead of by what it is.

Tracing a formula to find the key of its kernel takes longer than all the rest of a warm start. So
what the table's own ops ask for is kept under the op, the dtypes, the attributes and the files
that the package has now; on a miss, and for ops from elsewhere, the formula is traced as ever.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from .cache import Loaded, cache, counts, hardware, kernel, lock
from .promote import default_dtype

if TYPE_CHECKING:
    from taimatsu.ops.table import Op

    from .ptx import Launch
    from .schedule import Rows
    from .trace import OperandType, Variant

_PACKAGE = os.path.dirname(os.path.dirname(__file__))
_FOLDERS = tuple(
    os.path.join(_PACKAGE, name, "") for name in ("codegen", "ops", os.path.join("ops", "anywhere"))
)
_FIELDS = ("outputs", "compute", "scalars", "zeroed", "over", "ranks", "fails")
_PLAIN = (str, bool, int, float, complex, type(None))


@lru_cache(maxsize=1)
def _base() -> bytes | None:
    """This machine, and the files that say what an op is and what becomes of it.

    By their times, as reading them would take longer; a file's last one (ctime) can't be set.
    """
    about = hardware()
    if about is None or os.environ.get("TAIMATSU_DEBUG"):
        return None
    files = [
        (e.name, e.stat().st_size, e.stat().st_mtime_ns, e.stat().st_ctime_ns)
        for folder in _FOLDERS
        for e in os.scandir(folder)
        if e.name.endswith(".py")
    ]
    return hashlib.sha256(about + repr(sorted(files)).encode()).digest()


def _is_plain(x: object) -> bool:
    return isinstance(x, _PLAIN) or (isinstance(x, tuple | list) and all(map(_is_plain, x)))


def _digest(*parts: object) -> str:
    base = _base()
    assert base is not None
    return hashlib.sha256(base + repr(parts).encode()).hexdigest()


class Recalled:
    """A `trace.Variant` whose formula is traced only if something is asked that isn't known."""

    def __init__(self, key: str, known: Mapping[str, Any], traced: Callable[[], Variant]) -> None:
        self._key, self._traced = key, traced
        self.compute, self.scalars, self.over = known["compute"], known["scalars"], known["over"]
        self.outputs = tuple(map(tuple, known["outputs"]))
        self.zeroed, self.ranks, self.fails = known["zeroed"], known["ranks"], known["fails"]

    @cached_property
    def variant(self) -> Variant:
        return self._traced()

    def kernel(self, classes: tuple[str, ...], rows: Rows = "whole") -> tuple:
        """Machine code for a layout; see docs/layout.md for what the tuple holds."""
        key = _digest(self._key, tuple(classes), rows)
        with lock:
            loaded = _load(key)
            if loaded is None:
                from . import engine

                nest = self.variant.nest
                loaded = engine.kernel(nest, classes, rows)
                cache().alias(key, engine.key(nest, classes, rows))
            return loaded

    def kernel_for(self, target: str, classes: tuple[str, ...], rows: Rows = "whole") -> Launch:
        """The kernel for a GPU ("sm_90"), and how it is launched: see `ptx.Launch`."""
        from . import ptx

        key = _digest(self._key, target, tuple(classes), rows)
        with lock:
            found = ptx.recall(key)
            if found is None:
                nest = self.variant.nest
                found = ptx.kernel(nest, classes, target, rows)
                cache().alias(key, ptx.key(nest, classes, target, rows))
            return found


def _load(key: str) -> Loaded | None:
    found = cache().get(key)
    loaded = None if found is None else kernel(*found)
    if loaded is not None:
        counts.kernels += 1
        counts.cache_hits += 1
    return loaded


def _in_table(op: Op) -> bool:
    """Whether the schema says which formula it is: not if it was derived, or is a user's own."""
    code = getattr(op.formula, "__code__", None)
    if code is None or not code.co_filename.startswith(_FOLDERS):
        return False
    return code.co_filename.startswith(_FOLDERS[1]) or "<locals>" not in op.formula.__qualname__


def variant(
    op: Op, operands: tuple[OperandType, ...], statics: Mapping[str, Any], common: str | None = None
) -> Variant | Recalled:
    """`trace.variant`, or what is known of it."""

    def traced() -> Variant:
        from . import trace

        return trace.variant(op, operands, statics, common)

    if not _in_table(op) or not all(map(_is_plain, statics.values())) or _base() is None:
        return traced()
    key = _digest(op.schema, operands, sorted(statics.items()), common, default_dtype().name)
    found = cache().get(key)
    if found is not None:
        return Recalled(key, found[0], traced)
    made = traced()
    known = {name: getattr(made, name) for name in _FIELDS}
    cache().put(key, known)
    return Recalled(key, known, lambda: made)
