"""What PyTorch keeps private, and libraries use."""

import pickle

import numpy as np
import pytest

import taimatsu as torch


def ends(*values):
    return torch.tensor(values, dtype=torch.int32)


def test_products_of_groups():
    a, b = torch.randn(6, 3), torch.randn(2, 3, 4)
    got = torch._grouped_mm(a, b, ends(2, 5))
    want = np.concatenate([a[:2] @ b[0], a[2:5] @ b[1], np.zeros((1, 4))])
    np.testing.assert_allclose(got, want, rtol=1e-6)
    np.testing.assert_allclose(torch._grouped_mm(b.mT, a.mT, ends(2, 5)), want.T, rtol=1e-6)
    summed = torch.nn.functional.grouped_mm(a.mT, got, offs=ends(2, 5))
    np.testing.assert_allclose(summed[1], a[2:5].mT @ got[2:5], rtol=1e-5)
    np.testing.assert_allclose(torch._grouped_mm(b, b.mT), b @ b.mT, rtol=1e-6)
    both = ends(1, 2)
    for wrong in ((a, b), (b, b.mT, both), (a, b, both.long()), (a, b.double(), both)):
        with pytest.raises(RuntimeError, match="grouped_mm"):
            torch._grouped_mm(*wrong)


def test_gradients_from_results():
    x = torch.randn(3, 4, requires_grad=True)
    g = torch.randn(3, 4)
    for function, backward in (
        (torch._softmax, torch._softmax_backward_data),
        (torch._log_softmax, torch._log_softmax_backward_data),
    ):
        y = function(x, 1, False)
        (want,) = torch.autograd.grad(y, x, g)
        np.testing.assert_allclose(backward(g, y.detach(), 1, x.dtype), want, atol=1e-6)


def test_integers():
    x, w = (torch.randint(-128, 128, size, dtype=torch.int8) for size in ((3, 70), (70, 5)))
    got = torch._int_mm(x, w)
    assert got.dtype is torch.int32 and np.array_equal(got, x.numpy().astype("i4") @ w.numpy())
    with pytest.raises(RuntimeError, match="int8"):
        torch._int_mm(x, w.float())
    assert torch._cast_Long(torch.tensor(2.7)).item() == 2
    assert torch._shape_as_tensor(x).tolist() == [3, 70]


def test_compressed_rows_and_back():
    rows, columns = torch.tensor([0, 0, 2]), torch.tensor([1, 3, 0])
    compressed = torch._convert_indices_from_coo_to_csr(rows, 4, out_int32=True)
    assert compressed.dtype is torch.int32 and compressed.tolist() == [0, 2, 2, 3, 3]
    back = torch._convert_indices_from_csr_to_coo(compressed, columns)
    assert back.tolist() == [rows.tolist(), columns.tolist()]


def test_unique_gives_three_tensors():
    values, inverse, counts = torch._unique2(torch.tensor([3, 1, 3]), return_counts=True)
    assert values.tolist() == [1, 3] and counts.tolist() == [1, 2] and not len(inverse)
    assert torch._unique(torch.tensor([3, 1]), return_inverse=True)[1].tolist() == [1, 0]


def test_objects_as_bytes_of_a_storage():
    storage = torch.ByteStorage.from_buffer(pickle.dumps({"a": 1}))
    assert pickle.loads(bytes(torch.ByteTensor(storage).tolist())) == {"a": 1}
    assert torch.FloatStorage.from_buffer(np.ones(3, "f4").tobytes(), offset=4).tolist() == [1, 1]


def test_batches_tell_what_they_are():
    from taimatsu._C import _functorch

    def inner(x, y):
        assert [_functorch.maybe_get_level(t) for t in (x, y)] == [1, 2]
        assert _functorch.is_batchedtensor(x) and _functorch.maybe_get_bdim(x) == 0
        assert _functorch.get_unwrapped(x).shape == (3,)
        return x + y

    x = torch.ones(3)
    assert torch.vmap(lambda a: torch.vmap(lambda b: inner(a, b))(x))(x).shape == (3, 3)
    assert _functorch.maybe_get_level(x) == _functorch.maybe_get_bdim(x) == -1
    with pytest.raises(RuntimeError, match="batch"):
        _functorch.get_unwrapped(x)


