"""``backends.mps``: Apple's GPUs, which there is no driver for."""

from __future__ import annotations

from taimatsu._absent import Absent

_absent = Absent(globals(), "MPS", RuntimeError)
_absent.answer(bool, "is_available is_built", "False.")
_absent.refuse("get_core_count get_name is_macos13_or_newer is_macos_or_newer")

__all__ = list(_absent.names)
