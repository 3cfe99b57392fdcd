"""One process with two GPUs: comm, nccl and DataParallel."""

from __future__ import annotations

import pytest

import taimatsu as torch
from taimatsu import nn
from taimatsu.cuda import comm, nccl


def on(device, *values):
    return torch.tensor([float(v) for v in values], device=f"cuda:{device}")


# comm


def test_broadcast_and_its_gradient():
    x = on(0, 1, 2).requires_grad_()
    a, b = comm.broadcast(x, [0, 1])
    assert a is x and b.device.index == 1 and b.tolist() == [1, 2]
    (a * 2).sum().backward()
    (b * 3).sum().backward()
    assert x.grad.tolist() == [5, 5] and x.grad.device.index == 0
    out = [on(1, 0, 0), on(0, 0, 0)]
    comm.broadcast(x.detach(), out=out)
    assert [o.tolist() for o in out] == [[1, 2]] * 2
    with pytest.raises(RuntimeError, match="Exactly one"):
        comm.broadcast(x)
    assert [t.device.index for t in comm.broadcast_coalesced([x, x], [1, 0])[0]] == [1, 1]


def test_reduce_add():
    total = comm.reduce_add([on(0, 1, 2), on(1, 10, 20)])
    assert total.tolist() == [11, 22] and total.device.index == 0
    assert comm.reduce_add([on(0, 1), on(1, 2)], destination=1).device.index == 1
    pairs = comm.reduce_add_coalesced([[on(0, 1), on(0, 2)], [on(1, 3), on(1, 4)]])
    assert [p.tolist() for p in pairs] == [[4], [6]]
    with pytest.raises(RuntimeError, match="invalid size"):
        comm.reduce_add([on(0, 1, 2), on(1, 1)])
    with pytest.raises(RuntimeError, match="input 1 is not"):
        comm.reduce_add([on(0, 1), torch.ones(1)])


def test_scatter_and_gather():
    x = torch.arange(10.0).reshape(5, 2).requires_grad_()
    parts = comm.scatter(x, [0, 1])
    assert [(p.device.index, len(p)) for p in parts] == [(0, 3), (1, 2)]
    sized = comm.scatter(x, [1, 0], chunk_sizes=[1, 4], streams=[torch.cuda.Stream(1), None])
    assert [(p.device.index, len(p)) for p in sized] == [(1, 1), (0, 4)]
    whole = comm.gather([p * 2 for p in parts], destination=1)
    assert whole.device.index == 1 and torch.equal(whole.cpu(), 2 * x)
    whole.sum().backward()
    assert (x.grad == 2).all()
    assert comm.gather([p.detach() for p in parts], 0, -1).device.type == "cpu"
    out = torch.empty(5, 2)
    comm.gather([p.detach() for p in parts], out=out)
    assert torch.equal(out, x)


# nccl


def test_collectives_of_one_process():
    a, b = on(0, 1, 2), on(1, 30, 4)
    assert nccl.is_available([a, b]) and not nccl.is_available([a, a])
    nccl.all_reduce([a, b])
    assert a.tolist() == b.tolist() == [31, 6]
    nccl.reduce([a, b], root=1, op=2)
    assert b.tolist() == [31, 6]
    b += 1
    nccl.broadcast([a, b], root=1)
    assert a.tolist() == [32, 7]
    whole = [torch.empty(4, device=f"cuda:{d}") for d in range(2)]
    nccl.all_gather([a, on(1, 5, 6)], whole)
    assert whole[0].tolist() == whole[1].tolist() == [32, 7, 5, 6]
    parts = [on(0, 0), on(1, 0)]
    nccl.reduce_scatter([on(0, 1, 2), on(1, 3, 4)], parts)
    assert [p.tolist() for p in parts] == [[4], [6]]
    with pytest.raises(RuntimeError, match="a GPU of its own"):
        nccl.all_reduce([a, a])
    with pytest.raises(TypeError, match="collection"):
        nccl.all_reduce(a)


