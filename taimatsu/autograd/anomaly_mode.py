"""Anomaly mode: a failing backward names the forward call that it belongs to."""

from __future__ import annotations

import sys
import warnings
from types import FrameType
from typing import Any

from taimatsu import _core

__all__ = ["detect_anomaly", "set_detect_anomaly"]


class set_detect_anomaly:
    """Switch anomaly mode on or off for this thread; as a context manager, until its end.

    In the mode every recorded call keeps its stack. When a backward fails, or, with ``check_nan``,
    gives a NaN, the stack of the forward call is printed, with the nn.Module that made it; an
    in-place write that spoilt a saved tensor is shown with its line.

    >>> with torch.autograd.set_detect_anomaly(True):
    ...     (x - 2).sqrt().sum().backward()
    Traceback (most recent call last):
    ...
    RuntimeError: Function 'SqrtBackward0' returned nan values in its 0th output.
    """

    def __init__(self, mode: bool, check_nan: bool = True):
        self.prev = _core.is_anomaly_enabled()
        self.prev_check_nan = _core.is_anomaly_check_nan_enabled()
        _core.set_anomaly_enabled(mode, check_nan)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: Any) -> None:
        _core.set_anomaly_enabled(self.prev, self.prev_check_nan)


class detect_anomaly:
    """Anomaly mode as a context manager, with a warning that it is slow; see set_detect_anomaly.

    >>> with torch.autograd.detect_anomaly():
    ...     loss.backward()
    """

    def __init__(self, check_nan: bool = True):
        self.check_nan = check_nan
        warnings.warn(
            "Anomaly Detection has been enabled. This mode will increase the runtime and should "
            "only be enabled for debugging.",
            stacklevel=2,
        )

    def __enter__(self) -> None:
        self.setting = set_detect_anomaly(True, self.check_nan)

    def __exit__(self, *exc: Any) -> None:
        self.setting.__exit__()


def _describe_call() -> str:
    """The stack of the running op call, and the module whose forward it is in."""
    frame = sys._getframe(1)
    module = _module_of(frame)
    import traceback

    stack = "".join(traceback.format_stack(frame))
    return f"{stack}In {module}.\n" if module else stack


def _module_of(frame: FrameType | None) -> str:
    """'module "encoder.0" (Linear)' for the innermost nn.Module whose forward is running."""
    if "taimatsu.nn" not in sys.modules:
        return ""
    module_type = sys.modules["taimatsu.nn"].Module
    running: list[Any] = []  # innermost first
    while frame is not None:
        if frame.f_code.co_argcount:
            owner = frame.f_locals.get(frame.f_code.co_varnames[0])
            if isinstance(owner, module_type) and (not running or running[-1] is not owner):
                running.append(owner)
        frame = frame.f_back
    if not running:
        return ""
    inner, outer = running[0], running[-1]
    name = next((name for name, m in outer.named_modules() if m is inner), "")
    kind = type(inner).__name__
    return f'module "{name}" ({kind}) of {type(outer).__name__}' if name else f"module {kind}"
