"""What a process survives: lists that change under an op, storages that shrink, forks, pickles."""

import copy
import gc
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import warnings

import pytest

import taimatsu as torch

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")


class Clearing:
    """An int that empties a list when it is asked for its value."""

    def __init__(self, items, value=0):
        self.items, self.value = items, value

    def __index__(self):
        self.items.clear()
        gc.collect()
        return self.value


def run(program):
    """The program's exit status and output, in a process of its own."""
    done = subprocess.run([sys.executable, "-P", "-c", textwrap.dedent(program)], timeout=120,
                          capture_output=True, text=True, check=False)  # fmt: skip
    return done.returncode, done.stdout.strip(), done.stderr


# ---- arguments that change --------------------------------------------------------------------


def test_a_list_of_tensors_may_be_emptied_by_another_argument():
    tensors = [torch.full((2, 2), float(i)) for i in range(3)]
    joined = torch.cat(tensors, dim=Clearing(tensors))
    assert not tensors and joined.sum(1).tolist() == [0, 0, 2, 2, 4, 4]


def test_a_list_of_ints_may_shrink_while_it_is_read():
    sizes = []
    sizes += [Clearing(sizes, 1), 1, 1]
    with pytest.raises(TypeError):
        torch.zeros(sizes)


def test_lists_without_end_are_refused():
    endless = []
    endless.append(endless)
    for call in (torch.zeros, torch.cat, torch.tensor, torch.stack, torch.ones(3).__getitem__,
                 torch.overrides.has_torch_function):
        with pytest.raises((RecursionError, TypeError, ValueError)), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # lists as tuples of indices
            call(endless)


def test_out_may_be_emptied_while_the_op_runs():
    into = [torch.empty(0), torch.empty(0, dtype=torch.int64)]
    x = torch.rand(400, 400)
    thread = threading.Timer(0.001, into.clear)
    thread.start()
    for _ in range(3):
        targets = list(into) if len(into) == 2 else None
        torch.sort(x, 1, out=into if targets else (torch.empty(0), torch.empty(0).long()))
    thread.join()
    assert not into


@pytest.mark.parametrize("change", [
    lambda x: x.set_(torch.zeros(1)), lambda x: x.resize_(2, 2),
    lambda x: setattr(x, "data", torch.zeros(3, dtype=torch.int64)),
])  # fmt: skip
def test_an_index_may_change_the_tensor(change):
    """The view would reach into memory that the tensor no longer has."""
    x = torch.zeros(1000, 500)

    class Changing:
        def __index__(self):
            change(x)
            gc.collect()
            return 998

    with pytest.raises(RuntimeError, match="changed from sizes .1000, 500. to"):
        x[slice(Changing(), None)]
    x = torch.zeros(1000, 500)
    with pytest.raises(RuntimeError, match="changed from sizes"):
        x[slice(Changing(), None)] = 1.0


def test_set_keeps_a_source_that_is_changed_by_another_argument():
    x, source = torch.zeros(3), torch.ones(1000)

    class Changing:
        def __index__(self):
            source.set_()
            gc.collect()
            return 0

    assert x.set_(source, Changing(), (1000,), (1,)).sum() == 1000 and source.numel() == 0


def test_numbers_that_say_they_are_others_without_end():
    class Endless:
        dtype = None

        def __init__(self, other):
            self.other = other

        def item(self):
            return other_kind(self)

    class Other(Endless):
        pass

    def other_kind(x):
        return (Other if type(x) is Endless else Endless)(x)

    with pytest.raises(TypeError):
        torch.ones(2).add(Endless(None))
    with pytest.raises(TypeError):
        torch.full((2,), Other(None))


def test_a_buffer_needs_a_dtype():
    with pytest.raises(TypeError, match="dtype"):
        torch.frombuffer(bytearray(64), dtype=None)


# ---- storages ---------------------------------------------------------------------------------


def test_values_may_resize_the_storage_that_they_are_written_to():
    storage = torch.UntypedStorage(100)

    class Growing:
        def __index__(self):
            storage.resize_(10**6)
            return 7

    storage[5] = Growing()
    storage.resize_(100)
    storage.fill_(Growing())
    assert storage[5] == 7 and storage[10**6 - 1] == 7