def test_the_library_behind():
    from taimatsu.cuda._libraries import found

    if not found("nccl"):
        pytest.skip("needs the double of NCCL")
    assert nccl.version() == (2, 27, 3) and len(nccl.unique_id()) == 128
    with pytest.raises(RuntimeError, match="init_process_group"):
        nccl.init_rank(2, b"", 0)


# DataParallel


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = []
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 3)
        self.again = self.a  # shared
        self.norm = nn.BatchNorm1d(8)
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, x, *, factor=1.0, options=None):
        self.seen.append((x.device.index, len(x), self.a.weight.device.index,
                          torch.cuda.current_device()))  # fmt: skip
        return {"y": self.b(self.norm(self.a(x)).relu()) * self.scale * factor, "n": x.sum()}


def test_batches_are_split_and_gradients_summed():
    torch.manual_seed(0)
    x = torch.randn(6, 4)
    alone, net = Net().eval(), Net().eval()
    net.load_state_dict(alone.state_dict())
    whole = alone(x, factor=3.0)["y"]
    whole.square().sum().backward()
    parallel = nn.DataParallel(net.cuda())
    with pytest.warns(UserWarning, match="scalars"):
        out = parallel(x.cuda(), factor=3.0, options={"unused": [1]})
    assert sorted(net.seen) == [(0, 3, 0, 0), (1, 3, 1, 1)]
    assert out["y"].device.index == 0 and out["n"].shape == (2,)
    assert torch.allclose(out["y"].cpu(), whole, atol=1e-5)
    out["y"].square().sum().backward()
    for (name, p), q in zip(net.named_parameters(), alone.parameters(), strict=True):
        assert p.grad.device.index == 0
        assert torch.allclose(p.grad.cpu(), q.grad, rtol=1e-4, atol=1e-4), name


def test_training_keeps_the_first_replicas_buffers():
    net = Net().cuda()
    parallel = nn.DataParallel(net, device_ids=[0, 1])
    optimizer = torch.optim.SGD(parallel.parameters(), lr=0.01)
    before = net.norm.running_mean.clone()
    losses = []
    x = torch.linspace(-1, 1, 32, device="cuda").reshape(8, 4)
    for _ in range(4):
        optimizer.zero_grad()
        with pytest.warns(UserWarning, match="scalars"):
            loss = parallel(x)["y"].square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] and not torch.equal(before, net.norm.running_mean)


def test_few_elements_and_other_devices():
    linear = nn.Linear(4, 2).cuda(1)
    parallel = nn.DataParallel(linear, device_ids=[1, 0], output_device=0)
    assert parallel(torch.ones(2, 4, device="cuda:1")).device.index == 0
    assert parallel(torch.ones(1, 4, device="cuda:1")).shape == (1, 2)  # one part: the module
    with torch.no_grad():
        assert not parallel(torch.ones(4, 4)).requires_grad
    with pytest.raises(RuntimeError, match=r"device_ids\[0\]"):
        nn.DataParallel(linear, device_ids=[0, 1])(torch.ones(2, 4))
    single = nn.DataParallel(nn.Linear(4, 2), device_ids=[1])
    assert single(torch.ones(3, 4)).device.index == 1
    assert nn.parallel.data_parallel(linear, torch.ones(3, 4), [1, 0]).shape == (3, 2)


def test_errors_of_a_replica():
    class Fails(nn.Module):
        def forward(self, x):
            raise ValueError(f"no {x.device}")

    with pytest.raises(ValueError, match="no cuda:"):
        nn.DataParallel(Fails())(torch.ones(4, 2, device="cuda"))


def test_autocast_and_streams_are_the_callers():
    seen = []

    class Looks(nn.Module):
        def forward(self, x):
            seen.append((torch.is_autocast_enabled("cuda"), torch.cuda.current_stream()))
            return x

    side = torch.cuda.Stream()
    with torch.cuda.stream(side), torch.autocast("cuda"):
        nn.DataParallel(Looks())(torch.ones(4, 2, device="cuda"))
    assert [on for on, _ in seen] == [True, True] and side in [s for _, s in seen]
