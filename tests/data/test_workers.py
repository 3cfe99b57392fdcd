"""DataLoader with workers: order, seeds, failures, deaths, positions; that nothing is left."""

import gc
import io
import os
import random
import signal
import subprocess
import sys
import time
import weakref
from collections import namedtuple
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import taimatsu as torch
from taimatsu.multiprocessing import interrupts
from taimatsu.utils import data

LONG = 60  # seconds that nothing here takes, but on a machine that is hardly running
KINDS = ("process", "thread")


class Squares(data.Dataset):
    def __init__(self, n=20):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return i * i


class Rows(Squares):
    def __getitem__(self, i):
        return torch.full((3,), float(i)), str(i)


class Drawing(Squares):
    def __getitem__(self, i):
        return random.random(), np.random.rand(), torch.rand(()).item()  # noqa: NPY002


class Blocking(Squares):
    """The sample 0 never comes."""

    def __getitem__(self, i):
        return time.sleep(10 * LONG) if i == 0 else i


@dataclass
class Sample:
    image: torch.Tensor
    name: str


Pair = namedtuple("Pair", "x y")


class Stream(data.IterableDataset):
    def __init__(self, n=17):
        self.n = n

    def __iter__(self):
        info = data.get_worker_info()
        part = range(self.n) if info is None else range(info.id, self.n, info.num_workers)
        return iter(part)


class Counting(Stream):
    """One that knows its position."""

    at = 0

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]

    def __iter__(self):
        part = list(super().__iter__())
        start, self.at = self.at, 0
        for self.at in range(start + 1, len(part) + 1):
            yield part[self.at - 1]


def values(loader):
    return [b.tolist() for b in loader]


def processes():
    """The worker processes of this one that live."""
    import multiprocessing

    gc.collect()
    return [p for p in multiprocessing.active_children() if "DataLoader" in p.name]


@pytest.fixture(autouse=True)
def _nothing_is_left():
    yield
    assert processes() == []
    if os.path.isdir("/dev/shm"):
        assert not [f for f in os.listdir("/dev/shm") if f.startswith(f"taimatsu_{os.getpid()}_")]


# ---- batches -------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
def test_batches_are_those_of_the_process_itself(kind):
    for options in ({}, {"drop_last": True}, {"batch_size": 1}, {"prefetch_factor": 1}):
        options = {"batch_size": 3, **options}
        here = {k: v for k, v in options.items() if k != "prefetch_factor"}
        loader = data.DataLoader(Squares(), num_workers=2, worker_kind=kind, **options)
        assert values(loader) == values(data.DataLoader(Squares(), **here))
    unbatched = data.DataLoader(Squares(7), batch_size=None, num_workers=2, worker_kind=kind)
    assert list(unbatched) == [i * i for i in range(7)]
    batches = data.DataLoader(
        Squares(), batch_sampler=[[3, 1], [2]], num_workers=2, worker_kind=kind
    )
    assert values(batches) == [[9, 1], [4]]


