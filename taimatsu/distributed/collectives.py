"""Collectives over process groups, by PyTorch's names, and the groups themselves.

Each takes ``group`` (None: all processes; a process outside of the group does nothing and gets
None) and most ``async_op``: then they give a `Work` at once.
"""

from __future__ import annotations

import io
import os
import pickle
import warnings
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import taimatsu as torch

from .process_group import DEFAULT_TIMEOUT, ProcessGroup
from .rendezvous import rendezvous
from .store import Store
from .work import ReduceOp, Work


class _Outside:
    """What `new_group` gives to a process that is not in the group."""


class GroupMember:
    """The group of all processes, and what stands for a group that this one is not in."""

    WORLD: ProcessGroup | None = None
    NON_GROUP_MEMBER = _Outside()


class _World(type):
    @property
    def WORLD(cls) -> ProcessGroup | None:
        return GroupMember.WORLD


class group(metaclass=_World):
    """``group.WORLD``: the group of all processes."""


_store: Store | None = None
_ranks: dict[ProcessGroup, list[int]] = {}  # of each group: the global ranks
_made = 0  # groups, in all processes alike

_UNINITIALIZED = (
    "Default process group has not been initialized, please make sure to call init_process_group."
)


def is_available() -> bool:
    """Whether there are process groups: True."""
    return True


def is_initialized() -> bool:
    """Whether `init_process_group` was called."""
    return GroupMember.WORLD is not None


def is_backend_available(backend: str) -> bool:
    """Whether there is a backend of this name: "gloo", "nccl" where there are GPUs."""
    return backend.lower() == "gloo" or (backend.lower() == "nccl" and is_nccl_available())


def is_gloo_available() -> bool:
    """Whether there is the backend of the CPU: True."""
    return True


def is_nccl_available() -> bool:
    """Whether there is the backend of NVIDIA's GPUs: a GPU and the library."""
    if not torch.cuda.is_available():
        return False
    from . import nccl

    return nccl.is_available()


def _absent_backend() -> bool:
    """Whether there is this backend: False."""
    return False


is_mpi_available = is_ucc_available = is_xccl_available = _absent_backend


def is_torchelastic_launched() -> bool:
    """Whether a launcher started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


# ---- Groups -------------------------------------------------------------------------------------
def init_process_group(
    backend: str | None = None, init_method: str | None = None,
    timeout: timedelta | None = None, world_size: int = -1, rank: int = -1,
    store: Store | None = None, group_name: str = "", pg_options: Any = None,
    device_id: Any = None,
) -> None:  # fmt: skip
    """Connects this process with the others; each has to call it.

    ``backend``: "gloo", the CPU's; "nccl", that of NVIDIA's GPUs; both by "cpu:gloo,cuda:nccl", as
    by default where there are GPUs. ``init_method``: "env://" (the default: the environment has
    MASTER_ADDR, MASTER_PORT, RANK and WORLD_SIZE), "tcp://host:port" or "file:///path"; or else
    ``store``. ValueError if it was called before or if something is missing, RuntimeError for
    other backends.

    >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    """
    global _store
    if GroupMember.WORLD is not None:
        raise ValueError("trying to initialize the default process group twice!")
    backends = _backends(backend)
    if store is not None and init_method is not None:
        raise ValueError("Cannot specify both init_method and store.")
    if store is not None:
        if world_size <= 0:
            raise ValueError("world_size must be positive if using store")
        if rank < 0:
            raise ValueError("rank must be non-negative if using store")
    else:
        found = rendezvous(init_method or "env://", rank, world_size, timeout=timeout or _START)
        store, rank, world_size = next(iter(found))
    if not 0 <= rank < world_size:
        raise ValueError(f"init_process_group: rank {rank} is not below world_size {world_size}")
    _store = store
    world = ProcessGroup(store, rank, world_size, timeout or DEFAULT_TIMEOUT, backends=backends)
    GroupMember.WORLD = world
    _ranks[world] = list(range(world_size))


_START = timedelta(minutes=30)


def _backends(backend: str | None) -> dict[str, str]:
    """By types of devices. RuntimeError where one isn't there."""
    found = {}
    for entry in (backend or "cpu:gloo,cuda:nccl").lower().split(","):
        kind, _, name = entry.rpartition(":")
        if name == "nccl":
            if is_nccl_available():
                found["cuda"] = name
            elif not kind:
                from . import nccl

                raise RuntimeError(
                    f"Distributed package doesn't have NCCL built in: {nccl.why_absent()}"
                )
        elif name in ("gloo", "undefined"):
            found["cpu"] = "gloo"
        elif kind != "cuda":
            raise RuntimeError(
                f"Distributed package doesn't have {name.upper()} built in; use backend='gloo'"
            )
    return found


