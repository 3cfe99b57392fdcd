"""What programs touch besides tensors and modules: legacy types, switches, trees, versions."""

import importlib

import pytest

import taimatsu as torch
from taimatsu import nn
from taimatsu.torch_version import TorchVersion
from taimatsu.utils import _pytree as pytree


def test_legacy_types_make_convert_and_recognise_tensors():
    assert torch.FloatTensor(2, 3).shape == (2, 3)
    assert torch.LongTensor([1, 2]).tolist() == [1, 2] and torch.ByteTensor().numel() == 0
    assert isinstance(torch.ones(1), torch.FloatTensor)
    assert not isinstance(torch.ones(1), torch.DoubleTensor)
    assert torch.ones(1).type(torch.DoubleTensor).dtype is torch.float64
    with pytest.raises(TypeError, match="expected a tensor of torch.float32"):
        torch.FloatTensor(torch.LongTensor([1]))
    with pytest.raises(TypeError, match="not available"):
        torch.cuda.FloatTensor(1)


def test_default_tensor_type():
    with pytest.warns(UserWarning, match="deprecated"):
        torch.set_default_tensor_type("torch.DoubleTensor")
    try:
        assert torch.ones(1).dtype is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_typed_storages_share_the_tensor_s_memory():
    x = torch.arange(3.0)
    s = x.storage()
    s[1] = 7
    assert x.tolist() == [0, 7, 2] and list(s) == [0, 7, 2] and len(s) == 3
    assert isinstance(s, torch.FloatStorage) and s.data_ptr() == x.data_ptr()
    assert torch.FloatStorage([1, 2]).double().dtype is torch.float64
    with pytest.raises(RuntimeError, match="slices"):
        s[0:1]


@pytest.mark.parametrize(
    ("device", "error"),
    [("cuda", AssertionError), ("xpu", AssertionError), ("mtia", RuntimeError),
     ("mps", RuntimeError), ("accelerator", RuntimeError)],
)  # fmt: skip
def test_devices_that_are_not_there_say_so(device, error):
    module = importlib.import_module(f"taimatsu.{device}")
    assert module.is_available() is False and module.device_count() == 0
    with pytest.raises(error, match="is_available"):
        module.synchronize()
    for name in module.__all__:
        assert hasattr(module, name)


def test_gpus_are_refused_as_pytorch_s_builds_for_the_cpu_do():
    torch.cuda.manual_seed_all(0)
    torch.cuda.empty_cache()
    assert torch.cuda.memory_allocated() == 0 and torch.cuda.memory_stats() == {}
    with torch.cuda.device(None), torch.cuda.device_of(torch.ones(1)), torch.cuda.stream(None):
        pass
    for make in (
        lambda: torch.zeros(1, device="cuda"), lambda: torch.ones(1).cuda(),
        lambda: nn.Linear(1, 1).to("cuda"), lambda: torch.cuda.device(0).__enter__(),
    ):  # fmt: skip
        with pytest.raises(AssertionError, match="Torch not compiled with CUDA enabled"):
            make()


def test_switches_keep_what_they_are_set_to():
    with torch.backends.cudnn.flags(enabled=False, benchmark=True):
        assert torch.backends.cudnn.benchmark and not torch.backends.cudnn.enabled
    assert not torch.backends.cudnn.benchmark and torch.backends.cudnn.enabled
    torch.backends.cuda.matmul.allow_tf32 = True
    with pytest.raises(AttributeError, match="no_such_switch"):
        torch.backends.cuda.matmul.no_such_switch = True
    with torch._dynamo.config.patch(verbose=True):
        assert torch._dynamo.config.verbose
    assert not torch._dynamo.config.verbose
    with pytest.raises(RuntimeError, match="highest"):
        torch.set_float32_matmul_precision("exact")
    assert torch.get_float32_matmul_precision() in ("highest", "high", "medium")


