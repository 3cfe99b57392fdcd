"""The caching allocator: what it gives, when it asks the driver, and how little it wastes."""

from __future__ import annotations

import random

import pytest

import taimatsu as torch

MiB = 1 << 20
cuda = torch.cuda


def block(n: int) -> torch.Tensor:
    return torch.empty(n, dtype=torch.uint8, device="cuda")


def stat(name: str) -> int:
    return cuda.memory_stats()[name]


@pytest.fixture(autouse=True)
def _empty(double):
    block(1)  # makes the context
    cuda.synchronize()
    cuda.empty_cache()
    cuda.reset_peak_memory_stats()
    yield
    cuda.set_per_process_memory_fraction(1.0)
    double.set_memory(1 << 30)


def test_figures():
    assert cuda.memory_allocated() == 0 and cuda.memory_reserved() == 0
    a, b = block(1000), block(3 * MiB)
    assert cuda.memory_allocated() == 1024 + 3 * MiB
    assert stat("requested_bytes.all.current") == 1000 + 3 * MiB
    assert stat("allocated_bytes.small_pool.current") == 1024
    assert stat("allocation.large_pool.current") == 1
    assert cuda.memory_reserved() == 22 * MiB
    assert sum(s["total_size"] for s in cuda.memory_snapshot()) == 22 * MiB
    del a, b
    assert cuda.memory_allocated() == 0 and cuda.max_memory_allocated() == 1024 + 3 * MiB
    assert cuda.memory_reserved() == 22 * MiB
    cuda.reset_peak_memory_stats()
    assert cuda.max_memory_allocated() == 0
    nested = cuda.memory_stats_as_nested_dict()
    assert nested["allocation"]["all"]["freed"] >= 2
    cuda.empty_cache()
    assert cuda.memory_reserved() == 0


def test_memory_is_used_again_at_once():
    a = block(5000)
    address = a.data_ptr()
    del a
    assert block(5000).data_ptr() == address


def test_the_smallest_block_that_fits_is_taken():
    sizes = (8, 2, 4, 6)
    blocks = [x for n in sizes for x in (block(n * MiB), block(2 * MiB))]
    places = {n: blocks[2 * i].data_ptr() for i, n in enumerate(sizes)}
    blocks = blocks[1::2]
    assert block(4 * MiB).data_ptr() == places[4]
    a = block(6 * MiB)
    assert a.data_ptr() == places[6]
    assert block(5 * MiB).data_ptr() == places[8]
    assert len(blocks) == 4


def test_neighbours_become_one(double):
    a, b, c = (block(4 * MiB) for _ in range(3))
    first = a.data_ptr()
    reserved = cuda.memory_reserved()
    del a, c, b
    assert block(12 * MiB).data_ptr() == first
    assert cuda.memory_reserved() == reserved


def test_steady_state_makes_no_driver_call(double):
    def step():
        x = block(3 * MiB)
        y = [block(n) for n in (100, 5000, 2 * MiB)]
        return x, y

    step()
    before = double.calls()
    for _ in range(100):
        step()
    # Which context is current is asked without a call that counts; nothing else is.
    assert double.calls() == before


def test_streams_have_memory_of_their_own():
    side = cuda.Stream()
    a = block(4096)
    address = a.data_ptr()
    del a
    with cuda.stream(side):
        b = block(4096)
        assert b.data_ptr() != address
    assert block(4096).data_ptr() == address


def test_record_stream_defers_reuse(double):
    side = cuda.Stream()
    x = torch.full((1 << 16,), 7.0).cuda()
    side.wait_stream(cuda.current_stream())
    with cuda.stream(side):
        y = x * 2
    x.record_stream(side)
    address = x.data_ptr()
    del x
    if not double.threads:
        assert stat("active.all.current") > stat("allocation.all.current")
        other = torch.zeros(1 << 16, device="cuda")  # would write over what `side` has yet to read
        assert other.data_ptr() != address
    side.synchronize()
    assert (y.cpu() == 14).all()
    again = torch.empty(1 << 16, device="cuda")
    assert again.data_ptr() == address or double.threads
    assert stat("active.all.current") == stat("allocation.all.current")


