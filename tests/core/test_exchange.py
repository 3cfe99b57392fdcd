"""Sharing memory: NumPy, buffers, DLPack, storages."""

import copy
import ctypes
import gc
import hashlib
import importlib.util
import pickle
import subprocess
import sys

import numpy as np
import pytest

import taimatsu as torch

DTYPES = [
    "bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float16",
    "float32", "float64", "complex64", "complex128",
]  # fmt: skip


# ---- NumPy -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_numpy_round_trip_shares_memory(dtype):
    a = np.arange(12).reshape(3, 4).astype(dtype)[:, 1:3].T
    x = torch.from_numpy(a)
    assert x.dtype == getattr(torch, dtype) and x.tolist() == a.tolist()
    b = x.numpy()
    assert b.dtype == a.dtype and b.strides == a.strides
    assert b.ctypes.data == a.ctypes.data
    x[0, 0] = 1
    assert a[0, 0] == b[0, 0] == 1


def test_views_of_no_element_past_the_end():
    z = torch.zeros(0, 3, dtype=torch.complex64)
    assert z.imag.numpy().shape == z.imag[:, 1:].numpy().shape[:1] + (3,) == (0, 3)


def test_sharing_keeps_the_memory_alive():
    a = np.arange(1000.0)
    x = torch.from_numpy(a)
    references = sys.getrefcount(a)
    del a
    gc.collect()
    assert x.sum().item() == 499500
    b = torch.arange(1000.0).numpy()
    gc.collect()
    assert b.sum() == 499500
    a = np.ones(3)
    references = sys.getrefcount(a)
    x = torch.from_numpy(a)
    assert sys.getrefcount(a) == references + 1
    del x
    assert sys.getrefcount(a) == references


def test_numpy_refuses():
    with pytest.raises(RuntimeError, match="detach"):
        torch.ones(2, requires_grad=True).numpy()
    assert torch.ones(2, requires_grad=True).numpy(force=True).tolist() == [1, 1]
    with pytest.raises(TypeError, match="meta"):
        torch.ones(2, device="meta").numpy()
    with pytest.raises(TypeError, match="BFloat16"):
        torch.ones(2, dtype=torch.bfloat16).numpy()
    for convert in (np.asarray, np.array):
        with pytest.raises(RuntimeError, match="detach"):
            convert(torch.ones(2, requires_grad=True))


def test_from_numpy_refuses():
    with pytest.raises(TypeError, match="list"):
        torch.from_numpy([1])
    with pytest.raises(ValueError, match="negative"):
        torch.from_numpy(np.arange(3)[::-1])
    with pytest.raises(ValueError, match="element byte size"):
        torch.from_numpy(np.zeros(3, "i1,i4")["f1"])
    with pytest.warns(UserWarning, match="not writable"):
        torch.from_numpy(np.broadcast_to(np.ones(1), 3))


def test_sizes_of_zero_and_one():
    assert torch.from_numpy(np.zeros((0, 3))).shape == (0, 3)
    assert torch.zeros(2, 0).numpy().shape == (2, 0)
    assert torch.from_numpy(np.array(5)).item() == 5 and torch.tensor(5).numpy() == 5
    assert torch.from_numpy(np.ones((1, 3))[::-1]).tolist() == [[1, 1, 1]]


def test_numpy_functions_take_tensors():
    x = torch.tensor([1.0, 4.0])
    root = np.sqrt(x)
    assert isinstance(root, torch.Tensor) and root.tolist() == [1, 2]
    assert np.asarray(x).base is not None and np.asarray(x, dtype=np.float64).dtype == np.float64
    assert np.array([torch.tensor(1.0), torch.tensor(2.0)]).tolist() == [1, 2]
    assert np.mean(x.numpy()) == 2.5


# ---- Buffers -----------------------------------------------------------------------------------


def test_tensors_have_buffers():
    x = torch.tensor([[1, 2], [3, 4]], dtype=torch.int16)
    view = memoryview(x)
    assert (view.format, view.shape, view.strides, view.readonly) == ("h", (2, 2), (4, 2), False)
    assert view.tolist() == x.tolist()
    view[0, 0] = 9
    assert x[0, 0] == 9
    flat = x.flatten()
    assert hashlib.sha256(flat).digest() == hashlib.sha256(flat.numpy().tobytes()).digest()
    assert memoryview(x.T).strides == (2, 4)
    with pytest.raises(BufferError):
        hashlib.sha256(x[:, 0])
    with pytest.raises(RuntimeError, match="resiz"):
        x.resize_(100, 100)
    for bad in (torch.ones(2, requires_grad=True), torch.ones(2, dtype=torch.bfloat16),
                torch.ones(2, device="meta")):  # fmt: skip
        with pytest.raises(BufferError):
            memoryview(bad)


