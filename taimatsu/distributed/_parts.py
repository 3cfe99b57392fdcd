"""Parts of PyTorch's `distributed` that are known by name only.

Libraries import them before they know whether they will use them. Their classes and functions say
what is missing when they are called; `isinstance` with them is False. Enumerations are values as
elsewhere, for defaults and configurations.
"""

from __future__ import annotations

import enum
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from taimatsu._absent import Absent
from taimatsu._lazy import submodules

# What configurations name is there as values, whoever acts on them.
VALUES: dict[str, Any] = {
    name: enum.Enum(name, members, module=__name__)
    for name, members in {
        "SplitPoint": "BEGINNING END",
    }.items()
}

# Module: its classes; its functions.
PARTS: dict[str, tuple[str, str]] = {
    "_functional_collectives": (
        "AsyncCollectiveTensor",
        "all_gather_tensor all_gather_tensor_autograd all_reduce all_to_all_single "
        "all_to_all_single_autograd broadcast reduce_scatter_tensor "
        "reduce_scatter_tensor_autograd wait_tensor",
    ),
    "_shard": ("", ""),
    "_shard.sharded_tensor": ("Shard ShardedTensor", "init_from_local_shards"),
    "algorithms.ddp_comm_hooks.post_localSGD_hook": ("PostLocalSGDState", "post_localSGD_hook"),
    "algorithms.ddp_comm_hooks.powerSGD_hook": (
        "PowerSGDState", "batched_powerSGD_hook powerSGD_hook",
    ),
    "algorithms.model_averaging": ("", ""),
    "algorithms.model_averaging.averagers": ("ModelAverager PeriodicModelAverager", ""),
    "checkpoint._consolidate_hf_safetensors": ("", "consolidate_safetensors_files"),
    "checkpoint.hf_storage": ("HuggingFaceStorageReader HuggingFaceStorageWriter", ""),
    "checkpoint.optimizer": ("", "load_sharded_optimizer_state_dict"),
    "launcher": ("LaunchConfig", "elastic_launch launch_agent"),
    "launcher.api": ("LaunchConfig", "elastic_launch launch_agent"),
    "pipelining": (
        "Pipe PipelineStage Schedule1F1B ScheduleGPipe ScheduleInterleaved1F1B SplitPoint",
        "build_stage pipe_split pipeline",
    ),
    "tensor.experimental._attention": ("", "context_parallel set_rotate_method"),
    "utils": ("", "_sync_module_states _verify_param_shape_across_processes"),
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
        missing.types(name for name in classes.split() if name not in VALUES)
        missing.refuse(functions)
        values = {name: VALUES[name] for name in classes.split() if name in VALUES}
        module.__dict__.update(values, __all__=[*missing.names, *values])
        module.__dict__.setdefault("__getattr__", submodules(module.__name__))


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
