"""Methods and functions that are no ops of the table."""

import pytest

import taimatsu as torch
from taimatsu.utils._python_dispatch import TorchDispatchMode


def test_element_by_element():
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert x.apply_(lambda v: v * 2).tolist() == [[2.0, 4.0], [6.0, 8.0]]
    assert x.mT.map_(torch.ones(2), lambda a, b: a - b) is not x
    assert x.tolist() == [[1.0, 3.0], [5.0, 7.0]]
    x.map2_(x, torch.tensor(1.0), lambda a, b, c: a + b + c)
    assert x.tolist() == [[3.0, 7.0], [11.0, 15.0]]
    with pytest.raises(RuntimeError, match="requires grad"):
        torch.ones(1, requires_grad=True).apply_(abs)
    with pytest.raises(TypeError, match="CPU"):
        torch.ones(1, device="meta").apply_(abs)


def test_comparison_and_choice():
    x = torch.tensor([1.0, 2.0])
    assert x.allclose(x + 1e-9) and x.equal(x.clone()) and not x.equal(x[:1])
    assert x[:1].is_nonzero() and x.where(x > 1, 0.0).tolist() == [0.0, 2.0]


def test_fresh_tensors():
    x = torch.ones(2, dtype=torch.float64)
    assert x.new(3).shape == (3,) and x.new([1, 2]).dtype == torch.float64
    assert x.new_empty_strided((2, 3), (1, 2)).stride() == (1, 2)
    assert torch.scalar_tensor(2).dtype == torch.float32 and torch.fill(x, 3).tolist() == [3.0, 3.0]
    y = torch.empty_permuted((2, 3, 4), (0, 2, 1))
    assert y.shape == (2, 3, 4) and y.stride() == (12, 1, 3) and y.dim_order() == (0, 2, 1)
    with pytest.raises(RuntimeError, match="permutation"):
        torch.empty_permuted((2, 3), (0, 0))


def test_ambiguous_orders_of_dims():
    assert torch.empty(2, 3, 4).dim_order(ambiguity_check=True) == (0, 1, 2)
    x = torch.empty(1, 2, 3, 4)
    formats = [torch.contiguous_format, torch.channels_last]
    assert x.dim_order(ambiguity_check=formats) == (0, 1, 2, 3)
    for check in (True, [torch.channels_last], [torch.contiguous_format] * 2):
        with pytest.raises(RuntimeError, match="unique dim order"):
            x.dim_order(ambiguity_check=check)
    with pytest.raises(TypeError, match="ambiguity_check"):
        x.dim_order(ambiguity_check="any")


def test_streams_and_events_of_the_cpu():
    s = torch.Stream("cpu")
    with s:
        event = s.record_event()
    assert s.query() and event.query() and event.device == torch.device("cpu")
    assert issubclass(torch.cuda.Stream, torch.Stream)
    with pytest.raises(RuntimeError, match="keeps no times"):
        event.elapsed_time(torch.Event("cpu"))


@pytest.mark.parametrize("sizes", [(3, 3), (7, 3), (3, 7), (2, 2, 2), (4, 3)])
def test_fill_diagonal(sizes):
    import numpy as np

    for wrap in (False, True):
        x, expected = torch.zeros(sizes), np.zeros(sizes)
        np.fill_diagonal(expected, 5.0, wrap=wrap)
        assert x.fill_diagonal_(5.0, wrap=wrap).tolist() == expected.tolist()


def test_functions_of_methods_and_in_place_functions():
    x = torch.tensor([-1.0, 2.0], requires_grad=True)
    assert not torch.detach(x).requires_grad and torch.is_signed(x) and torch.get_device(x) == -1
    y = torch.tensor([-1.0, 2.0])
    assert torch.clamp_(y, 0.0) is y and y.tolist() == [0.0, 2.0]
    assert torch.typename(y) == "torch.FloatTensor" and torch.typename(1) == "int"
    assert [t.tolist() for t in torch.unsafe_split(y, 1)] == [[0.0], [2.0]]


