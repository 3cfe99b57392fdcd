"""``utils.tensorboard``: logs for TensorBoard, written by the package ``tensorboard``.

ImportError without it (``pip install tensorboard``).
"""

from __future__ import annotations

from .writer import FileWriter, RecordWriter, SummaryWriter

__all__ = ["FileWriter", "RecordWriter", "SummaryWriter"]
