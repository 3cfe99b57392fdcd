"""Tensors between processes: what travels, whose memory it is, what is left after crashes."""

import gc
import io
import os
import queue
import signal
import subprocess
import sys
import textwrap
import time
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest

import taimatsu as torch
import taimatsu.multiprocessing as mp
from taimatsu import nn
from taimatsu.multiprocessing import shared_memory
from taimatsu.multiprocessing.connection import DESCRIPTORS, INLINE

LONG = 60  # seconds that nothing here takes
STRATEGIES = sorted(mp.get_all_sharing_strategies())


@pytest.fixture(params=STRATEGIES)
def strategy(request):
    before = mp.get_sharing_strategy()
    mp.set_sharing_strategy(request.param)
    yield request.param
    mp.set_sharing_strategy(before)


@pytest.fixture(autouse=True)
def _no_file_is_left():
    yield
    gc.collect()
    if os.path.isdir("/dev/shm"):
        mine = f"taimatsu_{os.getpid()}_"
        arena = shared_memory._arena.segment
        kept = {arena.name} if arena is not None else set()
        assert [f for f in os.listdir("/dev/shm") if mine in f and f"/{f}" not in kept] == []


def joined(process):
    process.join(LONG)
    assert process.exitcode == 0


def run(target, *args):
    process = mp.get_context("fork").Process(target=target, args=args)
    process.start()
    return process


# ---- storages ------------------------------------------------------------------------------------
def test_sharing_moves_the_memory_under_tensors(strategy):
    x = torch.arange(6.0)
    view, alias, array = x[2:], x.data, x.numpy()
    assert not x.is_shared() and x.share_memory_() is x
    assert x.is_shared() and view.is_shared() and alias.is_shared()
    x[3] = 9
    assert view[1] == 9 and alias[3] == 9 and array[3] == 3  # the array has what was lent to it
    assert x.untyped_storage().is_shared() and not x.clone().is_shared()
    with pytest.raises(RuntimeError, match="not resizable"):
        x.untyped_storage().resize_(100)
    empty = torch.empty(0).share_memory_()
    assert empty.is_shared() and empty.tolist() == []
    assert torch.ones(2, device="meta").share_memory_().is_meta


def test_sharing_memory_of_arrays(strategy):
    array = np.arange(4.0)
    x = torch.from_numpy(array)
    other = x.numpy()
    x.share_memory_()
    x += 1
    assert array.tolist() == other.tolist() == [0, 1, 2, 3] and x.tolist() == [1, 2, 3, 4]


def test_modules_are_shared_whole(strategy):
    layer = nn.BatchNorm1d(3).share_memory()
    assert all(t.is_shared() for t in layer.state_dict().values())
    joined(run(lambda: layer.weight.data.fill_(5)))
    assert layer.weight.tolist() == [5, 5, 5]
    embedding = nn.Embedding(10, 3).share_memory()
    embedding.weight.data.zero_()
    optimizer = torch.optim.SGD(embedding.parameters(), lr=1.0)
    embedding(torch.tensor([1])).sum().backward()
    optimizer.step()
    assert embedding.weight.is_shared() and embedding.weight[1].tolist() == [-1, -1, -1]


def test_files(tmp_path):
    path = str(tmp_path / "numbers")
    x = torch.from_file(path, shared=True, size=3, dtype=torch.int32)
    x[:] = torch.tensor([1, 2, 3])
    assert x.is_shared() and x.untyped_storage().filename == path
    there = through(x)  # as the file's name
    there[2] = 4
    assert x[2] == 4 and there.untyped_storage().filename == path
    x[2] = 3
    y = torch.from_file(path, size=2, dtype=torch.int32)
    y[0] = 7
    assert y.tolist() == [7, 2] and x.tolist() == [1, 2, 3] and not y.is_shared()
    with pytest.raises(RuntimeError, match="12"):
        torch.from_file(path, size=4, dtype=torch.int32)
    assert torch.UntypedStorage.from_file(path, True, 20).nbytes() == 20
    assert os.path.getsize(path) == 20


def test_strategies():
    assert mp.get_sharing_strategy() in mp.get_all_sharing_strategies()
    with pytest.raises(AssertionError, match="pigeon"):
        mp.set_sharing_strategy("pigeon")


