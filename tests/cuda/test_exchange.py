"""Memory of GPUs shared with other libraries, in the order of streams: DLPack and the interface of
CUDA arrays. The double runs nothing before it has to, so a wait that is missing shows."""

from __future__ import annotations

import ctypes

import pytest

import taimatsu as torch

cuda = torch.cuda


@pytest.fixture
def x():
    return torch.arange(6.0).reshape(2, 3).cuda()


@pytest.fixture
def side():
    return cuda.Stream()


class Producer:
    """Another library's array, by either protocol; notes what it was asked."""

    def __init__(self, tensor, **changes):
        self.tensor, self.asked, self.changes = tensor, [], changes

    def __dlpack_device__(self):
        return self.tensor.__dlpack_device__()

    def __dlpack__(self, **options):
        self.asked.append(options)
        return self.tensor.__dlpack__(**options)

    @property
    def __cuda_array_interface__(self):
        return {**self.tensor.__cuda_array_interface__, **self.changes}


# DLPack


def test_dlpack_shares_memory(x):
    assert x.__dlpack_device__() == (2, 0) and x.to("cuda:1").__dlpack_device__() == (2, 1)
    y = torch.from_dlpack(x)
    assert y.device == x.device and y.data_ptr() == x.data_ptr() and y.tolist() == x.tolist()
    y += 1
    assert x[0, 0].item() == 1
    there = torch.from_dlpack(x.to("cuda:1").t())
    assert there.device.index == 1 and there.tolist() == x.t().tolist()
    capsule = torch.utils.dlpack.to_dlpack(x)
    assert torch.from_dlpack(capsule).data_ptr() == x.data_ptr()
    assert torch.from_dlpack(x, device="cpu").device.type == "cpu"


def test_a_producer_is_told_the_stream_that_will_use_its_memory(x, side):
    given = Producer(x)
    torch.from_dlpack(given)
    with cuda.stream(side):
        torch.from_dlpack(given)
    assert [a["stream"] for a in given.asked] == [1, side.cuda_stream]
    on_the_host = Producer(x.cpu())
    torch.from_dlpack(on_the_host)
    assert "stream" not in on_the_host.asked[0]


def test_a_consumer_comes_after_what_is_queued(double, x, side):
    for _ in range(10):
        x = x + 1
    y = torch.from_dlpack(x.__dlpack__(stream=side.cuda_stream))
    with cuda.stream(side):
        assert (y.cpu() == torch.arange(6.0).reshape(2, 3) + 10).all()
    with double.trace() as queued:
        x.__dlpack__(stream=side.cuda_stream)
    assert queued == [(0, "record"), (side.cuda_stream, "wait", 0)]
    with double.trace() as queued:
        x.__dlpack__()
        x.__dlpack__(stream=-1)
        x.__dlpack__(stream=1)  # the current one, so in order already
        x.__dlpack__(stream=None)
    assert queued == []
    with cuda.stream(side), double.trace() as queued:
        x.__dlpack__(stream=None)  # the default one
    assert queued == [(side.cuda_stream, "record"), (0, "wait", side.cuda_stream)]


def test_streams_that_are_none(x):
    with pytest.raises(TypeError, match="stream must be"):
        x.__dlpack__(stream="a")
    for bad in (0, -2):
        with pytest.raises(AssertionError, match="unsupported stream"):
            x.__dlpack__(stream=bad)
    with pytest.raises(AssertionError, match="None on cpu"):
        x.cpu().__dlpack__(stream=1)


def test_a_consumer_may_ask_for_a_device_and_a_copy(x):
    here = torch.from_dlpack(x.__dlpack__(dl_device=(1, 0)))
    assert here.device.type == "cpu" and here.tolist() == x.tolist()
    with pytest.raises(ValueError, match="copy=False"):
        x.__dlpack__(dl_device=(1, 0), copy=False)
    assert torch.from_dlpack(x.__dlpack__(dl_device=(2, 0))).data_ptr() == x.data_ptr()
    assert torch.from_dlpack(x.__dlpack__(copy=True)).data_ptr() != x.data_ptr()
    with pytest.raises(BufferError, match="device type 8"):
        x.__dlpack__(dl_device=(8, 0))


