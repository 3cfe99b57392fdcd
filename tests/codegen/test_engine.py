"""The cache on disk, threads and forks. Each test has a process of its own to start cold."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

HEAD = """
import os, sys, threading
import numpy as np
from machine import Call, pointwise
from taimatsu.codegen import cache, engine
from taimatsu.codegen.ir import F32, const
from taimatsu.codegen.simplify import node

def check(k=2.0):
    x = np.arange(100, dtype="f").reshape(1, 100)
    y = np.zeros_like(x)
    Call(pointwise(lambda a: node("mul", a, const(k, F32)), (F32,), F32), [y, x])()
    np.testing.assert_array_equal(y, x * k)
"""


def script(body: str, cache: Path | str, head: str = HEAD, **environment: str) -> str:
    """Runs a program after `head` with this cache directory; returns what it prints."""
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(body)],
        env={**os.environ, "PYTHONPATH": path, "TAIMATSU_CACHE": str(cache), **environment},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


COUNT = """
check()
s = cache.statistics()
print(s.kernels, s.compiled, s.cache_hits)
"""


def files(cache: Path) -> list[Path]:
    return [p for p in cache.rglob("*") if p.is_file()]


def test_a_second_process_compiles_nothing(tmp_path):
    assert script(COUNT, tmp_path).split() == ["1", "1", "0"]
    assert len(files(tmp_path)) == 1
    assert script(COUNT, tmp_path).split() == ["1", "0", "1"]


def test_a_damaged_file_is_made_again(tmp_path):
    script(COUNT, tmp_path)
    (file,) = files(tmp_path)
    good = file.read_bytes()
    for bad in (b"", good[:40], good[:-1], good[:100] + b"\0" + good[101:], os.urandom(len(good))):
        file.write_bytes(bad)
        assert script(COUNT, tmp_path).split() == ["1", "1", "0"]
        assert files(tmp_path) == [file]
        assert script(COUNT, tmp_path).split() == ["1", "0", "1"]


def test_a_cache_that_can_t_be_written_costs_time_only(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    for place in (blocked, blocked / "below", "/proc/nowhere"):
        assert script(COUNT, place).split() == ["1", "1", "0"]


def test_no_cache(tmp_path):
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    assert script(COUNT, "", **home).split() == ["1", "1", "0"]
    assert not files(tmp_path)


def test_many_processes_fill_one_cache(tmp_path):
    body = """
    import multiprocessing
    def work(i):
        for k in range(5):
            check(float(k))
        return True
    with multiprocessing.get_context("spawn" if sys.argv[1:] else "fork").Pool(4) as pool:
        print(all(pool.map(work, range(8))))
    """
    assert script(body, tmp_path).strip() == "True"
    assert len(files(tmp_path)) == 5


def test_threads_compile_at_the_same_time(tmp_path):
    body = """
    failed = []
    def work(i):
        try:
            for k in range(6):
                check(float(k % 3 + i % 2))
        except BaseException as e:
            failed.append(e)
    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    print(failed, cache.statistics().kernels)
    """
    assert script(body, tmp_path).split() == ["[]", "4"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_while_another_thread_compiles(tmp_path):
    body = """
    check(0.0)
    stop = False
    def work():
        k = 1.0
        while not stop:
            check(k)
            k += 1
    thread = threading.Thread(target=work)
    thread.start()
    for i in range(20):
        child = os.fork()
        if child == 0:
            check(-1.0 - i)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    stop = True
    thread.join()
    print("done")
    """
    assert script(body, "").strip() == "done"


def test_debug_prints_the_kernel(tmp_path):
    assert "define i32 @k" in script(COUNT, tmp_path, TAIMATSU_DEBUG="1")


def test_nothing_is_imported_before_the_first_kernel(tmp_path):
    assert script("print('llvmlite' in sys.modules)", tmp_path).strip() == "False"


def test_kernels_load_wherever_the_programs_memory_lies(tmp_path):
    # Sections of one object more than 2 GB apart can't refer to each other, and LLVM aborts. Where
    # they come to lie is chance: this many kernels met it in two runs of three.
    out = script(
        """
        import mmap
        import taimatsu as torch
        held = []
        names = "exp log sin cos tan erf expm1 log1p tanh sinh cosh asin acos atan sigmoid lgamma"
        for op in (getattr(torch, name) for name in names.split()):
            for dtype in (torch.float32, torch.float64, torch.bfloat16):
                for shape in ((8,), (2, 4), (4, 2)):
                    held.append(mmap.mmap(-1, 1 << 27))
                    x = torch.full(shape, 0.5, dtype=dtype)
                    op(x)
                    op(x.t() if len(shape) == 2 else x[::2])
        print("done")
        """,
        tmp_path,
    )
    assert out == "done\n"



def test_a_warm_start_neither_traces_nor_asks_llvm(tmp_path):
    body = """
    import sys
    import taimatsu as torch
    a = torch.arange(12.0).reshape(3, 4)
    assert torch.equal(a.exp().log().round(), a)
    assert a.sum(1).tolist() == [6.0, 22.0, 38.0]
    assert (a.t() + a.t()).tolist() == (2 * a.t()).tolist()
    assert torch.logsumexp(a, 1).shape == (3,)
    assert a.index_select(1, torch.tensor([3, 1]))[0].tolist() == [3.0, 1.0]
    print(*(name in sys.modules for name in ("taimatsu.codegen.trace", "llvmlite")))
    try:
        a.index_select(1, torch.tensor([4]))
    except IndexError:
        print("checked")
    """
    assert script(body, tmp_path, head="").split() == ["True", "True", "checked"]
    warm = "False" if Path("/proc/cpuinfo").exists() and platform.machine() == "x86_64" else "True"
    assert script(body, tmp_path, head="").split() == [warm, warm, "checked"]


def test_code_that_calls_libm_is_linked(tmp_path):
    body = """
    import taimatsu as torch
    print(torch.fmod(torch.tensor([7.0, 8.0, -9.0]), 5.0).tolist())
    """
    for _ in range(2):
        assert script(body, tmp_path, head="").strip() == "[2.0, 3.0, -4.0]"


@pytest.mark.parametrize("op", ["torch.sin", "torch.lgamma", "torch.cumsum"])
def test_flat_code_is_the_linked_code(op, tmp_path):
    body = f"""
    import taimatsu as torch
    from taimatsu.codegen import image
    if {{linked}}:
        image.load = lambda block: None
        image.flatten = lambda code, names: None
    x = torch.linspace(-90, 4000, 1000)
    print({op}(x, *[0] * ({op!r} == "torch.cumsum")).view(torch.int32).sum().item())
    """
    flat, linked = (
        script(body.replace("{linked}", str(linked)), tmp_path / str(linked), head="")
        for linked in (False, True)
    )
    assert flat == linked
