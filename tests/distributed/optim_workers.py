"""What the processes of the tests of joins, and of optimizers that are divided, do."""

from __future__ import annotations

from workers import begin

import taimatsu as torch
import taimatsu.distributed as dist
from taimatsu import nn
from taimatsu.distributed.optim import ZeroRedundancyOptimizer


def joined_and_divided(rank: int, size: int, port: int) -> None:
    begin(rank, size, port)
    uneven(rank, size)
    zero(rank, size)
    options = dist.new_group([0])
    part = dist.split_group(split_ranks=[[0], list(range(1, size))])
    assert part.size() == (1 if rank == 0 else size - 1) and (options is not None)
    dist.destroy_process_group()


def uneven(rank: int, size: int) -> None:
    """Processes without data take part in the averages with zeros."""
    torch.manual_seed(0)
    net = nn.parallel.DistributedDataParallel(nn.Linear(2, 1), bucket_cap_mb=1e-5)
    x = torch.ones(1, 2) * (rank + 1)
    sums = []
    with net.join():
        for _ in range(rank + 1):
            net.zero_grad()
            net(x).sum().backward()
            sums.append(net.module.weight.grad[0, 0].item() * size)
    wanted = [sum(r + 1 for r in range(size) if r >= step) for step in range(rank + 1)]
    assert [round(s, 4) for s in sums] == wanted, (sums, wanted)
    everybody: list = [None] * size
    dist.all_gather_object(everybody, net.module.weight.tolist())
    assert all(w == everybody[0] for w in everybody)
    try:
        with net.join(throw_on_early_termination=True):
            for _ in range(rank + 1):
                net(x).sum().backward()
    except RuntimeError as error:
        assert "exhausted" in str(error)
    else:
        raise AssertionError("nobody stopped")


def zero(rank: int, size: int) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    torch.manual_seed(0)
    alone = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    divided = ZeroRedundancyOptimizer(net.parameters(), torch.optim.Adam, lr=0.1)
    whole = torch.optim.Adam(alone.parameters(), lr=0.1)
    for _ in range(2):
        for m, optimizer in ((net, divided), (alone, whole)):
            optimizer.zero_grad()
            m(torch.ones(2, 3)).square().sum().backward()
            optimizer.step()
    for p, q in zip(net.parameters(), alone.parameters(), strict=True):
        assert torch.equal(p, q)
    assert len(divided.optim.state) < 4
    divided.consolidate_state_dict()
    state = [divided.state_dict() if rank == 0 else None]
    if rank == 0:
        for i, values in whole.state_dict()["state"].items():
            assert torch.equal(state[0]["state"][i]["exp_avg"], values["exp_avg"])
    dist.broadcast_object_list(state, src=0)
    again = ZeroRedundancyOptimizer(net.parameters(), torch.optim.Adam, lr=0.5)
    again.load_state_dict(state[0])
    assert again.param_groups[0]["lr"] == 0.1 and len(again.optim.state) == len(divided.optim.state)
