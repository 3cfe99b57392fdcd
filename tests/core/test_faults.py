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


# ---- storages ---------------------------------------------------------------------------------


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