def test_what_is_not_there_is_refused_with_a_way_out():
    with pytest.raises(NotImplementedError, match="state_dict"):
        torch.onnx.export(nn.Linear(1, 1), (torch.ones(1, 1),), "model.onnx")
    with pytest.raises(TypeError, match=r"jit\.trace"):
        torch.jit.save(nn.Linear(1, 1), "model.pt")
    with pytest.raises(RuntimeError, match="unknown backend"):
        torch.compile(lambda x: x, backend="no such backend")
    with pytest.raises(RuntimeError, match="CUDA"):
        torch.utils.cpp_extension.load(name="x", sources=["kernel.cu"])
    with pytest.raises(RuntimeError, match="built in"):
        torch.distributed.init_process_group("nccl")
    with pytest.raises(NotImplementedError, match="not available"):
        torch.distributed.pipelining.pipeline(nn.Linear(1, 1))
    with pytest.raises(OSError, match="load_extension"):
        torch.ops.load_library("ops.so")


def test_modules_have_pytorch_s_file_names():
    from taimatsu.nn.modules import activation, utils
    from taimatsu.nn.modules.batchnorm import BatchNorm2d, _BatchNorm
    from taimatsu.nn.modules.module import _IncompatibleKeys

    assert BatchNorm2d is nn.BatchNorm2d and issubclass(BatchNorm2d, _BatchNorm)
    assert activation.MultiheadAttention is nn.MultiheadAttention
    assert utils._pair(3) == (3, 3) and utils._triple((1, 2, 3)) == (1, 2, 3)
    assert _IncompatibleKeys([], []).missing_keys == []
    for name in nn.modules.__all__:
        assert hasattr(nn.modules, name)
    with pytest.raises(AttributeError, match="NoSuchLayer"):
        nn.modules.conv.NoSuchLayer  # noqa: B018


def test_subclasses_of_module_may_extend_getattr():
    class Lenient(nn.Module):
        def __getattr__(self, name):
            return 3 if name == "three" else super().__getattr__(name)

    assert Lenient().three == 3
    with pytest.raises(AttributeError, match="'Lenient' object has no attribute 'four'"):
        Lenient().four  # noqa: B018


def test_versions_compare_as_versions():
    v = TorchVersion("2.13.0+local")
    assert v > "2.2" and v >= (2, 13) and v == "2.13" and v < "3" and v > "2.13.0rc1"
    assert str(v) == "2.13.0+local"


def test_trees_tell_the_way_to_leaves():
    tree = {"a": [1, (2, 3)], "b": 4}
    assert pytree.tree_leaves([torch.ones(2, 3).shape, 1]) == [2, 3, 1]
    paths = [pytree.keystr(path) for path, _ in pytree.tree_leaves_with_path(tree)]
    assert paths == ["['a'][0]", "['a'][1][0]", "['a'][1][1]", "['b']"]
    named = pytree.tree_map_with_path(lambda path, leaf: (len(path), leaf), tree)
    assert named == {"a": [(2, 1), ((3, 2), (3, 3))], "b": (1, 4)}


def test_foreach_is_each():
    a, b = [torch.ones(2), torch.zeros(3)], [torch.ones(2), torch.ones(3)]
    assert [t.tolist() for t in torch._foreach_add(a, b, alpha=2)] == [[3, 3], [2, 2, 2]]
    assert torch._foreach_mul_(a, [2.0, 3.0]) is None and a[0].tolist() == [2, 2]
    assert torch._foreach_norm(b)[0].item() == pytest.approx(2**0.5)
    with pytest.raises(RuntimeError, match="as many items"):
        torch._foreach_add(a, [1.0])


def test_flex_attention_is_attention():
    from taimatsu.nn.attention.flex_attention import create_block_mask, flex_attention, or_masks

    q, k, v = (torch.randn(2, 4, 10, 8) for _ in range(3))
    causal = create_block_mask(lambda b, h, i, j: i >= j, None, None, 10, 10, BLOCK_SIZE=4)
    expected = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert torch.allclose(flex_attention(q, k, v, block_mask=causal), expected, atol=1e-5)
    assert causal.to_dense()[0, 0].tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert causal.full_kv_num_blocks.tolist() == [[[0, 1, 0]]]  # the last one is padded
    slopes = torch.tensor([0.1, 0.2, 0.3, 0.4])
    biased = flex_attention(q, k, v, score_mod=lambda s, b, h, i, j: s - slopes[h] * (i - j).abs())
    distance = (torch.arange(10)[:, None] - torch.arange(10)).abs()
    mask = -slopes[:, None, None] * distance
    expected = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    assert torch.allclose(biased, expected, atol=1e-5)
    first = or_masks(lambda b, h, i, j: j == 0, lambda b, h, i, j: i == j)
    assert create_block_mask(first, 1, 1, 4, 4, BLOCK_SIZE=2).shape == (1, 1, 4, 4)


