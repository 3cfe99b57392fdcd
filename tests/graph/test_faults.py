"""Calls put off that fail: what they were to compute says so, and all else is as it was."""

import gc
import os
import threading
import typing

import pytest

import taimatsu as torch
from taimatsu.graph import fuse

SIZES = (5, 1000)  # data beside the storage's own record, and in a block of its own


def numbers(*sizes):
    torch.manual_seed(17)
    return torch.randn(*sizes)


def failing(function, *args, error=IndexError, before=0):
    """Compiles it, and calls it until it is planned, if so asked; then it has to fail."""
    compiled = torch.compile(function)
    good = torch.tensor([0])
    for _ in range(before):
        compiled(good, *args)
    with pytest.raises(error) as raised:
        compiled(torch.tensor([10**6]), *args)
    return str(raised.value)


READS = [
    torch.Tensor.tolist, torch.Tensor.numpy, torch.Tensor.clone, torch.Tensor.data_ptr, repr,
    torch.Tensor.sum, torch.Tensor.detach_, torch.Tensor.untyped_storage, bytes, memoryview,
    lambda t: t[0].item(), lambda t: t.view(-1)[1:].max(), lambda t: torch.ones(t.shape).copy_(t),
    lambda t: t.__dlpack__(), lambda t: t.share_memory_(), lambda t: t.data.sum(),
    lambda t: t.untyped_storage().resize_(10**5), lambda t: torch.compile(torch.sin)(t),
    lambda t: torch.stack([t, t]), lambda t: (t * torch.ones((), requires_grad=True)).sum(),
]  # fmt: skip
UNREAD = [torch.Tensor.detach_, torch.Tensor.untyped_storage]  # of these, the elements aren't


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("before", [0, 3])
def test_what_was_never_computed_says_why(n, before):
    kept = {}

    def program(index, x):
        kept["early"] = x * 2
        picked = x[index]
        kept["late"] = (x + picked.sum()).sin()
        kept["written"] = torch.zeros(n).add_(picked)

    x = numbers(n)
    message = failing(program, x, before=before)
    assert "out of bounds" in message or "out of range" in message
    for name in ("late", "written"):
        for read in READS:
            if read in UNREAD:
                read(kept[name])
                continue
            with pytest.raises(IndexError, match="never were; compute it anew"):
                read(kept[name])
    if not before:  # calls are made in order; by a plan, in one that may differ
        assert torch.equal(kept["early"], x * 2)
    kept.clear()
    assert torch.compile(lambda x: x + 1)(x).equal(x + 1)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("before", [0, 3])
def test_what_had_contents_keeps_them(n, before):
    weight, buffer = numbers(n), torch.ones(n)
    view = weight[1:]

    def step(index, x):
        loss = x[index].sum()
        weight.sub_(loss * 0)
        view.mul_(1)
        buffer.copy_(x + loss)

    x = numbers(n) + 1
    failing(step, x, before=before)
    assert weight.equal(numbers(n)) and view.equal(numbers(n)[1:])
    assert buffer.equal(x + x[0] if before else torch.ones(n))
    assert weight.add_(1).equal(numbers(n) + 1)


def test_the_op_that_failed_is_named_not_the_one_that_looked():
    @torch.compile
    def program(x, divisor):
        y = torch.full((4,), 6) // divisor
        return (x + 1).sum().item() + y.sum()

    with pytest.raises(RuntimeError, match="^floor_divide: ZeroDivisionError"):
        program(numbers(4), torch.zeros(4, dtype=torch.int64))


def test_too_little_memory():
    kept = []

    def program(index, x):
        kept.append(x.sum())
        huge = x.expand(2**42, 5) + index  # 80 TiB
        kept.append(huge)

    message = failing(program, numbers(5), error=torch.OutOfMemoryError)
    assert message.startswith("add: cannot allocate")
    assert kept[0].equal(numbers(5).sum()) and len(kept) == 1


def test_an_interrupt_while_a_plan_is_made(monkeypatch):
    kept = []
    compiled = torch.compile(lambda x: kept.append(x.sin() * 2))
    compiled(numbers(50))

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as m, pytest.raises(KeyboardInterrupt):
        m.setattr(fuse.Builder, "build", interrupted)
        compiled(numbers(50))
    with pytest.raises(RuntimeError, match="KeyboardInterrupt"):
        kept[-1].sum()
    compiled(numbers(50))
    assert kept[-1].equal(numbers(50).sin() * 2)


