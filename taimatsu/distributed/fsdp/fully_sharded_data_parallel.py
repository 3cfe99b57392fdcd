"""`FullyShardedDataParallel`: `fully_shard` as a wrapper, with PyTorch's older interface."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import taimatsu as torch
from taimatsu import Tensor, nn
from taimatsu.utils._pytree import tree_map_only

from .. import collectives as dist
from .._wrapper import Wrapper, with_wrapper, without_wrapper
from ..device_mesh import DeviceMesh
from ..tensor._api import DTensor, _default_mesh, distribute_tensor
from ._fully_shard import MixedPrecisionPolicy, _cast
from ._sharded import Sharded
from .api import *  # noqa: F403
from .api import (
    FullOptimStateDictConfig,
    FullStateDictConfig,
    MixedPrecision,
    ShardingStrategy,
    StateDictSettings,
    StateDictType,
)
from .wrap import wrap_parts

__all__ = ["FullyShardedDataParallel", "OptimStateKeyType"]

_WRAPPED = "_fsdp_wrapped_module"


class OptimStateKeyType(enum.Enum):
    """How an optimizer's state dict names parameters."""

    PARAM_NAME = enum.auto()
    PARAM_ID = enum.auto()


def _clean(name: str) -> str:
    return name.replace(f"{_WRAPPED}.", "").replace("_checkpoint_wrapped_module.", "")


