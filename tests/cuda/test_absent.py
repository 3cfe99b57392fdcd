"""Machines without a driver: `is_available` is False, fast and in silence, and nothing changes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import taimatsu as torch
from taimatsu import _core, doctor

needs_cuda = pytest.mark.skipif(not hasattr(_core, "_cuda"), reason="a build with USE_CUDA=0")
pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


def run(code: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-P", "-c", code], env={**os.environ, **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_questions_are_answered_with_nothing():
    cuda = torch.cuda
    assert not cuda.is_available() and cuda.device_count() == 0 and not cuda.is_initialized()
    assert cuda.get_arch_list() == [] and cuda.get_rng_state_all() == []
    assert cuda.memory_allocated() == 0 and cuda.memory_stats() == {}
    assert cuda.memory_snapshot() == [] and cuda.host_memory_stats() == {}
    assert not cuda.is_bf16_supported() and not cuda.is_current_stream_capturing()
    assert cuda.default_generators == ()
    cuda.empty_cache()
    cuda.manual_seed_all(0)
    cuda.reset_peak_memory_stats()
    with cuda.device(None), cuda.stream(None), cuda.device(-1):
        pass


@pytest.mark.parametrize(
    "name",
    ["current_device", "current_stream", "synchronize", "get_device_name", "mem_get_info",
     "memory_summary", "graph_pool_handle", "init", "get_device_properties", "cudart",
     "initial_seed", "get_rng_state"],
)  # fmt: skip
def test_what_needs_a_gpu_says_why_there_is_none(name):
    with pytest.raises(AssertionError, match="not compiled with CUDA.*(driver|USE_CUDA)"):
        getattr(torch.cuda, name)()


@pytest.mark.parametrize("name", ["Stream", "Event", "CUDAGraph", "MemPool"])
def test_classes_raise_runtime_error(name):
    with pytest.raises(RuntimeError, match="not compiled with CUDA"):
        getattr(torch.cuda, name)()


def test_tensors_stay_where_they_are():
    x = torch.ones(2)
    assert not x.is_pinned()
    with pytest.raises(RuntimeError, match="no"):
        x.pin_memory()
    with pytest.raises(AssertionError):
        x.cuda()
    with pytest.raises(RuntimeError, match="driver"):
        torch.Generator(device="cuda")


@needs_cuda
def test_a_library_that_is_no_driver_is_told():
    code = "import taimatsu as t; print(t.cuda.is_available()); t.cuda.init()"
    done = run(code, TAIMATSU_LIBCUDA="/nowhere/libcuda.so")
    assert done.stdout == "False\n"
    assert "/nowhere/libcuda.so" in done.stderr and "TAIMATSU_LIBCUDA names it" in done.stderr


@needs_cuda
def test_an_old_driver_is_told():
    code = "import taimatsu as t; t.cuda.init()"
    done = run(code, TAIMATSU_LIBCUDA="libm.so.6")
    assert "is too old: it has no function cuInit" in done.stderr


def test_doctor_tells_why(capsys):
    assert doctor.main() == 0
    out = capsys.readouterr().out
    assert "ok OpenBLAS" in out and ("no NVIDIA driver is found" in out or "USE_CUDA=0" in out)
