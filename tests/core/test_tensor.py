"""The Tensor object: attributes, identity, subclasses, garbage collection, copies, pickles."""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest

import taimatsu as torch
from taimatsu import nn


class Kept(torch.Tensor):
    """A subclass without behaviour of its own."""


# ---- attributes --------------------------------------------------------------------------------


def test_attributes_describe_the_tensor():
    x = torch.tensor([[1.0, 2, 3], [4, 5, 6]], dtype=torch.float64)
    assert x.shape == (2, 3) and isinstance(x.shape, torch.Size)
    assert (x.ndim, x.dim(), x.numel(), x.nelement()) == (2, 2, 6, 6)
    assert (x.itemsize, x.element_size(), x.nbytes) == (8, 8, 48)
    assert (x.dtype, x.layout, x.device) == (torch.float64, torch.strided, torch.device("cpu"))
    assert (x.stride(), x.stride(-1), x.size(-1), x.storage_offset()) == ((3, 1), 1, 3, 0)
    assert x.is_cpu and not x.is_cuda and not x.is_meta and not x.is_sparse
    assert x.is_floating_point() and x.is_signed() and not x.is_complex()
    assert x.get_device() == -1 and x.names == (None, None)
    assert x.is_leaf and x.grad is None and x.grad_fn is None and x.output_nr == 0


def test_dim_out_of_range_is_an_index_error():
    with pytest.raises(IndexError, match=r"range of \[-2, 1\], but got 2"):
        torch.ones(2, 3).size(2)
    with pytest.raises(IndexError):
        torch.ones(2, 3).stride(-3)


@pytest.mark.parametrize("name", ["shape", "dtype", "device", "grad_fn", "_base", "T"])
def test_attributes_that_can_not_be_set(name):
    with pytest.raises(AttributeError):
        setattr(torch.ones(2, 2), name, None)


def test_transposed_views():
    x = torch.tensor([[0.0, 1, 2], [3, 4, 5]])
    assert x.T.tolist() == x.mT.tolist() == x.numpy().T.tolist()
    assert x.T.data_ptr() == x.data_ptr() and x.T._base is x
    batch = torch.arange(12.0).reshape(2, 2, 3)
    assert batch.mT.tolist() == batch.numpy().transpose(0, 2, 1).tolist()
    with pytest.raises(RuntimeError, match="matrices"):
        torch.ones(3).mT  # noqa: B018
    with pytest.raises(RuntimeError, match="2-D"):
        batch.H  # noqa: B018
    with pytest.warns(UserWarning, match="deprecated"):
        assert batch.T.shape == (3, 2, 2)


def test_real_and_imag_are_views_that_can_be_assigned():
    z = torch.tensor([1 + 2j, 3 - 1j])
    assert z.real.tolist() == [1, 3] and z.imag.tolist() == [2, -1]
    z.real = 5
    z.imag = torch.tensor([7.0, 8.0])
    assert z.tolist() == [5 + 7j, 5 + 8j]
    x = torch.ones(2)
    assert x.real is x
    with pytest.raises(RuntimeError, match="imag"):
        x.imag  # noqa: B018
    m = torch.tensor([[1 + 2j, 3j]])
    assert m.H.tolist() == m.mH.tolist() == [[1 - 2j], [-3j]]


def test_requires_grad_flag():
    x = torch.ones(2)
    assert x.requires_grad_() is x and x.requires_grad
    y = x * 2
    assert y.requires_grad and not y.is_leaf
    with pytest.raises(RuntimeError, match="leaf"):
        y.requires_grad = False
    y.requires_grad = True  # says what is so
    x.requires_grad = False
    assert not x.requires_grad
    with pytest.raises(RuntimeError, match="floating point"):
        torch.tensor([1]).requires_grad_()
    with pytest.raises(TypeError):
        x.requires_grad = 1
    with torch.inference_mode():
        inference = torch.ones(2)
    assert inference.is_inference()
    with pytest.raises(RuntimeError, match="inference"):
        inference.requires_grad_()


@pytest.mark.parametrize(
    ("grad", "error", "what"),
    [
        (1.0, TypeError, "float"),
        (torch.ones(3), RuntimeError, "different size"),
        (torch.ones(2, dtype=torch.float64), RuntimeError, "different type"),
        (torch.ones(2, device="meta"), RuntimeError, "different device"),
    ],
)
def test_grad_must_match(grad, error, what):
    x = torch.ones(2, requires_grad=True)
    with pytest.raises(error, match=what):
        x.grad = grad
    assert x.grad is None
    x.grad = torch.ones(2)
    assert x.grad.tolist() == [1, 1]
    with pytest.raises(RuntimeError, match="own grad"):
        x.grad.grad = x.grad
    x.grad = None
    assert x.grad is None


