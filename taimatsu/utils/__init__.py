"""Utilities around training: data loading, hook handles, a progress bar."""

from . import data, hooks
from .progress import progress

__all__ = ["data", "hooks", "progress"]
