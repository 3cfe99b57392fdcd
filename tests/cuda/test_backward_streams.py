"""Streams of backward passes: each node's work on the stream of its forward call, and the waits
between them. The double runs nothing before it has to: a wait that is missing is a wrong number."""

from __future__ import annotations

import pytest

import taimatsu as torch

cuda = torch.cuda


@pytest.fixture
def streams():
    return cuda.Stream(), cuda.Stream()


def forked(x, streams, make):
    """`make(x)` on each of the streams, summed on the current one."""
    parts = []
    for s in streams:
        s.wait_stream(cuda.current_stream())
        with cuda.stream(s):
            parts.append(make(x))
        cuda.current_stream().wait_stream(s)
    return sum(parts).sum()


def launches(queued):
    return [stream for stream, what, *_ in queued if what == "launch"]


def test_nodes_run_on_the_streams_of_their_forward_calls(double, streams):
    x = torch.full((100,), 2.0, device="cuda", requires_grad=True)
    y = forked(x, streams, lambda x: x.exp() * x)
    with double.trace() as queued:
        y.backward()
    a, b = (s.cuda_stream for s in streams)
    assert {0, a, b} == set(launches(queued))
    for s in (a, b):  # gradients come from the stream of `sum`, and the caller waits at the end
        assert queued.index((s, "wait", 0)) < queued.index((s, "launch"))
        assert (0, "wait", s) in queued
    assert min(launches(queued).count(s) for s in (a, b)) >= 2
    expected = 2 * (torch.tensor(2.0).exp() * 3)
    assert torch.allclose(x.grad.cpu(), expected)


def test_the_stream_of_the_call_waits_for_leaves(double, streams):
    """Gradients are ready for whatever the stream that called `backward` does next."""
    side, other = streams
    w = torch.full((1 << 12,), 3.0, device="cuda", requires_grad=True)
    side.wait_stream(cuda.current_stream())
    with cuda.stream(side):
        y = (w * w).sum()
    other.wait_stream(side)
    with cuda.stream(other):
        for step in range(1, 4):
            with double.trace() as queued:
                y.backward(retain_graph=True)
                doubled = w.grad * 2
            assert (other.cuda_stream, "wait", side.cuda_stream) in queued
            assert launches(queued)[-1] == other.cuda_stream
            assert (doubled.cpu() == 12 * step).all()
    assert (w.grad.cpu() == 18).all()


def test_without_other_streams_nothing_is_waited_for(double):
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    model.cuda()
    loss = model(torch.ones(4, 8, device="cuda")).sum()
    before = double.calls("cuEventRecord"), double.calls("cuStreamWaitEvent")
    loss.backward()
    assert before == (double.calls("cuEventRecord"), double.calls("cuStreamWaitEvent"))


@pytest.mark.parametrize("on_side", [False, True])
def test_first_gradients_and_results_follow_the_calling_stream(streams, on_side):
    x = torch.full((1 << 12,), 2.0, device="cuda", requires_grad=True)
    forward, caller = streams if on_side else (streams[0], cuda.current_stream())
    forward.wait_stream(cuda.current_stream())
    with cuda.stream(forward):
        y = x**3
    caller.wait_stream(forward)
    with cuda.stream(caller):
        g = torch.ones_like(y)
        for _ in range(10):
            g = g + 1  # still queued when the pass is
        (dx,) = torch.autograd.grad(y, x, g)
        dx += 1
        assert (dx.cpu() == 11 * 12 + 1).all()


def test_gradients_from_two_streams_are_summed_in_order(streams):
    x = torch.full((1 << 12,), 1.0, device="cuda", requires_grad=True)
    for _ in range(3):
        h = x * 1  # a node with gradients from both
        forked(h, streams, lambda h: h * h * 5).backward()
    assert (x.grad.cpu() == 60).all()


def test_a_second_pass_from_another_stream_adds_to_the_first(streams):
    x = torch.full((1 << 12,), 1.0, device="cuda", requires_grad=True)
    for k, s in enumerate((*streams, *streams), 1):
        s.wait_stream(cuda.current_stream())
        with cuda.stream(s):
            y = (x * k).sum()
        cuda.current_stream().wait_stream(s)
        y.backward()
    assert (x.grad.cpu() == 10).all()


