"""Every call of the driver that a small training makes fails in turn: the error says which call or
op it was, and the next training gives what it gives otherwise."""

from __future__ import annotations

import gc
import itertools
import re

import pytest

import taimatsu as torch

cuda, nn = torch.cuda, torch.nn

CODES = (2, 700, 999)  # out of memory; an error that spoils a real context; one that nobody knows
# What is given up is given up silently; a question that fails has an answer; and where memory
# can't be mapped it is allocated.
BORNE = {
    "cuEventDestroy_v2", "cuGraphDestroy", "cuGraphExecDestroy", "cuMemAddressReserve",
    "cuMemGetAllocationGranularity", "cuPointerGetAttribute",
}  # fmt: skip
NAMED = r"CUDA error: .*, in \w+|CUDA error: \w+ returned status|CUDA out of memory"
# Once a device has failed here its memory is not expandable any more.
LAST = ["cuMemGetAllocationGranularity", "cuMemAddressReserve"]


def train() -> float:
    """Streams, pinned memory, a graph, a peer: some of each."""
    torch.manual_seed(0)
    side = cuda.Stream()
    model = nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 3)).cuda()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x = torch.randn(8, 6).pin_memory().to("cuda", non_blocking=True)
    y = torch.arange(8).remainder(3).cuda()
    side.wait_stream(cuda.current_stream())
    with cuda.stream(side):
        h = model[0](x)
        h.record_stream(cuda.default_stream())
    cuda.current_stream().wait_stream(side)
    loss = nn.functional.cross_entropy(model[1:](h), y)
    loss.backward()
    optimizer.step()
    graph = cuda.CUDAGraph()
    with cuda.graph(graph):
        z = model(x)
    graph.replay()
    there = z.to("cuda:1")
    event = cuda.Event()
    event.record()
    event.synchronize()
    result = loss.item() + there.sum().item()
    del model, optimizer, x, y, h, z, there, loss, graph
    cuda.empty_cache()
    return result


def outcome() -> str:
    """The message of its failure; empty if all went well."""
    try:
        train()
    except (RuntimeError, cuda.OutOfMemoryError) as error:
        return str(error)
    return ""


def recover(double) -> None:
    double.recover()
    gc.collect()
    for d in range(cuda.device_count()):
        cuda.synchronize(d)


def test_a_first_use_that_fails(double):
    first = ["cuDevicePrimaryCtxRetain", "cuDeviceGetAttribute", "cuModuleLoadDataEx",
             "cuModuleGetFunction", "cuMemHostAlloc", "cuStreamCreateWithPriority",
             "cuCtxEnablePeerAccess"]  # fmt: skip
    for function in first:
        double.fail(function, 999)
        message = outcome()
        double.fail(function, 0, times=0)
        assert not message or function[:14] in message, message
        recover(double)
    assert train() == train()


def test_each_call_fails_in_turn(double):
    for _ in range(32):
        cuda.Stream()  # all that there are: others are not made
    expected = train()
    assert train() == pytest.approx(expected)
    before = {f: double.calls(f) for f in double.functions()}
    train()
    calls = {f: n for f in before if (n := double.calls(f) - before[f])}
    assert (len(calls) > 25 and set(LAST) <= set(calls)) or not double.virtual
    raised, codes = set(), itertools.cycle(CODES)
    for function in sorted(calls, key=LAST.__contains__):
        for after in {0, calls[function] // 2}:
            code = next(codes)
            double.fail(function, code, after)
            message = outcome()
            double.fail(function, 0, times=0)
            if message:
                raised.add(function)
                assert re.search(NAMED, message), message
            recover(double)
            assert double.violation() == "", (function, after, code)
        assert train() == pytest.approx(expected), (function, message)
    assert set(calls) - raised <= BORNE


def test_memory_that_comes_back_after_a_failure(double):
    """Nothing of the failed trainings is kept."""
    train()
    gc.collect()
    cuda.empty_cache()
    allocated = cuda.memory_allocated()
    for function in ("cuLaunchKernel", "cuMemcpyAsync"):
        for after in (0, 3, 6):
            double.fail(function, 999, after)
            assert "CUDA error" in outcome()
            double.fail(function, 0, times=0)
            recover(double)
    assert cuda.memory_allocated() == allocated


def test_everything_after_an_error_that_stays(double):
    """As on a GPU: every later call tells it, and the process lives."""
    x = torch.ones(4, device="cuda")
    cuda.synchronize()
    functions = ("cuLaunchKernel", "cuMemcpyAsync", "cuStreamSynchronize", "cuCtxSynchronize",
                 "cuEventRecord")  # fmt: skip
    for function in functions:
        double.fail(function, 700, times=1000)
    uses = (lambda: x + 1, x.cpu, cuda.synchronize, lambda: cuda.Event().record(),
            lambda: torch.ones(3).cuda(), lambda: repr(x))  # fmt: skip
    for use in uses:
        with pytest.raises(RuntimeError, match=r"illegal memory access.*start it again"):
            use()
    assert torch.ones(3).sum() == 3  # the CPU goes on
    for function in functions:
        double.fail(function, 0, times=0)