def test_parts_of_a_storage_hold_its_memory_in_place():
    storage = torch.UntypedStorage(100).fill_(3)
    part = storage[10:20]
    with pytest.raises(RuntimeError, match="not resizable"):
        storage.resize_(10**7)
    assert part.tolist() == [3] * 10


@pytest.mark.parametrize("change", [
    lambda v: v.set_(torch.zeros(1000)), lambda v: v.data.resize_(1000),
    lambda v: setattr(v, "data", torch.zeros(1000)), lambda v: v.resize_(1000),
])  # fmt: skip
def test_a_view_that_was_given_other_memory(change):
    """Its gradient in its base has the base's elements only."""
    for base in (torch.ones(10), torch.ones(10, requires_grad=True) * 1):
        view = base[2:4]
        try:
            change(view)
        except RuntimeError:  # of one with history
            continue
        base.add_(torch.ones((), requires_grad=True))
        try:
            grads = torch.autograd.grad(view.sum() + base.sum(), base, allow_unused=True)
            assert all(g is None or g.shape == (10,) for g in grads)
        except RuntimeError as e:
            assert "invalid gradient" in str(e) or "require grad" in str(e)


@pytest.mark.parametrize("change", ["resize", "set_", "data"])
def test_other_threads_take_the_memory_away(change):
    """A call has the addresses that it began with."""
    x = torch.rand(600_000)
    stop, seen = [], set()

    def take():
        if change == "resize":
            x.untyped_storage().resize_(4_800_000)
            x.untyped_storage().resize_(2_400_000)
        elif change == "set_":
            x.set_(torch.zeros(5))
            x.set_(torch.rand(600_000))
        else:
            x.data = torch.zeros(2, 2, dtype=torch.float64)
            x.data = torch.rand(600_000)

    def compute():
        for call in (x.sin, x.sum, x.sort, lambda: x + x, lambda: x.add_(1), x.cumsum):
            try:
                call() if call != x.cumsum else x.cumsum(0)
            except (RuntimeError, IndexError) as e:
                seen.add(str(e))

    def loop(work):
        while not stop:
            work()

    threads = [threading.Thread(target=loop, args=(w,)) for w in (take, compute, compute)]
    [t.start() for t in threads]
    timer = threading.Timer(0.7, stop.append, [True])
    timer.start()
    [t.join() for t in threads]
    assert stop, seen


# ---- what is deep -----------------------------------------------------------------------------


def test_gradients_of_gradients_are_freed_without_recursion():
    first = torch.ones(1)
    for _ in range(200_000):
        following = torch.ones(1)
        following.grad = first
        first = following
    assert first.grad is not None


def test_memory_that_went_to_numpy_and_back_is_freed_without_recursion():
    x = torch.ones(3)
    for _ in range(20_000):
        x = torch.from_numpy(x.numpy())
    assert x.sum() == 3


class Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, *tensors):
        ctx.save_for_backward(*tensors)
        return sum(tensors)

    @staticmethod
    def backward(ctx, g):
        return (g,) * len(ctx.saved_tensors)


@pytest.mark.parametrize("function", [
    lambda x: x.exp() * x, lambda x: torch.cat([x, x * 2]).view(2, 3).prod(0),
    lambda x: torch.einsum("i,j,i->i", x, x, x), lambda x: Sum.apply(*[x * i for i in range(20)]),
])  # fmt: skip
def test_hooks_that_unpack_may_give_up_what_is_unpacked(function):
    started = []

    def unpack(t):
        if not started:
            started.append(True)
            y.backward(torch.ones(3))
        return t

    x = torch.ones(3, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, unpack):
        y = function(x)
    with pytest.raises(RuntimeError, match="a second time"):
        y.sum().backward()
    assert x.grad.isfinite().all()