def test_memory_that_is_not_recorded_is_overwritten(double):
    """What `record_stream` is for: without it, the program above is wrong."""
    side = cuda.Stream()
    x = torch.full((1 << 16,), 7.0).cuda()
    side.wait_stream(cuda.current_stream())
    with cuda.stream(side):
        y = x * 2
    del x
    other = torch.zeros(1 << 16, device="cuda")
    cuda.current_stream().synchronize()
    side.synchronize()
    assert (y.cpu() == 0).all() and (other.cpu() == 0).all()


def test_out_of_memory_tells_how_much_is_lost(double):
    double.set_memory(100 * MiB)
    kept = [block(10 * MiB) for _ in range(8)]
    del kept[1::2]
    with pytest.raises(torch.OutOfMemoryError) as error:
        block(70 * MiB)
    text = str(error.value)
    assert "Tried to allocate 70.00 MiB" in text and "total capacity of 100.00 MiB" in text
    assert "Tensors have 40.00 MiB" in text and "fragmentation" in text and "%" in text
    assert stat("num_ooms") >= 1
    assert block(10 * MiB).is_cuda  # goes on
    assert len(kept) == 4


def test_cached_memory_is_given_back_before_it_runs_out(double):
    double.set_memory(100 * MiB)
    small = [block(MiB) for _ in range(40)]
    del small
    retries = stat("num_alloc_retries")
    assert block(80 * MiB).is_cuda
    assert stat("num_alloc_retries") == retries + 1


def test_holes_are_mapped_elsewhere(double):
    """Expandable segments: what fits in memory fits, however it was used before."""
    if not double.virtual:
        pytest.skip("needs virtual memory")
    double.set_memory(102 * MiB)
    kept = [block(20 * MiB) for _ in range(5)]
    del kept[0], kept[1], kept[2]  # the first, third and fifth
    big = torch.full((60 * MiB,), 3, dtype=torch.uint8, device="cuda")
    assert (big[::4096].cpu() == 3).all() and double.used() == 102 * MiB
    assert len({s["address"] for s in cuda.memory_snapshot()}) > 1
    assert all(s["is_expandable"] for s in cuda.memory_snapshot())


def test_contents_survive_what_is_unmapped_around_them(double):
    kept = [torch.full((3 * MiB,), i, dtype=torch.uint8, device="cuda") for i in range(20)]
    for i in range(0, 20, 3):
        kept[i] = None
    cuda.empty_cache()
    more = [torch.full((5 * MiB,), 100 + i, dtype=torch.uint8, device="cuda") for i in range(5)]
    for i, t in enumerate(kept):
        assert t is None or (t[::1000].cpu() == i).all()
    for i, t in enumerate(more):
        assert (t[::1000].cpu() == 100 + i).all()


def test_empty_cache_gives_all_of_it_back(double):
    blocks = [block(random.Random(i).randrange(1, 8 * MiB)) for i in range(30)]
    del blocks
    cuda.empty_cache()
    assert cuda.memory_reserved() == 0 and double.used() == 0


def test_a_limit():
    cuda.set_per_process_memory_fraction(0.05)
    assert cuda.get_per_process_memory_fraction() == 0.05
    with pytest.raises(torch.OutOfMemoryError, match="set_per_process_memory_fraction"):
        block(60 * MiB)
    assert block(20 * MiB).is_cuda
    for bad, error in ((1.5, ValueError), (1, TypeError)):
        with pytest.raises(error, match="fraction"):
            cuda.set_per_process_memory_fraction(bad)


def test_a_tensor_that_is_larger_than_the_device():
    with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate 1024.00 GiB"):
        block(1 << 40)


def test_the_driver_fails_while_memory_grows(double):
    function = "cuMemMap" if double.virtual else "cuMemAlloc_v2"
    double.fail(function, 999)
    with pytest.raises(RuntimeError, match=f"CUDA error.*{function[:8]}"):
        block(5 * MiB)
    a = block(5 * MiB)  # nothing is left half done
    assert cuda.memory_allocated() == 5 * MiB and a.is_cuda


