"""`fully_shard`: a module's parameters divided among processes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import taimatsu as torch
from taimatsu import nn
from taimatsu.utils._pytree import tree_map_only

from ..device_mesh import DeviceMesh
from ..tensor._api import _default_mesh
from ._sharded import Sharded

__all__ = [
    "CPUOffloadPolicy", "DataParallelMeshDims", "FSDPModule", "MixedPrecisionPolicy",
    "OffloadPolicy", "UnshardHandle", "fully_shard", "register_fsdp_forward_method",
    "share_comm_ctx",
]  # fmt: skip


@dataclass(frozen=True)
class MixedPrecisionPolicy:
    """In what dtype a module computes, its gradients are reduced, its outputs are; None: as it is.

    ``cast_forward_inputs``: inputs are cast to ``param_dtype`` too.
    """

    param_dtype: torch.dtype | None = None
    reduce_dtype: torch.dtype | None = None
    output_dtype: torch.dtype | None = None
    cast_forward_inputs: bool = True


@dataclass
class OffloadPolicy:
    """Parameters stay where they are."""


@dataclass
class CPUOffloadPolicy(OffloadPolicy):
    """Parameters are kept in main memory; they are there on the CPU."""

    pin_memory: bool = True


@dataclass(frozen=True)
class DataParallelMeshDims:
    """Along which dims of a mesh parameters are divided, and along which they are copied."""

    shard: str | tuple[str, ...] | None = None
    replicate: str | tuple[str, ...] | None = None


class UnshardHandle:
    """A gathering that was begun."""

    def wait(self) -> None:
        """Waits for it; it is done already."""


class FSDPModule:
    """What `fully_shard` makes a module an instance of."""

    _fsdp: Sharded

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._whole(super().__call__, args, kwargs)  # type: ignore[misc]

    def _whole(self, function: Callable, args: tuple, kwargs: dict) -> Any:
        state, mixed = self._fsdp, self._fsdp.mixed
        if mixed.param_dtype is not None and mixed.cast_forward_inputs:
            args, kwargs = _cast((args, kwargs), mixed.param_dtype)
        with state.whole():
            outputs = function(*args, **kwargs)
        if mixed.output_dtype is not None:
            outputs = _cast(outputs, mixed.output_dtype)
        return state.watch(outputs) if torch.is_grad_enabled() else outputs

    def _states(self, recurse: bool) -> Iterator[Sharded]:
        for module in self.modules() if recurse else [self]:  # type: ignore[attr-defined]
            if isinstance(module, FSDPModule):
                yield module._fsdp

    def unshard(self, async_op: bool = False) -> UnshardHandle | None:
        """Makes the parameters whole, until `reshard`."""
        state = self._fsdp
        state.unshard()
        state.kept = True
        state._put(state._whole_parameters())
        return UnshardHandle() if async_op else None

    def reshard(self) -> None:
        """Gives whole parameters back."""
        self._fsdp.reshard()

    def set_requires_gradient_sync(
        self, requires_gradient_sync: bool, *, recurse: bool = True
    ) -> None:
        """Whether gradients are reduced in backward; else they add up in each process, whole."""
        for state in self._states(recurse):
            state.requires_sync = requires_gradient_sync

    def set_requires_all_reduce(self, requires_all_reduce: bool, *, recurse: bool = True) -> None:
        """Whether gradients are summed over copies, on a mesh of two dims."""
        for state in self._states(recurse):
            state.requires_all_reduce = requires_all_reduce

    def set_reshard_after_forward(self, reshard_after_forward: bool, recurse: bool = True) -> None:
        """Whether parameters are given back after forward, and gathered again in backward."""
        for state in self._states(recurse):
            state.reshard_after_forward = reshard_after_forward

    def set_gradient_divide_factor(self, factor: float) -> None:
        """By what summed gradients are divided, instead of the number of processes."""
        self._fsdp.divide_factor = factor

    set_reduce_scatter_divide_factor = set_gradient_divide_factor

    # What steers streams and buffers of GPUs: there are none to steer.
    def _accepted(self, *args: Any, **kwargs: Any) -> None:
        """Of GPUs' streams and buffers; nothing here."""

    set_is_last_backward = set_reshard_after_backward = set_unshard_in_backward = _accepted
    set_modules_to_forward_prefetch = set_modules_to_backward_prefetch = _accepted
    set_post_optim_event = set_allocate_memory_from_process_group_for_comm = _accepted
    set_force_sum_reduction_for_comms = set_separate_reduce_scatter_group = _accepted
    set_symm_mem_for_comm = set_reduce_scatter_max_input_buffers = reset_iter_state = _accepted
    set_reduce_scatter_unused_params = _accepted

    def _refused(self, *args: Any, **kwargs: Any) -> None:
        """A communication of one's own. NotImplementedError."""
        raise NotImplementedError(
            "fully_shard: communications of one's own can't be put in place of the usual ones"
        )

    set_all_reduce_hook = set_custom_all_gather = set_custom_reduce_scatter = _refused