def destroy_process_group(group: Any = None) -> None:
    """Ends a group; with None or the group of all, all groups."""
    global _made
    if group is None or group is GroupMember.WORLD:
        _world()
        for one in list(_ranks):
            one.close()
        _ranks.clear()
        GroupMember.WORLD, _made = None, 0
    elif isinstance(group, ProcessGroup):
        if group not in _ranks:
            raise ValueError("Invalid process group specified: it was destroyed")
        group.close()
        del _ranks[group]


def new_group(
    ranks: Sequence[int] | None = None, timeout: timedelta | None = None,
    backend: str | None = None, pg_options: Any = None, use_local_synchronization: bool = False,
    group_desc: str | None = None, device_id: Any = None,
) -> Any:  # fmt: skip
    """A group of some processes. All processes have to call it, in the same order."""
    global _made
    world = _world()
    backends = world.backends if backend is None else _backends(backend)
    members = sorted(range(world.size()) if ranks is None else ranks)
    if any(not 0 <= r < world.size() for r in members) or len(set(members)) != len(members):
        raise ValueError(
            "the new group's rank should be within the world_size set by init_process_group, and "
            f"appear once; got {members}"
        )
    _made += 1
    if world.rank() not in members:
        return GroupMember.NON_GROUP_MEMBER
    assert _store is not None
    made = ProcessGroup(
        _store, members.index(world.rank()), len(members), timeout or world.timeout, str(_made),
        backends,
    )
    _ranks[made] = members
    return made


def new_subgroups(
    group_size: int | None = None, group: Any = None, timeout: timedelta | None = None,
    backend: str | None = None, pg_options: Any = None, group_desc: str | None = None,
) -> tuple[Any, list[Any]]:  # fmt: skip
    """Groups of as many consecutive ranks: (the one of this process, all)."""
    size = get_world_size()
    if not group_size or size % group_size:
        raise ValueError(f"The world size ({size}) must be divisible by group_size={group_size}")
    lists = [list(range(i, i + group_size)) for i in range(0, size, group_size)]
    return new_subgroups_by_enumeration(lists, timeout, backend)


def new_subgroups_by_enumeration(
    ranks_per_subgroup_list: Sequence[Sequence[int]], timeout: timedelta | None = None,
    backend: str | None = None, pg_options: Any = None, group_desc: str | None = None,
) -> tuple[Any, list[Any]]:  # fmt: skip
    """Groups of these ranks: (the one of this process, all)."""
    groups = [new_group(ranks, timeout, backend) for ranks in ranks_per_subgroup_list]
    return next((g for g in groups if isinstance(g, ProcessGroup)), None), groups


def _world() -> ProcessGroup:
    if GroupMember.WORLD is None:
        raise ValueError(_UNINITIALIZED)
    return GroupMember.WORLD


def _of(group: Any) -> ProcessGroup | None:
    """The group that was asked for; None, with a warning, if this process is not in it."""
    if group is None:
        return _world()
    if not isinstance(group, ProcessGroup):
        warnings.warn(
            "Running a collective on a group that this process is not part of: nothing is done",
            stacklevel=3,
        )
        return None
    return group


def get_rank(group: Any = None) -> int:
    """This process's number in a group; -1 outside of it."""
    world = _world()
    found = world if group is None else group
    return found.rank() if isinstance(found, ProcessGroup) else -1


def get_world_size(group: Any = None) -> int:
    """How many processes a group has; -1 outside of it."""
    world = _world()
    found = world if group is None else group
    return found.size() if isinstance(found, ProcessGroup) else -1


def get_backend(group: Any = None) -> str:
    """The name of a group's backend."""
    return (group or _world()).name()


def get_backend_config(group: Any = None) -> str:
    """The backends by devices."""
    return ",".join(f"{k}:{v}" for k, v in (group or _world()).backends.items())