def test_masks_of_listed_blocks():
    from taimatsu.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

    causal = create_block_mask(lambda b, h, i, j: i >= j, None, None, 12, 12, BLOCK_SIZE=4)
    listed = BlockMask.from_kv_blocks(
        causal.kv_num_blocks, causal.kv_indices, causal.full_kv_num_blocks, causal.full_kv_indices,
        4, causal.mask_mod,
    )  # fmt: skip
    assert listed.shape == (1, 1, 12, 12) and listed.to_dense().equal(causal.to_dense())
    x = torch.randn(2, 2, 12, 8)
    expected = flex_attention(x, x, x, block_mask=causal)
    assert torch.allclose(flex_attention(x, x, x, block_mask=listed), expected, atol=1e-6)
    diagonal = torch.tensor([[[[0, 1, 2], [1, 0, 2], [2, 0, 1]]]]).int()
    blocks = BlockMask.from_kv_blocks(torch.ones(1, 1, 3).int(), diagonal, BLOCK_SIZE=4)
    mask = torch.block_diag(*[torch.ones(4, 4)] * 3).bool()
    expected = nn.functional.scaled_dot_product_attention(x, x, x, attn_mask=mask)
    assert torch.allclose(flex_attention(x, x, x, block_mask=blocks), expected, atol=1e-6)
    with pytest.raises(AssertionError, match="both"):
        BlockMask.from_kv_blocks(diagonal[..., 0], diagonal, diagonal[..., 0])


def test_associative_scans():
    from taimatsu._higher_order_ops import associative_scan

    x = torch.rand(3, 7)
    for n in range(1, 8):
        part = x[:, :n]
        assert torch.allclose(associative_scan(torch.mul, part, 1), part.cumprod(1))
        back = associative_scan(torch.add, part, -1, reverse=True)
        assert torch.allclose(back, part.flip(1).cumsum(1).flip(1))


def test_swapped_tensors_are_each_other():
    a, b = nn.Parameter(torch.ones(2)), nn.Parameter(torch.zeros(3, dtype=torch.float64))
    a.grad, a.name_of_mine = torch.ones(2), "a"
    torch.utils.swap_tensors(a, b)
    assert a.shape == (3,) and a.grad is None and b.grad.tolist() == [1, 1]
    assert b.name_of_mine == "a" and a.dtype is torch.float64


def test_readers_of_checkpoints(tmp_path):
    torch.save({"x": torch.arange(3)}, tmp_path / "x.pt")
    reader = torch.PyTorchFileReader(str(tmp_path / "x.pt"))
    assert reader.has_record("data.pkl") and "data/0" in reader.get_all_records()
    assert reader.get_storage_from_record("data/0", 3, torch.int64).tolist() == [0, 1, 2]


def test_distributed_samplers_share_out_the_indices():
    from taimatsu.utils.data import DistributedSampler

    parts = [DistributedSampler(range(10), 3, rank, seed=1) for rank in range(3)]
    lists = [list(p) for p in parts]
    assert {len(x) for x in lists} == {4} and set().union(*lists) == set(range(10))
    parts[0].set_epoch(1)
    assert list(parts[0]) != lists[0]
    with pytest.raises(ValueError, match="rank"):
        DistributedSampler(range(3), 2, 2)


