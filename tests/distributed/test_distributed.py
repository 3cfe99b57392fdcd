"""`taimatsu.distributed`: several processes on one machine."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest

import taimatsu as torch
import taimatsu.distributed as dist
from taimatsu import nn

HERE = Path(__file__).resolve().parent


def together(function: str, size: int = 3, module: str = "workers") -> None:
    """Runs a function of `workers`, or of another module, in so many processes."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True)  # here: its port is taken from the start
    command = f"import {module}; {module}.{function}(RANK, {size}, {store.port})"
    folders = f"import sys; sys.path[:0] = [{str(HERE)!r}, {str(HERE.parents[1])!r}]; "
    running = [
        subprocess.Popen(
            [sys.executable, "-c", folders + command.replace("RANK", str(rank))],
            stderr=subprocess.PIPE, text=True,
        )
        for rank in range(size)
    ]  # fmt: skip
    errors = [p.communicate(timeout=120)[1] for p in running]
    assert all(p.returncode == 0 for p in running), "\n".join(errors)


@pytest.mark.parametrize("function", ["collectives", "data_parallel", "lonely"])
def test_processes(function):
    together(function)


def test_the_launcher(tmp_path):
    (tmp_path / "train.py").write_text(
        "import os, sys\nimport taimatsu as torch, taimatsu.distributed as dist\n"
        "dist.init_process_group()\nx = torch.ones(1)\ndist.all_reduce(x)\n"
        "line = (dist.get_rank(), x.item(), sys.argv[1], os.environ['LOCAL_RANK'])\n"
        "os.write(1, f'{line}\\n'.encode())  # at once: the ranks share the pipe\n"
        "sys.exit(3 if sys.argv[1] == 'fail' and dist.get_rank() == 1 else 0)\n"
    )
    command = [sys.executable, "-m", "taimatsu.distributed.run", "--nproc-per-node=2",
               "--standalone", "train.py"]  # fmt: skip
    env = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    run = subprocess.run(
        [*command, "--lr=1"], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    assert sorted(run.stdout.splitlines()) == [f"({r}, 2.0, '--lr=1', '{r}')" for r in (0, 1)]
    failed = subprocess.run([*command, "fail"], cwd=tmp_path, env=env, capture_output=True)
    assert failed.returncode == 3


def test_the_launcher_as_a_function(tmp_path):
    """As `accelerate launch` calls it."""
    from taimatsu.distributed import run

    (tmp_path / "train.py").write_text("import os, sys\nsys.exit(int(os.environ['RANK']) * 4)\n")
    args = run.get_args_parser().parse_args(["--log_dir=logs", str(tmp_path / "train.py")])
    args.nproc_per_node, args.nnodes = 1, 1
    run.run(args)
    args.nproc_per_node = 2
    with pytest.raises(SystemExit, match="4"):
        run.run(args)


@pytest.fixture
def alone():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_one_process_is_a_group_too(alone):
    x = torch.ones(2)
    dist.all_reduce(x)
    dist.broadcast(x, 0)
    rows = [torch.empty(2)]
    dist.all_gather(rows, x)
    assert rows[0].tolist() == [1.0, 1.0] and dist.is_initialized()
    model = nn.parallel.DistributedDataParallel(nn.Linear(2, 1))
    model(x).backward()
    assert list(model.state_dict()) == ["module.weight", "module.bias"]
    assert model.module.weight.grad.tolist() == [[1.0, 1.0]]
    with pytest.raises(ValueError, match="twice"):
        dist.init_process_group("gloo")
    with pytest.raises(ValueError, match="gather_list"):
        dist.gather(x)
    with pytest.raises(TypeError, match=r"torch\.Tensor"):
        dist.all_reduce([1.0])
    with pytest.raises(dist.DistBackendError, match="one size"):
        dist.all_to_all([torch.empty(3)], [x])


def test_a_hook_takes_the_place_of_the_average(alone):
    model = nn.parallel.DistributedDataParallel(nn.Linear(2, 1))

    def doubled(state, bucket):
        assert state == "state" and bucket.is_last() and len(bucket.parameters()) == 2
        future = torch.futures.Future()
        future.set_result([2 * bucket.buffer()])
        return future

    model.register_comm_hook("state", doubled)
    model(torch.ones(2)).backward()
    assert model.module.weight.grad.tolist() == [[2.0, 2.0]]


def test_without_a_group():
    assert dist.is_available() and not dist.is_initialized()
    with pytest.raises(ValueError, match="init_process_group"):
        dist.get_rank()
    with pytest.raises(ValueError, match="init_process_group"):
        dist.all_reduce(torch.ones(1))
    with pytest.raises(RuntimeError, match="NCCL built in"):
        dist.init_process_group("nccl")
    with pytest.raises(ValueError, match="RANK expected"):
        dist.init_process_group("gloo")
    with pytest.raises(ValueError, match="rank"):
        dist.init_process_group("gloo", store=dist.HashStore(), rank=2, world_size=1)


def make_file_store(tmp_path):
    return [dist.FileStore(str(tmp_path / "store"), 2) for _ in range(2)]


def make_tcp_store(tmp_path):
    first = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    return [first, dist.TCPStore("127.0.0.1", first.port, wait_for_workers=False)]


def make_hash_store(tmp_path):
    return [dist.PrefixStore("a", store) for store in [dist.HashStore()] * 2]


@pytest.mark.parametrize("make", [make_file_store, make_tcp_store, make_hash_store])
def test_stores(make, tmp_path):
    one, two = make(tmp_path)
    one.set("key", "value")
    assert two.get("key") == b"value" and two.check(["key"]) and not two.check(["none"])
    assert (one.add("n", 2), two.add("n", 3)) == (2, 5) and two.num_keys() == 2
    later = threading.Timer(0.05, one.set, ("late", b"\x00\xff"))
    later.start()
    two.wait(["late", "key"], timedelta(seconds=20))
    assert two.get("late") == b"\x00\xff"
    assert two.compare_set("new", "", "1") == b"1" and one.compare_set("new", "2", "3") == b"1"
    assert one.delete_key("new") and not one.delete_key("new")
    one.set_timeout(timedelta(seconds=0.02))
    with pytest.raises(dist.DistStoreError, match="timeout"):
        one.get("never")
