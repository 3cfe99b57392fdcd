"""Many threads at once: kernels being compiled, tapes, caches and free lists of tensors."""

import os
import subprocess
import sys
import threading

import pytest

import taimatsu as torch


def _work(seed: int) -> list:
    """What a thread computes; nothing in it depends on other threads."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for i in range(30):
        n = 1 + (seed * 7 + i * 5) % 40
        dtype = (torch.float32, torch.float64)[i % 2]
        x = torch.randn(n, 3 + i % 5, generator=generator, dtype=dtype).requires_grad_()
        w = torch.randn(3 + i % 5, 4, generator=generator, dtype=dtype).requires_grad_()
        y = torch.nn.functional.layer_norm((x @ w).tanh(), [4])
        loss = (y[:, ::2].softmax(-1) * i).logsumexp(0).sum() + x.t().contiguous().var()
        loss.backward()
        with torch.no_grad():
            w -= 0.1 * w.grad
        index = torch.randint(n, (5,), generator=generator)
        found += [w.detach(), x.grad[index], torch.cat([x, x], 0).detach().cumsum(0)[-1]]
    return found


@pytest.mark.parametrize("count", [4, 16])
def test_threads_compute_what_one_does(count):
    start = threading.Barrier(count)
    results, failures = {}, []

    def run(seed):
        start.wait()
        try:
            results[seed] = _work(seed)
        except BaseException as e:
            failures.append(e)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures
    for seed in range(count):
        for a, b in zip(results[seed], _work(seed), strict=True):
            assert a.numpy().tobytes() == b.numpy().tobytes()


def test_one_graph_from_several_threads():
    """Backward passes that meet in one leaf: every contribution arrives, once."""
    leaf = torch.ones(50, dtype=torch.float64, requires_grad=True)

    def run():
        for _ in range(50):
            (leaf * 2).sum().backward()

    threads = [threading.Thread(target=run) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert (leaf.grad == 800).all()


def test_modes_belong_to_a_thread():
    seen = []
    with torch.no_grad():
        t = threading.Thread(target=lambda: seen.append(torch.is_grad_enabled()))
        t.start()
        t.join()
    assert seen == [True]


def test_a_nonsensical_number_of_threads_in_the_environment():
    script = "import taimatsu as t; x = t.ones(1 << 20); assert (x + x).sum() == 1 << 21"
    environment = {**os.environ, "OMP_NUM_THREADS": "1000000"}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
