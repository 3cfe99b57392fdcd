"""Planners for state dicts of tensors, DTensors and other objects."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import taimatsu as torch

from ..placements import Replicate, Shard
from ..tensor._api import DTensor
from ..tensor._redistribute import local_shape
from . import _nested
from .metadata import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)
from .planner import (
    LoadItemType,
    LoadPlan,
    LoadPlanner,
    ReadItem,
    SavePlan,
    SavePlanner,
    TensorWriteData,
    WriteItem,
    WriteItemType,
)

__all__ = ["DefaultLoadPlanner", "DefaultSavePlanner"]


def _part(value: Any) -> tuple[Any, ChunkStorageMetadata]:
    """This process's part of a tensor, and where it is in the whole."""
    if isinstance(value, DTensor):
        sizes, offsets = local_shape(value._spec)
        chunk = ChunkStorageMetadata(torch.Size(offsets), torch.Size(sizes))
        return value._local_tensor.detach(), chunk
    where = ChunkStorageMetadata(torch.Size([0] * value.dim()), torch.Size(value.shape))
    return value.detach(), where


def _copy_of_another(value: Any) -> bool:
    """Whether a process before this one has the same part."""
    if not isinstance(value, DTensor):
        return False
    mesh = value.device_mesh
    return any(isinstance(p, Replicate) and mesh.get_local_rank(i)
               for i, p in enumerate(value.placements))  # fmt: skip


class DefaultSavePlanner(SavePlanner):
    """Each part is written once: what all processes have, by the first that has it."""

    def __init__(
        self, flatten_state_dict: bool = True, flatten_sharded_tensors: bool = True,
        dedup_replicated_tensors: bool | None = None, dedup_save_to_lowest_rank: bool = False,
        enable_plan_caching: bool = False,
    ):  # fmt: skip
        self.flatten_state_dict = flatten_state_dict

    def set_up_planner(self, state_dict, storage_meta=None, is_coordinator=False) -> None:
        self.mappings: dict[str, Any] = {}
        if self.flatten_state_dict:
            state_dict, self.mappings = _nested.flatten(state_dict)
        self.state_dict, self.is_coordinator = state_dict, is_coordinator

    def create_local_plan(self) -> SavePlan:
        items = []
        for name, value in self.state_dict.items():
            if not isinstance(value, torch.Tensor):
                items.append(WriteItem(MetadataIndex(name), WriteItemType.BYTE_IO))
                continue
            part, chunk = _part(value)
            if _copy_of_another(value) or (isinstance(value, DTensor) and not part.numel()):
                continue
            data = TensorWriteData(chunk, TensorProperties.create_from_tensor(value),
                                   torch.Size(value.shape))  # fmt: skip
            divided = isinstance(value, DTensor) and any(
                isinstance(p, Shard) for p in value.placements
            )
            kind = WriteItemType.SHARD if divided else WriteItemType.TENSOR
            items.append(WriteItem(MetadataIndex(name, chunk.offsets), kind, tensor_data=data))
        return SavePlan(items, planner_data=self.mappings)

    def create_global_plan(self, all_plans):
        seen: set[MetadataIndex] = set()
        plans = []
        found: dict[str, Any] = {}
        mappings: dict[str, Any] = {}
        for plan in all_plans:
            kept = []
            for item in plan.items:
                if item.index in seen:
                    continue
                seen.add(item.index)
                data = item.tensor_data
                if data is None:
                    found[item.index.fqn] = BytesStorageMetadata()
                else:
                    entry = found.setdefault(
                        item.index.fqn, TensorStorageMetadata(data.properties, data.size, [])
                    )
                    at = MetadataIndex(item.index.fqn, data.chunk.offsets, len(entry.chunks))
                    item = dataclasses.replace(item, index=at)
                    entry.chunks.append(data.chunk)
                kept.append(item)
            mappings |= plan.planner_data or {}
            plans.append(dataclasses.replace(plan, items=kept))
        return plans, Metadata(found, planner_data=mappings, version="1.0.0")

    def finish_plan(self, new_plan: SavePlan) -> SavePlan:
        return new_plan

    def resolve_data(self, write_item: WriteItem) -> Any:
        value = self.state_dict[write_item.index.fqn]
        if write_item.type is not WriteItemType.BYTE_IO:
            return _part(value)[0]
        buffer = io.BytesIO()
        torch.save(value, buffer)
        return buffer


