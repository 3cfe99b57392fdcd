"""What PyTorch's compiler knows of the code that is being traced: here no mode of fake tensors."""

from __future__ import annotations

from typing import Any


def active_fake_mode() -> None:
    """None: what only knows sizes is on the ``meta`` device, in no mode."""


def detect_fake_mode(inputs: Any = None) -> None:
    """None: see `active_fake_mode`."""
