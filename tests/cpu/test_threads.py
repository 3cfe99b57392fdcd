"""The same bits for any number of threads, and life after a fork."""

import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from arrays import array, random_tensor

import taimatsu as torch


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def bits(x):
    if isinstance(x, (tuple, list)):
        return [bits(v) for v in x]
    return array(x).tobytes()


def invariant(threads, call):
    results = []
    for n in (1, 2, 3, 4):
        threads(n)
        results.append(bits(call()))
    assert all(r == results[0] for r in results[1:])


def test_denormal_numbers_are_flushed_on_the_pools_threads_too(threads):
    small = torch.full((1_000_000,), 1e-310, dtype=torch.float64)
    threads(4)
    try:
        assert torch.set_flush_denormal(True) and not (small * 1).any()
    finally:
        torch.set_flush_denormal(False)
    assert (small * 1 == small).all()
    with pytest.raises(TypeError, match="set_flush_denormal"):
        torch.set_flush_denormal(1)


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.complex64, torch.bfloat16, torch.int64]
)
@pytest.mark.parametrize(("m", "k", "n"), [(128, 128, 128), (1, 2000, 1000), (1000, 2000, 1),
                                           (8, 20_000, 40), (333, 257, 129)])  # fmt: skip
def test_products(threads, m, k, n, dtype):
    rng = np.random.default_rng(0)
    a, b = random_tensor(rng, (m, k), dtype), random_tensor(rng, (k, n), dtype)
    turned = b.t().contiguous().t()
    invariant(threads, lambda: (a @ b, a @ turned, a.expand(9, m, k) @ b.expand(9, k, n)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
@pytest.mark.parametrize("most", [5, 900], ids=["crowded", "spread"])
def test_sums_at_positions(threads, dtype, most):
    """Threads share out targets if these are met about as often, else columns."""
    rng = np.random.default_rng(3)
    at = torch.from_numpy(rng.integers(0, most, 700))
    grid = torch.from_numpy(rng.integers(0, most, (700, 300)))
    x, y = random_tensor(rng, (900, 300), dtype), random_tensor(rng, (700, 300), dtype)
    want = array(x).copy()
    np.add.at(want, array(at), array(y))
    np.testing.assert_allclose(array(x.index_add(0, at, y)), want, rtol=1e-4, atol=1e-4)
    invariant(threads, lambda: (x.index_add(0, at, y), x.clone().index_add_(0, at, y),
                                x.scatter_add(0, grid, y), x.gather(0, grid), x[at]))  # fmt: skip


@pytest.mark.parametrize("form", [
    lambda x, at: x.gather(0, at), lambda x, at: x.index_add_(0, at, torch.ones(at.shape)),
    lambda x, at: x.scatter_add(0, at, torch.ones(at.shape)), lambda x, at: x[at],
    lambda x, at: x.__setitem__(at, 1.0),
])  # fmt: skip
def test_a_position_out_of_range_is_found_by_any_thread(threads, form):
    threads(4)
    for place in (0, 123_456, 199_999):
        x, at = torch.zeros(1000), torch.arange(200_000) % 1000
        at[place] = 1000
        with pytest.raises((IndexError, RuntimeError), match="1000 is out of bounds"):
            form(x, at)
        assert not x.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.uint8])
def test_order_of_long_lines(threads, dtype):
    rng = np.random.default_rng(4)
    x = random_tensor(rng, (200_000,), dtype)
    order = np.argsort(array(x), kind="stable")
    assert (array(x.sort(stable=True)[1]) == order).all()
    assert (array(x.topk(20, largest=False)[1]) == order[:20]).all()
    invariant(threads, lambda: (x.sort(stable=True), x.sort(descending=True), x.topk(20),
                                x.topk(200), x.kthvalue(777), x.unique()))  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_convolution(threads, dtype):
    rng = np.random.default_rng(1)
    for c in (1, 8, 64):
        x = random_tensor(rng, (8, c, 28, 28), dtype)
        w = random_tensor(rng, (16, c, 3, 3), dtype)
        invariant(threads, lambda x=x, w=w: torch.conv2d(x, w, padding=1))
        g = random_tensor(rng, (8, 16, 28, 28), dtype)
        invariant(threads, lambda w=w, g=g: torch.conv_transpose2d(g, w, padding=1))


@pytest.fixture
def deterministic():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def test_gradient_of_a_convolution_if_asked_for(threads, deterministic):
    rng = np.random.default_rng(2)
    x = random_tensor(rng, (32, 1, 28, 28), torch.float32)
    w = random_tensor(rng, (16, 1, 3, 3), torch.float32).requires_grad_()

    def gradient():
        y = torch.conv2d(x, w)
        return torch.autograd.grad(y, w, y.detach())

    invariant(threads, gradient)