class DefaultLoadPlanner(LoadPlanner):
    """Reads into the tensors of a state dict, whatever parts were written."""

    def __init__(
        self, flatten_state_dict: bool = True, flatten_sharded_tensors: bool = True,
        allow_partial_load: bool = False,
    ):  # fmt: skip
        self.flatten_state_dict, self.allow_partial_load = flatten_state_dict, allow_partial_load

    def set_up_planner(self, state_dict, metadata=None, is_coordinator=False) -> None:
        self.original_state_dict, self.metadata = state_dict, metadata
        self.mappings: dict[str, Any] = {}
        if self.flatten_state_dict:
            state_dict, self.mappings = _nested.flatten(state_dict)
        self.state_dict = state_dict

    def create_local_plan(self) -> LoadPlan:
        stored = self.metadata.state_dict_metadata if self.metadata else {}
        items: list[ReadItem] = []
        none = torch.Size([0])
        for name, value in self.state_dict.items():
            if name not in stored:
                if self.allow_partial_load:
                    continue
                raise RuntimeError(f"Missing key in checkpoint state_dict: {name}.")
            entry = stored[name]
            if isinstance(entry, BytesStorageMetadata):
                index = MetadataIndex(name)
                items.append(ReadItem(LoadItemType.BYTE_IO, index, none, index, none, none))
                continue
            if tuple(value.shape) != tuple(entry.size):
                raise ValueError(
                    f"Size mismatch between saved {entry.size} and current: {value.shape} "
                    f"for {name}"
                )
            items += _reads(name, _part(value)[1], entry.chunks)
        return LoadPlan(items)

    def create_global_plan(self, global_plan: list[LoadPlan]) -> list[LoadPlan]:
        return global_plan

    def finish_plan(self, central_plan: LoadPlan) -> LoadPlan:
        return central_plan

    def load_bytes(self, read_item: ReadItem, value: io.BytesIO) -> None:
        name = read_item.dest_index.fqn
        loaded = torch.load(value, weights_only=False)
        if name in self.mappings:
            _nested.put(self.original_state_dict, self.mappings[name], loaded)
        else:
            self.original_state_dict[name] = loaded

    def resolve_tensor(self, read_item: ReadItem) -> Any:
        part = _part(self.state_dict[read_item.dest_index.fqn])[0]
        return _narrowed(part, read_item.dest_offsets, read_item.lengths)

    def commit_tensor(self, read_item: ReadItem, tensor: Any) -> None:
        pass


def _reads(name: str, wanted: ChunkStorageMetadata, chunks: list) -> list[ReadItem]:
    """What of the stored parts lies in the one that is wanted."""
    items = []
    for i, chunk in enumerate(chunks):
        begins = [max(a, b) for a, b in zip(wanted.offsets, chunk.offsets, strict=True)]
        ends = [
            min(a + n, b + m)
            for a, n, b, m in zip(wanted.offsets, wanted.sizes, chunk.offsets, chunk.sizes,
                                  strict=True)
        ]  # fmt: skip
        lengths = [e - b for b, e in zip(begins, ends, strict=True)]
        if any(n <= 0 for n in lengths):
            continue
        items.append(ReadItem(
            LoadItemType.TENSOR, MetadataIndex(name, wanted.offsets),
            torch.Size(b - o for b, o in zip(begins, wanted.offsets, strict=True)),
            MetadataIndex(name, chunk.offsets, i),
            torch.Size(b - o for b, o in zip(begins, chunk.offsets, strict=True)),
            torch.Size(lengths),
        ))  # fmt: skip
    return items


def _narrowed(tensor: Any, offsets: Any, lengths: Any) -> Any:
    for dim, (offset, length) in enumerate(zip(offsets, lengths, strict=True)):
        tensor = tensor.narrow(dim, offset, length)
    return tensor


class _EmptyStateDictLoadPlanner(DefaultLoadPlanner):
    """Reads all there is, or what ``keys`` name, into a state dict that is empty at first."""

    def __init__(self, keys: set[str] | None = None, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.keys = keys

    def set_up_planner(self, state_dict, metadata=None, is_coordinator=False) -> None:
        for name, entry in metadata.state_dict_metadata.items():
            path = (metadata.planner_data or {}).get(name, (name,))
            if self.keys and not any(name == k or name.startswith(f"{k}.") for k in self.keys):
                continue
            value = None
            if isinstance(entry, TensorStorageMetadata):
                value = torch.empty(entry.size, dtype=entry.properties.dtype)
            _nested.put(state_dict, path, value)
        super().set_up_planner(state_dict, metadata, is_coordinator)