def test_dispatch_mode_sees_ops_below_composites():
    class Log(TorchDispatchMode):
        def __init__(self):
            self.names = []

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.names.append(func.__name__)
            return func(*args, **(kwargs or {}))

    with Log() as log:
        x = torch.stack([torch.ones(2), torch.zeros(2)])
        x.add_(1, alpha=2)
        torch.sum(x, 0, out=torch.empty(0))
    assert log.names == ["ones.default", "zeros.default", "cat.default", "view.default",
                         "add_.Tensor", "empty.memory_format", "sum.out"]  # fmt: skip
    assert x.tolist() == [[3.0, 3.0], [2.0, 2.0]]


def test_names_that_libraries_take_from_modules():
    """Of helpers and values that programs import, what they do."""
    from taimatsu.distributed.fsdp import StateDictType
    from taimatsu.distributed.placements import Partial, Replicate, Shard
    from taimatsu.optim.optimizer import _group_tensors_by_device_and_dtype
    from taimatsu.utils.weak import WeakIdKeyDictionary

    assert Shard.local_shard_size_and_offset(10, 4, 3) == (1, 9)
    assert Shard(1) == Shard(dim=1) and Shard(1).is_shard(1) and not Shard(1).is_replicate()
    assert str((Shard(0), Replicate(), Partial("max"))) == (
        "(Shard(dim=0), Replicate(), Partial(max))"
    )
    assert StateDictType.FULL_STATE_DICT.name == "FULL_STATE_DICT"
    a, b = torch.ones(1), torch.ones(1, dtype=torch.float64)
    groups = _group_tensors_by_device_and_dtype([[a, b, a], [b, b, b]], with_indices=True)
    assert [indices for _, indices in groups.values()] == [[0, 2], [1]]
    notes = WeakIdKeyDictionary({a: 1})
    assert a in notes and b not in notes
    del a, groups
    assert len(notes) == 0
    sparse = torch.sparse.DoubleTensor(torch.tensor([[1]]), torch.ones(1), torch.Size([3]))
    assert sparse.dtype is torch.float64 and sparse.to_dense().tolist() == [0, 1, 0]
    assert isinstance(sparse, torch.sparse.DoubleTensor)
    assert not isinstance(sparse, torch.DoubleTensor)


def test_functions_of_methods_and_older_names():
    x = torch.arange(6.0)
    assert torch.as_strided_(x.clone(), (2, 2), (3, 1)).tolist() == [[0, 1], [3, 4]]
    y = x.requires_grad_()
    copied = torch.detach_copy(y)
    assert not copied.requires_grad and copied.data_ptr() != y.data_ptr()
    assert torch.from_dlpack(torch.to_dlpack(copied)).tolist() == x.tolist()
    a, b = torch.eye(2).to_sparse(), torch.ones(2, 2)
    assert torch.spmm(a, b).tolist() == b.tolist()
    mean = torch.segment_reduce(x.detach(), "mean", lengths=torch.tensor([0, 6]))
    assert mean[0].isnan() and mean[1] == 2.5


def test_keywords_of_factories_and_result_types():
    given = {"dtype": torch.float64, "factory_kwargs": {"device": "cpu"}}
    assert torch.nn.factory_kwargs(given) == {"device": "cpu", "dtype": torch.float64}
    for wrong in ({"size": 1}, {"dtype": 1, "factory_kwargs": {"dtype": 2}}):
        with pytest.raises(TypeError, match="kwargs"):
            torch.nn.factory_kwargs(wrong)
    assert torch.result_type(tensor=torch.ones(1), other=2) is torch.float32
    assert torch.result_type(1, tensor=torch.ones(2, dtype=torch.int8)) is torch.int8
    with pytest.raises(TypeError, match="unexpected keyword"):
        torch.result_type(tensor1=1, tensor2=2)


def test_a_trace_is_begun_and_ended_by_hand():
    prof = torch.profiler.profile(schedule=torch.profiler.schedule(wait=9, warmup=0, active=1))
    prof.set_custom_trace_id_callback(lambda: "mine")
    prof.prepare_trace()
    prof.start_trace()
    torch.ones(2).exp()
    prof.stop_trace()
    assert prof.get_trace_id() == "mine" and "aten::exp" in {e.name for e in prof.events()}
