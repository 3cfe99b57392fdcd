"""Data pipes: their steps, registration, and what they refuse."""

import pytest

import taimatsu as torch
from taimatsu.utils import data
from taimatsu.utils.data.datapipes import IterableWrapper, SequenceWrapper


def numbers(n=6):
    return IterableWrapper(range(n))


def test_steps_of_iterables():
    assert list(numbers().map(lambda x: x * x).filter(lambda x: x % 2)) == [1, 9, 25]
    pairs = IterableWrapper([(1, 2), (3, 4)])
    assert list(pairs.map(sum, input_col=None)) == [3, 7]
    assert list(pairs.map(lambda x: -x, input_col=1)) == [(1, -2), (3, -4)]
    assert list(pairs.map(lambda a, b: a + b, [0, 1], -1)) == [(1, 2, 3), (3, 4, 7)]
    assert list(pairs.filter(lambda x: x > 1, input_col=0)) == [(3, 4)]
    batches = numbers(5).batch(2)
    assert list(batches) == [[0, 1], [2, 3], [4]] and len(batches) == 3
    assert isinstance(next(iter(batches)), data.DataChunk)
    assert list(numbers(5).batch(2, drop_last=True)) == [[0, 1], [2, 3]]
    assert list(batches.batch(2).unbatch(2)) == list(batches.batch(2).unbatch(-1)) == [*range(5)]
    with pytest.raises(IndexError, match="exceeds the depth"):
        list(batches.unbatch(2))
    assert [b.tolist() for b in batches.collate()] == [[0, 1], [2, 3], [4]]
    assert list(numbers(2).concat(numbers(1))) == [0, 1, 0]
    assert list(numbers(2).zip(numbers(3))) == [(0, 0), (1, 1)]
    assert list(numbers(2).mux(numbers(3))) == [0, 0, 1, 1]
    with pytest.raises(AssertionError, match="larger than 0"):
        numbers().batch(0)


def test_shuffling():
    torch.manual_seed(0)
    pipe = numbers(50).shuffle(buffer_size=20)
    first, second = list(pipe), list(pipe)
    assert sorted(first) == list(range(50)) and first != second != list(range(50))
    assert list(pipe.set_seed(3)) == list(pipe.set_seed(3))
    assert list(pipe.set_shuffle(False)) == list(range(50))
    by_key = SequenceWrapper("abc").shuffle()
    assert sorted(by_key) == ["a", "b", "c"] and len(by_key) == 3


def test_steps_by_key():
    pipe = SequenceWrapper([3, 1, 2]).map(str)
    assert pipe[1] == "1" and len(pipe) == 3
    assert pipe.batch(2)[1] == ["2"] and pipe.concat(pipe)[4] == "1"
    assert pipe.zip(SequenceWrapper("xyz"))[0] == ("3", "x")
    with pytest.raises(IndexError):
        pipe.batch(2)[2]


def test_workers_divide_a_pipe():
    loader = data.DataLoader(numbers(7).sharding_filter(), batch_size=2, num_workers=2)
    assert sorted(i for batch in loader for i in batch.tolist()) == list(range(7))
    part = numbers(5).sharding_filter()
    part.apply_sharding(2, 1)
    assert list(part) == [1, 3]


def test_registration():
    @data.functional_datapipe("plus_for_this_test")
    class Plus(data.IterDataPipe):
        def __init__(self, source, n):
            self.source, self.n = source, n

        def __iter__(self):
            return (x + self.n for x in self.source)

    assert list(numbers(2).plus_for_this_test(5)) == [5, 6]
    with pytest.raises(Exception, match="already taken"):
        data.functional_datapipe("map")(Plus)
    with pytest.raises(TypeError, match="can only decorate"):
        data.functional_datapipe("x")(int)
    with pytest.raises(AttributeError, match="nothing"):
        numbers().nothing()


def test_determinism():
    @data.non_deterministic
    class Odd(data.IterDataPipe):
        pass

    @data.non_deterministic(lambda n: n > 1)
    class Some(data.IterDataPipe):
        def __init__(self, n):
            self.n = n

    assert isinstance(Odd(), data.IterDataPipe) and Some(5).n == 5
    with data.guaranteed_datapipes_determinism():
        assert Some(1).n == 1
        for make in (Odd, lambda: Some(2)):
            with pytest.raises(TypeError, match="non-deterministic"):
                make()


def test_validation():
    class Wrong(data.IterDataPipe[tuple[int, str]]):
        @data.runtime_validation
        def __iter__(self):
            yield 1, "a"
            yield 1, 2

    with pytest.raises(RuntimeError, match="Expected an instance as subtype of"):
        list(Wrong())
    with data.runtime_validation_disabled():
        assert len(list(Wrong())) == 2

    class Takes(data.IterDataPipe):
        @data.argument_validation
        def __init__(self, source: data.IterDataPipe, n: int = 1):
            self.source = source

    assert Takes(numbers(), n="any")
    with pytest.raises(TypeError, match="Expected argument 'source' as a IterDataPipe"):
        Takes([1])