@pytest.mark.parametrize("n", [10, 100_000, 1_000_000])
def test_tensors_may_reach_beyond_a_storage_that_shrank(n):
    x = torch.ones(n)
    view = x[n // 2 :]
    x.untyped_storage().resize_(0)
    assert x.untyped_storage().nbytes() == 0
    for call in (x.sum, view.clone, x.tolist, x.sort, lambda: x + view[:1], lambda: x.fill_(2.0)):
        call()  # whatever it reads
    x.untyped_storage().resize_(4 * n)
    assert x.fill_(3.0).mean() == 3 and view[0] == 3
    x.untyped_storage().resize_(8 * n)
    assert x.mean() == 3


def test_no_elements_go_to_numpy():
    z = torch.ones(0, 3, dtype=torch.complex64)
    assert z.imag.numpy().shape == z.real.numpy().shape == (0, 3)


# ---- forks and exits --------------------------------------------------------------------------


@needs_fork
def test_children_do_not_wait_for_locks_of_threads_they_lack():
    status, out, errors = run("""
        import os, signal, threading
        import taimatsu as torch

        stop = False
        own = torch.Generator()

        def busy(generator):
            while not stop:
                torch.rand(100_000, generator=generator)
                torch.linalg.inv(torch.eye(40))

        torch.rand(10_000, generator=own).sum(), torch.linalg.inv(torch.eye(40))
        threads = [threading.Thread(target=busy, args=(g,)) for g in (None, own)]
        for t in threads:
            t.start()
        failed = 0
        for _ in range(12):
            child = os.fork()
            if not child:
                signal.alarm(30)
                torch.rand(10_000).sum(), torch.rand(10_000, generator=own)
                torch.linalg.inv(torch.eye(40))
                os._exit(0)
            failed += os.waitpid(child, 0)[1] != 0
        stop = True
        for t in threads:
            t.join()
        print(failed)
    """)
    assert (status, out) == (0, "0"), errors


def test_a_daemon_thread_inside_an_op_does_not_abort_the_exit():
    status, out, errors = run("""
        import threading, time
        import taimatsu as torch

        def busy():
            x = torch.rand(2_000_000)
            while True:
                x.sin().sum()

        for _ in range(3):
            threading.Thread(target=busy, daemon=True).start()
        time.sleep(0.5)
        print("end")
    """)
    assert (status, out) == (0, "end"), errors


@needs_fork
def test_children_do_not_wait_for_what_other_threads_import_or_compile():
    status, out, errors = run("""
        import os, signal, threading
        import taimatsu as torch

        x = torch.rand(1000)
        thread = threading.Thread(target=lambda: (x.sin() * 3).sum())
        thread.start()
        child = os.fork()
        if not child:
            signal.alarm(60)
            (x.sin() * 3).sum()
            os._exit(0)
        print(os.waitpid(child, 0)[1])
        thread.join()
    """)
    assert (status, out) == (0, "0"), errors


# ---- copies and pickles -----------------------------------------------------------------------


class Slotted(torch.Tensor):
    __slots__ = ("name",)


@pytest.mark.parametrize("function", [
    torch.relu, torch.relu_, torch.linalg.inv, torch.nn.functional.gelu, torch.fft.fft,
])  # fmt: skip
def test_functions_are_pickled_by_name(function):
    assert pickle.loads(pickle.dumps(function)) is function
    assert copy.deepcopy(function) is function


def test_named_results_are_pickled():
    for found in (torch.ones(2, 2).max(0), torch.linalg.slogdet(torch.eye(2))):
        again = pickle.loads(pickle.dumps(found))
        assert type(again) is type(found) and torch.equal(again[0], found[0])
    assert type(found) is torch.return_types.linalg_slogdet
    with pytest.raises(AttributeError, match="no_such"):
        torch.return_types.no_such  # noqa: B018


def test_what_is_in_slots_is_copied():
    x = torch.ones(2).as_subclass(Slotted)
    x.name, x.other = "a", [1]
    for again in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert type(again) is Slotted and again.name == "a" and again.other == [1]


def test_a_tensor_of_ints_that_has_no_elements():
    """What stands for a list of ints is read, and on meta nothing is there to read."""
    places = torch.empty(2, dtype=torch.int64, device="meta")
    for call in (torch.ones(3).tensor_split, torch.ones(2, 2).permute, torch.ones(2).reshape):
        with pytest.raises(RuntimeError, match="no data"):
            call(places)