class FullyShardedDataParallel(Wrapper):
    """A module whose parameters are divided among processes, and whole where it needs them.

    Parameters become DTensors, divided along their first dim; gradients are averaged. With
    ``auto_wrap_policy`` parts of the module are wrapped by themselves (see `fsdp.wrap`), so that
    only one of them is whole at a time. ``use_orig_params`` makes no difference: parameters keep
    their number and names. State dicts hold whole tensors by the names of the bare module, unless
    `state_dict_type` says otherwise.

    >>> model = FullyShardedDataParallel(model)  # doctest: +SKIP
    """

    INSIDE = _WRAPPED

    def __init__(
        self, module: nn.Module, process_group: Any = None,
        sharding_strategy: ShardingStrategy | None = None, cpu_offload: Any = None,
        auto_wrap_policy: Callable | None = None, backward_prefetch: Any = None,
        mixed_precision: MixedPrecision | None = None,
        ignored_modules: Iterable[nn.Module] | None = None,
        param_init_fn: Callable[[nn.Module], None] | None = None, device_id: Any = None,
        sync_module_states: bool = False, forward_prefetch: bool = False,
        limit_all_gathers: bool = True, use_orig_params: bool = False,
        ignored_states: Iterable[Any] | None = None, device_mesh: DeviceMesh | None = None,
    ):  # fmt: skip
        super().__init__()
        strategy = sharding_strategy or ShardingStrategy.FULL_SHARD
        mesh = _mesh(process_group, device_mesh)
        ignored = set(ignored_modules or ())
        states = list(ignored_states or ())
        ignored |= {s for s in states if isinstance(s, nn.Module)}
        params: set[Tensor] = {p for m in ignored for p in m.parameters()}
        params |= {s for s in states if isinstance(s, Tensor)}
        if param_init_fn is not None and any(p.is_meta for p in module.parameters()):
            param_init_fn(module)
        if auto_wrap_policy is not None:
            options = {
                "sharding_strategy": strategy, "mixed_precision": mixed_precision,
                "device_mesh": mesh, "ignored_states": params,
                "sync_module_states": sync_module_states,
            }  # fmt: skip
            wrapper = lambda m, **own: FullyShardedDataParallel(m, **{**options, **own})
            wrap_parts(module, auto_wrap_policy, wrapper, ignored)
        if sync_module_states:
            with torch.no_grad():
                for t in (*module.parameters(), *module.buffers()):
                    if not isinstance(t, DTensor):
                        dist.broadcast(t, src=0)
        precision = mixed_precision or MixedPrecision()
        if precision.buffer_dtype is not None:
            for m in module.modules():
                m._buffers.update(_cast(dict(m._buffers), precision.buffer_dtype))
        policy = MixedPrecisionPolicy(precision.param_dtype, precision.reduce_dtype, None, True)
        zero2 = (ShardingStrategy.SHARD_GRAD_OP, ShardingStrategy._HYBRID_SHARD_ZERO2)
        self.sharding_strategy, self.mixed_precision = strategy, precision
        self._settings = StateDictSettings(
            StateDictType.FULL_STATE_DICT, FullStateDictConfig(), FullOptimStateDictConfig()
        )
        setattr(self, _WRAPPED, module)
        skip = lambda m: isinstance(m, FullyShardedDataParallel) or m in ignored
        state = Sharded([module], mesh, strategy not in zero2, policy, None, params, skip)
        object.__setattr__(self, "_fsdp", state)
        self._register_state_dict_hook(_collected)
        self.register_load_state_dict_pre_hook(_to_be_loaded)

    @property
    def module(self) -> nn.Module:
        """The wrapped module."""
        return getattr(self, _WRAPPED)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The module's."""
        state: Sharded = self._fsdp
        dtype = self.mixed_precision.param_dtype
        if dtype is not None:
            args, kwargs = _cast((args, kwargs), dtype)
        with state.whole():
            outputs = self.module(*args, **kwargs)
        return state.watch(outputs) if torch.is_grad_enabled() else outputs

    def check_is_root(self) -> bool:
        """Whether no other wrapper is around this one: as far as this one knows, True."""
        return True

    @staticmethod
    def fsdp_modules(module: nn.Module, root_only: bool = False) -> list[FullyShardedDataParallel]:
        """The wrappers in a module."""
        found = [m for m in module.modules() if isinstance(m, FullyShardedDataParallel)]
        if root_only:
            inner = {id(m) for f in found for m in f.module.modules()}
            found = [f for f in found if id(f) not in inner]
        return found

    def apply(self, fn: Callable) -> Any:
        """Calls a function with every module, whose parameters are whole."""
        with FullyShardedDataParallel.summon_full_params(self):
            return super().apply(fn)

    # ---- gradients
    @contextlib.contextmanager
    def no_sync(self) -> Iterator[None]:
        """A context in which gradients add up in each process by itself, whole."""
        states = [m._fsdp for m in self.fsdp_modules(self)]
        before = [s.requires_sync for s in states]
        for s in states:
            s.requires_sync = False
        try:
            yield
        finally:
            for s, synced in zip(states, before, strict=True):
                s.requires_sync = synced

    def clip_grad_norm_(self, max_norm: float, norm_type: float = 2.0) -> Tensor:
        """`nn.utils.clip_grad_norm_` of the whole gradients; their norm."""
        norm: Any = nn.utils.clip_grad_norm_(self.parameters(), max_norm, norm_type)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    def register_comm_hook(self, state: Any, hook: Callable) -> None:
        """A communication of one's own. NotImplementedError."""
        raise NotImplementedError(
            "FullyShardedDataParallel: communication hooks are those of DistributedDataParallel"
        )

    # ---- whole for a while
    @staticmethod
    @contextlib.contextmanager
    def summon_full_params(
        module: nn.Module, recurse: bool = True, writeback: bool = True, rank0_only: bool = False,
        offload_to_cpu: bool = False, with_grads: bool = False,
    ) -> Iterator[None]:  # fmt: skip
        """Inside, the parameters are whole; what is written to them stays, with ``writeback``."""
        wrappers = FullyShardedDataParallel.fsdp_modules(module)
        states = [w._fsdp for w in wrappers if recurse or w is module]
        for state in states:
            state.unshard()
            whole = [nn.Parameter(t.to(p.dtype), p.requires_grad)
                     for t, p in zip(state.gathered(), state.params, strict=True)]  # fmt: skip
            if with_grads:
                for t, p in zip(whole, state.params, strict=True):
                    t.grad = None if p.grad is None else p.grad.full_tensor()
            state.summoned = whole
            state._put(whole)
        try:
            yield
        finally:
            for state in states:
                if writeback:
                    for t, p in zip(state.summoned, state.params, strict=True):
                        _write(p, t.detach())
                del state.summoned
                state.reshard()

    # ---- state dicts
    @staticmethod
    def set_state_dict_type(
        module: nn.Module, state_dict_type: StateDictType, state_dict_config: Any = None,
        optim_state_dict_config: Any = None,
    ) -> StateDictSettings:  # fmt: skip
        """What the state dicts of a module's wrappers hold; the settings before."""
        wrappers = FullyShardedDataParallel.fsdp_modules(module)
        if not wrappers:
            raise RuntimeError("set_state_dict_type: the module has no FullyShardedDataParallel")
        before = wrappers[0]._settings
        settings = StateDictSettings(
            state_dict_type,
            state_dict_config or FullStateDictConfig(),
            optim_state_dict_config or FullOptimStateDictConfig(),
        )
        for w in wrappers:
            w._settings = settings
        return before

    @staticmethod
    def get_state_dict_type(module: nn.Module) -> StateDictSettings:
        """What was set."""
        return FullyShardedDataParallel.fsdp_modules(module)[0]._settings

    @staticmethod
    @contextlib.contextmanager
    def state_dict_type(
        module: nn.Module, state_dict_type: StateDictType, state_dict_config: Any = None,
        optim_state_dict_config: Any = None,
    ) -> Iterator[None]:  # fmt: skip
        """`set_state_dict_type`, inside of a block."""
        change = FullyShardedDataParallel.set_state_dict_type
        before = change(module, state_dict_type, state_dict_config, optim_state_dict_config)
        try:
            yield
        finally:
            change(module, before.state_dict_type, before.state_dict_config,
                   before.optim_state_dict_config)  # fmt: skip

    @staticmethod
    def optim_state_dict(
        model: nn.Module, optim: Any, optim_state_dict: dict | None = None, group: Any = None
    ) -> dict[str, Any]:
        """An optimizer's state dict by the parameters' names, of whole tensors or as set."""
        given = optim.state_dict() if optim_state_dict is None else optim_state_dict
        names = _names(model, optim)
        settings = FullyShardedDataParallel.get_state_dict_type(model)
        first = getattr(settings.optim_state_dict_config, "rank0_only", False)
        state = {
            names[i]: tree_map_only(Tensor, lambda t: _as_set(t, settings), values)
            for i, values in given["state"].items()
        }
        if first and dist.get_rank():
            return {}
        groups = [
            {**g, "params": [names[i] for i in g["params"]]} for g in given["param_groups"]
        ]
        return {"state": state, "param_groups": groups}

    @staticmethod
    def optim_state_dict_to_load(
        model: nn.Module, optim: Any, optim_state_dict: dict[str, Any],
        is_named_optimizer: bool = False, load_directly: bool = False, group: Any = None,
    ) -> dict[str, Any]:  # fmt: skip
        """What the optimizer loads, of a state dict that `optim_state_dict` gave."""
        numbers = {name: i for i, name in _names(model, optim).items()}
        params = {_clean(n): p for n, p in model.named_parameters()}

        def divided(name: str) -> Callable[[Any], Any]:
            p = params[name]
            return lambda t: _part_of(t, p) if t.shape == p.shape else t

        state = {
            numbers[name]: tree_map_only(Tensor, divided(name), values)
            for name, values in optim_state_dict["state"].items()
        }
        groups = [
            {**g, "params": [numbers[n] for n in g["params"]]}
            for g in optim_state_dict["param_groups"]
        ]
        loaded = {"state": state, "param_groups": groups}
        if load_directly:
            optim.load_state_dict(loaded)
        return loaded

    @staticmethod
    def full_optim_state_dict(
        model: nn.Module, optim: Any, optim_input: Any = None, rank0_only: bool = True,
        group: Any = None,
    ) -> dict[str, Any]:  # fmt: skip
        """`optim_state_dict` of whole tensors, in the first process only or in all."""
        config = FullOptimStateDictConfig(rank0_only=rank0_only)
        with FullyShardedDataParallel.state_dict_type(
            model, StateDictType.FULL_STATE_DICT, None, config
        ):
            return FullyShardedDataParallel.optim_state_dict(model, optim)

    @staticmethod
    def sharded_optim_state_dict(model: nn.Module, optim: Any, group: Any = None) -> dict[str, Any]:
        """`optim_state_dict` of DTensors."""
        with FullyShardedDataParallel.state_dict_type(model, StateDictType.SHARDED_STATE_DICT):
            return FullyShardedDataParallel.optim_state_dict(model, optim)

    @staticmethod
    def shard_full_optim_state_dict(
        full_optim_state_dict: dict[str, Any], model: nn.Module, optim_input: Any = None,
        optim: Any = None,
    ) -> dict[str, Any]:  # fmt: skip
        """What an optimizer loads, of `full_optim_state_dict`."""
        return FullyShardedDataParallel.optim_state_dict_to_load(
            model, optim, full_optim_state_dict
        )

    @staticmethod
    def flatten_sharded_optim_state_dict(
        sharded_optim_state_dict: dict[str, Any], model: nn.Module, optim: Any
    ) -> dict[str, Any]:
        """What an optimizer loads, of `sharded_optim_state_dict`."""
        return FullyShardedDataParallel.optim_state_dict_to_load(
            model, optim, sharded_optim_state_dict
        )

    @staticmethod
    def scatter_full_optim_state_dict(
        full_optim_state_dict: dict[str, Any] | None, model: nn.Module, optim_input: Any = None,
        optim: Any = None, group: Any = None,
    ) -> dict[str, Any]:  # fmt: skip
        """`shard_full_optim_state_dict` of what only the first process has."""
        whole = [full_optim_state_dict]
        dist.broadcast_object_list(whole, src=0, group=group)
        return FullyShardedDataParallel.optim_state_dict_to_load(model, optim, whole[0] or {})

    @staticmethod
    def rekey_optim_state_dict(
        optim_state_dict: dict[str, Any], optim_state_key_type: OptimStateKeyType,
        model: nn.Module, optim_input: Any = None, optim: Any = None,
    ) -> dict[str, Any]:  # fmt: skip
        """An optimizer's state dict by the parameters' names, or by their numbers."""
        names = list(dict(model.named_parameters()))
        keys: dict[Any, Any] = dict(enumerate(map(_clean, names)))
        if optim_state_key_type is OptimStateKeyType.PARAM_ID:
            keys = {name: i for i, name in keys.items()}
        return {
            "state": {keys[k]: v for k, v in optim_state_dict["state"].items()},
            "param_groups": [
                {**g, "params": [keys[k] for k in g["params"]]}
                for g in optim_state_dict["param_groups"]
            ],
        }