def test_data_shares_memory_without_history_or_version():
    x = torch.ones(3, requires_grad=True)
    d = x.data
    assert not d.requires_grad and d.data_ptr() == x.data_ptr()
    version = x._version
    d.mul_(2)
    assert x.tolist() == [2, 2, 2] and x._version == version
    x.data = torch.zeros(2)
    assert x.tolist() == [0, 0] and x.requires_grad and x.is_leaf
    with pytest.raises(RuntimeError, match="floating point"):
        x.data = torch.tensor([1])
    with pytest.raises(TypeError):
        x.data = [1.0]


def test_detach_shares_memory_and_version():
    x = torch.ones(3, requires_grad=True)
    y = (x * 1).detach()
    assert y.is_leaf and not y.requires_grad
    d = x.detach()
    d.add_(1)
    assert x.tolist() == [2, 2, 2] and x._version == d._version == 1
    z = x * 2
    assert z.detach_() is z and z.grad_fn is None and not z.requires_grad
    with pytest.raises(RuntimeError, match="views"):
        (x * 2)[0].detach_()


def test_set_and_resize():
    x = torch.arange(6)
    y = torch.empty(0, dtype=torch.int64).set_(x.untyped_storage(), 1, (2, 2), (2, 1))
    assert y.tolist() == [[1, 2], [3, 4]] and y.data_ptr() == x.data_ptr() + 8
    assert y.is_set_to(y.view(2, 2)) and not y.is_set_to(x)
    assert y.set_().shape == (0,)
    with pytest.raises(RuntimeError, match="dtype"):
        torch.empty(0).set_(x)
    z = torch.arange(4)
    assert z.resize_(2, 3).shape == (2, 3) and z.flatten()[:4].tolist() == [0, 1, 2, 3]
    with pytest.raises(RuntimeError, match="at least 0"):
        z.resize_(-1)
    with pytest.raises(RuntimeError, match="require grad"):
        torch.ones(2, requires_grad=True).resize_(3)
    array = z.numpy()
    with pytest.raises(RuntimeError, match="resiz"):  # somebody else sees the memory
        z.resize_(1000)
    assert array.shape == (2, 3)


def test_in_place_views():
    x = torch.arange(6).reshape(2, 3).clone()
    memory = x.data_ptr()
    assert x.t_() is x and x.shape == (3, 2) and x.tolist() == [[0, 3], [1, 4], [2, 5]]
    assert x.unsqueeze_(0).shape == (1, 3, 2) and x.squeeze_().shape == (3, 2)
    assert x.transpose_(0, 1).tolist() == [[0, 1, 2], [3, 4, 5]] and x.data_ptr() == memory
    w = torch.ones(2, 3, requires_grad=True)
    y = (w * torch.arange(6.0).reshape(2, 3)).t_()
    (y * torch.tensor([1.0, 10.0])).sum().backward()
    assert w.grad.tolist() == [[0, 1, 2], [30, 40, 50]]
    with pytest.raises(RuntimeError, match="leaf"):
        w.t_()
    assert w.shape == (2, 3)


def test_new_tensor_takes_after_its_parent():
    x = torch.ones(1, dtype=torch.float64)
    assert x.new_tensor([1, 2]).dtype == torch.float64
    assert x.new_tensor(x, dtype=torch.int8).dtype == torch.int8
    assert torch.empty(0).resize_as_(torch.ones(2, 3)).shape == (2, 3)


def test_is_contiguous_by_format():
    x = torch.zeros(2, 3, 4, 5)
    assert x.is_contiguous() and not x.transpose(0, 1).is_contiguous()
    last = x.to(memory_format=torch.channels_last)
    assert last.is_contiguous(memory_format=torch.channels_last) and not last.is_contiguous()
    assert not x.is_contiguous(memory_format=torch.channels_last)
    with pytest.raises(TypeError):
        x.is_contiguous(memory_format="channels_last")


def test_type_strings():
    x = torch.ones(2)
    assert x.type() == "torch.FloatTensor" and x.long().type() == "torch.LongTensor"
    assert x.type("torch.IntTensor").dtype == torch.int32 and x.type(torch.int8).dtype == torch.int8
    with pytest.raises(ValueError, match="foo"):
        x.type("foo")