@pytest.mark.skipif("file_system" not in STRATEGIES, reason="no files in memory")
def test_too_little_room_is_said_before_it_is_needed():
    before = mp.get_sharing_strategy()
    mp.set_sharing_strategy("file_system")
    try:
        with pytest.raises(RuntimeError, match=r"/dev/shm is too small; \d+ bytes .*--shm-size"):
            shared_memory.allocate(shared_memory._available("/dev/shm") + (1 << 30))
    finally:
        mp.set_sharing_strategy(before)


def test_atomic_add():
    x = torch.zeros(2, dtype=torch.int64)
    assert torch._core.atomic_add(x.untyped_storage(), 8, 5) == 5
    assert torch._core.atomic_add(x.untyped_storage(), 8, -2) == 3 and x.tolist() == [0, 3]
    for offset in (9, 12, -8, 4):
        with pytest.raises(ValueError, match="from_buffer|aligned"):
            torch._core.atomic_add(x.untyped_storage(), offset, 1)


# ---- what travels --------------------------------------------------------------------------------
class Marked(torch.Tensor):
    pass


def through(value):
    """What another process's end of a queue gives, in this process."""
    parcel = mp.reductions.pack(value)
    data = bytes(parcel.data)
    received = mp.reductions.Parcel(data, [os.dup(fd) for fd in parcel.fds])
    return mp.reductions.unpack(received)


def test_values_of_every_kind(strategy):
    for dtype in (torch.float32, torch.bfloat16, torch.bool, torch.int8, torch.complex64):
        x = torch.tensor([[1, 0], [1, 1]]).to(dtype).T
        y = through(x)
        assert y.dtype == dtype and y.stride() == x.stride() and y.tolist() == x.tolist()
        assert x.is_shared() and y.is_shared()
        y.fill_(0)
        assert not x.any()
    a = torch.arange(5.0)
    b, c = through((a, a[1:3]))
    b[1] = 7
    assert c[0] == 7 and b.untyped_storage()._cdata == c.untyped_storage()._cdata
    marked = torch.ones(2).as_subclass(Marked)
    marked.note = "x"
    got = through(marked)
    assert type(got) is Marked and got.note == "x" and marked.is_shared() and got.is_shared()
    assert through(torch.empty(0, 3)).shape == (0, 3)
    assert through(torch.empty(2, device="meta")).is_meta
    assert through(torch.float64) is torch.float64
    storage = torch.ones(2).untyped_storage()
    assert through(storage).tolist() == storage.tolist()


def test_parameters_and_grads(strategy):
    p = nn.Parameter(torch.ones(2))
    p.grad = torch.full((2,), 3.0)
    q = through(p)
    assert type(q) is nn.Parameter and q.requires_grad and q.grad.tolist() == [3, 3]
    q.grad[0] = 5
    assert p.grad[0] == 5 and through(torch.ones(1, requires_grad=True)).grad is None
    layer = nn.Linear(3, 2)
    twin = through(layer)
    layer.weight.data.fill_(4)
    assert (twin.weight == 4).all() and isinstance(twin.weight, nn.Parameter)
    with pytest.raises(RuntimeError, match="non-leaf"):
        through(p * 2)


def test_many_tensors_in_one_message():
    n = DESCRIPTORS + 30
    large = [torch.full((1 << 14,), float(i)) for i in range(n)]  # a segment each
    receiver, sender = mp.Pipe(duplex=False)
    sender.send(large)
    got = receiver.recv()
    assert [int(x[-1]) for x in got] == list(range(n))
    got[3][0] = -1
    assert large[3][0] == -1


def test_a_message_that_cant_be_written_holds_nothing():
    x = torch.ones(1 << 16).share_memory_()
    segment, _ = shared_memory.segment_of(x.untyped_storage())
    with pytest.raises(Exception, match="pickle|local"):
        mp.reductions.pack((x, lambda: 0))
    assert segment.users() == 1


