"""A child that is forked from a process that uses CUDA can't: it is told so, and is else well."""

from __future__ import annotations

import os
import traceback

import pytest

import taimatsu as torch

cuda = torch.cuda


def in_child(body) -> tuple[int, str]:
    """Runs it in a fork: its status and what it returned or raised, as text."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        status, text = 0, ""
        try:
            text = str(body())
        except BaseException:
            status, text = 1, traceback.format_exc()
        os.write(write, text.encode()[-4000:])
        os._exit(status)
    os.close(write)
    text = b""
    while part := os.read(read, 4096):
        text += part
    os.close(read)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text.decode()


@pytest.fixture
def x():
    return torch.full((1000,), 2.0).cuda()


@pytest.mark.parametrize(
    "body",
    [lambda x: torch.ones(1, device="cuda"), lambda x: x.cpu(), lambda x: x + 1,
     lambda x: cuda.synchronize(), lambda x: cuda.Stream(), lambda x: cuda.init()],
)  # fmt: skip
def test_what_a_child_is_told(x, body):
    status, text = in_child(lambda: body(x))
    assert status == 1
    assert "Cannot re-initialize CUDA in forked subprocess" in text and "'spawn'" in text


def test_a_child_is_well_otherwise(x):
    p = torch.ones(10).pin_memory()
    event = cuda.current_stream().record_event()

    def body():
        nonlocal x, p, event
        x = p = event = None  # given back to nobody
        assert cuda._is_in_bad_fork() and not cuda.is_initialized()
        return (torch.ones(100) + 1).sum().item()

    assert in_child(body) == (0, "200.0")
    assert (x.cpu() == 2).all() and not cuda._is_in_bad_fork()


def test_workers_of_a_loader_are_well(x):
    data = torch.utils.data.TensorDataset(torch.arange(8.0))
    batches = torch.utils.data.DataLoader(data, batch_size=4, num_workers=1)
    assert sum(b.cuda().sum().item() for (b,) in batches) == 28
