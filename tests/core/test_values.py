"""dtype, device, Size, memory_format, finfo and iinfo, and the settings that use them."""

import copy
import pickle

import numpy as np
import pytest

import taimatsu as torch

NAMED = {d for d in vars(torch._core).values() if isinstance(d, torch.dtype)}
ALL = [d for d in NAMED if d._code]  # the others are known by name only


# ---- dtype -------------------------------------------------------------------------------------


def test_dtypes_print_as_pytorch_s():
    assert repr(torch.float32) == str(torch.float32) == "torch.float32"
    assert f"{torch.strided} {torch.channels_last}" == "torch.strided torch.channels_last"


@pytest.mark.parametrize(
    ("alias", "name"),
    [("half", "float16"), ("float", "float32"), ("double", "float64"), ("short", "int16"),
     ("int", "int32"), ("long", "int64"), ("chalf", "complex32"), ("cfloat", "complex64"),
     ("cdouble", "complex128")],
)  # fmt: skip
def test_aliases_are_the_same_objects(alias, name):
    assert getattr(torch, alias) is getattr(torch, name)


def test_dtypes_known_by_name_only_make_no_tensors():
    assert torch.qint8.itemsize == 1 and not torch.uint4.is_signed
    for dtype in NAMED.difference(ALL):
        with pytest.raises(NotImplementedError, match=str(dtype)):
            torch.zeros(2, dtype=dtype)


def test_layouts():
    x = torch.zeros(2, layout=torch.strided)
    assert x.layout is torch.strided and x.layout != torch.sparse_csr
    assert torch.zeros(2, layout=torch.sparse_coo).layout is torch.sparse_coo
    with pytest.raises(NotImplementedError, match="jagged"):
        torch.zeros(2, layout=torch.jagged)
    with pytest.raises(TypeError, match="layout"):
        torch.zeros(2, layout="strided")


@pytest.mark.parametrize("dtype", sorted(set(ALL), key=str), ids=str)
def test_dtype_attributes_agree_with_numpy(dtype):
    if dtype is torch.complex32:
        assert dtype.is_complex and dtype.is_signed and dtype.itemsize == 4
        return
    if dtype is torch.bfloat16 or "float8" in str(dtype):
        assert dtype.is_floating_point and dtype.itemsize == (2 if dtype is torch.bfloat16 else 1)
        return
    numpy = np.dtype(str(dtype).removeprefix("torch."))
    assert dtype.itemsize == numpy.itemsize
    assert dtype.is_floating_point == (numpy.kind == "f")
    assert dtype.is_complex == (numpy.kind == "c")
    assert dtype.is_signed == (numpy.kind in "ifc")


def test_real_and_complex_counterparts():
    assert torch.float64.to_complex() is torch.complex128
    assert torch.complex64.to_real() is torch.float32
    assert torch.bool.to_real() is torch.bool
    with pytest.raises(RuntimeError, match="int8"):
        torch.int8.to_complex()


@pytest.mark.parametrize("value", [torch.float32, torch.strided, torch.channels_last], ids=str)
def test_singletons_stay_single(value):
    assert pickle.loads(pickle.dumps(value)) is value
    assert copy.copy(value) is copy.deepcopy(value) is value
    with pytest.raises(TypeError):
        type(value)()


def test_python_types_as_dtypes():
    assert torch.zeros(1, dtype=float).dtype is torch.float64
    assert torch.zeros(1, dtype=int).dtype is torch.int64
    assert torch.zeros(1, dtype=bool).dtype is torch.bool
    assert torch.zeros(1, dtype=complex).dtype is torch.complex128


# ---- device ------------------------------------------------------------------------------------


def test_device_forms():
    cpu = torch.device("cpu")
    assert repr(cpu) == "device(type='cpu')" and str(cpu) == "cpu"
    second = torch.device("cuda", 1)
    assert repr(second) == "device(type='cuda', index=1)" and str(second) == "cuda:1"
    assert second == torch.device("cuda:1") == torch.device(type="cuda", index=1)
    assert (second.type, second.index, cpu.index) == ("cuda", 1, None)
    assert torch.device(second) == second
    assert cpu != torch.device("cpu:0") and cpu != "cpu"
    assert len({cpu, torch.device("cpu"), second}) == 2
    assert pickle.loads(pickle.dumps(second)) == second