def _cast(values: Any, dtype: torch.dtype) -> Any:
    return tree_map_only(
        torch.Tensor, lambda t: t.to(dtype) if t.is_floating_point() else t, values
    )


def fully_shard(
    module: nn.Module | Sequence[nn.Module], *, mesh: DeviceMesh | None = None,
    reshard_after_forward: bool | int | None = None,
    shard_placement_fn: Callable | None = None,
    mp_policy: MixedPrecisionPolicy = MixedPrecisionPolicy(),
    offload_policy: OffloadPolicy = OffloadPolicy(),  # noqa: B008
    ignored_params: set | None = None, dp_mesh_dims: DataParallelMeshDims | None = None,
) -> Any:  # fmt: skip
    """Divides a module's parameters among the processes of a mesh; the module itself.

    Each parameter becomes a DTensor divided along its first dim (or as ``shard_placement_fn`` says)
    on the last dim of ``mesh``, of which a first one copies. They are whole inside the module's
    forward, and where backward needs them; gradients are averaged and divided. Apply it to the
    parts of a model first, then to the whole: parameters of a part aren't the whole's again.

    reshard_after_forward  give the whole parameters back after forward, and gather them again in
                           backward; False keeps them. None: True
    mp_policy              dtypes of computing, and of reducing gradients

    ValueError for a mesh of more than two dims, or what is no module with parameters.

    >>> for layer in model:
    ...     if isinstance(layer, nn.Linear):
    ...         _ = fully_shard(layer)
    >>> _ = fully_shard(model)
    """
    modules = [module] if isinstance(module, nn.Module) else list(module)
    if any(isinstance(m, (nn.ModuleList, nn.ModuleDict)) for m in modules):
        raise ValueError(
            f"fully_shard does not support containers that do not implement forward: {module}"
        )
    mesh = mesh or _default_mesh()
    if dp_mesh_dims is not None:
        names = [n for n in (dp_mesh_dims.replicate, dp_mesh_dims.shard) if n is not None]
        mesh = mesh[tuple(names)]  # type: ignore[arg-type]
    if mesh.ndim not in (1, 2):
        raise ValueError(f"fully_shard expects a 1D or 2D DeviceMesh but got {mesh}")
    for m in modules:
        if isinstance(m, FSDPModule):
            raise AssertionError(f"fully_shard: has been applied to {type(m).__name__} already")
    state = Sharded(
        modules, mesh, reshard_after_forward is not False, mp_policy, shard_placement_fn,
        ignored_params or set(), lambda child: isinstance(child, FSDPModule),
    )  # fmt: skip
    for m in modules:
        cls = type(m)
        m.__class__ = type(f"FSDP{cls.__name__}", (FSDPModule, cls), {"__module__": cls.__module__})
        object.__setattr__(m, "_fsdp", state)
    return module


def register_fsdp_forward_method(module: nn.Module, method_name: str) -> None:
    """Has the parameters whole inside another method than forward too.

    AttributeError if the module has none of this name; nothing where `fully_shard` wasn't applied.
    """
    if not isinstance(module, FSDPModule):
        return
    method = getattr(module, method_name)

    @functools.wraps(method)
    def whole(*args: Any, **kwargs: Any) -> Any:
        return module._whole(method, args, kwargs)

    object.__setattr__(module, method_name, whole)


def share_comm_ctx(modules: Sequence[FSDPModule]) -> None:
    """Has modules use the same streams of a GPU; on the CPU there are none. ValueError for
    modules to which `fully_shard` wasn't applied."""
    for module in modules:
        if not isinstance(module, FSDPModule):
            raise ValueError(f"share_comm_ctx: expected FSDPModules; got {type(module).__name__}")
