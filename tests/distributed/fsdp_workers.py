"""What the processes of the tests of `distributed.fsdp` do: they train as one process does."""

from __future__ import annotations

import functools

from workers import begin

import taimatsu as torch
import taimatsu.distributed as dist
from taimatsu import nn
from taimatsu.distributed.fsdp import (
    FSDPModule,
    MixedPrecisionPolicy,
    ShardingStrategy,
    StateDictType,
    fully_shard,
)
from taimatsu.distributed.fsdp import (
    FullyShardedDataParallel as FSDP,
)
from taimatsu.distributed.fsdp.wrap import ModuleWrapPolicy
from taimatsu.distributed.tensor import DTensor, init_device_mesh
from taimatsu.utils.checkpoint import checkpoint


class Block(nn.Module):
    def __init__(self, checkpointed: bool = False):
        super().__init__()
        self.checkpointed = checkpointed
        self.up, self.down = nn.Linear(5, 7), nn.Linear(7, 5)
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        run = functools.partial(checkpoint, use_reentrant=False) if self.checkpointed else (
            lambda f, x: f(x)
        )  # fmt: skip
        return x + run(lambda x: self.down(self.up(x).tanh()), x) * self.scale


def model(checkpointed: bool = False):
    torch.manual_seed(0)
    net = nn.Sequential(Block(checkpointed), Block(checkpointed), nn.Linear(5, 3))
    net[2].weight.requires_grad_(True)
    net[0].up.bias.requires_grad_(False)
    return net


def whole(t):
    return t.full_tensor() if isinstance(t, DTensor) else t


def close(a, b):
    assert torch.allclose(whole(a), b, atol=1e-5, rtol=1e-4), (whole(a), b)


def train(net, alone, rank, size, clip=nn.utils.clip_grad_norm_):
    """Both, with the same data; they stay the same."""
    optimizers = [torch.optim.AdamW(m.parameters(), 0.01) for m in (net, alone)]
    for step in range(3):
        x = torch.randn(2 * size, 5, generator=torch.Generator().manual_seed(step))
        net(x[rank::size]).square().mean().backward()
        alone(x).square().mean().backward()
        norms = clip(net, 0.5), nn.utils.clip_grad_norm_(alone.parameters(), 0.5)
        close(*norms)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    for p, q in zip(net.parameters(), alone.parameters(), strict=True):
        close(p.detach(), q.detach())
    return optimizers


def clip_parameters(net, largest):
    return nn.utils.clip_grad_norm_(net.parameters(), largest)


def sharded(rank: int, size: int, port: int) -> None:
    begin(rank, size, port)
    for reshard in (True, False):
        for checkpointed in (False, True):
            net, alone = model(checkpointed), model()
            for part in net[:2]:
                fully_shard(part, reshard_after_forward=reshard)
            fully_shard(net, reshard_after_forward=reshard)
            assert isinstance(net, FSDPModule) and isinstance(net[0], Block)
            local = net[0].up.weight.to_local()
            assert local.shape[0] <= -(-7 // size) and net[0].up.weight.shape == (7, 5)
            train(net, alone, rank, size, clip_parameters)
    state = {k: v.full_tensor() for k, v in net.state_dict().items()}
    alone.load_state_dict(state)
    accumulated(net, alone, rank, size)
    net.unshard()
    assert net[2].weight.shape == (3, 5) and not isinstance(net[2].weight, DTensor)
    net.reshard()
    assert isinstance(net[2].weight, DTensor)
    mixed = fully_shard(model(), mp_policy=MixedPrecisionPolicy(torch.bfloat16, torch.float32))
    y = mixed(torch.ones(2, 5))
    assert y.dtype == torch.bfloat16
    y.sum().backward()
    assert mixed[2].weight.grad.dtype == torch.float32
    dist.destroy_process_group()


def accumulated(net, alone, rank, size):
    x = torch.randn(2 * size, 5, generator=torch.Generator().manual_seed(7))
    for sync in (False, True):
        net.set_requires_gradient_sync(sync)
        net(x[rank::size]).square().mean().backward()
        (alone(x).square().mean()).backward()
    for p, q in zip(net.parameters(), alone.parameters(), strict=True):
        if q.grad is not None:
            close(p.grad, q.grad)


def hybrid(rank: int, size: int, port: int) -> None:
    """Copies of parts, on a mesh of two dims."""
    begin(rank, size, port)
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("replicate", "shard"))
    net, alone = model(), model()
    fully_shard(net[0], mesh=mesh)
    fully_shard(net, mesh=mesh)
    train(net, alone, rank, size, clip_parameters)
    dist.destroy_process_group()


def wrapped(rank: int, size: int, port: int) -> None:
    begin(rank, size, port)
    policy = ModuleWrapPolicy({Block})
    for strategy in (ShardingStrategy.FULL_SHARD, ShardingStrategy.SHARD_GRAD_OP):
        net, alone = model(), model()
        net = FSDP(net, auto_wrap_policy=policy, sharding_strategy=strategy, use_orig_params=True)
        assert len(FSDP.fsdp_modules(net)) == 3
        optimizers = train(net, alone, rank, size, lambda m, largest: m.clip_grad_norm_(largest))
    state = net.state_dict()
    assert list(state) == list(alone.state_dict())
    for name, value in alone.state_dict().items():
        close(state[name], value)
    with FSDP.state_dict_type(net, StateDictType.SHARDED_STATE_DICT):
        assert all(isinstance(v, DTensor) for v in net.state_dict().values())
    other = FSDP(nn.Sequential(Block(), Block(), nn.Linear(5, 3)), auto_wrap_policy=policy)
    other.load_state_dict(state)
    x = torch.ones(2, 5)
    assert torch.allclose(other(x), alone(x), atol=1e-5)
    with FSDP.summon_full_params(other):
        assert other[2].bias.shape == (3,)
        with torch.no_grad():
            other[2].bias.fill_(5.0)
    assert other.state_dict()["2.bias"].eq(5).all()
    moments = FSDP.optim_state_dict(net, optimizers[0])
    wanted = optimizers[1].state_dict()["state"]
    names = [n for n, _ in alone.named_parameters()]
    for i, values in wanted.items():
        close(moments["state"][names[i]]["exp_avg"], values["exp_avg"])
    fresh = torch.optim.AdamW(net.parameters(), 0.01)
    fresh.load_state_dict(FSDP.optim_state_dict_to_load(net, fresh, moments))
    first = next(p for p in net.parameters() if p.requires_grad)
    assert isinstance(fresh.state[first]["exp_avg"], DTensor)
    with net.no_sync():
        net(x).sum().backward()
    assert all(p.grad is None for p in net.parameters())
    dist.destroy_process_group()
