"""Datasets, samplers, collation, DataLoader."""

from collections import Counter, namedtuple

import numpy as np
import pytest

import taimatsu as torch
from taimatsu.utils import data


class Squares(data.Dataset):
    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return i * i


class Stream(data.IterableDataset):
    def __init__(self, n):
        self.n = n

    def __iter__(self):
        return iter(range(self.n))


# ---- datasets -----------------------------------------------------------------------------------


def test_tensor_dataset():
    rows = data.TensorDataset(torch.arange(6).reshape(3, 2), torch.arange(3))
    assert len(rows) == 3 and [t.tolist() for t in rows[1]] == [[2, 3], 1]
    with pytest.raises(AssertionError, match="size mismatch"):
        data.TensorDataset(torch.ones(2), torch.ones(3))


def test_combined_datasets():
    both = Squares(3) + Squares(2)
    assert [both[i] for i in range(5)] == [0, 1, 4, 0, 1] and both[-1] == 1
    with pytest.raises(ValueError, match="absolute value"):
        both[-6]
    assert list(data.Subset(Squares(5), [4, 2])) == [16, 4]
    assert list(Stream(2) + Stream(3)) == [0, 1, 0, 1, 2]
    pairs = data.StackDataset(Squares(2), range(2))
    assert pairs[1] == (1, 1) and len(pairs) == 2
    assert data.StackDataset(x=Squares(2), y=range(2))[1] == {"x": 1, "y": 1}
    with pytest.raises(ValueError, match="Size mismatch"):
        data.StackDataset(Squares(2), Squares(3))


def test_random_split_is_a_partition():
    torch.manual_seed(0)
    parts = data.random_split(range(11), [0.5, 0.3, 0.2])
    assert [len(p) for p in parts] == [6, 3, 2]
    assert sorted(i for p in parts for i in p) == list(range(11))
    again = data.random_split(range(9), [4, 5], generator=torch.Generator().manual_seed(1))
    same = data.random_split(range(9), [4, 5], generator=torch.Generator().manual_seed(1))
    assert [p.indices for p in again] == [p.indices for p in same]
    with pytest.raises(ValueError, match="does not equal"):
        data.random_split(range(3), [1, 1])


# ---- samplers -----------------------------------------------------------------------------------


def test_samplers():
    torch.manual_seed(0)
    assert list(data.SequentialSampler(range(3))) == [0, 1, 2]
    assert sorted(data.RandomSampler(range(50))) == list(range(50))
    assert list(data.RandomSampler(range(50))) != list(range(50))
    assert sorted(data.SubsetRandomSampler([3, 1, 7])) == [1, 3, 7]
    counts = Counter(data.RandomSampler(range(4), num_samples=10))
    assert sum(counts.values()) == 10 and max(counts.values()) == 3 and min(counts.values()) == 2
    drawn = Counter(data.WeightedRandomSampler([0.0, 1.0, 3.0], 4000))
    assert drawn[0] == 0 and drawn[2] / drawn[1] == pytest.approx(3, rel=0.15)
    assert sorted(data.WeightedRandomSampler([1.0, 2.0, 3.0], 3, replacement=False)) == [0, 1, 2]
    assert list(data.BatchSampler(range(5), 2, True)) == [[0, 1], [2, 3]]
    assert len(data.BatchSampler(range(5), 2, False)) == 3
    with pytest.raises(ValueError, match="positive integer"):
        data.BatchSampler(range(5), 0, False)
    with pytest.raises(ValueError, match="non-negative integer"):
        data.RandomSampler(range(5), num_samples=-1)


# ---- collation ----------------------------------------------------------------------------------


def test_default_collate():
    Point = namedtuple("Point", "x y")
    first, second = Point(np.float32(1), np.ones(2)), Point(np.float32(2), np.ones(2))
    batch = data.default_collate(
        [
            {"a": 1, "b": (2.0, "p"), "c": [torch.ones(2), True], "d": first},
            {"a": 3, "b": (4.0, "q"), "c": [torch.zeros(2), False], "d": second},
        ]
    )
    assert batch["a"].tolist() == [1, 3] and batch["a"].dtype == torch.int64
    assert batch["b"][0].dtype == torch.float64 and batch["b"][1] == ("p", "q")
    assert batch["c"][0].shape == (2, 2) and batch["c"][1].tolist() == [True, False]
    assert batch["d"].x.dtype == torch.float32 and batch["d"].y.shape == (2, 2)
    with pytest.raises(TypeError, match="found <class 'object'>"):
        data.default_collate([object()])
    with pytest.raises(RuntimeError, match="equal size"):
        data.default_collate([[1], [1, 2]])