def test_a_tensor_of_a_failed_function_in_the_next_one():
    kept = []
    failing(lambda index, x: kept.append(x[index] + 1), numbers(9))
    later = []
    with pytest.raises(IndexError, match="compute it anew"):
        torch.compile(lambda t: later.append(t * 2))(kept[0])
    with pytest.raises(IndexError, match="compute it anew"):
        later[0].sum()


def test_backward_through_what_was_never_computed():
    w = numbers(6).requires_grad_()
    kept = []
    failing(lambda index, x: kept.append((x[index].sum() + w).sin().sum()), numbers(6))
    with pytest.raises(IndexError, match="compute it anew"):
        kept[0].backward()


# ---- what else happens while calls are made ---------------------------------------------------


class Finalized:
    """Calls a compiled function when the collector finds it."""

    results: typing.ClassVar = []

    def __init__(self):
        self.me = self

    def __del__(self):
        x = torch.full((40,), 3.0)
        self.results.append(compiled_sine(x).equal(x.sin() + 1))


compiled_sine = torch.compile(lambda x: x.sin() + 1)


def test_finalizers_call_compiled_functions():
    def program(x):
        Finalized()
        return [(x * i).tanh().sum(0) for i in range(4)] + [torch.rand(3), x[x > 0]]

    x = numbers(30, 20)
    torch.manual_seed(0)
    expected = program(x)
    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(4):
            torch.manual_seed(0)
            for a, b in zip(torch.compile(program)(x), expected, strict=True):
                assert a.equal(b)
    finally:
        gc.set_threshold(*before)
    gc.collect()
    assert Finalized.results and all(Finalized.results)
    Finalized.results.clear()


def test_threads_share_a_plan_and_ask_for_different_results():
    """What one of them keeps, the plan made for another may not store: it is made anew."""
    wrong = []

    @torch.compile
    def program(x, keep):
        a = x * 2
        b = a.sin()
        c = b + 1
        return [t for t, kept in zip((a, b, c), keep, strict=True) if kept]

    x = numbers(3000)
    results = (x * 2, (x * 2).sin(), (x * 2).sin() + 1)

    def work(keep):
        for _ in range(20):
            got = program(x, keep)
            expected = [t for t, kept in zip(results, keep, strict=True) if kept]
            wrong.extend(1 for a, b in zip(got, expected, strict=True) if not a.equal(b))

    keeps = [(i & 1, i & 2, i & 4) for i in range(1, 8)]
    threads = [threading.Thread(target=work, args=(k,)) for k in keeps]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not wrong


def test_threads_look_at_what_others_put_off():
    """A tensor goes to another thread before it is computed, and that makes the calls."""
    seen, wrong = [], []
    ready, done = threading.Event(), threading.Event()

    def look():
        while not done.is_set():
            ready.wait()
            while seen:
                wrong.extend(1 for t in [seen.pop()] if not t.equal(torch.full((5000,), 3.0)))

    @torch.compile
    def program(x):
        for _ in range(30):
            y = x + 1
            seen.append(y + 1)
            ready.set()
            x = y - 1
        return x

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for _ in range(20):
            assert program(torch.ones(5000)).equal(torch.ones(5000))
    finally:
        done.set()
        ready.set()
        thread.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_child_does_not_wait_for_calls_that_its_parent_makes():
    import signal

    kept = []
    running = threading.Event()

    @torch.compile
    def program(x):
        kept.append(x @ x)
        kept.append(kept[0].sin())
        running.set()

    x = numbers(1500, 1500)
    thread = threading.Thread(target=program, args=(x,))
    thread.start()
    running.wait()
    for _ in range(3):
        child = os.fork()
        if not child:
            signal.alarm(60)
            try:
                right = kept[1].equal(kept[0].sin())
            except RuntimeError as e:
                right = "forked" in str(e)
            os._exit(0 if right else 1)
        assert os.waitpid(child, 0)[1] == 0
    thread.join()
    assert kept[1].equal((x @ x).sin())


def test_storages_from_buffers():
    def program():
        storage = torch.UntypedStorage.from_buffer(bytes(range(200)), byte_order="native")
        return torch.empty(0, dtype=torch.uint8).set_(storage)

    assert torch.compile(program)().tolist() == list(range(200))


def test_threads_of_a_routine_look_at_what_is_computed():
    """A routine's threads have no interpreter to wait with, and need not wait."""

    def program(x):
        y = x * 2
        return [*torch.sort(y, 1, out=(torch.empty(0), torch.empty(0, dtype=torch.int64))), y]

    x = numbers(400, 400)
    expected = [*torch.sort(x * 2, 1), x * 2]
    for _ in range(3):
        for a, b in zip(torch.compile(program)(x), expected, strict=True):
            assert a.equal(b)
