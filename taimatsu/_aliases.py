"""Names of the top level that PyTorch has besides better ones: storages, errors."""

from __future__ import annotations

import enum

import taimatsu as torch

__all__ = [
    "AVG", "SUM", "AcceleratorError", "AggregationType", "FatalError", "JITException", "Storage",
    "StorageBase", "legacy_contiguous_format",
]  # fmt: skip

legacy_contiguous_format = torch.contiguous_format
StorageBase = torch.UntypedStorage
Storage = torch.FloatStorage


class AggregationType(enum.Enum):
    """How what several graphs computed is put together."""

    SUM = 0
    AVG = 1


SUM, AVG = AggregationType.SUM, AggregationType.AVG


class AcceleratorError(RuntimeError):
    """An error of a device's runtime."""


class FatalError(RuntimeError):
    """An error after which the process can't go on."""


class JITException(RuntimeError):
    """An exception that TorchScript's code raised."""
