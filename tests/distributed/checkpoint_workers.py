"""What the processes of the tests of `distributed.checkpoint` do."""

from __future__ import annotations

import shutil
import tempfile

from workers import begin

import taimatsu as torch
import taimatsu.distributed as dist
from taimatsu import nn
from taimatsu.distributed import checkpoint as dcp
from taimatsu.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_model_state_dict,
    set_state_dict,
)
from taimatsu.distributed.fsdp import fully_shard
from taimatsu.distributed.tensor import (
    Replicate,
    Shard,
    distribute_tensor,
    init_device_mesh,
)


def resharded(rank: int, size: int, port: int) -> None:
    """What was written divided one way is read divided another way."""
    begin(rank, size, port)
    where = [tempfile.mkdtemp() if rank == 0 else None]
    dist.broadcast_object_list(where, src=0)
    folder = where[0]
    mesh = init_device_mesh("cpu", (size,))
    whole = torch.arange(15.0).view(5, 3)
    parts = {"rows": distribute_tensor(whole, mesh, [Shard(0)]),
             "same": distribute_tensor(whole, mesh, [Replicate()]), "n": 4}  # fmt: skip
    dcp.save(parts, checkpoint_id=folder + "/a")
    state = {"rows": distribute_tensor(torch.zeros(5, 3), mesh, [Shard(1)]),
             "same": torch.zeros(5, 3), "n": 0}  # fmt: skip
    dcp.load(state, checkpoint_id=folder + "/a")
    assert torch.equal(state["rows"].full_tensor(), whole) and torch.equal(state["same"], whole)
    assert state["n"] == 4
    torch.manual_seed(0)
    net = fully_shard(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)))
    optimizer = torch.optim.AdamW(net.parameters(), 0.1)
    net(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    model_state, moments = get_state_dict(net, optimizer)
    dcp.save({"model": model_state, "optim": moments}, checkpoint_id=folder + "/b")
    alone = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    other = torch.optim.AdamW(alone.parameters(), 0.2)
    alone(torch.ones(2, 3)).sum().backward()
    other.step()
    target = dict(zip(("model", "optim"), get_state_dict(alone, other), strict=True))
    dcp.load(target, checkpoint_id=folder + "/b")
    set_state_dict(alone, other, model_state_dict=target["model"],
                   optim_state_dict=target["optim"])  # fmt: skip
    full = get_model_state_dict(net, options=StateDictOptions(full_state_dict=True))
    for name, value in alone.state_dict().items():
        assert torch.equal(full[name], value)
    assert other.param_groups[0]["lr"] == 0.1
    first = get_model_state_dict(
        net, options=StateDictOptions(full_state_dict=True, cpu_offload=True)
    )
    assert bool(first) == (rank == 0)
    fresh = fully_shard(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)))
    set_model_state_dict(fresh, first, options=StateDictOptions(
        full_state_dict=True, broadcast_from_rank0=True))  # fmt: skip
    assert torch.equal(fresh[0].weight.full_tensor(), full["0.weight"])
    dist.barrier()
    if rank == 0:
        shutil.rmtree(folder)
    dist.destroy_process_group()
