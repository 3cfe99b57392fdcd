"""Every allocation that a program makes fails once: it is told, and afterwards all is as it was."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import taimatsu as torch

PROGRAM = """
import ctypes, sys
import taimatsu as torch
from taimatsu import _core

allocator = ctypes.CDLL(sys.argv[1])
F = torch.nn.functional
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.LayerNorm(16), torch.nn.Linear(16, 4))
lstm = torch.nn.LSTM(4, 4, 2)
x, target, a = torch.randn(32, 8), torch.arange(32) % 4, torch.randn(20, 20)
compiled = torch.compile(lambda x: (x * 2 + 1).sin().softmax(-1).sum(0))


def train():
    model.zero_grad()
    loss = F.cross_entropy(model(x), target)
    loss.backward()
    return [loss.detach(), *(p.grad for p in model.parameters())]


def recur():  # a node with many gradients
    lstm.zero_grad()
    out, _ = lstm(x.view(8, 8, 4))
    out.sum().backward()
    return [out.detach(), lstm.weight_hh_l0.grad]


def write():
    y = a.clone()
    y.add_(1)
    y[2:5] = 7.0
    y[[1, 2]] = 3.0
    y[y > 2] = 0.0
    return [y.resize_(25, 25)[:8], *a.sort(1), *a.max(0), torch.cat([a, a]), a[a > 0], a.unique()]


def look():
    w = torch.ones(10, requires_grad=True)
    w.register_hook(lambda g: g * 2)
    y = w * 2
    y.retain_grad()
    y[2:5].mul_(3)
    (g,) = torch.autograd.grad((w**3).sum(), w, create_graph=True)
    (y.sum() + g.sum()).backward()
    return [w.grad]


def factor():
    return [torch.linalg.inv(a), torch.linalg.svd(a)[1], a @ a, torch.fft.fft(a).abs()]


def same(got, expected):
    return len(got) == len(expected) and all(map(torch.equal, got, expected))


for program in (train, recur, write, look, factor, lambda: [compiled(a)]):
    program()
    expected, n, told = program(), 0, 0
    while True:
        _core.empty_cache()
        got = None
        allocator.fail_at(n)
        try:
            got = program()
        except torch.OutOfMemoryError:
            told += 1
        finally:
            seen = allocator.stop_failing()
        assert got is None or same(got, expected), n
        assert same(program(), expected), n
        if seen <= n:
            break
        n += 1
    assert told, program
    print(n, told)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="preloads a library")
@pytest.mark.skipif(torch._core._sanitized, reason="the sanitizer has an allocator of its own")
def test_every_allocation_fails_once(tmp_path):
    compiler = os.environ.get("CXX", "c++")
    if not shutil.which(compiler):
        pytest.skip(f"needs {compiler}")
    library, source = tmp_path / "failing.so", Path(__file__).with_name("failing_allocator.cpp")
    command = [compiler, "-O1", "-std=c++17", "-fPIC", "-shared", "-o", library, source, "-ldl"]
    subprocess.run(command, check=True)
    environment = {**os.environ, "LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1",
                   "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}  # fmt: skip
    done = subprocess.run([sys.executable, "-P", "-c", PROGRAM, library], env=environment,
                          timeout=300, capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(done.stdout.split()) == 12