def test_workers_start_where_stderr_is_no_file(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert values(data.DataLoader(Squares(4), 2, num_workers=1)) == [[0, 1], [4, 9]]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_start_methods(method):
    rows = data.TensorDataset(torch.arange(10.0).reshape(5, 2), torch.arange(5))
    loader = data.DataLoader(rows, 2, num_workers=1, multiprocessing_context=method)
    got = list(loader)
    assert [y.tolist() for _, y in got] == [[0, 1], [2, 3], [4]]
    assert got[1][0].tolist() == [[4, 5], [6, 7]] and got[1][0].is_shared()
    assert loader.multiprocessing_context.get_start_method() == method


def test_batches_stay_after_the_workers_are_gone():
    batches = list(data.DataLoader(Rows(300), 10, num_workers=2))
    assert processes() == []
    for i, (rows, names) in enumerate(batches):
        numbers = range(10 * i, 10 * i + 10)
        assert rows[:, 1].tolist() == list(numbers) and names == tuple(map(str, numbers))
        rows += 1  # and are this process's to write to


def test_memory_of_batches_is_used_again_but_never_while_somebody_has_it():
    class Large(Squares):
        def __getitem__(self, i):
            return torch.full((1 << 16,), float(i))

    kept, addresses = {}, set()
    for epoch in range(2):
        for i, batch in enumerate(data.DataLoader(Large(24), 2, num_workers=1)):
            addresses.add(batch.data_ptr())
            if i % 3 == 0:
                kept[epoch, i] = batch
    assert len(addresses) < 24  # of 24 batches
    for (_, i), batch in kept.items():
        assert (batch[0] == 2 * i).all() and (batch[1] == 2 * i + 1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_an_iterable_is_divided_by_its_workers(kind):
    loader = data.DataLoader(Stream(), 4, num_workers=3, worker_kind=kind)
    assert sorted(i for batch in values(loader) for i in batch) == list(range(17))
    assert values(loader)[:2] == [[0, 3, 6, 9], [1, 4, 7, 10]]  # the workers take turns


def test_collation_of_classes():
    class Mixed(Squares):
        def __getitem__(self, i):
            return {"s": Sample(torch.ones(2) * i, f"{i}"), "p": Pair(i, np.float32(i))}

    for workers in (0, 1):
        batch = next(iter(data.DataLoader(Mixed(), 3, num_workers=workers, collate_fn=None)))
        assert type(batch["s"]) is Sample and batch["s"].image.tolist() == [[0, 0], [1, 1], [2, 2]]
        assert batch["s"].name == ["0", "1", "2"]
        assert batch["p"].y.dtype == torch.float32 and batch["p"].x.tolist() == [0, 1, 2]


@pytest.mark.parametrize("kind", KINDS)
def test_order_of_arrival(kind):
    class First(Squares):  # the first batch waits until all others have been made
        def __getitem__(self, i):
            if i == 0:
                while not os.path.exists(path):
                    time.sleep(0.001)
            if i == 5:
                Path(path).touch()
            return i

    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/made"
        loader = data.DataLoader(First(6), num_workers=2, in_order=False, worker_kind=kind)
        got = [i for batch in values(loader) for i in batch]
    # The last is ordered when two have come; of those that are there at once any may be first.
    assert sorted(got) == list(range(6)) and got[:2] == [1, 3]


def test_persistent_workers():
    class Pids(Squares):
        def __getitem__(self, i):
            return os.getpid()

    def pids(loader):
        return {pid for batch in values(loader) for pid in batch}

    loader = data.DataLoader(Pids(), 2, num_workers=2, persistent_workers=True)
    first = pids(loader)
    next(iter(loader))  # an epoch that is left
    assert pids(loader) == first and len(first) == 2 and len(processes()) == 2
    loader = data.DataLoader(Pids(), 2, num_workers=2)
    assert pids(loader).isdisjoint(pids(loader))


# ---- random numbers ------------------------------------------------------------------------------
def drawn(workers, seed_per="worker", epochs=1, **options):
    generator = torch.Generator().manual_seed(1)
    loader = data.DataLoader(
        Drawing(8), 2, num_workers=workers, generator=generator, seed_per=seed_per, **options
    )
    return [[x.tolist() for x in batch] for _ in range(epochs) for batch in loader]


def test_seeds_of_workers():
    two, three = drawn(2), drawn(3)
    assert two == drawn(2) == drawn(2, persistent_workers=True)
    assert two[:2] == three[:2]  # the first batches of workers 0 and 1
    assert len({str(b) for b in three}) == 4
    both = drawn(2, epochs=2)
    assert both[:4] == two and both[4:] != two
    assert both == drawn(2, epochs=2, persistent_workers=True)


def test_seeds_of_batches_do_not_depend_on_the_number_of_workers():
    random.seed(3)
    state = random.getstate()
    here = drawn(0, "batch")
    assert random.getstate() == state  # the program's own numbers are not disturbed
    assert here == drawn(1, "batch") == drawn(3, "batch") != drawn(1)
    assert len({str(b) for b in here}) == 4


@pytest.mark.parametrize("kind", KINDS)
def test_worker_info_and_init(kind):
    seen = []

    class Asking(Squares):
        def __getitem__(self, i):
            info = data.get_worker_info()
            same = info.dataset is self or kind == "process"
            return info.id, info.num_workers, info.seed, self.offset + 100, same

        offset = 0

    def init(i):
        seen.append(i)
        data.get_worker_info().dataset.offset = 5

    torch.manual_seed(0)
    loader = data.DataLoader(Asking(4), num_workers=2, worker_init_fn=init, worker_kind=kind)
    got = [tuple(x.item() for x in batch) for batch in loader]
    seed = got[0][2]
    assert got == [(i % 2, 2, seed + i % 2, 105, True) for i in range(4)]
    assert data.get_worker_info() is None


# ---- failures ------------------------------------------------------------------------------------
class Raising(Squares):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def __getitem__(self, i):
        if i == 3:
            raise self.error
        return i


class Odd(Exception):
    def __init__(self, a, b):
        super().__init__(a, b)


@pytest.mark.parametrize(
    "error, kind",
    [(KeyError("x y"), KeyError), (ValueError("x y"), ValueError), (Odd("x y", 2), RuntimeError)],
)
def test_an_exception_arrives_with_its_traceback(error, kind):
    loader = data.DataLoader(Raising(error), num_workers=2)
    got = []
    with pytest.raises(kind, match=r"(?s)DataLoader worker process 1.*raise self\.error.*x y"):
        for batch in loader:
            got.append(batch.item())  # noqa: PERF401
    assert got == [0, 1, 2]
    epoch = iter(loader)
    for _ in range(3):
        next(epoch)
    with pytest.raises(kind):
        next(epoch)
    assert next(epoch).item() == 4  # the others are there
    del epoch


def test_an_exception_of_a_thread_is_itself():
    error = Odd(1, 2)
    with pytest.raises(Odd) as info:
        list(data.DataLoader(Raising(error), num_workers=2, worker_kind="thread"))
    assert info.value is error and "worker thread 1" in info.value.__notes__[0]


def test_failures_outside_of_samples():
    def init(i):
        raise ValueError("no start")

    with pytest.raises(ValueError, match="no start"):
        list(data.DataLoader(Squares(), num_workers=1, worker_init_fn=init))
    with pytest.raises(Exception, match="pickle|local object"):
        list(data.DataLoader(Squares(), num_workers=1, collate_fn=lambda batch: lambda: batch))
    with pytest.raises(RuntimeError, match="timed out after 0.1 seconds"):
        list(data.DataLoader(Blocking(), num_workers=1, timeout=0.1))


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGSEGV", "SIGABRT", "exit"])
def test_a_worker_that_dies_is_named(name, capfd):
    class Dying(Squares):
        def __getitem__(self, i):
            if i == 13:
                os._exit(7) if name == "exit" else os.kill(os.getpid(), getattr(signal, name))
            return i

    how = "exit code 7" if name == "exit" else f"killed by signal: {name}"
    if torch._core._sanitized and name == "SIGSEGV":
        how = "exit"  # the sanitizer reports it, and ends the process
    with pytest.raises(RuntimeError, match=rf"worker 1 \(pid \d+\) .*{how}.* index 13 \(batch 3\)"):
        list(data.DataLoader(Dying(), 4, num_workers=2))
    capfd.readouterr()  # the stack that a segfault prints


def test_workers_end_with_the_epoch_that_is_left():
    began = time.monotonic()
    for _ in data.DataLoader(Blocking(), 1, num_workers=2, sampler=[1, 0, 0, 0]):
        break
    assert processes() == [] and time.monotonic() - began < LONG


def test_too_many_workers_are_warned_of():
    with pytest.warns(UserWarning, match="suggested max number"):
        data.DataLoader(Squares(), num_workers=1000)


# ---- the ends of the main process ----------------------------------------------------------------
PROGRAM = """
import multiprocessing, os, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore it
import taimatsu as torch
from taimatsu.utils import data

class Forever(data.Dataset):
    def __len__(self):
        return 100
    def __getitem__(self, i):
        if i >= 2:
            time.sleep(1000)
        return torch.ones(1000)

{everywhere}
if __name__ == "__main__":
    {beginning}
    torch.multiprocessing.set_sharing_strategy(sys.argv[2])
    epoch = iter(data.DataLoader(Forever(), num_workers=2, multiprocessing_context=sys.argv[1]))
    first = next(epoch)
    print(*(p.pid for p in multiprocessing.active_children()), flush=True)
    {ending}
    next(epoch), next(epoch)
"""


def alive(pid, session):
    """Whether it runs, and is not another process by the same number."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return fields[0] != "Z" and int(fields[3]) == session


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(
    "name, method, strategy",
    [
        ("SIGINT", "fork", "file_descriptor"),
        ("SIGINT", "fork", "file_system"),
        ("SIGTERM", "fork", "file_descriptor"),
        ("SIGKILL", "fork", "file_descriptor"),
        ("SIGKILL", "fork", "file_system"),
        ("SIGKILL", "spawn", "file_descriptor"),
        ("SIGSEGV", "forkserver", "file_descriptor"),
    ],
)
def test_no_process_is_left_when_the_main_one_ends(tmp_path, name, method, strategy):
    program = started(tmp_path, method, strategy)
    workers = [int(pid) for pid in program.stdout.readline().split()]
    assert len(workers) == 2
    if name == "SIGINT":
        os.killpg(program.pid, signal.SIGINT)  # as a terminal does it
    else:
        os.kill(program.pid, getattr(signal, name))
    nothing_is_left(program, workers, name == "SIGINT")


def started(folder, method="fork", strategy="file_descriptor", **parts):
    text = PROGRAM
    for part in ("everywhere", "beginning", "ending"):
        text = text.replace(f"{{{part}}}", parts.get(part, ""))
    (folder / "program.py").write_text(text)
    return subprocess.Popen(
        [sys.executable, str(folder / "program.py"), method, strategy],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def nothing_is_left(program, workers, interrupted):
    try:
        error = program.communicate(timeout=LONG)[1]
    except subprocess.TimeoutExpired:
        os.killpg(program.pid, signal.SIGKILL)
        raise
    if interrupted:
        assert error.count(b"Traceback") == 1 and b"KeyboardInterrupt" in error
    names = tuple(f"taimatsu_{pid}_" for pid in (program.pid, *workers))
    end = time.monotonic() + LONG
    while left := [
        *(pid for pid in workers if alive(pid, program.pid)),
        *(f for f in os.listdir("/dev/shm") if f.startswith(names)),
    ]:
        assert time.monotonic() < end, left
        time.sleep(0.01)


INTERRUPT = "os.killpg(0, signal.SIGINT)"


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("place", ["before", "after_in_parent", "after_in_child"])
def test_an_interrupt_while_workers_are_starting(tmp_path, place):
    hook = f"os.register_at_fork({place}=lambda: once.acquire(False) and {INTERRUPT})"
    program = started(tmp_path, beginning=f"once = multiprocessing.Lock(); {hook}")
    nothing_is_left(program, [], True)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_an_interrupt_while_a_worker_begins(tmp_path):
    # In the worker, when it has its arguments and not yet its handler of signals.
    hook = f"""
def once(_):
    try:
        Path(sys.argv[0]).with_name("once").touch(exist_ok=False)
    except FileExistsError:
        return
    {INTERRUPT}
from pathlib import Path
from multiprocessing import util
util.register_after_fork(torch, once)
"""
    program = started(tmp_path, "forkserver", everywhere=hook)
    nothing_is_left(program, [], True)
    assert (tmp_path / "once").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_an_interrupt_that_the_waiting_thread_does_not_get(tmp_path):
    # As one that comes just before the wait: the system call is not interrupted.
    other = f"threading.Timer(0.2, lambda: {INTERRUPT}).start()"
    block = "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})"
    program = started(tmp_path, ending=f"{other}; {block}")
    nothing_is_left(program, [int(pid) for pid in program.stdout.readline().split()], True)


def test_an_interrupt_where_nobody_can_catch_it():
    class Thing:
        pass

    thing = Thing()
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    hook = sys.unraisablehook
    reference = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
    try:
        interrupts.insist()
        with pytest.raises(KeyboardInterrupt):
            del thing
            assert reference() is None
    finally:
        sys.unraisablehook = hook
        signal.signal(signal.SIGINT, handler)


# ---- positions -----------------------------------------------------------------------------------
def halves(make, at, workers):
    """What comes after `at` batches: in the epoch itself, and in a loader that loads the state."""
    loader = make()
    epoch = iter(loader)
    for _ in range(at):
        next(epoch)
    state = loader.state_dict()
    torch.rand(3)  # a program draws numbers of its own
    rest, following = list(epoch), list(loader)
    again = make()
    again.load_state_dict(state)
    torch.rand(5)
    return (rest, following), (list(again), list(again))


def as_lists(tree):
    if isinstance(tree, (list, tuple)):
        return [as_lists(x) for x in tree]
    return tree.tolist() if isinstance(tree, torch.Tensor) else tree


@pytest.mark.parametrize("workers, at", [(0, 0), (0, 2), (0, 5), (2, 2)])
def test_the_order_goes_on_where_it_was(workers, at):
    class Own(data.Sampler):  # draws from Python's numbers
        def __iter__(self):
            return iter(random.sample(range(10), 10))

    def sampled(sampler, generator=None, **options):
        return lambda: data.DataLoader(
            Squares(10), 2, num_workers=workers, sampler=sampler(), generator=generator, **options
        )

    def generator():
        return torch.Generator().manual_seed(4)

    makers = [
        lambda: data.DataLoader(Squares(10), 2, num_workers=workers),
        lambda: data.DataLoader(
            Squares(10), 2, num_workers=workers, shuffle=True, generator=generator()
        ),
        sampled(lambda: data.RandomSampler(range(10), generator=generator())),
        sampled(lambda: data.WeightedRandomSampler([1.0] * 10, 10, generator=generator())),
        sampled(lambda: data.SubsetRandomSampler(range(10), generator=generator())),
        sampled(lambda: data.DistributedSampler(range(10), 1, 0)),
    ]
    for make in makers:
        there, again = halves(make, at, workers)
        assert as_lists(again) == as_lists(there)
    for make in (
        lambda: data.DataLoader(Squares(10), 2, num_workers=workers, shuffle=True),
        sampled(Own),
    ):
        torch.manual_seed(0)
        there, again = halves(make, at, workers)
        assert as_lists(again[0]) == as_lists(there[0])


@pytest.mark.parametrize("workers, at", [(0, 0), (0, 4), (2, 0), (2, 1), (3, 4)])
@pytest.mark.parametrize("dataset", [Stream, Counting])
def test_an_iterable_goes_on_where_it_was(workers, at, dataset):
    there, again = halves(lambda: data.DataLoader(dataset(), 2, num_workers=workers), at, workers)
    assert as_lists(again[0]) == as_lists(there[0]) and as_lists(again[1]) == as_lists(there[1])


def test_random_transforms_go_on_where_they_were(tmp_path):
    def make(workers=2):
        return data.DataLoader(Drawing(8), 2, num_workers=workers, shuffle=True, seed_per="batch")

    loader = make()
    epoch = iter(loader)
    next(epoch)
    torch.save(loader.state_dict(), tmp_path / "position.pt")
    other = make(0)
    other.load_state_dict(torch.load(tmp_path / "position.pt"))
    assert as_lists(list(other)) == as_lists(list(epoch))


def test_states_without_an_epoch():
    loader = data.DataLoader(Squares(4), 2)
    list(loader)
    loader.load_state_dict(loader.state_dict())
    assert len(list(loader)) == 2
    state = {**loader.state_dict(), "batches": 1}
    loader.load_state_dict(state)
    assert loader.state_dict() == state and values(loader) == [[4, 9]]
    with pytest.raises(RuntimeError, match="in_order"):
        data.DataLoader(Squares(), num_workers=1, in_order=False).state_dict()
    with pytest.raises(ValueError, match="should not be set after"):
        loader.batch_size = 3


def test_numpy_is_seeded_when_it_is_imported():
    program = """
import sys
from taimatsu.utils.data._fetch import kept_random_state, seed_all
seed_all(5 + (1 << 32))
assert "numpy" not in sys.modules
import numpy as np
first = np.random.rand()
seed_all(5 + (1 << 32))
assert np.random.rand() == first
np.random.seed([5, 1])
assert np.random.rand() == first
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=LONG)