def test_the_standard_modules_queues_carry_tensors(strategy):
    import multiprocessing

    standard = multiprocessing.get_context("fork")
    there, back = standard.Queue(), standard.Queue()

    def work():
        x = there.get(timeout=LONG)
        x += 1
        back.put("done")

    process = standard.Process(target=work)
    process.start()
    x = torch.zeros(3)
    there.put(x)
    assert back.get(timeout=LONG) == "done" and x.tolist() == [1, 1, 1]
    joined(process)


def test_plain_pickles_hold_data():
    import pickle

    x = torch.ones(2).share_memory_()
    y = pickle.loads(pickle.dumps(x))
    y[0] = 3
    assert x[0] == 1
    out = io.BytesIO()
    torch.save(x, out)
    out.seek(0)
    assert torch.load(out).tolist() == [1, 1]
    assert isinstance(ForkingPickler.dumps([1]), memoryview)


# ---- queues and pipes ----------------------------------------------------------------------------
def test_queue_as_in_the_standard_library():
    ctx = mp.get_context("fork")
    q = ctx.Queue(2)
    assert q.empty() and not q.full() and q.qsize() == 0
    with pytest.raises(queue.Empty):
        q.get_nowait()
    with pytest.raises(queue.Empty):
        q.get(timeout=0.01)
    q.put(1)
    q.put_nowait(2)
    assert q.full() and q.qsize() == 2
    with pytest.raises(queue.Full):
        q.put(3, timeout=0.01)
    assert q.get() == 1 and q.get(timeout=LONG) == 2 and q.empty()
    with pytest.raises(Exception, match="pickle|local"):
        q.put(lambda: 0)
    q.close()
    with pytest.raises(ValueError, match="closed"):
        q.put(1)
    q.join_thread()


def test_more_messages_than_the_pipe_holds():
    q = mp.get_context("fork").Queue()
    process = run(lambda: [q.put((i, "x" * (i % 3) * INLINE)) for i in range(1000)])
    for i in range(1000):
        n, text = q.get(timeout=LONG)
        assert n == i and len(text) == i % 3 * INLINE
    joined(process)


def test_several_getters_share_a_queue():
    ctx = mp.get_context("fork")
    tasks, results = ctx.JoinableQueue(), ctx.SimpleQueue()

    def work():
        while (x := tasks.get()) is not None:
            results.put(x.sum())
            tasks.task_done()
        tasks.task_done()

    workers = [run(work) for _ in range(3)]
    for i in range(30):
        tasks.put(torch.full((4,), float(i)))
    tasks.join()
    for _ in workers:
        tasks.put(None)
    assert sorted(results.get().item() for _ in range(30)) == [4 * i for i in range(30)]
    for worker in workers:
        joined(worker)
    tasks.join()
    with pytest.raises(ValueError, match="too many"):
        tasks.task_done()


def test_pipe():
    a, b = mp.Pipe()
    a.send(torch.ones(2))
    b.send_bytes(b"abcdef", 1, 3)
    assert b.recv().tolist() == [1, 1] and a.recv_bytes() == b"bcd" and not a.poll()
    buffer = bytearray(5)
    a.send_bytes(b"xy")
    assert b.recv_bytes_into(buffer, 1) == 2 and buffer == b"\0xy\0\0"
    a.send(b)  # an end through the other: it arrives as a third one
    c = b.recv()
    c.send("from c")
    assert a.recv() == "from c"
    for end in (b, c):
        end.close()
    with pytest.raises(EOFError):
        a.recv()
    with pytest.raises(OSError):
        a.send(1)
    receiver, sender = mp.Pipe(duplex=False)
    with pytest.raises(OSError):
        receiver.send(1)
    with pytest.raises(OSError):
        sender.recv()


def total(x):
    return x.sum()


def test_pool():
    with mp.get_context("fork").Pool(2) as pool:
        sums = pool.map(total, [torch.full((3,), float(i)) for i in range(10)])
    assert [x.item() for x in sums] == [3 * i for i in range(10)]


# ---- whose memory it is --------------------------------------------------------------------------
def test_a_consumer_outlives_the_producer(strategy):
    q = mp.get_context("fork").Queue()
    joined(run(lambda: q.put([torch.full((1 << 16,), 3.0), torch.ones(2)])))
    large, small = q.get(timeout=LONG)  # it ended before this looks
    assert (large == 3).all() and small.tolist() == [1, 1]


