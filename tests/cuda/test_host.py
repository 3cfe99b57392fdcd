"""What the host sees of tensors on a GPU: numbers, text, NumPy, pickles."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import taimatsu as torch


@pytest.fixture
def x():
    return torch.arange(6.0).reshape(2, 3).cuda()


def test_numbers(x):
    assert x.tolist() == [[0, 1, 2], [3, 4, 5]] and x.t().tolist() == [[0, 3], [1, 4], [2, 5]]
    assert x[1, 2].item() == 5 == int(x[1, 2]) and bool((x > -1).all())
    assert f"{x[1, 1]:.2f}" == "4.00" and [float(v) for v in x[0]] == [0, 1, 2]
    assert torch.tensor([x[0, 1], x[1, 1]]).tolist() == [1, 4]


def test_text(x):
    assert repr(x[0]) == "tensor([0., 1., 2.], device='cuda:0')"
    assert repr(x.to("cuda:1")[0, 1]) == "tensor(1., device='cuda:1')"
    assert x.type() == "torch.cuda.FloatTensor"


def test_old_types():
    made = torch.cuda.FloatTensor([1, 2])
    assert made.is_cuda and made.tolist() == [1, 2] and isinstance(made, torch.cuda.FloatTensor)
    assert not isinstance(made, torch.FloatTensor) and torch.cuda.LongTensor(3).dtype == torch.int64


def test_indices_may_be_on_the_cpu(x):
    assert x[[1, 0], 1].tolist() == [4, 1]
    assert x[torch.tensor([1])].tolist() == [[3, 4, 5]]
    assert x[torch.tensor([True, False])].tolist() == [[0, 1, 2]]
    assert x[x > 3].tolist() == [4, 5] and x[True].shape == (1, 2, 3)
    x[[0]] = 7.0
    x[torch.tensor([False, True]), 0] = torch.tensor(8.0)
    assert x.tolist() == [[7, 7, 7], [8, 4, 5]]


def test_numpy_is_told_to_copy(x):
    with pytest.raises(TypeError, match=r"Tensor.cpu\(\)"):
        x.numpy()
    with pytest.raises(TypeError, match=r"Tensor.cpu\(\)"):
        np.asarray(x)
    assert torch.from_numpy(np.ones(3)).to("cuda").sum().item() == 3


def test_copies_of_objects(x):
    again = pickle.loads(pickle.dumps(x))
    assert again.device == x.device and torch.equal(again, x)
    assert copy.deepcopy(x).device == x.device and x.share_memory_() is x
    storage = x.untyped_storage()
    assert storage.is_cuda and storage.get_device() == 0 and not storage.is_pinned()
    assert storage.cpu().nbytes() == 24 and storage.cpu().to(device="cuda:1").device.index == 1
    assert storage.to(device="cuda") is storage