def test_factorisations_if_asked_for(threads, deterministic):
    rng = np.random.default_rng(3)
    a = random_tensor(rng, (400, 400), torch.float32)
    s = a @ a.t() + 400 * torch.eye(400)
    invariant(threads, lambda: (torch.linalg.solve(a, s), torch.linalg.cholesky(s),
                                torch.linalg.qr(a), torch.linalg.eigvalsh(s)))


def test_random_numbers_and_sorting(threads):
    def call():
        g = torch.Generator().manual_seed(0)
        x = torch.randn(100_000, generator=g)
        return x, torch.sort(x.view(100, 1000))[1], torch.nonzero(x > 1)

    invariant(threads, call)


def test_kernels_over_dims_that_they_have_not_got(threads):
    """More dims than a kernel's axes: threads share out the others."""
    rng = np.random.default_rng(5)
    x = random_tensor(rng, (6, 7, 9, 10, 40), torch.float32)
    turned = x.permute(3, 1, 4, 0, 2)
    few = random_tensor(rng, (3, 300, 2, 400), torch.float32)
    bias = random_tensor(rng, (300, 1, 1), torch.float32)

    def call():
        out = torch.empty(10, 7, 40, 6, 9).permute(0, 2, 1, 4, 3)
        return (turned + turned.flip(0), torch.softmax(turned, 2), turned[::2].sum(2), few + bias,
                torch.cumsum(few.transpose(0, 2), 1), torch.exp(turned.transpose(1, 2).mT, out=out))

    invariant(threads, call)
    assert np.array_equal(array(turned + turned), 2 * array(x).transpose(3, 1, 4, 0, 2))
    assert np.array_equal(array(few + bias), array(few) + array(bias))


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_long_concatenations(threads, dim):
    rng = np.random.default_rng(6)
    shapes = [(30, 40, 50), (30, 40, 50), (1, 40, 50), (0, 40, 50), (500, 40, 50)]
    parts = [random_tensor(rng, tuple(np.roll(s, dim)), torch.float32) for s in shapes]
    whole = np.concatenate([array(p) for p in parts], dim)
    invariant(threads, lambda: (torch.cat(parts, dim), torch.stack(parts[:2] * 9, dim)))
    assert np.array_equal(array(torch.cat(parts, dim)), whole)
    mixed = [parts[0].transpose(0, 2).contiguous().transpose(0, 2), *parts[1:]]
    assert np.array_equal(array(torch.cat(mixed, dim)), whole)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_threads_are_not_started_anew():
    """Not by regions of few chunks and of many in turn, and none where one is asked for."""
    program = """
        import os
        import taimatsu as torch
        torch.set_num_threads(1)
        torch.linalg.solve(torch.rand(300, 300), torch.rand(300, 300))
        assert len(os.listdir("/proc/self/task")) == 1
        torch.set_num_threads(4)
        few, many, a = torch.rand(40_000), torch.rand(400_000), torch.rand(300, 300)
        def work():
            few.exp(), many.exp(), torch.linalg.solve(a, a), few.exp(), a @ a
            return sorted(os.listdir("/proc/self/task"))
        first = work()
        assert all(work() == first for _ in range(5))
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, timeout=60)


@pytest.mark.parametrize("n", [0, -1])
def test_bad_number_of_threads(n):
    with pytest.raises(RuntimeError):
        torch.set_num_threads(n)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_works():
    """The parent's threads don't exist in the child: it must not wait for them."""
    program = """
        import os, sys
        import taimatsu as torch
        torch.set_num_threads(4)
        a, x, w = torch.rand(400, 400), torch.rand(8, 16, 28, 28), torch.rand(16, 16, 3, 3)
        def work():
            torch.linalg.solve(a, a)
            return (a @ a).sum().item() + torch.conv2d(x, w).sum().item()
        expected = work()
        pid = os.fork()
        if pid == 0:
            ok = torch.get_num_threads() == 1 and abs(work() / expected - 1) < 1e-4
            torch.set_num_threads(4)
            os._exit(0 if ok and abs(work() / expected - 1) < 1e-4 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        work()
        print("done")
    """
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    try:
        out, err = child.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        pytest.fail("the child hangs")
    assert out == "done\n", err


def test_python_threads_side_by_side(threads):
    """Library calls leave the interpreter's lock; results don't mix."""
    from concurrent.futures import ThreadPoolExecutor

    threads(2)
    rng = np.random.default_rng(4)
    a = [random_tensor(rng, (200, 200), torch.float64) for _ in range(4)]
    expected = [array(torch.linalg.solve(x, x @ x)) for x in a]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda x: array(torch.linalg.solve(x, x @ x)), a * 8))
    for i, g in enumerate(got):
        np.testing.assert_allclose(g, expected[i % 4], atol=1e-6)
