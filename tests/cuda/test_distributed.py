"""The backend "nccl", by several processes on the doubles of the driver and of NCCL."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import taimatsu.distributed as dist
from taimatsu.cuda import _libraries

HERE = Path(__file__).parent


@pytest.mark.parametrize("function", ["collectives", "data_parallel"])
def test_processes(double, function, size=3):
    if not _libraries.found("nccl"):
        pytest.skip("needs the double of NCCL")
    store = dist.TCPStore("127.0.0.1", 0, is_master=True)
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    running = [
        subprocess.Popen(
            [sys.executable, "-P", "-c",
             f"import nccl_workers; nccl_workers.{function}({rank}, {size}, {store.port})"],
            stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path},
        )
        for rank in range(size)
    ]  # fmt: skip
    try:
        errors = [p.communicate(timeout=240)[1] for p in running]
    finally:
        for p in running:
            p.kill()
    assert all(p.returncode == 0 for p in running), "\n".join(errors)
