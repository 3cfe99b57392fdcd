"""What each process of test_distributed.py does."""

from __future__ import annotations

import driver_double

driver_double.follow_kernels()

import taimatsu as torch  # noqa: E402
import taimatsu.distributed as dist  # noqa: E402
from taimatsu import nn  # noqa: E402


def start(rank: int, size: int, port: int) -> None:
    torch.cuda.set_device(rank % torch.cuda.device_count())
    store = dist.TCPStore("127.0.0.1", port, is_master=False)
    dist.init_process_group("nccl", store=store, rank=rank, world_size=size)
    assert dist.get_backend() == "nccl" and dist.is_nccl_available()


def collectives(rank: int, size: int, port: int) -> None:
    start(rank, size, port)
    one = lambda value, *sizes: torch.full(sizes or (3,), float(value), device="cuda")
    x = one(rank)
    dist.all_reduce(x)
    assert x.tolist() == [sum(range(size))] * 3
    for op, wanted in ((dist.ReduceOp.MAX, size), (dist.ReduceOp.AVG, (size + 1) / 2)):
        x = one(rank + 1)
        dist.all_reduce(x, op)
        assert x.tolist() == [wanted] * 3
    flags = torch.tensor([rank == 0, True, False], device="cuda")
    dist.all_reduce(flags)
    assert flags.tolist() == [True, True, False]
    matrix = one(rank, 2, 4)[:, ::2]  # with gaps
    work = dist.all_reduce(matrix, async_op=True)
    work.wait()
    assert matrix.tolist() == [[sum(range(size))] * 2] * 2 and work.is_completed()

    x = one(rank)
    dist.broadcast(x, 1)
    assert x.tolist() == [1] * 3
    x = one(rank)
    dist.reduce(x, 0)
    assert x.tolist() == [sum(range(size)) if rank == 0 else rank] * 3
    parts = [one(0) for _ in range(size)]
    dist.all_gather(parts, one(rank))
    assert [p.tolist() for p in parts] == [[r] * 3 for r in range(size)]
    whole = one(0, 3 * size)
    dist.all_gather_into_tensor(whole, one(rank))
    assert whole.tolist() == [r for r in range(size) for _ in range(3)]
    dist.gather(one(rank), parts if rank == 1 else None, 1)
    y = one(-1)
    dist.scatter(y, [one(10 + r) for r in range(size)] if rank == 0 else None, 0)
    assert y.tolist() == [10 + rank] * 3
    dist.reduce_scatter(y, [one(r) for r in range(size)])
    assert y.tolist() == [rank * size] * 3
    dist.all_to_all(parts, [one(10 * rank + r) for r in range(size)])
    assert [p[0].item() for p in parts] == [10 * r + rank for r in range(size)]

    if rank == 0:
        dist.send(one(7), 1)
    elif rank == 1:
        y = one(0)
        assert dist.recv(y, 0) == 0
        assert y.tolist() == [7] * 3
    around = one(0)
    for work in dist.batch_isend_irecv([
        dist.P2POp(dist.isend, one(rank), (rank + 1) % size),
        dist.P2POp(dist.irecv, around, (rank - 1) % size),
    ]):  # fmt: skip
        work.wait()
    assert around.tolist() == [(rank - 1) % size] * 3

    objects: list = [None] * size
    dist.all_gather_object(objects, {"rank": rank})
    assert objects == [{"rank": r} for r in range(size)]
    dist.barrier()
    for call, error in (
        (lambda: dist.all_reduce(torch.ones(2)), "device type cpu"),
        (lambda: dist.all_reduce(x, dist.ReduceOp.BAND), "BAND with NCCL"),
    ):
        try:
            call()
        except (RuntimeError, ValueError) as e:
            assert error in str(e)
        else:
            raise AssertionError(error)
    finish()


def data_parallel(rank: int, size: int, port: int) -> None:
    """Gradients are those of the whole batch."""
    start(rank, size, port)
    torch.manual_seed(rank)
    net = nn.parallel.DistributedDataParallel(nn.Linear(4, 2).cuda())
    weight = [torch.empty(2, 4, device="cuda") for _ in range(size)]
    dist.all_gather(weight, net.module.weight.detach())
    assert all(torch.equal(w.cpu(), weight[0].cpu()) for w in weight)
    data = torch.arange(8.0 * size).reshape(2 * size, 4)
    net(data[2 * rank : 2 * rank + 2].cuda()).square().mean().backward()
    alone = nn.Linear(4, 2)
    alone.load_state_dict({k: v.cpu() for k, v in net.module.state_dict().items()})
    alone(data).square().mean().backward()
    assert torch.allclose(net.module.weight.grad.cpu(), alone.weight.grad, rtol=1e-4)
    finish()


def finish() -> None:
    torch.cuda.synchronize()
    dist.destroy_process_group()
    assert driver_double.double().violation() == ""