def get_default_backend_for_device(device: Any) -> str:
    """The name of the backend of a device."""
    kind = torch.device(device).type
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"Default backend not registered for device : {kind}")
    return "gloo" if kind == "cpu" else "nccl"


def get_process_group_ranks(group: Any) -> list[int]:
    """The global ranks of a group's processes."""
    return list(_ranks[group or _world()])


def get_global_rank(group: Any, group_rank: int) -> int:
    """The global rank of a group's process."""
    return _ranks[group][group_rank]


def get_group_rank(group: Any, global_rank: int) -> int:
    """A process's rank in a group. ValueError if it isn't in it."""
    if global_rank not in _ranks[group]:
        raise ValueError(f"Global rank {global_rank} is not part of group {group.group_name}")
    return _ranks[group].index(global_rank)


def get_node_local_rank(fallback_rank: int | None = None) -> int:
    """This process's number on its machine, by LOCAL_RANK."""
    if "LOCAL_RANK" in os.environ:
        return int(os.environ["LOCAL_RANK"])
    if fallback_rank is None:
        raise RuntimeError("LOCAL_RANK is not in the environment; use torchrun")
    return fallback_rank


def get_pg_count() -> int:
    """How many groups there are."""
    return len(_ranks)


def supports_complex(reduce_op: int) -> bool:
    """Whether complex numbers can be combined so."""
    return reduce_op in (ReduceOp.SUM, ReduceOp.AVG, ReduceOp.PREMUL_SUM)


def _root(group: ProcessGroup, rank: int | None, within: int | None) -> int:
    """The number in the group of what is given as global or as the group's."""
    if within is not None:
        return within
    return get_group_rank(group, 0 if rank is None else rank)


# ---- Carrying out -------------------------------------------------------------------------------
def _check(name: str, *values: Any) -> None:
    for value in values:
        for tensor in value if isinstance(value, (list, tuple)) else (value,):
            if not isinstance(tensor, torch.Tensor):
                raise TypeError(
                    f"Invalid function argument. Expected parameter of {name} to be of type "
                    f"torch.Tensor or a list of them; got {type(tensor).__name__}"
                )


def _run(group: Any, action: Callable[[], Any], async_op: bool) -> Work | None:
    work = group.submit(action)
    if async_op:
        return work
    work.wait()
    return None


def all_reduce(
    tensor: Any, op: int = ReduceOp.SUM, group: Any = None, async_op: bool = False
) -> Any:
    """Combines everybody's tensor, in place, in every process."""
    _check("all_reduce", tensor)
    if (pg := _of(group)) is None:
        return None
    if tensor.is_complex() and not supports_complex(op):
        raise ValueError(f"all_reduce does not support {ReduceOp.names[op]} on complex tensors")
    on = pg.on(tensor)
    return _run(on, lambda: [on.reduce_all(tensor, op)], async_op)


def all_reduce_coalesced(
    tensors: Sequence[Any], op: int = ReduceOp.SUM, group: Any = None, async_op: bool = False
) -> Any:
    """`all_reduce` of several."""
    _check("all_reduce_coalesced", tensors)
    if (pg := _of(group)) is None:
        return None
    on = pg.on(tensors[0])
    return _run(on, lambda: [on.reduce_all(t, op) for t in tensors], async_op)


def reduce(
    tensor: Any, dst: int | None = None, op: int = ReduceOp.SUM, group: Any = None,
    async_op: bool = False, group_dst: int | None = None,
) -> Any:  # fmt: skip
    """Combines everybody's tensor in one process, in place."""
    _check("reduce", tensor)
    if (pg := _of(group)) is None:
        return None
    root, on = _root(pg, dst, group_dst), pg.on(tensor)
    return _run(on, lambda: [on.reduce_at(tensor, op, root)], async_op)


def broadcast(
    tensor: Any, src: int | None = None, group: Any = None, async_op: bool = False,
    group_src: int | None = None,
) -> Any:  # fmt: skip
    """One process's tensor, in place in every one."""
    _check("broadcast", tensor)
    if (pg := _of(group)) is None:
        return None
    root, on = _root(pg, src, group_src), pg.on(tensor)
    return _run(on, lambda: [on.spread(tensor, root)], async_op)


