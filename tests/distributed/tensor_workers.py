"""What the processes of the tests of `distributed.tensor` do."""

from __future__ import annotations

from workers import begin

import taimatsu as torch
import taimatsu.distributed as dist
from taimatsu import nn
from taimatsu.distributed.tensor import (
    DTensor,
    Partial,
    Replicate,
    Shard,
    distribute_tensor,
    init_device_mesh,
)
from taimatsu.distributed.tensor.debug import CommDebugMode
from taimatsu.distributed.tensor.parallel import (
    ColwiseParallel,
    PrepareModuleInput,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)

F = nn.functional


def same(found, wanted) -> None:
    whole = found.full_tensor() if isinstance(found, DTensor) else found
    assert whole.shape == wanted.shape, (whole.shape, wanted.shape)
    assert torch.allclose(whole, wanted, atol=1e-5, rtol=1e-5), (whole, wanted)


def moves(rank: int, size: int, port: int) -> None:
    """From every way of lying to every other, forward and backward."""
    begin(rank, size, port)
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
    assert mesh["dp"].size() == 2 and mesh.get_local_rank("tp") == rank % 2
    assert mesh["tp"].mesh.tolist() == [rank - rank % 2, rank - rank % 2 + 1]
    torch.manual_seed(0)
    whole = torch.randn(5, 6)
    weight = torch.randn(5, 6)
    places = [Replicate(), Shard(0), Shard(1)]
    ways = [(a, b) for a in places for b in places]
    for way in ways:
        for other in ways[::2]:
            x = distribute_tensor(whole.clone().requires_grad_(), mesh, way)
            y = x.redistribute(placements=other)
            same(y, whole)
            (y * distribute_tensor(weight, mesh, way)).sum().backward()
            same(x.grad, weight)
    part = torch.full((2, 3), float(rank), requires_grad=True)
    summed = DTensor.from_local(part, mesh, [Partial(), Shard(0)])
    assert summed.shape == (4, 3)
    total = summed.redistribute(placements=[Shard(0), Shard(0)])
    assert total.to_local().tolist() == [[2.0 + 2 * (rank // 2)] * 3]
    total.sum().backward()
    assert part.grad.eq(1).all()
    with CommDebugMode() as comms:
        total.full_tensor()
    assert comms.get_total_counts() == 2
    dist.destroy_process_group()


def ops(rank: int, size: int, port: int) -> None:
    """What ops give of parts is what they give of the whole, and so are gradients."""
    begin(rank, size, port)
    mesh = init_device_mesh("cpu", (size,))
    torch.manual_seed(0)
    a, b, c = torch.randn(4, 6), torch.randn(6, 4), torch.randn(4)
    calls = [
        (lambda a, b, c: a @ b, (a, b, c)),
        (lambda a, b, c: F.linear(a, b.t(), c), (a, b, c)),
        (lambda a, b, c: (a @ b + c).relu().sum(1), (a, b, c)),
        (lambda a, b, c: (a.t() * c).mean(0) + c, (a, b, c)),
        (lambda a, b, c: F.layer_norm(a, (6,)).softmax(-1) @ b, (a, b, c)),
        (lambda a, b, c: a.view(4, 2, 3).transpose(0, 1).reshape(8, 3).amax(0), (a, b, c)),
        (lambda a, b, c: torch.cat([a, a])[1:].cumsum(0) * 2 - 1, (a, b, c)),
        (lambda a, b, c: a.mean() * c + (a @ b).sum() / 3, (a, b, c)),
        (lambda a, b, c: torch.addmm(c, a, b), (a, b, c)),
    ]
    places = [Replicate(), Shard(0), Shard(1)]
    for function, given in calls:
        wholes = [t.clone().requires_grad_() for t in given]
        wanted = function(*wholes)
        wanted.square().sum().backward()
        for first in places:
            for second in places:
                where = (first, second, Shard(0) if second == first else Replicate())
                parts = [
                    distribute_tensor(t.clone().requires_grad_(), mesh, [p])
                    for t, p in zip(given, where, strict=True)
                ]
                found = function(*parts)
                same(found, wanted)
                found.square().sum().backward()
                for t, w in zip(parts, wholes, strict=True):
                    assert (t.grad is None) == (w.grad is None)
                    if w.grad is not None:
                        same(t.grad, w.grad)
    x = distribute_tensor(torch.zeros(3), mesh, [Shard(0)])  # one part is smaller
    x.add_(1).mul_(torch.tensor(2.0))
    assert x.full_tensor().tolist() == [2, 2, 2] and x.sum().item() == 6 and x.numel() == 3
    try:
        x + torch.ones(3)
    except RuntimeError as error:
        assert "mixed torch.Tensor and DTensor" in str(error)
    else:
        raise AssertionError("mixed tensors went by unseen")
    dist.destroy_process_group()


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x):
        return x + self.down(F.gelu(self.up(self.norm(x))))


def parallel(rank: int, size: int, port: int) -> None:
    """A model whose layers are divided trains as the whole model does."""
    begin(rank, size, port)
    mesh = init_device_mesh("cpu", (size,), mesh_dim_names=("tp",))
    torch.manual_seed(0)
    alone = nn.Sequential(Block(), Block())
    model = nn.Sequential(Block(), Block())
    model.load_state_dict(alone.state_dict())
    parallelize_module(model, mesh, {"*.up": ColwiseParallel(), "*.down": RowwiseParallel()})
    assert model[0].up.weight.placements == (Shard(0),)
    assert model[0].up.weight.to_local().shape == (16 // size, 8)
    assert len(list(model.parameters())) == 12 and model[0].down.bias.placements == (Replicate(),)
    optimizers = [torch.optim.AdamW(m.parameters(), 0.01) for m in (alone, model)]
    for step in range(3):
        x = torch.randn(4, 3, 8, generator=torch.Generator().manual_seed(step))
        norms = []
        for m, optimizer in zip((alone, model), optimizers, strict=True):
            optimizer.zero_grad()
            m(x).square().mean().backward()
            norms.append(nn.utils.clip_grad_norm_(m.parameters(), 0.1))
            optimizer.step()
        same(norms[1], norms[0])
    for p, q in zip(model.parameters(), alone.parameters(), strict=True):
        same(p.detach(), q.detach())
    sequence(mesh, alone)
    dist.destroy_process_group()


def sequence(mesh, alone) -> None:
    """Norms see a part of the sequence each."""
    model = Block()
    model.load_state_dict(alone[0].state_dict())
    parallelize_module(model, mesh, {
        "": PrepareModuleInput(input_layouts=Replicate(), desired_input_layouts=Shard(1)),
        "norm": SequenceParallel(),
        "up": ColwiseParallel(input_layouts=Shard(1), use_local_output=False),
        "down": RowwiseParallel(output_layouts=Shard(1), use_local_output=False),
    })  # fmt: skip
    x = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(9))
    alone.zero_grad()
    alone[0](x).square().sum().backward()
    y = model(x)
    assert y.placements == (Shard(1),)
    y.square().sum().backward()
    for p, q in zip(model.parameters(), alone[0].parameters(), strict=True):
        same(p.grad, q.grad)