def test_format_of_numbers():
    assert f"{torch.tensor(1.234):.2f}" == "1.23"
    with pytest.raises(TypeError):
        format(torch.ones(2), ".2f")


# ---- values ------------------------------------------------------------------------------------


DTYPES = [
    torch.bool, torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.int8, torch.int16,
    torch.int32, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64,
    torch.complex64, torch.complex128,
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_item_and_tolist_give_python_numbers(dtype):
    x = torch.tensor([[0, 1], [1, 0]], dtype=dtype)
    kind = bool if dtype is torch.bool else int
    kind = float if dtype.is_floating_point else complex if dtype.is_complex else kind
    assert x.tolist() == [[0, 1], [1, 0]] and x.T.tolist() == [[0, 1], [1, 0]]
    assert type(x.tolist()[0][1]) is kind and type(x[0, 1].item()) is kind
    assert x[0, 1].tolist() == 1 and x[0:0].tolist() == []


def test_items_of_wrong_count_or_place():
    with pytest.raises(RuntimeError, match="2 elements"):
        torch.ones(2).item()
    with pytest.raises(RuntimeError, match="meta"):
        torch.ones((), device="meta").item()
    with pytest.raises(NotImplementedError, match="meta"):
        torch.ones(2, device="meta").tolist()


def test_largest_integers_survive():
    assert torch.tensor(2**64 - 1, dtype=torch.uint64).item() == 2**64 - 1
    assert int(torch.tensor(2**64 - 1, dtype=torch.uint64)) == 2**64 - 1
    assert torch.tensor([-(2**63)]).tolist() == [-(2**63)]


# ---- identity, attributes of users, weak references, cycles ------------------------------------


def test_hash_is_by_identity():
    x, y = torch.ones(2), torch.ones(2)
    assert hash(x) == id(x) and len({x, y, x}) == 2


@pytest.mark.parametrize("kind", [torch.Tensor, Kept, nn.Parameter])
def test_cycles_through_attributes_are_collected(kind):
    x = torch.ones(2) if kind is torch.Tensor else kind(torch.ones(2))
    x.itself = [x]
    died = weakref.ref(x)
    del x
    gc.collect()
    assert died() is None


def test_cycles_through_dict_and_grad_are_collected():
    x = torch.ones(2)
    x.__dict__["itself"] = x
    y = torch.ones(2, requires_grad=True)
    (y * y).sum().backward(create_graph=True)  # y -> y.grad -> its graph -> y
    died = [weakref.ref(x), weakref.ref(y)]
    del x, y
    gc.collect()
    assert [r() for r in died] == [None, None]


def test_a_dead_tensor_leaves_no_attributes_to_its_successor():
    for _ in range(10):
        x = torch.ones(2)
        assert not x.__dict__
        x.mark = 1
        del x


def test_weak_references_die_with_the_tensor():
    x = torch.ones(2)
    died = []
    weakref.finalize(x, died.append, 1)
    del x
    assert died == [1]


# ---- subclasses --------------------------------------------------------------------------------


def test_results_of_a_subclass_are_of_the_subclass():
    x = Kept([1.0, 2.0])
    assert type(x) is Kept and x.tolist() == [1, 2]
    for y in (x + 1, 1 + x, -x, x[0], x.sum(), x.detach(), x.add(x), torch.exp(x), x.data):
        assert type(y) is Kept
    assert all(type(part) is Kept for part in x.split(1))
    assert type(Kept([[1.0, 2.0]]).T) is Kept
    assert type(torch.ones(2) + x) is Kept
    x += 1
    assert type(x) is Kept and x.tolist() == [2, 3]


def test_parameters_give_plain_tensors():
    p = nn.Parameter(torch.ones(2))
    for y in (p + 1, p[0], p.detach(), p.data, p.sum()):
        assert type(y) is torch.Tensor


def test_as_subclass_keeps_history():
    x = torch.ones(2, requires_grad=True)
    y = (x * 2).as_subclass(Kept)
    assert type(y) is Kept and y.requires_grad
    y.sum().backward()
    assert x.grad.tolist() == [2, 2]
    with pytest.raises(TypeError, match="subclass"):
        x.as_subclass(int)


def test_make_subclass_shares_memory():
    x = torch.ones(2)
    y = torch.Tensor._make_subclass(Kept, x, True)
    assert y.requires_grad and y.data_ptr() == x.data_ptr() and not x.requires_grad


class Logged(torch.Tensor):
    calls: list = []  # noqa: RUF012

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        cls.calls.append(func.__name__)
        return super().__torch_function__(func, types, args, kwargs)


def test_torch_function_sees_operators_methods_and_functions():
    x = torch.ones(3).as_subclass(Logged)
    Logged.calls.clear()
    x + 1, 2 - x, x[0], torch.add(torch.ones(3), x), x.mul(2)
    x[0] = 5
    assert Logged.calls == ["add", "__rsub__", "__getitem__", "add", "mul", "__setitem__"]


class Foreign:
    """Not a tensor at all."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        assert types == (cls,)
        return NotImplemented if kwargs else (func.__name__, len(args))


def test_torch_function_of_other_classes():
    assert torch.add(torch.ones(2), Foreign()) == ("add", 2)
    assert torch.ones(2) * Foreign() == ("mul", 2)
    with pytest.raises(TypeError, match="__torch_function__"):
        torch.add(torch.ones(2), Foreign(), alpha=2)


# ---- the old constructor -----------------------------------------------------------------------


def test_old_constructor():
    assert torch.Tensor().shape == (0,) and torch.Tensor(2, 3).shape == (2, 3)
    assert torch.Tensor([1, 2]).dtype == torch.float32
    x = torch.ones(2)
    assert torch.Tensor(x).data_ptr() == x.data_ptr()
    with pytest.raises(RuntimeError, match="negative"):
        torch.Tensor(-1)


# ---- copies and pickles ------------------------------------------------------------------------


def test_deepcopy_keeps_sharing_flags_and_attributes():
    x = torch.arange(4.0, requires_grad=True)
    view = x.detach()[1:3]
    x.note = ["a"]
    x.grad = torch.ones(4)
    a, b = copy.deepcopy([x, view])
    assert a.requires_grad and a.note == ["a"] and a.note is not x.note
    assert a.grad.tolist() == [1] * 4 and a.grad is not x.grad
    b[0] = 9
    assert a.tolist() == [0, 9, 2, 3] and x.tolist() == [0, 1, 2, 3]
    with pytest.raises(RuntimeError, match="leaves"):
        copy.deepcopy(x * 2)
    assert type(copy.deepcopy(Kept([1.0]))) is Kept
    itself = torch.ones(1)
    itself.loop = itself
    assert (c := copy.deepcopy(itself)).loop is c


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_pickle_round_trip(dtype):
    x = torch.tensor([[0, 1, 1], [1, 0, 1]], dtype=dtype).T
    y = pickle.loads(pickle.dumps(x))
    assert y.dtype == dtype and y.stride() == x.stride() and y.tolist() == x.tolist()


def test_pickle_keeps_class_and_attributes():
    x = Kept([1.0, 2.0])
    x.note = "a"
    y = pickle.loads(pickle.dumps(x))
    assert type(y) is Kept and y.note == "a" and y.tolist() == [1, 2]
    p = pickle.loads(pickle.dumps(nn.Parameter(torch.ones(2))))
    assert type(p) is nn.Parameter and p.requires_grad


def test_copy_shares_memory():
    x = torch.ones(2)
    assert copy.copy(x).data_ptr() == x.data_ptr()


# ---- iteration ---------------------------------------------------------------------------------


def test_sequence_protocol():
    x = torch.arange(6).reshape(3, 2)
    assert len(x) == 3 and [row.tolist() for row in x] == [[0, 1], [2, 3], [4, 5]]
    for row in x:
        row.zero_()
    assert x.tolist() == [[0, 0]] * 3
    assert [int(v) for v in reversed(torch.arange(3))] == [2, 1, 0]
    scalar = torch.tensor(1)
    with pytest.raises(TypeError, match="0-d"):
        len(scalar)
    with pytest.raises(TypeError, match="0-d"):
        iter(scalar)


def test_contains():
    x = torch.tensor([[1.0, 2.0], [3.0, float("nan")]])
    assert 3 in x and 4 not in x and float("nan") not in x
    assert torch.tensor([1.0, 9.0]) in x
    with pytest.raises(RuntimeError, match="str"):
        assert "a" in x


def test_numpy_indexes_with_tensors():
    a = np.arange(5)
    assert a[torch.tensor(2)] == 2 and [10, 20][torch.tensor(1)] == 20
    assert "abc" * torch.tensor(2) == "abcabc"


def test_the_old_constructor_takes_arrays_as_data():
    import numpy as np

    assert torch.equal(torch.Tensor(np.ones((2, 3))), torch.ones(2, 3))
    assert torch.Tensor(np.array([7, 8])).tolist() == [7.0, 8.0]
    assert torch.Tensor(np.int64(2)).shape == (2,)
