"""Where PyTorch keeps `default_collate` and its kin."""

from . import collate

__all__ = ["collate"]
