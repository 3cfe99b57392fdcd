"""The rest of `torch.cuda`'s names, on the double."""

from __future__ import annotations

import os

import pytest

import taimatsu as torch

cuda = torch.cuda


def test_every_name_is_there():
    for name in cuda.__all__:
        assert getattr(cuda, name) is not None
    assert cuda.FloatStorage and cuda.sparse.FloatTensor


@pytest.mark.parity
def test_every_name_of_pytorchs_is_there():
    import torch as oracle

    assert [n for n in oracle.cuda.__all__ if not hasattr(cuda, n)] == []
    assert [n for n in oracle.cuda.memory.__all__ if not hasattr(cuda.memory, n)] == []


def test_the_management_library():
    from taimatsu.cuda._libraries import _newest

    if not _newest("nvidia-ml"):
        pytest.skip("needs the double of the management library")
    assert (cuda.utilization(), cuda.memory_usage(1)) == (40, 21)
    assert (cuda.temperature(1), cuda.power_draw(), cuda.clock_rate("cuda:1")) == (61, 70000, 1981)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cuda.GreenContext.create(num_sms=8), "not supported"),
        (lambda: cuda.memory.CUDAPluggableAllocator("a.so", "a", "b"), "not supported"),
        (lambda: cuda.memory.change_current_allocator(None), "can't be exchanged"),
        (lambda: cuda.memory._set_allocator_settings("a:b"), "before the program starts"),
        (lambda: cuda.MemPool(allocator=object()), "other allocators"),
        (lambda: cuda.jiterator._create_jit_fn("template ..."), "torch.pointwise"),
        (lambda: cuda.current_blas_handle(), "cuBLASLt"),
        (lambda: cuda.current_solver_handle(), "there is none"),
    ],
)
def test_what_isnt_offered_says_so(call, message):
    with pytest.raises(RuntimeError, match=message):
        call()


def test_tunable_keeps_its_settings():
    tunable = cuda.tunable
    assert not tunable.is_enabled() and tunable.get_results() == ()
    tunable.enable()
    tunable.set_max_tuning_duration(7)
    assert tunable.is_enabled() and tunable.get_max_tuning_duration() == 7
    tunable.enable(False)
    assert not tunable.read_file()


def test_the_profiler_is_told(double):
    with cuda.profiler.profile():
        torch.ones(2, device="cuda")
    assert double.calls("cuProfilerStart") == double.calls("cuProfilerStop") == 1
    with cuda.nvtx.range("part {}", 1):
        assert cuda.nvtx.range_push("inner") == 1 and cuda.nvtx.range_pop() == 1


def test_files_read_into_memory(tmp_path):
    from taimatsu.cuda.gds import GdsFile, gds_register_buffer

    a, b = torch.randn(1024, device="cuda"), torch.randn(2, 512, device="cuda:1")
    gds_register_buffer(a.untyped_storage())
    file = GdsFile(str(tmp_path / "f"), os.O_CREAT | os.O_RDWR)
    file.save_storage(a.untyped_storage())
    file.save_storage(b.untyped_storage(), offset=a.nbytes)
    c, d = torch.empty(1024, device="cuda:1"), torch.empty(2, 512, device="cuda")
    file.load_storage(c.untyped_storage())
    file.load_storage(d.untyped_storage(), offset=a.nbytes)
    assert torch.equal(a.cpu(), c.cpu()) and torch.equal(b.cpu(), d.cpu())
    with pytest.raises(RuntimeError, match="has 4096 bytes from 4096 on"):
        file.load_storage(torch.empty(2048, device="cuda").untyped_storage(), offset=4096)


def test_memory_of_other_libraries():
    before = cuda.memory_allocated()
    address = cuda.caching_allocator_alloc(1000, stream=cuda.Stream())
    assert cuda.memory_allocated() == before + 1024
    cuda.caching_allocator_delete(address)
    assert cuda.memory_allocated() == before
    with pytest.raises(TypeError, match="stream argument"):
        cuda.caching_allocator_alloc(10, stream="a")


def test_pools_keep_memory_apart():
    pool = cuda.MemPool()
    with cuda.use_mem_pool(pool):
        assert pool.use_count() == 2
        x = torch.ones(1 << 20, device="cuda")
    y = torch.ones(1 << 20, device="cuda")
    inside = {b["address"] for s in pool.snapshot() for b in s["blocks"]}
    assert x.data_ptr() in inside and y.data_ptr() not in inside and pool.use_count() == 1


def test_figures_have_pytorchs_names():
    torch.ones(4, device="cuda")
    stats = cuda.memory_stats()
    for group in ("all", "large_pool", "small_pool"):
        for figure in ("allocation", "segment", "active", "inactive_split", "allocated_bytes",
                       "reserved_bytes", "active_bytes", "inactive_split_bytes",
                       "requested_bytes"):  # fmt: skip
            for key in ("current", "peak", "allocated", "freed"):
                assert f"{figure}.{group}.{key}" in stats
    for key in ("num_alloc_retries", "num_ooms", "num_sync_all_streams", "num_device_alloc",
                "num_device_free", "max_split_size", "oversize_allocations.current",
                "oversize_segments.peak"):  # fmt: skip
        assert key in stats
    assert "Oversize allocations" in cuda.memory_summary() and "CUDA OOMs" in cuda.memory_summary()