def test_snapshot_and_summary():
    a = block(100)
    (segment,) = cuda.memory_snapshot()
    assert segment["segment_type"] == "small" and segment["stream"] == 0
    assert segment["blocks"][0]["state"] == "active_allocated"
    assert segment["blocks"][0]["requested_size"] == 100
    assert [b["state"] for b in segment["blocks"][1:]] == ["inactive"]
    text = cuda.memory_summary()
    assert "CUDA memory summary, device ID 0" in text and "from small pool" in text
    assert len({len(line) for line in text.splitlines()}) == 1
    assert "from small pool" not in cuda.memory_summary(abbreviated=True)
    free, total = cuda.mem_get_info()
    assert total == 1 << 30 and free == total - cuda.memory_reserved()
    assert a.is_cuda and str(cuda.memory_reserved() // MiB) in cuda.list_gpu_processes()


def test_addresses_for_others():
    p = cuda.caching_allocator_alloc(1000)
    assert p and cuda.memory_allocated() == 1024
    cuda.caching_allocator_delete(p)
    assert cuda.memory_allocated() == 0


def test_pools_are_apart():
    pool = cuda.MemPool()
    assert pool.use_count() == 1 and pool.snapshot() == []
    a = block(4096)
    address = a.data_ptr()
    del a
    with cuda.use_mem_pool(pool):
        b = block(4096)
        assert b.data_ptr() != address
    (segment,) = pool.snapshot()
    assert segment["segment_pool_id"] == pool.id and segment["allocated_size"] == 4096
    del b
    cuda.empty_cache()
    assert len(pool.snapshot()) == 1  # kept as long as the pool is
    del pool
    cuda.empty_cache()
    assert cuda.memory_reserved() == 0


# A trace


def training_trace(layers: int = 12, steps: int = 4, seed: int = 0) -> list[tuple[int, int]]:
    """Allocations (number, bytes) and frees (number, 0) as training a small GPT makes them:
    parameters and optimizer states that stay, activations freed in reverse, temporaries of
    changing sizes between."""
    rng, trace, number = random.Random(seed), [], 0

    def allocate(n: int) -> int:
        nonlocal number
        number += 1
        trace.append((number, n))
        return number

    width = 768 * 1024 // 4
    for _ in range(layers):
        for n in (3 * width, width, 4 * width, 4 * width, 3000, 3000):
            for _ in range(3):  # with two states of Adam
                allocate(n)
    for _ in range(steps):
        tokens = rng.choice((384, 512, 448))
        saved = []
        for _ in range(layers):
            for factor in (1, 3, 1, 1, 4, 4, 1):
                temporary = allocate(tokens * 768 * factor)
                saved.append(allocate(tokens * 768 * factor))
                trace.append((temporary, 0))
        for a in reversed(saved):
            gradient = allocate(rng.choice((1, 2, 4)) * width)
            trace.append((a, 0))
            trace.append((gradient, 0))
    return trace


def test_a_trace_takes_little_more_than_it_holds():
    live: dict[int, torch.Tensor] = {}
    held = most = 0
    for number, n in training_trace():
        if n:
            live[number] = block(n)
            held += n
            most = max(most, held)
        else:
            held -= live.pop(number).numel()
    reserved = stat("reserved_bytes.all.peak")
    assert most <= reserved <= 1.15 * most + 40 * MiB, (reserved / MiB, most / MiB)


def test_random_programs_never_share_memory(double):
    """Blocks in use are disjoint and hold what was written, whatever is freed and given back."""
    rng = random.Random(1)
    live: list[tuple[torch.Tensor, int]] = []
    for step in range(400):
        if live and (rng.random() < 0.45 or len(live) > 40):
            t, value = live.pop(rng.randrange(len(live)))
            assert t[0].item() == t[-1].item() == value
            del t
        else:
            n = rng.choice((1, 100, 600, 5000, 300_000, 2 * MiB, 7 * MiB))
            value = step % 251
            live.append((torch.full((n,), value, dtype=torch.uint8, device="cuda"), value))
        if step % 97 == 0:
            cuda.empty_cache()
    spans = sorted((t.data_ptr(), t.data_ptr() + t.numel()) for t, _ in live)
    assert all(a[1] <= b[0] for a, b in zip(spans, spans[1:], strict=False))