def test_modules_with_other_parameters_for_a_while():
    from taimatsu.nn.utils.stateless import _reparametrize_module

    layer = torch.nn.Linear(2, 2)
    with _reparametrize_module(layer, {"weight": torch.zeros(2, 2)}):
        assert torch.equal(layer(torch.ones(2)), layer.bias)
    assert isinstance(layer.weight, torch.nn.Parameter)


def test_nodes_of_trees_are_counted():
    from taimatsu.utils._pytree import tree_structure

    spec = tree_structure({"a": [1, 2], "b": 3})
    assert (spec.num_nodes, spec.num_children, spec.num_leaves) == (5, 2, 3)


def test_named_tuples_are_a_supported_kind_of_node():
    from collections import namedtuple

    from taimatsu.utils import _pytree as pytree

    point = namedtuple("point", "x y")(1, [2])
    assert pytree._get_node_type(point) in pytree.SUPPORTED_NODES
    assert pytree.tree_map(lambda x: -x, point) == type(point)(-1, [-2])


def test_structures_of_ones_own_making():
    from taimatsu.utils import _pytree as pytree

    node = pytree.SUPPORTED_NODES[dict]
    children, context = node.flatten_fn({"a": 1, "b": 2})
    assert node.unflatten_fn(children, context) == {"a": 1, "b": 2}
    spec = pytree.TreeSpec(dict, context, [pytree.LeafSpec(), pytree.LeafSpec()])
    assert pytree.tree_unflatten([3, 4], spec) == {"a": 3, "b": 4}


def test_words_for_the_generator_of_numpy():
    from taimatsu.utils.data._utils.worker import _generate_state

    assert _generate_state(7, 0) == [1369798745, 2153889110, 378758007, 1154287536]


def test_there_are_no_classes_of_cpp_libraries():
    with pytest.raises(RuntimeError, match=r"'space\.Class'"):
        torch.classes.space.Class  # noqa: B018


def test_questions_about_devices():
    from taimatsu import _C

    assert not _C._mps_is_available()
    assert _C._get_cudnn_enabled() is torch.backends.cudnn.enabled


def test_conditions_on_all_elements():
    flags = torch.tensor([True, False])
    torch._check_tensor_all_with(KeyError, flags[:1])
    with pytest.raises(KeyError, match="no"):
        torch._check_tensor_all_with(KeyError, flags, lambda: "no")
    for cond in (True, torch.ones(2)):
        with pytest.raises(TypeError, match="cond"):
            torch._check_tensor_all_with(KeyError, cond)


@pytest.mark.parametrize("made", [
    lambda x, n: x._typed_storage()._new_shared(n, device=x.device),
    lambda x, n: x.untyped_storage()._new_shared(n * x.itemsize),
])  # fmt: skip
def test_batches_in_shared_memory(made):
    """As functions that collate make them."""
    x = torch.tensor([1.0, 2.0])
    out = x.new(made(x, 4))
    assert out.shape == (4,) and out.is_shared()
    assert torch.stack([x, 2 * x], out=out.resize_(2, 2)).tolist() == [[1, 2], [2, 4]]


def test_parts_of_a_checkpoint(tmp_path):
    path = str(tmp_path / "model.pt")
    torch.save({"w": torch.arange(3.0)}, path)
    reader = torch.PyTorchFileReader(path)
    data = reader.get_storage_from_record("data/0", 12, torch.UntypedStorage)
    storage = torch.storage.TypedStorage(
        wrap_storage=data._typed_storage()._untyped_storage, dtype=torch.float32, _internal=True
    )
    w = torch._utils._rebuild_tensor_v2(storage, 1, (2,), (1,), False, {})
    assert w.tolist() == [1, 2]
    meta = torch.storage.TypedStorage(dtype=torch.float32, device="meta")
    assert torch._utils._rebuild_tensor_v2(meta, 0, (2, 3), (3, 1), False, {}).is_meta