def test_a_producer_outlives_the_consumer(strategy):
    q, done = (mp.get_context("fork").Queue() for _ in range(2))

    def work():
        x = q.get(timeout=LONG)
        x.fill_(8)
        done.put(None)
        os.kill(os.getpid(), signal.SIGKILL)

    process = run(work)
    x = torch.zeros(1 << 16)
    q.put(x)
    done.get(timeout=LONG)
    process.join(LONG)
    assert process.exitcode == -signal.SIGKILL and (x == 8).all()
    if strategy == "file_system":  # the dead one still counts: the tracker would remove the file
        segment, _ = shared_memory.segment_of(x.untyped_storage())
        segment.hand_out(-1)


def test_memory_is_freed_with_its_last_user(strategy):
    x = torch.ones(1 << 16).share_memory_()
    segment, _ = shared_memory.segment_of(x.untyped_storage())
    name = segment.name
    y = through(x)
    assert segment.users() == 1  # this process, however many tensors it has of it
    key = segment.key
    del x, segment
    gc.collect()
    assert (y == 1).all() and key in shared_memory._segments
    assert name is None or os.path.exists("/dev/shm" + name)
    del y
    gc.collect()
    assert key not in shared_memory._segments
    assert name is None or not os.path.exists("/dev/shm" + name)


def test_memory_is_used_again_only_when_nobody_uses_it():
    assert mp.get_sharing_strategy() == "file_descriptor"

    def shared(value):
        return torch.full((1 << 18,), value).share_memory_()

    for _ in range(3):  # a size that comes back is kept
        shared(0.0)
    x = shared(1.0)
    held = through(x)
    address = x.data_ptr()
    del x
    y = shared(2.0)
    assert y.data_ptr() != address and (held == 1).all()
    parcel = mp.reductions.pack(y)  # a handle on its way counts too
    address = y.data_ptr()
    del y
    assert shared(3.0).data_ptr() != address
    received = mp.reductions.Parcel(bytes(parcel.data), [os.dup(fd) for fd in parcel.fds])
    assert (mp.reductions.unpack(received) == 2).all()


PROGRAM = """
import os, signal, sys
import taimatsu as torch
import taimatsu.multiprocessing as mp

def work(q):
    q.put(torch.ones(1 << 16))
    q.put(torch.ones(4))
    signal.pause()

if __name__ == "__main__":
    mp.set_sharing_strategy("file_system")
    q = mp.get_context("fork").Queue()
    child = mp.get_context("fork").Process(target=work, args=(q,))
    child.start()
    kept = q.get(), torch.zeros(5).share_memory_()
    print(child.pid, len([f for f in os.listdir("/dev/shm") if str(child.pid) in f]), flush=True)
    signal.pause()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /dev/shm")
def test_files_are_removed_after_crashes(tmp_path):
    (tmp_path / "program.py").write_text(textwrap.dedent(PROGRAM))
    program = subprocess.Popen(
        [sys.executable, str(tmp_path / "program.py")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    child, files = map(int, program.stdout.readline().split())
    assert files >= 1
    for pid in (child, program.pid):
        os.kill(pid, signal.SIGKILL)
    program.communicate(timeout=LONG)
    end = time.monotonic() + LONG
    pids = (f"taimatsu_{child}_", f"taimatsu_{program.pid}_")
    while [f for f in os.listdir("/dev/shm") if f.startswith(pids)]:
        assert time.monotonic() < end
        time.sleep(0.01)


# ---- spawn ---------------------------------------------------------------------------------------
def _write(i, x):
    x[i] = i + 1


def _fail(i, how):
    if i == 1:
        if how == "raise":
            raise ValueError("the reason")
        if how == "exit":
            os._exit(3)
        os.kill(os.getpid(), signal.SIGUSR1)
    signal.pause()


def test_start_processes():
    x = torch.zeros(3)
    context = mp.start_processes(
        _write, (x.share_memory_(),), nprocs=3, join=False, start_method="fork"
    )
    assert len(context.pids()) == 3
    while not context.join(LONG):
        pass
    assert x.tolist() == [1, 2, 3] and context.join()


@pytest.mark.parametrize(
    "how, kind, match",
    [
        ("raise", mp.ProcessRaisedException, r"(?s)Process 1 .*raise ValueError.*the reason"),
        ("exit", mp.ProcessExitedException, "process 1 terminated with exit code 3"),
        ("kill", mp.ProcessExitedException, "process 1 terminated with signal SIGUSR1"),
    ],
)
def test_failures_of_processes(how, kind, match):
    with pytest.raises(kind, match=match) as info:
        mp.start_processes(_fail, (how,), nprocs=2, start_method="fork")
    assert info.value.error_index == 1 and info.value.error_pid > 0
    if how != "raise":
        assert info.value.exit_code == (3 if how == "exit" else -signal.SIGUSR1)
        assert info.value.signal_name == (None if how == "exit" else "SIGUSR1")
    assert mp.active_children() == []


def test_spawn(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent("""
        import taimatsu as torch
        import taimatsu.multiprocessing as mp

        def work(i, x, layer):
            x[i] = layer(torch.ones(2)).item()

        if __name__ == "__main__":
            layer = torch.nn.Linear(2, 1)
            x = torch.zeros(2)
            mp.spawn(work, args=(x, layer), nprocs=2)
            assert x.tolist() == [layer(torch.ones(2)).item()] * 2
            try:
                mp.spawn(work, args=(None, None))
            except mp.ProcessRaisedException as error:
                print("raised", "TypeError" in str(error))
        """)
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    out = subprocess.run(
        [sys.executable, program], env=environment, capture_output=True, timeout=LONG, text=True
    )
    assert out.stdout == "raised True\n", out.stderr


# ---- forks ---------------------------------------------------------------------------------------
FORKS = """
import sys
import taimatsu as torch
import taimatsu.multiprocessing as mp