# The interface of CUDA arrays


def test_what_describes_a_tensor(x, side):
    about = x.t().__cuda_array_interface__
    assert about["shape"] == (3, 2) and about["strides"] == (4, 12) and about["typestr"] == "<f4"
    assert about["data"] == (x.data_ptr(), False) and x.__cuda_array_interface__["strides"] is None
    assert about["stream"] == 1 and about["version"] == 3
    with cuda.stream(side):
        assert x.__cuda_array_interface__["stream"] == side.cuda_stream
    assert not hasattr(torch.ones(2), "__cuda_array_interface__")
    with pytest.raises(RuntimeError, match="requires grad"):
        _ = x.clone().requires_grad_().__cuda_array_interface__


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.int8, torch.uint8,
                                   torch.int64, torch.bool, torch.complex64])  # fmt: skip
def test_arrays_become_tensors(dtype):
    given = torch.tensor([[1, 0, 3], [0, 5, 6]]).to("cuda:1", dtype)
    for x in (given, given.t(), given[:, 1], given[1:, ::2]):
        y = torch.as_tensor(Producer(x))
        assert y.data_ptr() == x.data_ptr() and y.device == x.device and y.dtype == dtype
        assert y.stride() == x.stride() and torch.equal(y.cpu(), x.cpu())
    assert torch.asarray(Producer(given)).data_ptr() == given.data_ptr()
    copied = torch.tensor(Producer(given))
    assert copied.device == given.device and copied.data_ptr() != given.data_ptr()
    assert torch.tensor(Producer(given), device="cpu").device.type == "cpu"
    assert torch.as_tensor(Producer(given[:0])).shape == (0, 3)


def test_an_array_lives_as_long_as_its_tensors(x):
    given = Producer(x)
    y = torch.as_tensor(given)
    expected = x.tolist()
    del x, given
    torch.zeros(2, 3, device="cuda")
    assert y.tolist() == expected


def test_the_current_stream_waits_for_the_arrays(double, x, side):
    with cuda.stream(side):
        side.wait_stream(cuda.default_stream())
        for _ in range(10):
            x = x + 1
        given = Producer(x, stream=side.cuda_stream)
    y = torch.as_tensor(given)
    assert (y.cpu() == torch.arange(6.0).reshape(2, 3) + 10).all()
    for stream in (None, 1):
        with double.trace() as queued:
            torch.as_tensor(Producer(x, stream=stream))
        assert queued == []
    with cuda.stream(side), double.trace() as queued:
        torch.as_tensor(Producer(x, stream=2))  # the thread's default stream
    assert queued[-1][:2] == (side.cuda_stream, "wait")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"stream": 0}, ValueError, "no stream"),
        ({"mask": object()}, ValueError, "masked"),
        ({"typestr": ">f4"}, TypeError, "typestr"),
        ({"typestr": "<f3"}, TypeError, "typestr"),
        ({"strides": (12, 3)}, ValueError, "multiples of the 4 bytes"),
        ({"strides": (-12, 4)}, ValueError, "not negative"),
        ({"data": (0xDEAD0000, False)}, ValueError, "not an address of a GPU"),
    ],
)
def test_arrays_that_tensors_cant_be(x, changes, error, message):
    with pytest.raises(error, match=message):
        torch.as_tensor(Producer(x, **changes))


def test_memory_of_the_host_and_what_must_not_be_written(x):
    buffer = ctypes.create_string_buffer(24)
    with pytest.raises(ValueError, match="not an address of a GPU"):
        torch.as_tensor(Producer(x, data=(ctypes.addressof(buffer), False)))
    with pytest.raises(TypeError, match="read-only"):
        torch.as_tensor(Producer(x, data=(x.data_ptr(), True)))