def _mesh(process_group: Any, device_mesh: DeviceMesh | None) -> DeviceMesh:
    if device_mesh is not None:
        return device_mesh
    if isinstance(process_group, tuple):
        shard, replicate = process_group
        ranks = dist.get_process_group_ranks(shard)
        others = dist.get_process_group_ranks(replicate)
        grid = [[other + r - dist.get_rank() for r in ranks] for other in others]
        return DeviceMesh.from_group([replicate, shard], "cpu", grid)
    if process_group is not None:
        return DeviceMesh.from_group(process_group, "cpu")
    return _default_mesh()


def _part_of(whole: Any, param: Any) -> DTensor:
    """This process's part of a tensor, divided as a parameter is."""
    if isinstance(whole, DTensor):
        return whole
    return distribute_tensor(whole.detach(), param.device_mesh, param.placements,
                             src_data_rank=None)  # fmt: skip


def _write(param: Any, whole: Tensor) -> None:
    with torch.no_grad():
        param._local_tensor.detach().copy_(_part_of(whole, param)._local_tensor)


def _names(model: nn.Module, optim: Any) -> dict[int, str]:
    """The parameters' names by their numbers in an optimizer's state dict."""
    known = {id(p): _clean(n) for n, p in model.named_parameters()}
    every = [p for g in optim.param_groups for p in g["params"]]
    return {i: known[id(p)] for i, p in enumerate(every)}