def all_gather(
    tensor_list: list[Any], tensor: Any, group: Any = None, async_op: bool = False
) -> Any:
    """Everybody's tensor, in a list of tensors in every process."""
    _check("all_gather", tensor_list, tensor)
    if (pg := _of(group)) is None:
        return None
    if len(tensor_list) != pg.size():
        raise ValueError(
            f"all_gather: needs {pg.size()} tensors for the result; got {len(tensor_list)}"
        )

    on = pg.on(tensor)

    def action() -> list[Any]:
        parts = on.gather_all(tensor)
        return [o.copy_(p) for o, p in zip(tensor_list, parts, strict=True)]

    return _run(on, action, async_op)


def all_gather_into_tensor(
    output_tensor: Any, input_tensor: Any, group: Any = None, async_op: bool = False
) -> Any:
    """Everybody's tensor, one after another or stacked in one tensor in every process."""
    _check("all_gather_into_tensor", output_tensor, input_tensor)
    if (pg := _of(group)) is None:
        return None
    if output_tensor.numel() != pg.size() * input_tensor.numel():
        raise ValueError(
            "all_gather_into_tensor: the output needs the elements of "
            f"{pg.size()} inputs; got {tuple(output_tensor.shape)} for {tuple(input_tensor.shape)}"
        )

    on = pg.on(input_tensor)

    def action() -> Any:
        parts = torch.stack(on.gather_all(input_tensor))
        return [output_tensor.copy_(parts.view(output_tensor.shape))]

    return _run(on, action, async_op)


_all_gather_base = all_gather_single = all_gather_into_tensor


def all_gather_coalesced(
    output_tensor_lists: list[list[Any]], input_tensor_list: list[Any], group: Any = None,
    async_op: bool = False,
) -> Any:  # fmt: skip
    """`all_gather` of several."""
    for outputs, tensor in zip(output_tensor_lists, input_tensor_list, strict=True):
        work = all_gather(outputs, tensor, group, async_op)
    return work


def _at_root(name: str, given: list[Any] | None, root: bool, role: str) -> None:
    if root and not given:
        raise ValueError(f"Argument ``{name}`` must be specified on {role} rank.")
    if given and not root:
        raise ValueError(f"Argument ``{name}`` must NOT be specified on non-{role} ranks.")


def gather(
    tensor: Any, gather_list: list[Any] | None = None, dst: int | None = None, group: Any = None,
    async_op: bool = False, group_dst: int | None = None,
) -> Any:  # fmt: skip
    """Everybody's tensor, in one process's list of tensors."""
    _check("gather", tensor, gather_list or ())
    if (pg := _of(group)) is None:
        return None
    root = _root(pg, dst, group_dst)
    _at_root("gather_list", gather_list, pg.rank() == root, "destination")
    on = pg.on(tensor)

    def action() -> Any:
        parts = on.gather_at(tensor, root)
        return parts and [o.copy_(p) for o, p in zip(gather_list or (), parts, strict=True)]

    return _run(on, action, async_op)


def scatter(
    tensor: Any, scatter_list: list[Any] | None = None, src: int | None = None, group: Any = None,
    async_op: bool = False, group_src: int | None = None,
) -> Any:  # fmt: skip
    """A tensor for each process, from one process's list."""
    _check("scatter", tensor, scatter_list or ())
    if (pg := _of(group)) is None:
        return None
    root = _root(pg, src, group_src)
    _at_root("scatter_list", scatter_list, pg.rank() == root, "source")
    on = pg.on(tensor)
    return _run(on, lambda: [on.scatter_from(tensor, scatter_list or (), root)], async_op)


def reduce_scatter(
    output: Any, input_list: list[Any], op: int = ReduceOp.SUM, group: Any = None,
    async_op: bool = False,
) -> Any:  # fmt: skip
    """Combines everybody's lists of tensors; process i gets the i-th result."""
    _check("reduce_scatter", output, input_list)
    if (pg := _of(group)) is None:
        return None

    on = pg.on(output)
    return _run(on, lambda: [on.reduce_each(output, input_list, op)], async_op)


def reduce_scatter_tensor(
    output: Any, input: Any, op: int = ReduceOp.SUM, group: Any = None, async_op: bool = False
) -> Any:
    """The same for one tensor, cut along its first dim."""
    pieces = input.reshape(get_world_size(group), *output.shape)
    return reduce_scatter(output, list(pieces.unbind(0)), op, group, async_op)


