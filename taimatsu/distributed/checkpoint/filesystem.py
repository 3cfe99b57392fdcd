"""Checkpoints in a folder: a file of each process, and ``.metadata``."""

from __future__ import annotations

import io
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import taimatsu as torch
from taimatsu import serialization
from taimatsu.futures import Future

from .. import collectives as dist
from .default_planner import _narrowed
from .metadata import Metadata, StorageMeta
from .planner import LoadItemType, LoadPlan, LoadPlanner, SavePlan, SavePlanner
from .storage import StorageReader, StorageWriter, WriteResult

__all__ = ["FileSystemReader", "FileSystemWriter"]


@dataclass
class _StorageInfo:
    """Where something is: a file, and from where to where."""

    relative_path: str
    offset: int
    length: int
    transform_descriptors: Sequence[str] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if v is not None}


def _done(value: Any) -> Future:
    future: Future = Future()
    future.set_result(value)
    return future


class FileSystemWriter(StorageWriter):
    """Writes into a folder, which is made. ``overwrite``: a checkpoint that is there may be lost.

    RuntimeError without it if there is one.
    """

    def __init__(
        self, path: str | os.PathLike, single_file_per_rank: bool = True, sync_files: bool = True,
        thread_count: int = 1, per_thread_copy_ahead: int = 10_000_000,
        cache_staged_state_dict: bool = False, overwrite: bool = True, **options: Any,
    ):  # fmt: skip
        self.path, self.sync_files, self.overwrite = Path(path), sync_files, overwrite
        self.save_id = str(uuid.uuid4())

    def reset(self, checkpoint_id: str | os.PathLike | None = None) -> None:
        self.path = Path(checkpoint_id) if checkpoint_id else self.path
        self.save_id = str(uuid.uuid4())

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        self.is_coordinator = is_coordinator
        self.rank = kwargs.get("rank", 0)

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        self.path.mkdir(parents=True, exist_ok=True)
        if (self.path / ".metadata").exists() and not self.overwrite:
            raise RuntimeError(
                f"Checkpoint already exists at {self.path} and self.overwrite is False"
            )
        return plan

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        return plans

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future:
        results: list[WriteResult] = []
        if not plan.items:
            return _done(results)
        name = f"__{self.rank}_0.distcp"
        with open(self.path / name, "wb") as file:
            for item in plan.items:
                start = file.tell()
                data = planner.resolve_data(item)
                if isinstance(data, io.BytesIO):
                    file.write(data.getbuffer())
                else:
                    buffer = io.BytesIO()
                    torch.save(data.cpu().contiguous().clone(), buffer)
                    file.write(buffer.getbuffer())
                length = file.tell() - start
                results.append(WriteResult(item.index, length, _StorageInfo(name, start, length)))
            if self.sync_files:
                file.flush()
                os.fsync(file.fileno())
        return _done(results)

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        metadata.storage_data = {r.index: r.storage_data for part in results for r in part}
        metadata.storage_meta = self.storage_meta()
        temporary = self.path / ".metadata.tmp"
        with open(temporary, "wb") as file:
            serialization._Pickler(file, 2).dump(metadata)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path / ".metadata")  # whole, or what was there before

    def storage_meta(self) -> StorageMeta:
        return StorageMeta(checkpoint_id=str(self.path), save_id=self.save_id)

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike) -> bool:
        """Whether it is a path."""
        return isinstance(checkpoint_id, (str, os.PathLike))


class FileSystemReader(StorageReader):
    """Reads what `FileSystemWriter` wrote, here or in PyTorch.

    A checkpoint can run any code when it is read: only for files that you trust.
    """

    def __init__(self, path: str | os.PathLike, **options: Any):
        self.path = Path(path)
        self.storage_data: dict[Any, _StorageInfo] = {}

    def reset(self, checkpoint_id: str | os.PathLike | None = None) -> None:
        self.path = Path(checkpoint_id) if checkpoint_id else self.path

    @property
    def checkpoint_id(self) -> str | os.PathLike:
        """The folder."""
        return self.path

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        with open(self.path / ".metadata", "rb") as file:
            return serialization._unpickle(file, lambda persistent_id: None, False, {})

    def set_up_storage_reader(self, metadata: Metadata, is_coordinator: bool) -> None:
        self.storage_data = metadata.storage_data

    def prepare_local_plan(self, plan: LoadPlan) -> LoadPlan:
        return plan

    def prepare_global_plan(self, plans: list[LoadPlan]) -> list[LoadPlan]:
        return plans

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future:
        by_file: dict[str, list[Any]] = {}
        for item in plan.items:
            info = self.storage_data[item.storage_index]
            by_file.setdefault(info.relative_path, []).append((info, item))
        for name, entries in by_file.items():
            with open(self.path / name, "rb") as file:
                for info, item in entries:
                    file.seek(info.offset)
                    data = io.BytesIO(file.read(info.length))
                    if item.type is LoadItemType.BYTE_IO:
                        planner.load_bytes(item, data)
                        continue
                    stored = torch.load(data, map_location="cpu", weights_only=True)
                    target = planner.resolve_tensor(item)
                    part = _narrowed(stored, item.storage_offsets, item.lengths)
                    with torch.no_grad():
                        target.copy_(part)
                    planner.commit_tensor(item, target)
        return _done(None)

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike) -> bool:
        """Whether it is a path."""
        return isinstance(checkpoint_id, (str, os.PathLike))


def _rank(group: Any, no_dist: bool) -> tuple[int, int]:
    """This process's number, and how many there are."""
    if no_dist or not dist.is_initialized():
        return 0, 1
    return dist.get_rank(group), dist.get_world_size(group)
