"""What goes wrong: the error names the call, what it means, what to do; the process goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

import taimatsu as torch

cuda = torch.cuda


def run(code: str, **environment: str) -> subprocess.CompletedProcess:
    setup = "import taimatsu as torch, driver_double; driver_double.follow_kernels()\n"
    here = os.path.dirname(__file__)
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {here!r})\n{setup}{code}"],
        env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_an_index_out_of_range_is_raised_when_the_host_waits():
    x = torch.zeros(3, 4).cuda()
    y = torch.nn.functional.cross_entropy(x, torch.tensor([0, 9, 1]).cuda())
    with pytest.raises(IndexError, match=r"\w+: .*out of"):
        y.cpu()
    assert x.sum().item() == 0  # reported once; everything else is as it was


def test_an_integer_division_by_zero_is_raised_at_synchronize():
    x = torch.tensor([1, 2]).cuda() // torch.tensor([1, 0]).cuda()
    with pytest.raises(RuntimeError, match="floor_divide.*ZeroDivisionError"):
        cuda.synchronize()
    assert x.is_cuda


def test_events_and_streams_raise_it_too():
    for wait in (lambda e: e.synchronize(), lambda e: cuda.current_stream().synchronize()):
        torch.tensor([1]).cuda() // torch.tensor([0]).cuda()
        event = cuda.current_stream().record_event()
        with pytest.raises(RuntimeError, match="ZeroDivision"):
            wait(event)


def test_launch_blocking_raises_it_at_its_line():
    code = (
        "a, b = torch.tensor([1]).cuda(), torch.tensor([0]).cuda()\n"
        "try: a // b\n"
        "except RuntimeError as e: print('here:', e)\n"
    )
    done = run(code, CUDA_LAUNCH_BLOCKING="1")
    assert done.stdout.startswith("here: floor_divide"), done.stderr
    assert "here" not in run(code, CUDA_LAUNCH_BLOCKING="0").stdout


def test_a_launch_that_fails_names_the_op(double):
    x = torch.ones(4, device="cuda")
    x + 1
    cuda.synchronize()
    double.fail("cuLaunchKernel", 719)
    with pytest.raises(RuntimeError, match=r"CUDA error: unspecified launch failure.*in add"):
        x + 1
    assert ((x + 1).cpu() == 2).all()


def test_an_error_that_the_context_doesnt_recover_from(double):
    x = torch.ones(4, device="cuda")
    cuda.synchronize()
    double.fail("cuStreamSynchronize", 700)
    with pytest.raises(RuntimeError, match="illegal memory access.*CUDA_LAUNCH_BLOCKING=1"):
        x.cpu()


def test_a_kernel_that_isnt_loaded(double):
    x = torch.ones(4, 3, 2, device="cuda")
    double.fail("cuModuleLoadDataEx", 218)
    with pytest.raises(RuntimeError, match="PTX JIT compilation failed.*cuModuleLoadDataEx of k"):
        torch.special.entr(x)
    assert (torch.special.entr(x).cpu() == 0).all()


def test_the_host_cant_touch_device_memory():
    code = (
        "import ctypes\n"
        "x = torch.ones(4, device='cuda')\n"
        "print(ctypes.c_float.from_address(x.data_ptr()).value)\n"
    )
    done = run(code)
    assert done.returncode == -signal.SIGSEGV or "AddressSanitizer: SEGV" in done.stderr
    assert "the host touched device memory" in done.stderr


def test_devices_dont_mix():
    with pytest.raises(RuntimeError, match="same device"):
        torch.ones(3, device="cuda") + torch.ones(3)
    with pytest.raises(RuntimeError, match="same device"):
        torch.ones(3, device="cuda:0") + torch.ones(3, device="cuda:1")
    x = torch.ones(3, device="cuda") + torch.tensor(2.0)  # one value may be on the CPU
    assert (x.cpu() == 3).all()
    with pytest.raises(TypeError, match=r"Tensor.cpu\(\)"):
        torch.ones(3, device="cuda").numpy()


def test_a_driver_that_doesnt_start():
    code = (
        "import os\n"
        "d = driver_double.double()\n"
        "d.fail('cuInit', 100)\n"
        "print(torch.cuda.is_available())\n"
        "torch.cuda.init()"
    )
    done = run(code)
    assert done.stdout == "False\n"
    assert "no CUDA-capable device is detected" in done.stderr
    assert "CUDA_VISIBLE_DEVICES" in done.stderr


def test_no_devices():
    done = run("print(torch.cuda.is_available())", TAIMATSU_DOUBLE="devices=0")
    assert done.stdout == "False\n" and done.stderr == ""