_reduce_scatter_base = reduce_scatter_single = reduce_scatter_tensor


def all_to_all(
    output_tensor_list: list[Any], input_tensor_list: list[Any], group: Any = None,
    async_op: bool = False,
) -> Any:  # fmt: skip
    """Process j gets process i's j-th tensor as its i-th."""
    _check("all_to_all", output_tensor_list, input_tensor_list)
    if (pg := _of(group)) is None:
        return None
    on = pg.on(input_tensor_list[0])
    return _run(on, lambda: on.swap(output_tensor_list, input_tensor_list), async_op)


def all_to_all_single(
    output: Any, input: Any, output_split_sizes: list[int] | None = None,
    input_split_sizes: list[int] | None = None, group: Any = None, async_op: bool = False,
) -> Any:  # fmt: skip
    """The same for one tensor, cut along its first dim into equal parts or those given."""
    size = get_world_size(group)

    def cut(tensor: Any, sizes: list[int] | None) -> list[Any]:
        if not sizes and len(tensor) % size:
            raise RuntimeError("Tensor's dim 0 does not divide equally across group size")
        return list(torch.split(tensor, sizes or len(tensor) // size or 1))

    outputs, inputs = cut(output, output_split_sizes), cut(input, input_split_sizes)
    return all_to_all(outputs, inputs, group, async_op)


def barrier(group: Any = None, async_op: bool = False, device_ids: Any = None) -> Any:
    """Waits until every process has come here."""
    if (pg := _of(group)) is None:
        return None
    return _run(pg, lambda: pg.share(b"") and [], async_op)


def monitored_barrier(
    group: Any = None, timeout: timedelta | None = None, wait_all_ranks: bool = False
) -> None:
    """`barrier` with a limit of its own. RuntimeError if somebody doesn't come."""
    if (pg := _of(group)) is not None:
        pg.submit(lambda: pg.share(b"")).wait(timeout or pg.timeout)


# ---- From one process to another ----------------------------------------------------------------
def isend(
    tensor: Any, dst: int | None = None, group: Any = None, tag: int = 0,
    group_dst: int | None = None,
) -> Any:  # fmt: skip
    """Sends a tensor to a process, as a `Work`."""
    _check("isend", tensor)
    if (pg := _of(group)) is None:
        return None
    peer = _root(pg, dst, group_dst)
    if peer == pg.rank():
        raise ValueError(
            "Invalid destination rank: destination rank should not be the same as the rank of "
            "the current process."
        )
    return pg.on(tensor).send_to(tensor, peer, tag)


def irecv(
    tensor: Any, src: int | None = None, group: Any = None, tag: int = 0,
    group_src: int | None = None,
) -> Any:  # fmt: skip
    """Receives a tensor from a process, or from any, as a `Work`."""
    _check("irecv", tensor)
    if (pg := _of(group)) is None:
        return None
    peer = None if src is None and group_src is None else _root(pg, src, group_src)
    return pg.on(tensor).receive_from(tensor, peer, tag)


def send(
    tensor: Any, dst: int | None = None, group: Any = None, tag: int = 0,
    group_dst: int | None = None,
) -> None:  # fmt: skip
    """Sends a tensor to a process."""
    isend(tensor, dst, group, tag, group_dst)


def recv(
    tensor: Any, src: int | None = None, group: Any = None, tag: int = 0,
    group_src: int | None = None,
) -> int:  # fmt: skip
    """Receives a tensor from a process, or from any; the rank that sent it."""
    receipt = irecv(tensor, src, group, tag, group_src)
    if receipt is None:
        return -1
    receipt.wait()
    return get_global_rank(group or _world(), receipt.source)


class P2POp:
    """An `isend` or `irecv` for `batch_isend_irecv`."""

    def __init__(
        self, op: Callable, tensor: Any, peer: int | None = None, group: Any = None, tag: int = 0,
        group_peer: int | None = None,
    ):  # fmt: skip
        if op not in (isend, irecv):
            raise ValueError(
                "Invalid ``op``. Expected ``op`` to be of type ``torch.distributed.isend`` or "
                "``torch.distributed.irecv``."
            )
        self.op, self.tensor, self.peer, self.group, self.tag = op, tensor, peer, group, tag
        self.group_peer = group_peer


def batch_isend_irecv(p2p_op_list: list[P2POp]) -> list[Any]:
    """Starts several; their `Work`s."""
    if not p2p_op_list or (pg := _of(p2p_op_list[0].group)) is None:
        return []
    calls = [(p.op is isend, p.tensor, _root(pg, p.peer, p.group_peer), p.tag)
             for p in p2p_op_list]  # fmt: skip
    return pg.on(p2p_op_list[0].tensor).batch(calls)


# ---- Objects ------------------------------------------------------------------------------------
def _pickled(value: Any) -> bytes:
    buffer = io.BytesIO()
    pickle.dump(value, buffer)
    return buffer.getvalue()


def all_gather_object(object_list: list[Any], obj: Any, group: Any = None) -> None:
    """Everybody's object, which pickle has to know, in a list in every process."""
    if (pg := _of(group)) is None:
        return
    work = pg.submit(lambda: pg.share(_pickled(obj)))
    object_list[:] = [pickle.loads(d) for d in work.result()]


def gather_object(
    obj: Any, object_gather_list: list[Any] | None = None, dst: int | None = None,
    group: Any = None, group_dst: int | None = None,
) -> None:  # fmt: skip
    """Everybody's object, in one process's list."""
    if (pg := _of(group)) is None:
        return
    root = _root(pg, dst, group_dst)
    if (pg.rank() == root) != (object_gather_list is not None):
        raise ValueError(
            "gather_object: object_gather_list is needed in the process dst, and there only"
        )

    def action() -> Any:
        pg.post(root, _pickled(obj))
        return pg.rank() == root and [pg.take(peer)[1] for peer in range(pg.size())]

    data = pg.submit(action).result()
    if object_gather_list is not None:
        object_gather_list[:] = [pickle.loads(d) for d in data]


def broadcast_object_list(
    object_list: list[Any], src: int | None = None, group: Any = None, device: Any = None,
    group_src: int | None = None,
) -> None:  # fmt: skip
    """One process's objects, in the list of every one."""
    if (pg := _of(group)) is None:
        return
    root = _root(pg, src, group_src)

    def action() -> Any:
        if pg.rank() == root:
            data = _pickled(object_list)
            for peer in range(pg.size()):
                pg.post(peer, data)
        return pg.take(root)[1]

    found = pickle.loads(pg.submit(action).result())
    if pg.rank() != root:
        object_list[:] = found


def scatter_object_list(
    scatter_object_output_list: list[Any], scatter_object_input_list: list[Any] | None = None,
    src: int | None = None, group: Any = None, group_src: int | None = None,
) -> None:  # fmt: skip
    """An object for each process, from one process's list, into the first place of a list."""
    if (pg := _of(group)) is None:
        return
    root = _root(pg, src, group_src)

    def action() -> Any:
        if pg.rank() == root:
            for peer, value in enumerate(scatter_object_input_list or ()):
                pg.post(peer, _pickled(value))
        return pg.take(root)[1]

    scatter_object_output_list[0] = pickle.loads(pg.submit(action).result())


_OBJECTS = 1 << 40  # their tags: beside those of tensors


def send_object_list(
    object_list: list[Any], dst: int | None = None, group: Any = None, device: Any = None,
    group_dst: int | None = None, use_batch: bool = False,
) -> None:  # fmt: skip
    """Sends objects to a process."""
    if (pg := _of(group)) is not None:
        pg.post(_root(pg, dst, group_dst), _pickled(object_list), _OBJECTS)


def recv_object_list(
    object_list: list[Any], src: int | None = None, group: Any = None, device: Any = None,
    group_src: int | None = None, use_batch: bool = False,
) -> int:  # fmt: skip
    """Receives as many objects from a process, or from any; the rank that sent them."""
    if (pg := _of(group)) is None:
        return -1
    peer = None if src is None and group_src is None else _root(pg, src, group_src)
    who, data = pg.take(peer, _OBJECTS)
    object_list[:] = pickle.loads(data)
    return get_global_rank(pg, who)


__all__ = [
    name for name, value in list(globals().items())
    if getattr(value, "__module__", None) == __name__ and not name.startswith("_")
]  # fmt: skip
__all__ += ["is_mpi_available", "is_ucc_available", "is_xccl_available"]
