"""``utils.benchmark``: how long a piece of code takes.

>>> from taimatsu.utils.benchmark import Timer
>>> m = Timer("x.sum()", setup="x = torch.ones(1000)").blocked_autorange(min_run_time=0.01)
>>> m.median < 1
True
"""

from __future__ import annotations

from .compare import Colorize, Compare
from .measurement import Measurement, TaskSpec, select_unit, trim_sigfig, unit_to_english
from .timer import Language, Timer, timer

__all__ = [
    "Colorize", "Compare", "Language", "Measurement", "TaskSpec", "Timer", "select_unit", "timer",
    "trim_sigfig", "unit_to_english",
]  # fmt: skip