def _as_set(value: Any, settings: StateDictSettings) -> Any:
    if not isinstance(value, DTensor):
        return value
    if settings.state_dict_type is StateDictType.SHARDED_STATE_DICT:
        return value.detach()
    if settings.state_dict_type is StateDictType.LOCAL_STATE_DICT:
        return value.to_local().detach()
    return value.full_tensor().detach()


def _collected(module: Any, state: dict, prefix: str, metadata: Any) -> None:
    """Names and values of a wrapper's part of a state dict, as set."""
    settings = module._settings
    without_wrapper(module, state, prefix)
    for key, value in list(state.items()):
        if key.startswith(prefix) and isinstance(value, DTensor):
            state[key] = _as_set(value, settings)
    only_first = getattr(settings.state_dict_config, "rank0_only", False)
    if only_first and settings.state_dict_type is StateDictType.FULL_STATE_DICT and dist.get_rank():
        for key in [k for k in state if k.startswith(prefix)]:
            del state[key]


def _to_be_loaded(module: Any, state: dict, prefix: str, *others: Any) -> None:
    """The names that a wrapper's module loads, and the parts of what is whole."""
    inner = f"{prefix}{_WRAPPED}."
    with_wrapper(module, state, prefix)
    for places, param in zip(module._fsdp.places, module._fsdp.params, strict=True):
        names = {id(m): n for n, m in module.module.named_modules()}
        for owner, name in places:
            key = inner + ".".join(filter(None, (names[id(owner)], name)))
            if key in state:
                value = state[key]
                local = param._local_tensor
                if not isinstance(value, DTensor) and value.shape == local.shape != param.shape:
                    state[key] = DTensor.from_local(value, param.device_mesh, param.placements,
                                                    shape=param.shape)  # fmt: skip
                else:
                    state[key] = _part_of(value, param)