# ---- DLPack ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_dlpack_with_numpy(dtype):
    x = torch.tensor([[0, 1, 1], [1, 0, 1]], dtype=getattr(torch, dtype)).T
    a = np.from_dlpack(x)
    assert a.tolist() == x.tolist() and a.__array_interface__["data"][0] == x.data_ptr()
    y = torch.from_dlpack(np.arange(6).reshape(2, 3).astype(dtype))
    assert y.dtype == getattr(torch, dtype) and y.shape == (2, 3)


def test_dlpack_between_tensors():
    x = torch.ones(2, 3, dtype=torch.bfloat16)
    y = torch.from_dlpack(x)
    assert y.data_ptr() == x.data_ptr() and y.dtype == torch.bfloat16
    assert x.__dlpack_device__() == (1, 0)
    capsule = x.__dlpack__()
    torch.from_dlpack(capsule)
    with pytest.raises(RuntimeError, match="once"):
        torch.from_dlpack(capsule)
    with pytest.raises(BufferError, match="detach"):
        torch.ones(2, requires_grad=True).__dlpack__()
    with pytest.raises(AttributeError):
        torch.from_dlpack([1])


def test_dlpack_copies_where_it_is_asked():
    a = np.arange(3.0)
    assert torch.from_dlpack(a, copy=False).data_ptr() == a.ctypes.data
    assert torch.from_dlpack(a, device="cpu", copy=True).data_ptr() != a.ctypes.data
    with pytest.raises(ValueError, match="copy=False"):
        torch.from_dlpack(a, device="meta", copy=False)


def test_dlpack_frees_what_nobody_took():
    x = torch.ones(3)
    references = sys.getrefcount(x)
    capsule, versioned = x.__dlpack__(), x.__dlpack__(max_version=(1, 0))
    assert sys.getrefcount(x) == references + 2
    y = torch.from_dlpack(versioned)
    del capsule, versioned
    assert sys.getrefcount(x) == references + 1
    del y
    assert sys.getrefcount(x) == references
    assert torch.from_dlpack(x.__dlpack__(copy=True)).data_ptr() != x.data_ptr()


def test_dlpack_with_jax():
    program = """
import jax.numpy as jnp
import taimatsu as torch
x = torch.arange(6.0).reshape(2, 3)
assert jnp.from_dlpack(x).tolist() == x.tolist()
y = torch.from_dlpack(jnp.asarray([[1, 2], [3, 4]], dtype=jnp.float32))
assert y.dtype == torch.float32 and y.tolist() == [[1, 2], [3, 4]]
"""
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed")
    # A process of its own: JAX starts threads, which forks in later tests would not have.
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


@pytest.mark.parity
def test_dlpack_with_torch():
    theirs = pytest.importorskip("torch")
    x = torch.arange(6.0).reshape(2, 3)
    there = theirs.from_dlpack(x)
    there[0, 0] = 9
    assert x[0, 0] == 9 and there.data_ptr() == x.data_ptr()
    y = torch.from_dlpack(theirs.arange(4).to(theirs.bfloat16))
    assert y.dtype == torch.bfloat16 and y.tolist() == [0, 1, 2, 3]


def test_the_cuda_array_interface_is_for_cuda():
    x = torch.ones(2)
    assert not hasattr(x, "__cuda_array_interface__")
    with pytest.raises(AttributeError, match="non-CUDA tensor"):
        _ = x.__cuda_array_interface__


# ---- Storages ----------------------------------------------------------------------------------


def test_storage_is_the_bytes():
    x = torch.tensor([1, 258], dtype=torch.int16)
    s = x.untyped_storage()
    assert (len(s), s.nbytes(), s.tolist(), s[2]) == (4, 4, [1, 0, 2, 1], 2)
    assert s.data_ptr() == x.data_ptr() and s.device == torch.device("cpu")
    s[0] = 5
    s[2:4] = 0
    assert x.tolist() == [5, 0]
    assert x.untyped_storage() is s and x[1:].untyped_storage() is s
    assert s[-1] == 0 and s[1:3].tolist() == [0, 0]
    for bad in (4, -5):
        with pytest.raises(IndexError):
            s[bad]
    memoryview(s)[0] = 7
    assert x[0] == 7