@pytest.mark.parametrize("text", ["", "foo", "cuda:x", "cpu:-1", "cuda:01", "cuda:1000", "cuda:"])
def test_bad_device_strings(text):
    with pytest.raises(RuntimeError):
        torch.device(text)


@pytest.mark.parametrize("args", [(), (1.5,), ("cpu", "0")])
def test_bad_device_arguments(args):
    with pytest.raises(TypeError):
        torch.device(*args)


def test_index_given_twice():
    with pytest.raises(RuntimeError, match="index"):
        torch.device("cuda:1", 0)


def test_device_as_context_sets_the_default():
    assert torch.get_default_device() == torch.device("cpu")
    with torch.device("meta") as d:
        assert d == torch.get_default_device() == torch.device("meta")
        assert torch.tensor([1.0]).is_meta and torch.empty(2).is_meta
        with torch.device("cpu"):
            assert torch.tensor(1.0).is_cpu
        assert torch.tensor(1.0, device="cpu").is_cpu
    assert torch.tensor(1.0).is_cpu
    torch.set_default_device("meta")
    try:
        assert torch.zeros(2).is_meta
    finally:
        torch.set_default_device(None)
    assert torch.zeros(2).is_cpu


# ---- Size --------------------------------------------------------------------------------------


def test_size_is_a_tuple_that_stays_one_of_its_kind():
    s = torch.Size([2, 3, 4])
    assert repr(s) == "torch.Size([2, 3, 4])" and s == (2, 3, 4) and hash(s) == hash((2, 3, 4))
    assert s.numel() == 24 and torch.Size().numel() == 1
    for kept in (s + (5,), (5,) + s, s * 2, 2 * s, s[1:], s[::-1], copy.copy(s)):
        assert type(kept) is torch.Size
    assert (5,) + s == (5, 2, 3, 4) and s[::-1] == (4, 3, 2) and s[-1] == 4
    assert pickle.loads(pickle.dumps(s)) == s and type(pickle.loads(pickle.dumps(s))) is torch.Size
    assert torch.Size([torch.tensor(3), np.int64(4)]) == (3, 4)
    n, *rest = s
    assert n == 2 and rest == [3, 4]


def test_size_refuses():
    for bad in ([1.5], ["a"], 3):
        with pytest.raises(TypeError):
            torch.Size(bad)
    with pytest.raises(TypeError):
        torch.Size([1]) + [2]
    with pytest.raises(IndexError):
        torch.Size([1])[1]


