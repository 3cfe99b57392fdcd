"""Compiled functions on GPUs: calls are put off there too, and products take in what follows."""

from __future__ import annotations

import threading

import pytest

import taimatsu as torch

F, cuda = torch.nn.functional, torch.cuda
# Bits of cublasLtEpilogue_t.
PLAIN, RELU, BIAS, GELU, GRADIENT, AUX, SUMS_A, SUMS_B = 1, 2, 4, 32, 64, 128, 256, 512


def made(*sizes, dtype=torch.float32):
    return torch.randn(*sizes).to(dtype).cuda()


def launches(double) -> int:
    return double.calls("cuLaunchKernel")


def planned(function, *args):
    """What the compiled function gives once there is a plan."""
    compiled = torch.compile(function)
    for _ in range(3):
        result = compiled(*args)
    return result


def close(found, wanted):
    return torch.allclose(found.float(), wanted.float(), rtol=2e-2, atol=2e-2)


# ---- Products and what follows them --------------------------------------------------------------


@pytest.fixture
def blas(double):
    from taimatsu.cuda import _libraries

    if not _libraries.found("cublasLt"):
        pytest.skip("needs the double of cuBLASLt")
    return double


def gelu(x):
    return F.gelu(x, approximate="tanh")


HALF = torch.bfloat16
FOLLOWED = {
    "linear, relu": (RELU | BIAS, torch.float32, lambda x, w, b: F.linear(x, w.t(), b).relu()),
    "relu in place": (RELU | BIAS, HALF, lambda x, w, b: torch.relu_(F.linear(x, w.t(), b))),
    "relu": (RELU, torch.float16, lambda x, w, b: (x @ w).relu()),
    "bias": (BIAS, torch.float32, lambda x, w, b: b + x @ w),
    "bias and relu": (RELU | BIAS, torch.float32, lambda x, w, b: torch.relu(x @ w + b)),
    "gelu": (GELU | BIAS, HALF, lambda x, w, b: gelu(F.linear(x, w.t(), b))),
    "of batches": (GELU, HALF, lambda x, w, b: gelu(x.unsqueeze(0) @ w)),
    "what was added": (RELU, torch.float32, lambda x, w, b: torch.addmm(x @ w, x, w).relu()),
}  # fmt: skip


@pytest.mark.parametrize("name", FOLLOWED)
def test_a_product_takes_in_what_follows(blas, name):
    bits, dtype, function = FOLLOWED[name]
    args = made(5, 8, dtype=dtype), made(8, 16, dtype=dtype), made(16, dtype=dtype)
    wanted = function(*args)
    compiled = torch.compile(function)
    for _ in range(2):
        compiled(*args)
    before, kernels = blas.epilogues(bits), launches(blas)
    found = compiled(*args)
    assert blas.epilogues(bits) == before + 1 and launches(blas) == kernels
    assert found.dtype == dtype and close(found, wanted)


APART = {
    "gelu by erf": (HALF, lambda x, w, b: F.gelu(F.linear(x, w.t(), b))),
    "gelu of float32": (torch.float32, lambda x, w, b: gelu(F.linear(x, w.t(), b))),
    "of float64": (torch.float64, lambda x, w, b: torch.relu(x @ w)),
    "scaled": (torch.float32, lambda x, w, b: torch.add(x @ w, b, alpha=2)),
    "a column": (torch.float32, lambda x, w, b: x @ w + b[:5].unsqueeze(1)),
    "a matrix": (torch.float32, lambda x, w, b: x @ w + b.expand(5, 16)),
    "both asked for": (torch.float32, lambda x, w, b: (lambda y: y + y.relu())(x @ w)),
}


@pytest.mark.parametrize("name", APART)
def test_what_is_no_epilogue(blas, name):
    dtype, function = APART[name]
    args = made(5, 8, dtype=dtype), made(8, 16, dtype=dtype), made(16, dtype=dtype)
    seen = {bits: blas.epilogues(bits) for bits in (RELU, RELU | BIAS, GELU | BIAS)}
    found = planned(function, *args)
    assert torch.allclose(found, function(*args))
    assert seen == {bits: blas.epilogues(bits) for bits in seen}


@pytest.mark.parametrize("width", [16, 20])
def test_training_keeps_what_gelu_is_applied_to(blas, width):
    """Written beside the result, and read by the product that gives its gradient; of a width that
    the library doesn't take, by kernels."""
    x, first = made(5, 8, dtype=HALF), torch.nn.Linear(8, width, device="cuda", dtype=HALF)
    second = torch.nn.Linear(width, 4, device="cuda", dtype=HALF)

    def step(x):
        first.zero_grad()
        out = second(gelu(first(x)))
        out.float().square().sum().backward()
        return [out.detach(), *(p.grad.clone() for p in first.parameters())]

    wanted, bits = step(x), (GELU | BIAS | AUX, GRADIENT | AUX)
    before = [blas.epilogues(b) for b in bits]
    found = planned(step, x)
    assert [blas.epilogues(b) - n > 0 for b, n in zip(bits, before, strict=True)] == [
        width % 8 == 0] * 2  # fmt: skip
    scale = max(float(w.float().abs().max()) for w in wanted)
    for a, b in zip(found, wanted, strict=True):
        assert torch.allclose(a.float(), b.float(), rtol=3e-2, atol=1e-2 * scale)


def test_where_the_library_has_no_algorithm_calls_are_made_one_by_one(blas):
    x, w = made(6, 24), made(24, 40)
    compiled = torch.compile(lambda x, w: (x @ w).relu())
    compiled(x, w)
    blas.fail("cublasLtMatmulAlgoGetHeuristic", 15)
    before = blas.epilogues(RELU)
    for _ in range(2):
        assert close(compiled(x, w), (x @ w).relu())
    assert blas.epilogues(RELU) == before