def test_storages_are_made_copied_and_resized():
    s = torch.UntypedStorage(4)
    assert s.fill_(3).tolist() == [3] * 4
    assert copy.deepcopy(s).tolist() == s.clone().tolist() == [3] * 4
    assert s.clone().data_ptr() != s.data_ptr()
    assert s.resize_(6).tolist()[:4] == [3] * 4 and len(s) == 6
    assert torch.UntypedStorage([1, 2]).tolist() == [1, 2]
    assert torch.UntypedStorage(6).copy_(s).tolist() == s.tolist()
    with pytest.raises(RuntimeError, match="size"):
        torch.UntypedStorage(2).copy_(s)
    with pytest.raises(RuntimeError, match="at least 0"):
        torch.UntypedStorage(-1)
    data = bytearray(b"abc")
    assert bytes(torch.UntypedStorage.from_buffer(data)) == b"abc"
    shared = torch.UntypedStorage._sharing(data)
    shared[0] = 0
    assert data == b"\0bc"
    with pytest.raises(RuntimeError, match="resiz"):
        shared.resize_(10)


def test_resizing_moves_all_tensors_of_the_memory():
    x = torch.arange(3)
    y, d = x[1:], x.data
    x.untyped_storage().resize_(8 * 1000)
    assert x.tolist() == [0, 1, 2] and y.tolist() == [1, 2] and d.tolist() == [0, 1, 2]
    d[0] = 5
    assert x[0] == 5


def test_tensor_from_storage():
    s = torch.arange(6).untyped_storage()
    make = torch._core.tensor_from_storage
    assert make(s, torch.int64, 1, (2, 2), (1, 2)).tolist() == [[1, 3], [2, 4]]
    with pytest.raises(RuntimeError, match="bytes"):
        make(s, torch.int64, 0, (7,), (1,))
    with pytest.raises(RuntimeError, match="at least 0"):
        make(s, torch.int64, -1, (1,), (1,))
    with pytest.raises(RuntimeError, match="length"):
        make(s, torch.int64, 0, (1, 2), (1,))


def test_meta_storage_has_no_bytes():
    s = torch.empty(4, device="meta").untyped_storage()
    assert len(s) == 16
    with pytest.raises(NotImplementedError):
        s[0]
    with pytest.raises(BufferError):
        memoryview(s)


def test_storages_are_pickled_and_converted():
    x = torch.tensor([1.0, 2.0])
    s = x.untyped_storage()
    again = pickle.loads(pickle.dumps(s))
    assert type(again) is torch.UntypedStorage and bytes(again) == bytes(s)
    assert pickle.loads(pickle.dumps(torch.UntypedStorage(0))).nbytes() == 0
    assert s.type() == "torch.storage.UntypedStorage" and s.untyped() is s and not s.is_cuda
    assert s.float().tolist() == list(bytes(s)) and s.type(torch.int32).dtype == torch.int32
    assert s.to(device="cpu").nbytes() == s.cpu().nbytes() == 8 and s.get_device() == -1
    s.byteswap(torch.float32)
    assert np.frombuffer(bytes(s), ">f4").tolist() == [1, 2]


def test_dlpack_capsules_without_sizes_or_memory():
    fields = [("data", ctypes.c_void_p), ("device", ctypes.c_int32 * 2), ("ndim", ctypes.c_int32),
              ("dtype", ctypes.c_uint32), ("shape", ctypes.c_void_p), ("strides", ctypes.c_void_p),
              ("offset", ctypes.c_uint64), ("context", ctypes.c_void_p),
              ("deleter", ctypes.c_void_p)]  # fmt: skip
    managed = type("Managed", (ctypes.Structure,), {"_fields_": fields})
    new = ctypes.pythonapi.PyCapsule_New
    new.restype = ctypes.py_object
    new.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    memory, sizes = (ctypes.c_float * 3)(), (ctypes.c_int64 * 1)(3)
    float32 = 2 | 32 << 8 | 1 << 16
    for data, shape in ((None, ctypes.addressof(sizes)), (ctypes.addressof(memory), None)):
        given = managed(data, (1, 0), 1, float32, shape)
        with pytest.raises(BufferError, match="capsule"):
            torch.from_dlpack(new(ctypes.addressof(given), b"dltensor", None))