def test_default_convert():
    out = data.default_convert({"a": np.arange(2), "b": [np.ones(1), "text"]})
    assert out["a"].tolist() == [0, 1] and isinstance(out["b"][0], torch.Tensor)
    assert out["b"][1] == "text"


# ---- DataLoader ---------------------------------------------------------------------------------


def test_batches():
    loader = data.DataLoader(Squares(5), batch_size=2)
    assert [b.tolist() for b in loader] == [[0, 1], [4, 9], [16]] and len(loader) == 3
    assert [b.tolist() for b in data.DataLoader(Squares(5), 2, drop_last=True)] == [[0, 1], [4, 9]]
    assert list(data.DataLoader(Squares(3), batch_size=None)) == [0, 1, 4]
    assert [b.tolist() for b in data.DataLoader(Stream(5), 2)] == [[0, 1], [2, 3], [4]]
    summed = data.DataLoader(Squares(4), 2, collate_fn=sum)
    assert list(summed) == [1, 13]
    assert [b.tolist() for b in data.DataLoader(Squares(9), batch_sampler=[[8, 0]])] == [[64, 0]]
    assert [b.item() for b in data.DataLoader(Squares(9), sampler=[2, 1])] == [4, 1]


def test_shuffling_is_new_each_epoch_and_reproducible():
    def epochs(seed):
        generator = torch.Generator().manual_seed(seed)
        loader = data.DataLoader(range(20), batch_size=20, shuffle=True, generator=generator)
        return [next(iter(loader)).tolist() for _ in range(2)]

    first, second = epochs(0)
    assert first != second and sorted(first) == list(range(20))
    assert epochs(0) == [first, second]


def test_whole_batches_are_fetched_at_once_where_the_dataset_can():
    class Batched(Squares):
        def __getitems__(self, indices):
            calls.append(indices)
            return [i * i for i in indices]

    calls = []
    assert [b.tolist() for b in data.DataLoader(Batched(3), 2)] == [[0, 1], [4]]
    assert calls == [[0, 1], [2]]

    class Ready(Squares):
        def __getitems__(self, indices):
            return torch.tensor(indices), torch.tensor([i * i for i in indices])

    (batch,) = data.DataLoader(Ready(3), 3, collate_fn=lambda made: made)
    assert [column.tolist() for column in batch] == [[0, 1, 2], [0, 1, 4]]


@pytest.mark.parametrize(
    "error, options",
    [
        (ValueError, {"num_workers": -1}),
        (ValueError, {"prefetch_factor": 2}),
        (ValueError, {"persistent_workers": True}),
        (ValueError, {"multiprocessing_context": "fork"}),
        (ValueError, {"multiprocessing_context": "knife", "num_workers": 1}),
        (TypeError, {"multiprocessing_context": 3, "num_workers": 1}),
        (ValueError, {"worker_kind": "spoon", "num_workers": 1}),
        (ValueError, {"seed_per": "year"}),
        (ValueError, {"shuffle": True, "sampler": [0]}),
        (ValueError, {"batch_sampler": [[0]], "batch_size": 2}),
        (ValueError, {"batch_size": None, "drop_last": True}),
        (ValueError, {"timeout": -1}),
        (ValueError, {"batch_size": 0}),
    ],
)
def test_options_that_exclude_each_other(error, options):
    with pytest.raises(error):
        data.DataLoader(Squares(3), **options)


def test_an_iterable_dataset_has_no_order():
    with pytest.raises(ValueError, match="IterableDataset"):
        data.DataLoader(Stream(3), shuffle=True)
    with pytest.raises(TypeError):
        len(data.DataLoader(Stream(3)))
    assert data.get_worker_info() is None
