"""Who decides what a process writes and reads: planners, and their plans."""

from __future__ import annotations

import enum
import io
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import taimatsu as torch

from .metadata import ChunkStorageMetadata, Metadata, MetadataIndex, TensorProperties

__all__ = [
    "LoadItemType", "LoadPlan", "LoadPlanner", "ReadItem", "SavePlan", "SavePlanner",
    "TensorWriteData", "WriteItem", "WriteItemType",
]  # fmt: skip


class WriteItemType(enum.Enum):
    """A tensor, a part of one, or another object."""

    TENSOR = enum.auto()
    SHARD = enum.auto()
    BYTE_IO = enum.auto()


class LoadItemType(enum.Enum):
    """A tensor or part of one, or another object."""

    TENSOR = enum.auto()
    BYTE_IO = enum.auto()


@dataclass(frozen=True)
class BytesIOWriteData:
    """Of an object to be written."""

    nbytes: int


@dataclass(frozen=True)
class TensorWriteData:
    """Of a tensor to be written: the part, and the whole."""

    chunk: ChunkStorageMetadata
    properties: TensorProperties
    size: torch.Size


@dataclass(frozen=True)
class WriteItem:
    """Something to be written."""

    index: MetadataIndex
    type: WriteItemType
    bytes_io_data: BytesIOWriteData | None = None
    tensor_data: TensorWriteData | None = None


@dataclass(frozen=True)
class ReadItem:
    """What is read from a part that is stored, and where it goes."""

    type: LoadItemType
    dest_index: MetadataIndex
    dest_offsets: torch.Size
    storage_index: MetadataIndex
    storage_offsets: torch.Size
    lengths: torch.Size


@dataclass(frozen=True)
class SavePlan:
    """What a process writes."""

    items: list[WriteItem]
    storage_data: Any = None
    planner_data: Any = None
    usable: bool = True


@dataclass
class LoadPlan:
    """What a process reads."""

    items: list[ReadItem] = field(default_factory=list)
    storage_data: Any = None
    planner_data: Any = None


class SavePlanner(ABC):
    """Decides what is written: each process a plan, the first one all plans together."""

    @abstractmethod
    def set_up_planner(
        self, state_dict: dict[str, Any], storage_meta: Any = None, is_coordinator: bool = False
    ) -> None:
        """What is to be written."""

    @abstractmethod
    def create_local_plan(self) -> SavePlan:
        """This process's plan."""

    @abstractmethod
    def create_global_plan(self, all_plans: list[SavePlan]) -> tuple[list[SavePlan], Metadata]:
        """In the first process: the plans of all, and what the checkpoint says about itself."""

    @abstractmethod
    def finish_plan(self, new_plan: SavePlan) -> SavePlan:
        """This process's part of the plans of all."""

    @abstractmethod
    def resolve_data(self, write_item: WriteItem) -> Any:
        """The tensor or the bytes of an item."""


class LoadPlanner:
    """Decides what is read, and where it goes."""

    @abstractmethod
    def set_up_planner(
        self, state_dict: dict[str, Any], metadata: Metadata | None = None,
        is_coordinator: bool = False,
    ) -> None:  # fmt: skip
        """What is to be read, and what there is."""

    @abstractmethod
    def create_local_plan(self) -> LoadPlan:
        """This process's plan."""

    @abstractmethod
    def create_global_plan(self, global_plan: list[LoadPlan]) -> list[LoadPlan]:
        """In the first process: the plans of all."""

    @abstractmethod
    def finish_plan(self, central_plan: LoadPlan) -> LoadPlan:
        """This process's part of the plans of all."""

    @abstractmethod
    def load_bytes(self, read_item: ReadItem, value: io.BytesIO) -> None:
        """Takes what was read of an object."""

    @abstractmethod
    def resolve_tensor(self, read_item: ReadItem) -> Any:
        """The part of a tensor that an item is written to."""

    @abstractmethod
    def commit_tensor(self, read_item: ReadItem, tensor: Any) -> None:
        """Called when it has been written to."""