@pytest.mark.parametrize("sizes", [(0, 8, 16), (5, 0, 16), (5, 8, 0)])
def test_products_of_no_elements(sizes):
    m, k, n = sizes
    found = planned(lambda x, w, b: torch.relu(x @ w + b), made(m, k), made(k, n), made(n))
    assert found.shape == (m, n) and (k or bool((found >= 0).all()))


@pytest.mark.parametrize("layer", ["linear", "addmm"])
@pytest.mark.parametrize("dtype", [torch.float32, HALF, torch.float64])
def test_a_weights_gradient_brings_the_bias(blas, layer, dtype):
    bits = SUMS_B if layer == "linear" else SUMS_A
    function = F.linear if layer == "linear" else lambda x, w, b: torch.addmm(b, x, w.t())
    tensors = [made(*s, dtype=dtype) for s in ((3, 5, 8), (16, 8), (16,))]
    if layer == "addmm":
        tensors[0] = tensors[0][0]
    grads = []
    for device in ("cpu", "cuda"):
        x, w, b = (t.to(device).requires_grad_() for t in tensors)
        before = blas.epilogues(bits)
        function(x, w, b).square().sum().backward()
        grads.append([t.grad.cpu() for t in (x, w, b)])
    assert blas.epilogues(bits) == before + (dtype != torch.float64)
    for a, b in zip(*grads, strict=True):
        digits = 3e-2 if dtype == HALF else 1e-5
        assert torch.allclose(a, b, rtol=digits, atol=digits * float(a.abs().max()))


def test_a_bias_is_aligned_as_its_algorithm_was_chosen_for(blas):
    x, w, several = made(5, 8), made(16, 8), made(20)
    for first in (0, 1, 2):  # the double tells if one's algorithm is taken for another
        b = several[first : first + 16]
        assert torch.allclose(F.linear(x, w, b), x @ w.t() + b)


# ---- Calls put off -------------------------------------------------------------------------------


def test_a_chain_is_one_kernel(double):
    x, b, residual = made(64, 32), made(32), made(64, 32)
    compiled = torch.compile(lambda x, b, r: gelu(x + b) + r)
    for _ in range(2):
        compiled(x, b, residual)
    before = launches(double)
    found = compiled(x, b, residual)
    assert launches(double) == before + 1
    assert torch.equal(found, gelu(x + b) + residual)


def test_what_is_between_has_no_memory(double):
    x = torch.ones(1 << 20, device="cuda")
    compiled = torch.compile(lambda x: ((x + 1).sin() * 2).cos() - x)
    for _ in range(3):
        cuda.reset_peak_memory_stats()
        before = cuda.memory_allocated()
        y = compiled(x)
    assert cuda.max_memory_allocated() - before <= y.nbytes + (2 << 20)


def test_devices_are_apart():
    """A number on the CPU takes part in the GPU's calls, not in its kernels."""
    def function(x, scale):
        scale = scale * 2 + 1
        return x * scale, (x.sum() * scale).exp(), scale

    x, scale = made(4, 4) / 100, torch.tensor(0.25)
    for a, b in zip(planned(function, x, scale), function(x, scale), strict=True):
        assert a.device == b.device and torch.allclose(a, b)
    for device in ("cpu", "cuda", "cpu"):  # the same calls, elsewhere
        compiled = torch.compile(lambda x: (x + 1) * 2)
        for _ in range(3):
            assert compiled(torch.ones(3, device=device)).tolist() == [4, 4, 4]


def test_events_come_after_what_was_called_before(double):
    event, x = cuda.Event(), torch.ones(1 << 10, device="cuda")

    @torch.compile
    def function(x):
        y = x * 2 + 1
        event.record()
        return y - 1

    for _ in range(3):
        with double.trace() as queued:
            y = function(x)
        kinds = [what for _, what, *_ in queued]
        assert "launch" in kinds[: kinds.index("record")]
        assert bool((y == 2).all())


def test_another_thread_makes_them_on_their_stream(double):
    side, x, shared = cuda.Stream(), torch.ones(1 << 10, device="cuda"), []

    def read():
        shared.append(shared[0].sum())

    @torch.compile
    def function(x):
        del shared[:]
        shared.append(x * 3 + 1)
        reader = threading.Thread(target=read)
        reader.start()
        reader.join()
        return shared[1]

    side.wait_stream(cuda.current_stream())
    for _ in range(3):
        with cuda.stream(side), double.trace() as queued:
            function(x)
        side.synchronize()
        assert side.cuda_stream in {stream for stream, what, *_ in queued if what == "launch"}
        assert bool((shared[0] == 4).all())


def test_a_graph_captures_a_compiled_function():
    x = torch.ones(1 << 10, device="cuda")
    compiled = torch.compile(lambda x: (x * 2 + 1).relu())
    for _ in range(3):
        compiled(x)
    graph = cuda.CUDAGraph()
    with cuda.graph(graph):
        y = compiled(x)
    x.fill_(4)
    graph.replay()
    assert bool((y == 9).all())


def test_a_librarys_result_is_not_copied(double):
    from taimatsu.cuda import _libraries

    if not _libraries.found("cudnn"):
        pytest.skip("needs the double of cuDNN")
    x, w = made(1, 2, 6, 6), made(3, 2, 3, 3)
    copies = lambda: double.calls("cuMemcpyAsync") + launches(double)
    wanted, compiled = F.conv2d(x, w), torch.compile(F.conv2d)
    before = copies()
    found = [F.conv2d(x, w), *(compiled(x, w) for _ in range(2))]
    assert copies() == before
    assert all(torch.equal(y, wanted) for y in found)