# ---- limits ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
def test_finfo_agrees_with_numpy(dtype):
    ours, theirs = torch.finfo(dtype), np.finfo(str(dtype).removeprefix("torch."))
    for name in ("bits", "eps", "max", "min", "tiny", "smallest_normal"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.resolution == pytest.approx(float(theirs.resolution), rel=1e-3)


def test_finfo_of_bfloat16_and_complex():
    b = torch.finfo(torch.bfloat16)
    assert (b.bits, b.eps, b.resolution, b.dtype) == (16, 2.0**-7, 0.01, "bfloat16")
    assert b.max == float(torch.tensor(float("3.3895313892515355e38"), dtype=torch.bfloat16))
    assert torch.finfo(torch.complex64) == torch.finfo(torch.float32) == torch.finfo()


@pytest.mark.parametrize("name", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint64"])
def test_iinfo_agrees_with_numpy(name):
    ours, theirs = torch.iinfo(getattr(torch, name)), np.iinfo(name)
    assert (ours.bits, ours.max, ours.min) == (theirs.bits, theirs.max, theirs.min)


def test_limits_refuse_other_dtypes():
    for bad in (torch.int8, torch.bool, "float32"):
        with pytest.raises(TypeError):
            torch.finfo(bad)
    for bad in (torch.float32, torch.bool, 8):
        with pytest.raises(TypeError):
            torch.iinfo(bad)


# ---- settings ----------------------------------------------------------------------------------


def test_default_dtype():
    assert torch.get_default_dtype() is torch.float32
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.tensor(1.0).dtype == torch.zeros(1).dtype == torch.float64
        assert torch.tensor(1j).dtype == torch.complex128
        assert (torch.tensor(1) / 2).dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    for bad in (torch.int32, torch.complex64, "float32"):
        with pytest.raises(TypeError):
            torch.set_default_dtype(bad)


def test_promotion_functions():
    ints, floats = torch.ones(2, dtype=torch.int32), torch.ones((), dtype=torch.float64)
    assert torch.result_type(ints, 1) is torch.int32
    assert torch.result_type(ints, 1.0) is torch.float32
    assert torch.result_type(ints, floats) is torch.float64
    assert torch.result_type(torch.ones(1, dtype=torch.float16), floats) is torch.float16
    assert torch.promote_types(torch.int32, torch.float16) is torch.float16
    assert torch.can_cast(torch.float64, torch.float16)
    assert not torch.can_cast(torch.float16, torch.int64)
    assert not torch.can_cast(from_=torch.complex64, to=torch.float64)
    with pytest.raises(TypeError):
        torch.promote_types(torch.int32, 1)


def test_number_of_threads():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert torch.get_num_threads() == 2
        for bad in (0, -1, 1.5, "2"):
            with pytest.raises(RuntimeError if isinstance(bad, int) else TypeError):
                torch.set_num_threads(bad)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


# ---- grad modes --------------------------------------------------------------------------------


def test_modes_nest_and_restore():
    assert torch.is_grad_enabled()
    with torch.no_grad():
        assert not torch.is_grad_enabled()
        with torch.enable_grad():
            assert torch.is_grad_enabled()
        with torch.set_grad_enabled(True):
            assert torch.is_grad_enabled()
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()
    with pytest.raises(ZeroDivisionError), torch.no_grad():
        raise ZeroDivisionError
    assert torch.is_grad_enabled()


def test_inference_mode():
    with torch.inference_mode():
        assert torch.is_inference_mode_enabled() and not torch.is_grad_enabled()
        with torch.inference_mode(False):
            assert not torch.is_inference_mode_enabled()
        assert torch.ones(1).is_inference()
    assert not torch.is_inference_mode_enabled() and torch.is_grad_enabled()


def test_set_grad_enabled_without_with():
    torch.set_grad_enabled(False)
    assert not torch.is_grad_enabled()
    torch.set_grad_enabled(True)
    assert torch.is_grad_enabled()


def test_modes_decorate_functions():
    @torch.no_grad()
    def off(depth=0):
        """Says whether."""
        assert depth == 2 or off(depth + 1) is False
        return torch.is_grad_enabled()

    @torch.no_grad
    def bare():
        return torch.is_grad_enabled()

    @torch.set_grad_enabled(False)
    def chosen():
        return torch.is_grad_enabled()

    assert torch.is_grad_enabled()  # making the decorator changed nothing
    assert off() is bare() is chosen() is False and torch.is_grad_enabled()
    assert off.__doc__ == "Says whether."

    @torch.inference_mode
    def inferred():
        return torch.is_inference_mode_enabled()

    assert inferred() is True


def test_modes_decorate_generators():
    @torch.no_grad()
    def steps():
        try:
            got = yield torch.is_grad_enabled()
            yield got, torch.is_grad_enabled()
        finally:
            ends.append(torch.is_grad_enabled())

    ends = []
    g = steps()
    assert next(g) is False and torch.is_grad_enabled()
    assert g.send("x") == ("x", False) and torch.is_grad_enabled()
    g.close()
    assert ends == [False] and torch.is_grad_enabled()


def test_modes_are_per_thread():
    import threading

    seen = []
    with torch.no_grad(), torch.device("meta"):
        t = threading.Thread(
            target=lambda: seen.append((torch.is_grad_enabled(), str(torch.get_default_device())))
        )
        t.start()
        t.join()
    assert seen == [(True, "cpu")]
