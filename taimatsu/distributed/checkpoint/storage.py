"""Where checkpoints are: what a place has to do."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import Any

from taimatsu.futures import Future

from .metadata import Metadata
from .planner import LoadPlan, LoadPlanner, SavePlan, SavePlanner

__all__ = ["StorageReader", "StorageWriter", "WriteResult"]


class StorageWriter(ABC):
    """Writes what plans say."""

    @abstractmethod
    def reset(self, checkpoint_id: str | os.PathLike | None = None) -> None:
        """The beginning of a checkpoint."""

    @abstractmethod
    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        """Whether this process is the first."""

    @abstractmethod
    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        """What this process writes."""

    @abstractmethod
    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        """What all write."""

    @abstractmethod
    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future:
        """Writes; a Future of a list of `WriteResult`."""

    @abstractmethod
    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """In the first process, when all have written."""

    def storage_meta(self) -> Any:
        """Of the checkpoint as a whole."""
        return None


class StorageReader(ABC):
    """Reads what plans say."""

    @abstractmethod
    def reset(self, checkpoint_id: str | os.PathLike | None = None) -> None:
        """The beginning of a checkpoint."""

    @abstractmethod
    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """What there is."""

    @abstractmethod
    def set_up_storage_reader(self, metadata: Metadata, is_coordinator: bool) -> None:
        """What there is, and whether this process is the first."""

    @abstractmethod
    def prepare_local_plan(self, plan: LoadPlan) -> LoadPlan:
        """What this process reads."""

    @abstractmethod
    def prepare_global_plan(self, plans: list[LoadPlan]) -> list[LoadPlan]:
        """What all read."""

    @abstractmethod
    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future:
        """Reads; a Future of None."""


class WriteResult:
    """What was written: an item's index, its size, and where it is."""

    def __init__(self, index: Any, size_in_bytes: int, storage_data: Any):
        self.index, self.size_in_bytes, self.storage_data = index, size_in_bytes, storage_data
