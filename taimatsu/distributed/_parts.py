"""Parts of PyTorch's `distributed` that are known by name only.

Libraries import them before they know whether they will use them. Their classes and functions say
what is missing when they are called; `isinstance` with them is False.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType

from taimatsu._absent import Absent

_STATE_DICTS = (
    "FullOptimStateDictConfig FullStateDictConfig LocalOptimStateDictConfig LocalStateDictConfig "
    "OptimStateDictConfig OptimStateKeyType ShardedOptimStateDictConfig ShardedStateDictConfig "
    "StateDictConfig StateDictSettings StateDictType"
)
_FSDP = (
    "BackwardPrefetch CPUOffload CPUOffloadPolicy FSDPModule FullyShardedDataParallel "
    "MixedPrecision MixedPrecisionPolicy OffloadPolicy ShardingStrategy UnshardHandle "
) + _STATE_DICTS
_PLACEMENTS = "DTensor Partial Placement Replicate Shard"

# Module: its classes; its functions.
PARTS: dict[str, tuple[str, str]] = {
    "_tensor": (_PLACEMENTS, ""),
    "algorithms._checkpoint": ("", ""),
    "algorithms._checkpoint.checkpoint_wrapper": (
        "CheckpointImpl CheckpointWrapper",
        "apply_activation_checkpointing checkpoint_wrapper offload_wrapper",
    ),
    "algorithms.ddp_comm_hooks.post_localSGD_hook": ("PostLocalSGDState", "post_localSGD_hook"),
    "algorithms.ddp_comm_hooks.powerSGD_hook": ("PowerSGDState", "powerSGD_hook"),
    "algorithms.join": ("Join JoinHook Joinable", ""),
    "algorithms.model_averaging": ("", ""),
    "algorithms.model_averaging.averagers": ("ModelAverager PeriodicModelAverager", ""),
    "checkpoint": (
        "BytesStorageMetadata CheckpointException ChunkStorageMetadata DefaultLoadPlanner "
        "DefaultSavePlanner FileSystemReader FileSystemWriter LoadPlan LoadPlanner Metadata "
        "ReadItem SavePlan SavePlanner StorageReader StorageWriter TensorStorageMetadata WriteItem",
        "async_save load load_state_dict save save_state_dict",
    ),
    "checkpoint.default_planner": ("DefaultLoadPlanner DefaultSavePlanner", ""),
    "checkpoint.format_utils": ("", "dcp_to_torch_save torch_save_to_dcp"),
    "checkpoint.optimizer": ("", "load_sharded_optimizer_state_dict"),
    "checkpoint.state_dict": (
        "StateDictOptions",
        "get_model_state_dict get_optimizer_state_dict get_state_dict set_model_state_dict "
        "set_optimizer_state_dict set_state_dict",
    ),
    "checkpoint.stateful": ("Stateful", ""),
    "device_mesh": ("DeviceMesh", "init_device_mesh"),
    "fsdp": (_FSDP, "fully_shard register_fsdp_forward_method"),
    "fsdp.api": (_FSDP, ""),
    "fsdp.fully_sharded_data_parallel": (_FSDP, ""),
    "fsdp.sharded_grad_scaler": ("ShardedGradScaler", ""),
    "fsdp.wrap": (
        "CustomPolicy ModuleWrapPolicy",
        "enable_wrap lambda_auto_wrap_policy size_based_auto_wrap_policy "
        "transformer_auto_wrap_policy wrap",
    ),
    "optim": ("DistributedOptimizer PostLocalSGDOptimizer ZeroRedundancyOptimizer", ""),
    "pipelining": (
        "Pipe PipelineStage Schedule1F1B ScheduleGPipe ScheduleInterleaved1F1B SplitPoint",
        "build_stage pipe_split pipeline",
    ),
    "tensor": (
        _PLACEMENTS, "distribute_module distribute_tensor empty full ones rand randn zeros",
    ),
    "tensor.experimental": ("", "context_parallel"),
    "tensor.parallel": (
        "ColwiseParallel ParallelStyle PrepareModuleInput PrepareModuleInputOutput "
        "PrepareModuleOutput RowwiseParallel SequenceParallel",
        "loss_parallel parallelize_module",
    ),
    "tensor.placement_types": (_PLACEMENTS, ""),
}  # fmt: skip


class _Missing(Absent):
    def refusal(self, name: str = "") -> Exception:
        module = self.namespace["__name__"].partition(".")[2]
        return self.error(
            f"{module}.{name} is not available in this build; DistributedDataParallel and the "
            "collectives of torch.distributed are"
        )


class _Loader(importlib.abc.Loader):
    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        classes, functions = PARTS[module.__name__.removeprefix(_PREFIX)]
        module.__doc__ = "Known by name only; see `taimatsu.distributed._parts`."
        missing = _Missing(module.__dict__, "DISTRIBUTED", NotImplementedError)
        missing.types(classes)
        missing.refuse(functions)
        module.__dict__["__all__"] = list(missing.names)


_PREFIX = __name__.rpartition(".")[0] + "."


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        part = name.removeprefix(_PREFIX) if name.startswith(_PREFIX) else None
        if part not in PARTS:
            return None
        spec = importlib.machinery.ModuleSpec(name, _Loader(), is_package=True)
        return spec


sys.meta_path.append(_Finder())