def ops(scale):
    x = torch.arange(120000.0).reshape(300, 400) * scale    # threads, a kernel, BLAS, LAPACK
    y = (x @ x.T).sum() + torch.nn.functional.softmax(x, 1).sum()
    w = torch.ones(400, requires_grad=True)
    torch.tanh(x @ w).sum().backward()
    conv = torch.conv2d(torch.ones(2, 3, 20, 20), torch.ones(4, 3, 3, 3)).sum()
    solved = torch.linalg.solve(torch.eye(50) * 2, torch.ones(50)).sum()
    return [v.item() for v in (y, w.grad.sum(), conv, solved, torch.sort(x.ravel())[0][-1])]

def child(q, scale):
    q.put(ops(scale))

if __name__ == "__main__":
    method, before = sys.argv[1:]
    torch.set_num_threads(3)
    expected = ops(1.0) if before == "before" else None
    ctx = mp.get_context(method)
    q = ctx.Queue()
    children = [ctx.Process(target=child, args=(q, 1.0)) for _ in range(2)]
    for c in children:
        c.start()
    got = [q.get(timeout=60) for _ in children]
    for c in children:
        c.join()
    assert got == [expected or ops(1.0)] * 2, (got, ops(1.0))
    assert [c.exitcode for c in children] == [0, 0]
    print("equal")
"""


@pytest.mark.parametrize("before", ["before", "not before"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_ops_in_children(tmp_path, method, before):
    (tmp_path / "program.py").write_text(FORKS)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    if method == "fork":
        environment["TAIMATSU_CACHE"] = str(tmp_path / "cache")  # children compile kernels too
    out = subprocess.run(
        [sys.executable, str(tmp_path / "program.py"), method, before],
        env=environment, capture_output=True, text=True, timeout=2 * LONG,
    )  # fmt: skip
    assert out.stdout == "equal\n", out.stderr


def test_hogwild_converges():
    import runpy

    pytest.importorskip("sklearn")
    path = Path(__file__).parents[2] / "examples" / "hogwild.py"
    if not path.exists():
        pytest.skip("the examples are not here")
    module = runpy.run_path(str(path))
    alone, together = (module["train"](processes=n, epochs=4, start_method="fork") for n in (1, 4))
    assert alone > 0.93 and together > 0.93
