"""Programs as users write them: mixed precision, the names of the accelerator, training."""

from __future__ import annotations

import pytest

import taimatsu as torch
from taimatsu import nn
from taimatsu.nn import functional as F


def test_a_step_is_that_of_the_cpu():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.LayerNorm(16), nn.Linear(16, 3))
    x, target = torch.randn(10, 6), torch.randint(3, (10,))
    losses = {}
    for device in ("cpu", "cuda"):
        torch.manual_seed(1)
        own = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.LayerNorm(16), nn.Linear(16, 3))
        own.load_state_dict(net.state_dict())
        own = own.to(device)
        optimizer = torch.optim.Adam(own.parameters(), lr=0.05)
        losses[device] = []
        for _ in range(5):
            loss = F.cross_entropy(own(x.to(device)), target.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[device].append(loss.item())
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=1e-4)
    assert losses["cuda"][-1] < losses["cuda"][0]


def test_autocast_is_of_its_device():
    x, w = torch.ones(2, 3), torch.ones(3, 2)
    with torch.autocast("cuda"):
        assert (x.cuda() @ w.cuda()).dtype == torch.float16
        assert (x @ w).dtype == torch.float32
        with torch.autocast("cpu"):
            assert (x @ w).dtype == torch.bfloat16
            assert (x.cuda() @ w.cuda()).dtype == torch.float16
    with torch.cuda.amp.autocast(dtype=torch.bfloat16):
        assert F.linear(x.cuda(), w.t().cuda()).dtype == torch.bfloat16
        assert F.cross_entropy(x.cuda().half(), torch.tensor([0, 1]).cuda()).dtype == torch.float32


def test_grad_scaler_skips_what_overflows():
    p = nn.Parameter(torch.ones(3, device="cuda"))
    optimizer = torch.optim.SGD([p], lr=1.0)
    scaler = torch.amp.GradScaler("cuda", init_scale=4.0, growth_interval=1)
    scaler.scale((p * 2).sum()).backward()
    assert p.grad.cpu().tolist() == [8] * 3
    scaler.step(optimizer)
    scaler.update()
    assert p.detach().cpu().tolist() == [-1] * 3 and scaler.get_scale() == 8
    optimizer.zero_grad()
    scaler.scale((p * float("inf")).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert p.detach().cpu().tolist() == [-1] * 3 and scaler.get_scale() == 4


def test_grad_scaler_waits_once(double):
    ps = [nn.Parameter(torch.ones(3, device="cuda")) for _ in range(6)]
    optimizer = torch.optim.SGD(ps, lr=1.0)
    scaler = torch.amp.GradScaler("cuda")
    sum((p * 2).sum() for p in ps).backward()
    scaler.unscale_(optimizer)
    scaler.update()
    sum((p * 2).sum() for p in ps).backward()
    before = double.calls("cuStreamSynchronize")
    scaler.unscale_(optimizer)
    assert double.calls("cuStreamSynchronize") == before + 1


def test_the_accelerator_is_cuda():
    accelerator = torch.accelerator
    assert accelerator.is_available() and accelerator.device_count() == 2
    assert accelerator.current_accelerator() == torch.device("cuda")
    assert accelerator.current_device_index() == 0
    accelerator.set_device_index(1)
    with accelerator.device_index(0):
        assert torch.cuda.current_device() == 0
    assert torch.cuda.current_device() == 1
    assert accelerator.current_stream() == torch.cuda.current_stream()
    accelerator.synchronize()
    assert torch.float16 in accelerator.get_device_capability()["supported_dtypes"]


def test_default_device():
    try:
        torch.set_default_device("cuda")
        assert torch.ones(2).device == torch.device("cuda", 0)
        with torch.device("cuda:1"):
            assert torch.zeros(2).device.index == 1
    finally:
        torch.set_default_device(None)
    assert torch.ones(2).is_cpu


def test_nvtx_counts_ranges():
    from taimatsu.cuda import nvtx

    assert nvtx.range_push("a") == 0 and nvtx.range_push("b") == 1
    assert nvtx.range_pop() == 1 and nvtx.range_pop() == 0
    with nvtx.range("step {}", 3):
        nvtx.mark("here")


def test_state_dicts_move_between_devices(tmp_path):
    net = nn.Linear(3, 2).cuda()
    torch.save(net.state_dict(), tmp_path / "net.pt")
    state = torch.load(tmp_path / "net.pt", map_location="cpu")
    assert all(t.is_cpu for t in state.values())
    again = torch.load(tmp_path / "net.pt")
    assert all(t.is_cuda for t in again.values())
    assert torch.equal(again["weight"].cpu(), net.weight.detach().cpu())
