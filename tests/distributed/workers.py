"""What the processes of the tests do; each asserts what it can see."""

from __future__ import annotations

import os
from datetime import timedelta

import taimatsu as torch
import taimatsu.distributed as dist
from taimatsu import nn


def begin(rank: int, size: int, port: int) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank),
                      WORLD_SIZE=str(size), TORCHELASTIC_USE_AGENT_STORE="True")  # fmt: skip
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))


def collectives(rank: int, size: int, port: int) -> None:
    begin(rank, size, port)
    assert (dist.get_rank(), dist.get_world_size(), dist.get_backend()) == (rank, size, "gloo")
    others = list(range(size))
    for n in (1, 5, 100_000):
        for dtype in (torch.float32, torch.int64, torch.bfloat16):
            x = torch.arange(n, dtype=dtype).remainder(7) + rank
            want = sum(torch.arange(n, dtype=dtype).remainder(7) + r for r in others)
            assert dist.all_reduce(x) is None and torch.equal(x, want)
    for op, want in ((dist.ReduceOp.MAX, size - 1), (dist.ReduceOp.MIN, 0), (dist.ReduceOp.AVG, 1),
                     (dist.ReduceOp.BOR, 3), (dist.ReduceOp.PRODUCT, 0)):  # fmt: skip
        x = torch.tensor([rank], dtype=torch.int32 if op == dist.ReduceOp.BOR else torch.float32)
        dist.all_reduce(x, op)
        assert x.item() == want, (op, x)
    strided = torch.zeros(3, 4)[:, 1:3]
    strided += rank
    work = dist.broadcast(strided.T, src=1, async_op=True)
    assert work.wait() and strided.eq(1).all() and work.is_success()
    rows = [torch.empty(2) for _ in others]
    dist.all_gather(rows, torch.full((2,), float(rank)))
    assert torch.stack(rows)[:, 0].tolist() == others
    whole = torch.empty(2 * size)
    dist.all_gather_into_tensor(whole, torch.full((2,), float(rank)))
    assert whole.view(size, 2)[:, 1].tolist() == others
    at_two = [torch.empty(1) for _ in others] if rank == 2 else None
    dist.gather(torch.tensor([float(rank)]), at_two, dst=2)
    assert at_two is None or [t.item() for t in at_two] == others
    part = torch.empty(2)
    parts = [torch.full((2,), 10.0 * r) for r in others] if rank == 0 else None
    dist.scatter(part, parts, src=0)
    assert part.tolist() == [10.0 * rank] * 2
    total = torch.full((2,), 1.0)
    dist.reduce(total, dst=1)
    assert total[0].item() == (size if rank == 1 else 1)
    piece = torch.empty(2)
    dist.reduce_scatter_tensor(piece, torch.arange(2.0 * size))
    assert piece.tolist() == [size * 2.0 * rank, size * (2.0 * rank + 1)]
    swapped = torch.empty(size)
    dist.all_to_all_single(swapped, torch.arange(size) + 10.0 * rank)
    assert swapped.tolist() == [10.0 * r + rank for r in others]
    messages(rank, size)
    objects(rank, size)
    groups(rank, size)
    dist.destroy_process_group()
    assert not dist.is_initialized()


def messages(rank: int, size: int) -> None:
    after, before = (rank + 1) % size, (rank - 1) % size
    got = torch.empty(3)
    pending = dist.irecv(got, src=before, tag=7)
    dist.send(torch.full((3,), -1.0), dst=after, tag=1)
    dist.send(torch.full((3,), float(rank)), dst=after, tag=7)
    assert pending.wait() and got.tolist() == [float(before)] * 3
    assert dist.recv(got, tag=1) == before and got[0] == -1
    pair = [dist.P2POp(dist.isend, torch.tensor([rank]), after),
            dist.P2POp(dist.irecv, number := torch.tensor([0]), before)]  # fmt: skip
    for work in dist.batch_isend_irecv(pair):
        work.wait()
    assert number.item() == before


def objects(rank: int, size: int) -> None:
    found = [None] * size
    dist.all_gather_object(found, {"rank": rank, "t": torch.tensor(rank)})
    assert [f["t"].item() for f in found] == list(range(size))
    values = ["a", 1] if rank == 0 else [None, None]
    dist.broadcast_object_list(values, src=0)
    assert values == ["a", 1]
    mine = [None]
    dist.scatter_object_list(mine, [str(r) for r in range(size)] if rank == 1 else None, src=1)
    assert mine == [str(rank)]


def groups(rank: int, size: int) -> None:
    last_two = dist.new_group([size - 2, size - 1])
    x = torch.ones(1)
    if rank >= size - 2:
        dist.all_reduce(x, group=last_two)
        assert dist.get_rank(last_two) == rank - (size - 2) and x.item() == 2
        assert dist.get_global_rank(last_two, 0) == size - 2
    else:
        assert dist.get_rank(last_two) == -1
    dist.barrier()


class Net(nn.Module):
    def __init__(self, spare: bool):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
        self.spare = nn.Linear(3, 1) if spare else None
        self.extra = nn.Linear(3, 1) if spare else None

    def forward(self, x, use_spare: bool = False):
        y = self.body(x)
        return y + self.spare(x) if use_spare else y


def data_parallel(rank: int, size: int, port: int) -> None:
    begin(rank, size, port)
    torch.manual_seed(rank)  # they differ until they are made alike
    model = nn.parallel.DistributedDataParallel(Net(False), bucket_cap_mb=1e-4)
    x = torch.randn(4 * size, 3, generator=torch.Generator().manual_seed(1))
    mine = x[rank::size]
    alone = Net(False)
    alone.load_state_dict(model.module.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    model.eval(), alone.eval()  # a norm of batches sees its own part only
    for _ in range(2):
        optimizer.zero_grad()
        with model.no_sync():
            model(mine).square().mean().backward()
        model(mine).square().mean().backward()
        alone.zero_grad()
        (2 * alone(x).square().mean()).backward()
        for p, q in zip(model.parameters(), alone.parameters(), strict=True):
            assert torch.allclose(p.grad, q.grad, atol=1e-6)
        optimizer.step()
        alone.load_state_dict(model.module.state_dict())
    model.train()
    model(mine).sum().backward()
    model(mine)
    seen: list = [None] * size
    dist.all_gather_object(seen, model.module.body[1].running_mean.tolist())
    spared = nn.parallel.DistributedDataParallel(Net(True), find_unused_parameters=True)
    spared(mine, use_spare=rank == 0).sum().backward()
    grads = [None] * size
    dist.all_gather_object(grads, spared.module.spare.weight.grad.tolist())
    assert all(g == grads[0] for g in grads) and spared.module.extra.weight.grad is None
    strict = nn.parallel.DistributedDataParallel(Net(True))
    strict(mine).sum().backward()
    try:
        strict(mine)
    except RuntimeError as error:
        assert "find_unused_parameters" in str(error)
    else:
        raise AssertionError("unused parameters went by unseen")
    dist.destroy_process_group()


def lonely(rank: int, size: int, port: int) -> None:
    """Rank 0 leaves; the others are told."""
    begin(rank, size, port)
    if rank == 0:
        dist.barrier()
        os._exit(0)
    dist.barrier()
    try:
        for _ in range(3):
            dist.all_reduce(torch.ones(2))
    except dist.DistBackendError as error:
        assert "Connection closed by peer" in str(error)
    else:
        raise AssertionError("nobody noticed")