def test_memory_that_crosses_streams_is_not_given_out_too_soon(double, streams):
    """What a node on another stream reads is freed by the pass while that is still queued."""
    side, _ = streams
    x = torch.full((1 << 16,), 2.0, device="cuda", requires_grad=True)
    h = x * 3
    side.wait_stream(cuda.current_stream())
    with cuda.stream(side):
        y = h * h
        cuda.current_stream().wait_stream(side)
        busy = torch.zeros(1, device="cuda")
        for _ in range(100):  # a question lets the double go on by one
            busy += 1
    z = (y * 2).sum()
    read, given = {h.data_ptr()}, []
    y.register_hook(lambda g: read.add(g.data_ptr()) if g.numel() else None)
    # By now, the node of `h * h` has given up what it had saved, and its gradient.
    h.register_hook(lambda g: given.append(torch.empty_like(g)))
    del h, y
    z.backward()
    assert len(read) == 2
    if not double.threads:
        assert given[0].data_ptr() not in read
    assert (x.grad.cpu() == 72).all()


def test_hooks_see_the_nodes_stream_and_device(streams):
    x = torch.ones(4, device="cuda:1", requires_grad=True)
    s = cuda.Stream(device=1)
    s.wait_stream(cuda.current_stream(1))
    with cuda.stream(s):
        y = x * 2
    cuda.current_stream(1).wait_stream(s)
    seen = []
    y.register_hook(lambda g: seen.append((cuda.current_device(), cuda.current_stream())))
    y.sum().backward()
    assert seen == [(1, s)] and cuda.current_device() == 0
    assert cuda.current_stream(1) == cuda.default_stream(1)
    assert (x.grad.cpu() == 2).all()


def test_devices_and_streams_mix(streams):
    side, _ = streams
    x = torch.full((1 << 12,), 3.0, device="cuda:0", requires_grad=True)
    with cuda.stream(side):
        side.wait_stream(cuda.default_stream(0))
        y = (x * x).to("cuda:1")
    z = y * 2
    cuda.current_stream().wait_stream(side)
    z.sum().backward()
    assert (x.grad.cpu() == 12).all()


def test_a_pass_inside_a_pass(streams):
    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            with torch.enable_grad():
                inner = x.detach().requires_grad_()
                (dx,) = torch.autograd.grad((inner * inner).sum(), inner)
            return g * dx

    x = torch.full((1 << 12,), 5.0, device="cuda", requires_grad=True)
    forked(x, streams, Twice.apply).backward()
    assert (x.grad.cpu() == 20).all()


def test_after_an_error_the_callers_streams_are_back(streams):
    side, _ = streams
    x = torch.ones(4, device="cuda", requires_grad=True)
    with cuda.stream(side):
        y = x * 2
        y.register_hook(lambda g: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        y.sum().backward()
    assert cuda.current_stream() == cuda.default_stream()


def test_sparse_gradients_cross_too(streams):
    side, _ = streams
    weight = torch.ones(5, 3, device="cuda", requires_grad=True)
    side.wait_stream(cuda.current_stream())
    with cuda.stream(side):
        y = torch.nn.functional.embedding(
            torch.tensor([1, 4], device="cuda"), weight, sparse=True
        ).sum()
    cuda.current_stream().wait_stream(side)
    y.backward()
    assert weight.grad.to_dense().cpu().sum(1).tolist() == [0, 3, 0, 0, 3]


def test_compiled_functions_keep_their_streams(double, streams):
    side, _ = streams

    @torch.compile
    def function(x):
        y = x * 2
        with cuda.stream(side):
            side.wait_stream(cuda.default_stream())
            z = y * 3
        cuda.default_stream().wait_stream(side)
        return (z + y).sum()

    for _ in range(3):
        x = torch.full((1 << 12,), 1.0, device="cuda", requires_grad=True)
        out = function(x)
        with double.trace() as queued:
            out.backward()
        assert side.cuda_stream in launches(queued)
        assert out.item() == 8 * (1 << 12) and (x.grad.cpu() == 8).all()


def test_a_graph_captures_a_pass_of_several_streams(streams):
    side, _ = streams
    x = torch.full((1 << 12,), 1.0, device="cuda", requires_grad=True)
    accumulator = x.view_as(x).grad_fn.next_functions[0][0]  # made on the default stream
    graph = cuda.CUDAGraph()
    with cuda.graph(graph):
        forked(x, [side], lambda x: x * x * x).backward()
    for value in (2.0, 3.0):
        with torch.no_grad():
            x.fill_(value)
        graph.replay()
        assert accumulator.variable is x and (x.grad.cpu() == 3 * value * value).all()