@pytest.mark.parametrize("how", ["overwrite", "swap"])
def test_conversions_put_new_parameters_where_they_are_told_to(how):
    future = importlib.import_module("taimatsu.__future__")
    layer = nn.Linear(2, 1)
    layer(torch.ones(1, 2)).sum().backward()
    before = layer.weight
    set_it = getattr(future, f"set_{how}_module_params_on_conversion")
    set_it(True)
    try:
        layer.double()
    finally:
        set_it(False)
    assert (layer.weight is before) == (how == "swap")
    assert layer.weight.dtype is layer.weight.grad.dtype is torch.float64
    assert before.dtype is (torch.float64 if how == "swap" else torch.float32)


def test_lists_of_tensors_take_factors_by_the_names_of_all_ops():
    x = torch.ones(2)
    assert torch._foreach_mul([x], scalar=3.0)[0].tolist() == [3, 3]
    assert torch._foreach_add([x, x], scalars=[1.0, 2.0])[1].tolist() == [3, 3]
    assert torch._foreach_addcmul([x], [x], [x], scalars=[2.0])[0].tolist() == [3, 3]
    assert torch._foreach_pow(2.0, [x])[0].tolist() == [2, 2]
    assert isinstance(torch._foreach_neg([x]), tuple)


def test_a_test_case_compares_tensors():
    from taimatsu.testing._internal.common_utils import TestCase

    case = TestCase()
    case.assertEqual(torch.ones(2), torch.ones(2) + 1e-9)
    case.assertEqual([1, "a"], [1, "a"])
    case.assertNotEqual(torch.ones(2), torch.zeros(2))
    with pytest.raises(AssertionError):
        case.assertEqual(torch.ones(2), torch.ones(2).double())
    case.assertEqual({"a": torch.ones(2)}, {"a": torch.ones(2).double()}, exact_dtype=False)


def test_the_type_tensor_is_the_default_one():
    assert (torch.arange(3) > 1).type(torch.Tensor).dtype is torch.float32


def test_loops_as_functions():
    from taimatsu._higher_order_ops.map import map as mapped
    from taimatsu._higher_order_ops.scan import scan

    doubled = torch.while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, x * 2), (0, torch.ones(2)))
    assert doubled[0] == 3 and doubled[1].tolist() == [8, 8]
    with pytest.raises(RuntimeError, match="same structure, sizes"):
        torch.while_loop(lambda x: x.sum() < 5, lambda x: torch.ones(3) * x.sum(), (torch.ones(2),))
    x = torch.rand(3, 4)
    for reverse in (False, True):
        last, sums = scan(
            lambda c, v: (c + v["a"], {"b": c + v["a"]}), torch.zeros(3), {"a": x}, dim=1,
            reverse=reverse,
        )  # fmt: skip
        expected = (x.flip(1).cumsum(1).flip(1) if reverse else x.cumsum(1))
        assert torch.allclose(sums["b"], expected) and torch.allclose(last, x.sum(1))
    assert mapped(lambda v, y: v * y, x, x[0]).equal(x * x[0])


def test_a_branch_as_a_function():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    for given, slope in ((True, 2), (torch.tensor([0]), 3)):
        (grad,) = torch.autograd.grad(
            torch.cond(given, lambda a: a * 2, lambda a: a * 3, (x,)).sum(), x
        )
        assert grad.tolist() == [slope, slope]
    with pytest.raises(RuntimeError, match="one element"):
        torch.cond(x > 0, torch.sin, torch.cos, (x,))
    with pytest.raises(RuntimeError, match="tuple or list"):
        torch.cond(True, torch.sin, torch.cos, x)


def test_a_tensor_of_a_module_is_swapped():
    from taimatsu.nn.utils._named_member_accessor import set_tensor, swap_tensor

    layer = nn.Linear(2, 1, bias=False)
    weight, other = layer.weight, torch.ones(1, 2)
    assert swap_tensor(layer, "weight", other) is weight and layer.weight is other
    set_tensor(layer, "weight", weight)
    assert layer.weight is weight
    with pytest.raises(AttributeError, match="no attribute 'scale'"):
        swap_tensor(layer, "scale", other)
    missing = swap_tensor(layer, "scale", other, allow_missing=True)
    assert layer.scale is other
    swap_tensor(layer, "scale", missing)
    assert not hasattr(layer, "scale")
    with pytest.raises(KeyError):
        swap_tensor(layer, "a.weight", other)
