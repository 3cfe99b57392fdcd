"""``distributed.checkpoint``: what processes hold together, in one checkpoint.

>>> state = {"model": torch.nn.Linear(2, 1).state_dict()}
>>> _ = dist.checkpoint.save(state, checkpoint_id="folder")
>>> dist.checkpoint.load(state, checkpoint_id="folder")

Each process writes its parts, and any number of processes reads them, divided otherwise or not.
Files are those of PyTorch, both ways. `planner` decides what is written, `storage` where;
`state_dict`: state dicts by names, whatever wraps a model.
"""

from __future__ import annotations

from typing import Any

from .api import CheckpointException
from .default_planner import DefaultLoadPlanner, DefaultSavePlanner
from .filesystem import FileSystemReader, FileSystemWriter
from .metadata import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    TensorStorageMetadata,
)
from .planner import LoadPlan, LoadPlanner, ReadItem, SavePlan, SavePlanner, WriteItem
from .state_dict_loader import load, load_state_dict
from .state_dict_saver import async_save, save, save_state_dict
from .storage import StorageReader, StorageWriter

__all__ = [
    "BytesStorageMetadata", "CheckpointException", "ChunkStorageMetadata", "DefaultLoadPlanner",
    "DefaultSavePlanner", "FileSystemReader", "FileSystemWriter", "LoadPlan", "LoadPlanner",
    "Metadata", "ReadItem", "SavePlan", "SavePlanner", "StorageReader", "StorageWriter",
    "TensorStorageMetadata", "WriteItem", "async_save", "load", "load_state_dict", "save",
    "save_state_dict",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in ("HuggingFaceStorageReader", "HuggingFaceStorageWriter"):
        from . import hf_storage

        return getattr(hf_storage, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
