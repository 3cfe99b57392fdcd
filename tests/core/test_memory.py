"""The caching allocator and storages."""

import gc

import pytest

import taimatsu as torch
from taimatsu import _core

MIB = 2**20
caching = pytest.mark.skipif(_core._sanitized, reason="this build keeps no freed memory")


def test_memory_is_counted():
    gc.collect()
    before = _core.memory_stats()
    t = torch.empty(MIB, dtype=torch.float32)
    during = _core.memory_stats()
    assert 4 * MIB <= during["allocated"] - before["allocated"] < 4.6 * MIB
    assert during["reserved"] >= during["allocated"]
    assert during["peak_allocated"] >= during["allocated"]
    del t
    assert _core.memory_stats()["allocated"] == before["allocated"]


def test_peaks_start_anew():
    t = torch.empty(8 * MIB)
    del t
    _core.reset_peak_memory_stats()
    stats = _core.memory_stats()
    assert stats["peak_allocated"] == stats["allocated"]


@caching
def test_memory_is_used_again():
    sizes = [1, 17, 100, 1000, 12345, 10**6]
    for _ in range(2):
        for n in sizes:
            torch.empty(n)
    _core.return_unused()  # and not by itself in the next seconds
    for n in sizes:
        torch.empty(n)
    before = _core.memory_stats()
    for _ in range(100):
        for n in sizes:
            torch.empty(n)
    after = _core.memory_stats()
    assert after["system_allocations"] == before["system_allocations"]
    assert after["allocations"] > before["allocations"]


@caching
def test_memory_is_given_back():
    t = torch.empty(64 * MIB)
    del t
    assert _core.memory_stats()["reserved"] >= 64 * MIB
    _core.empty_cache()
    stats = _core.memory_stats()
    assert stats["reserved"] == stats["allocated"]


@caching
def test_memory_goes_back_after_a_peak():
    def reserved():
        _core.return_unused()
        return _core.memory_stats()["reserved"]

    _core.empty_cache()
    before = reserved()
    torch.empty(64 * MIB)
    assert reserved() >= before + 256 * MIB  # it was needed a moment ago
    assert reserved() >= before + 256 * MIB
    assert reserved() <= before + 16 * MIB
    for _ in range(4):
        torch.empty(64 * MIB)
        at = _core.memory_stats()["system_allocations"]
        assert reserved() >= before + 256 * MIB
        torch.empty(64 * MIB)
        assert _core.memory_stats()["system_allocations"] == at


@pytest.mark.parametrize("move", [
    lambda x: x.share_memory_(),
    lambda x: x.untyped_storage().resize_(2 * x.nbytes),
    lambda x: x.set_(torch.zeros(3)),
    lambda x: setattr(x, "data", torch.zeros(3)),
])  # fmt: skip
def test_what_a_storage_leaves_is_free_again(move):
    before = torch._core.memory_stats()["allocated"]
    for _ in range(5):
        x = torch.zeros(1 << 18)
        move(x)
        del x
    assert torch._core.memory_stats()["allocated"] - before < 1 << 20


def test_the_cache_is_bounded():
    """Freed memory beyond the bound (at most 4 GiB) goes back without being asked for."""
    tensors = [torch.empty(2**30, dtype=torch.uint8) for _ in range(6)]  # untouched: costs nothing
    tensors.clear()
    stats = _core.memory_stats()
    assert stats["reserved"] - stats["allocated"] <= 4 * 2**30


@pytest.mark.parametrize("n", [1, 3, 15, 16, 17, 64, 100, 257, 1000, 5000, 10**5, 10**6])
def test_memory_is_aligned(n):
    assert torch.empty(n, dtype=torch.uint8).data_ptr() % 64 == 0
    assert torch.empty(n).data_ptr() % 64 == 0


@pytest.mark.parametrize("n", [0, 1, 16, 17, 1000, 10**6])
def test_tensors_do_not_share_memory(n):
    tensors = [torch.full((n,), float(i)) for i in range(20)]
    for i, t in enumerate(tensors):
        assert (t == i).all()


@pytest.mark.parametrize("shape", [(2**45,), (10**12,), (2**30, 2**20)])
def test_out_of_memory(shape):
    witness = torch.ones(3)
    with pytest.raises(torch.OutOfMemoryError, match=r"cannot allocate .* in use .* the limit is"):
        torch.empty(shape)
    assert witness.tolist() == [1, 1, 1]
    assert torch.ones(3).tolist() == [1, 1, 1]


def test_meta_tensors_have_no_memory():
    before = _core.memory_stats()
    t = torch.empty(2**40, device="meta")
    assert t.shape == (2**40,)
    assert _core.memory_stats()["allocated"] - before["allocated"] < 1024


@pytest.mark.parametrize("n", [0, 1, 10, 100_000])
@pytest.mark.parametrize("m", [0, 1, 10, 100_000])
def test_resized_storage_keeps_its_contents(n, m):
    t = torch.arange(n, dtype=torch.int64)
    t.untyped_storage().resize_(8 * m)
    assert t.untyped_storage().nbytes() == 8 * m
    kept = min(n, m)
    assert t.as_strided((kept,), (1,)).tolist() == list(range(kept))


def test_resized_storage_is_seen_by_aliases():
    t = torch.arange(4.0)
    other = t.data
    t.untyped_storage().resize_(4 * 100_000)
    t.fill_(7.0)
    assert other.tolist() == [7, 7, 7, 7]
    assert other.data_ptr() == t.data_ptr()


def test_foreign_memory_can_not_be_resized():
    import numpy as np

    array = np.arange(4.0)
    t = torch.from_numpy(array)
    with pytest.raises(RuntimeError, match="not resizable"):
        t.untyped_storage().resize_(1000)
    assert t.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cpu", ("cpu", None)),
        ("cpu:0", ("cpu", 0)),
        ("cuda", ("cuda", None)),
        ("cuda:1", ("cuda", 1)),
        ("meta", ("meta", None)),
    ],
)
def test_devices(text, expected):
    device = torch.device(text)
    assert (device.type, device.index) == expected
    assert str(device) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Device string must not be empty"),
        ("foo", "Expected one of cpu, cuda"),
        ("cuda:x", "Invalid device string: 'cuda:x'"),
        ("cuda:-1", "Invalid device string"),
        ("cuda:01", "Invalid device string"),
        ("cuda:999", "Invalid device string"),
    ],
)
def test_device_strings_that_are_none(text, message):
    with pytest.raises(RuntimeError, match=message):
        torch.device(text)


def test_devices_that_nothing_drives_have_names():
    assert torch.device("mps").type == "mps" and str(torch.device("hpu:1")) == "hpu:1"
    assert torch.ones(1).device != torch.device("xpu")
    with pytest.raises(NotImplementedError, match="no driver for mps"):
        torch.ones(1, device="mps")
    with pytest.raises(AssertionError, match="Torch not compiled with XPU enabled"):
        torch.ones(1).to("xpu")
