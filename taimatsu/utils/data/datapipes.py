"""Data pipes: data sets made of others, by methods that can be chained.

    pipe = IterableWrapper(range(10)).filter(is_even).shuffle().batch(2)

PyTorch keeps them for older programs, and so are they kept here: the kinds, their registration and
the usual steps. `dataset.py` has what new programs want.
"""

from __future__ import annotations

import functools
import itertools
import random
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ContextDecorator
from typing import Any

import taimatsu as torch

from ._fetch import get_worker_info
from .collate import default_collate
from .dataset import Dataset, IterableDataset

__all__ = [
    "DFIterDataPipe", "DataChunk", "IterDataPipe", "IterableWrapper", "MapDataPipe",
    "SequenceWrapper", "argument_validation", "functional_datapipe",
    "guaranteed_datapipes_determinism", "non_deterministic", "runtime_validation",
    "runtime_validation_disabled",
]  # fmt: skip


class _Pipe:
    """What both kinds have: registered steps as methods, and the type of what they give."""

    functions: dict[str, Callable] = {}  # noqa: RUF012  (of each kind its own)
    type: Any = Any

    def __class_getitem__(cls, item: Any) -> Any:
        return types.new_class(cls.__name__, (cls,), {}, lambda body: body.update(type=item))

    def __getattr__(self, name: str) -> Any:
        if name in type(self).functions:
            return functools.partial(type(self).functions[name], self)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @classmethod
    def register_function(cls, function_name: str, function: Callable) -> None:
        """Make ``pipe.function_name(...)`` call a function with the pipe first."""
        cls.functions[function_name] = function

    @classmethod
    def register_datapipe_as_function(
        cls, function_name: str, cls_to_register: Any, enable_df_api_tracing: bool = False
    ) -> None:
        """Make ``pipe.function_name(...)`` construct a pipe of a class, once for each name."""
        if function_name in cls.functions:
            raise Exception(
                f"Unable to add DataPipe function name {function_name} as it is already taken"
            )
        cls.functions[function_name] = cls_to_register

    def __repr__(self) -> str:
        return type(self).__qualname__


class IterDataPipe(_Pipe, IterableDataset):
    """A pipe to iterate over: a subclass defines ``__iter__``.

    >>> IterableWrapper(range(5)).map(abs).batch(2).unbatch()
    UnBatcher
    """

    functions: dict[str, Callable] = {}  # noqa: RUF012

    def reset(self) -> None:
        """Called before an iteration begins anew; for subclasses."""


class MapDataPipe(_Pipe, Dataset):
    """A pipe of samples by key: a subclass defines ``__getitem__`` and ``__len__``."""

    functions: dict[str, Callable] = {}  # noqa: RUF012


class DFIterDataPipe(IterDataPipe):
    """A pipe that gives data frames."""


class DataChunk(list):
    """A batch, as a list that knows what it was made of."""

    def __init__(self, items: Iterable):
        items = list(items)
        super().__init__(items)
        self.items = items

    def as_str(self, indent: str = "") -> str:
        """Its items as text."""
        return indent + "[" + ", ".join(map(str, self)) + "]"

    def raw_iterator(self) -> Iterator:
        """The items, whatever a subclass iterates over."""
        return iter(self.items)


# ---- Decorators ----------------------------------------------------------------------------------
class functional_datapipe:
    """Registers a class of pipes as a method of all pipes of its kind.

    >>> @functional_datapipe("doubled_for_example")
    ... class Doubled(IterDataPipe):
    ...     def __init__(self, source):
    ...         self.source = source
    ...     def __iter__(self):
    ...         return (2 * x for x in self.source)
    >>> list(IterableWrapper([1, 2]).doubled_for_example())
    [2, 4]
    """

    def __init__(self, name: str, enable_df_api_tracing: bool = False):
        self.name = name

    def __call__(self, cls: Any) -> Any:
        base = cls.cls if isinstance(cls, non_deterministic) else cls
        for kind in (IterDataPipe, MapDataPipe):
            if isinstance(base, type) and issubclass(base, kind):
                kind.register_datapipe_as_function(self.name, cls)
                return cls
        raise TypeError("`functional_datapipe` can only decorate IterDataPipe or MapDataPipe")


_state = {"determinism": False, "validation": True}


class _Switched(ContextDecorator):
    """While it lasts a setting is another one."""

    setting, value = "", False

    def __enter__(self) -> None:
        self.before, _state[self.setting] = _state[self.setting], self.value

    def __exit__(self, *exception: object) -> None:
        _state[self.setting] = self.before


class guaranteed_datapipes_determinism(_Switched):
    """Inside, pipes marked `non_deterministic` can't be made: TypeError."""

    setting, value = "determinism", True


class runtime_validation_disabled(_Switched):
    """Inside, `runtime_validation` lets everything pass."""

    setting, value = "validation", False


class non_deterministic:
    """Marks a class of pipes, or by a function those of its arguments for which it says so."""

    def __init__(self, arg: Any):
        self.cls: Any = arg if isinstance(arg, type) else None
        self.says: Any = None if isinstance(arg, type) else arg

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.cls is None:  # as a decorator with a function
            (self.cls,) = args
            if not (isinstance(self.cls, type) and issubclass(self.cls, IterDataPipe)):
                raise TypeError(
                    "Only `IterDataPipe` can be decorated with `non_deterministic`, but "
                    f"{self.cls} is found"
                )
            return self
        doubtful = self.says is None or self.says(*args, **kwargs)
        if doubtful and _state["determinism"]:
            raise TypeError(
                f"{self.cls.__name__} is non-deterministic, but you set "
                "'guaranteed_datapipes_determinism'"
            )
        return self.cls(*args, **kwargs)


def argument_validation(f: Callable) -> Callable:
    """Checks arguments that are annotated with a kind of pipe: TypeError for others."""
    from inspect import signature as signature_of

    signature = signature_of(f)
    hints = typing.get_type_hints(f)

    @functools.wraps(f)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            hint = hints.get(name)
            if isinstance(hint, type) and issubclass(hint, _Pipe):
                kind = hint if hint.type is Any else hint.__bases__[0]
                if not isinstance(value, kind):
                    raise TypeError(
                        f"Expected argument '{name}' as a {kind.__name__}, but found {type(value)}"
                    )
        return f(*args, **kwargs)

    return wrapper


def runtime_validation(f: Callable) -> Callable:
    """Checks what an ``__iter__`` gives against the type of its pipe: RuntimeError for others."""

    @functools.wraps(f)
    def wrapper(self: Any) -> Iterator:
        for value in f(self):
            if _state["validation"] and not _is_of(value, self.type):
                raise RuntimeError(
                    f"Expected an instance as subtype of {self.type}, but found "
                    f"{value}({type(value)})"
                )
            yield value

    return wrapper


def _is_of(value: Any, hint: Any) -> bool:
    """Whether a value is of a type as `typing` spells it."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or isinstance(hint, typing.TypeVar):
        return True
    if hint is None:
        return value is None
    if origin is None:
        return isinstance(value, hint)
    if origin in (typing.Union, types.UnionType):
        return any(_is_of(value, a) for a in args)
    if origin is typing.Literal:
        return value in args
    if not isinstance(value, origin):
        return False
    if origin is tuple:
        if len(args) == 2 and args[1] is Ellipsis:
            return all(_is_of(v, args[0]) for v in value)
        return len(value) == len(args) and all(map(_is_of, value, args))
    if issubclass(origin, Mapping):
        return all(_is_of(k, args[0]) and _is_of(v, args[1]) for k, v in value.items())
    return all(_is_of(v, args[0]) for v in value)


# ---- Pipes to iterate over -----------------------------------------------------------------------
class IterableWrapper(IterDataPipe):
    """The items of an iterable, which is copied before each iteration unless told not to."""

    def __init__(self, iterable: Iterable, deepcopy: bool = True):
        self.iterable, self.deepcopy = iterable, deepcopy

    def __iter__(self) -> Iterator:
        import copy

        try:
            return iter(copy.deepcopy(self.iterable) if self.deepcopy else self.iterable)
        except TypeError:  # a generator
            return iter(self.iterable)

    def __len__(self) -> int:
        return len(self.iterable)


@functional_datapipe("map")
class Mapper(IterDataPipe):
    """A function of each item; of column ``input_col``, put into ``output_col``."""

    def __init__(
        self, datapipe: IterDataPipe, fn: Callable, input_col: Any = None, output_col: Any = None
    ):
        if input_col is None and output_col is not None:
            raise ValueError("`output_col` must be None when `input_col` is None.")
        self.datapipe, self.fn = datapipe, fn
        self.input_col, self.output_col = input_col, output_col

    def _apply(self, item: Any) -> Any:
        if self.input_col is None:
            return self.fn(item)
        columns = self.input_col if isinstance(self.input_col, (list, tuple)) else [self.input_col]
        result = self.fn(*(item[c] for c in columns))
        is_tuple = isinstance(item, tuple)
        item = list(item) if is_tuple else type(item)(item)
        if self.output_col == -1:
            item.append(result)
        else:
            item[columns[0] if self.output_col is None else self.output_col] = result
        return tuple(item) if is_tuple else item

    def __iter__(self) -> Iterator:
        return map(self._apply, self.datapipe)

    def __len__(self) -> int:
        return len(self.datapipe)


@functional_datapipe("filter")
class Filter(IterDataPipe):
    """The items for which a function holds, of column ``input_col``."""

    def __init__(self, datapipe: IterDataPipe, filter_fn: Callable, input_col: Any = None):
        self.datapipe, self.filter_fn, self.input_col = datapipe, filter_fn, input_col

    def __iter__(self) -> Iterator:
        column = self.input_col
        for item in self.datapipe:
            if self.filter_fn(item if column is None else item[column]):
                yield item


@functional_datapipe("batch")
class Batcher(IterDataPipe):
    """Lists of ``batch_size`` items."""

    def __init__(
        self, datapipe: IterDataPipe, batch_size: int, drop_last: bool = False,
        wrapper_class: Any = DataChunk,
    ):  # fmt: skip
        if batch_size <= 0:
            raise AssertionError("Batch size is required to be larger than 0!")
        self.datapipe, self.batch_size = datapipe, batch_size
        self.drop_last, self.wrapper_class = drop_last, wrapper_class

    def __iter__(self) -> Iterator:
        items = iter(self.datapipe)
        while batch := list(itertools.islice(items, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield self.wrapper_class(batch)

    def __len__(self) -> int:
        n = len(self.datapipe)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)


@functional_datapipe("unbatch")
class UnBatcher(IterDataPipe):
    """The items of batches, ``unbatch_level`` deep; -1: of all depths."""

    def __init__(self, datapipe: IterDataPipe, unbatch_level: int = 1):
        if unbatch_level < -1:
            raise ValueError("unbatch_level must be -1 or >= 0")
        self.datapipe, self.unbatch_level = datapipe, unbatch_level

    def __iter__(self) -> Iterator:
        for item in self.datapipe:
            yield from self._flat(item, self.unbatch_level)

    def _flat(self, item: Any, level: int) -> Iterator:
        if level == 0 or (level < 0 and not isinstance(item, list)):
            yield item
            return
        if not isinstance(item, list):
            raise IndexError(
                f"unbatch_level {self.unbatch_level} exceeds the depth of the DataPipe"
            )
        for part in item:
            yield from self._flat(part, level - 1 if level > 0 else level)


@functional_datapipe("collate")
class Collator(IterDataPipe):
    """Batches as tensors."""

    def __init__(self, datapipe: IterDataPipe, collate_fn: Callable = default_collate):
        self.datapipe, self.collate_fn = datapipe, collate_fn

    def __iter__(self) -> Iterator:
        return map(self.collate_fn, self.datapipe)

    def __len__(self) -> int:
        return len(self.datapipe)


@functional_datapipe("concat")
class Concater(IterDataPipe):
    """Pipes one after the other."""

    def __init__(self, *datapipes: IterDataPipe):
        if not datapipes:
            raise ValueError("Expected at least one DataPipe, but got nothing")
        self.datapipes = datapipes

    def __iter__(self) -> Iterator:
        return itertools.chain.from_iterable(self.datapipes)

    def __len__(self) -> int:
        return sum(map(len, self.datapipes))


@functional_datapipe("zip")
class Zipper(Concater):
    """Items of several pipes side by side, as many as the shortest has."""

    def __iter__(self) -> Iterator:
        return zip(*self.datapipes, strict=False)

    def __len__(self) -> int:
        return min(map(len, self.datapipes))


@functional_datapipe("mux")
class Multiplexer(Concater):
    """One item of each pipe in turn, until the shortest has no more."""

    def __iter__(self) -> Iterator:
        for row in zip(*self.datapipes, strict=False):
            yield from row

    def __len__(self) -> int:
        return min(map(len, self.datapipes)) * len(self.datapipes)


@functional_datapipe("shuffle")
class Shuffler(IterDataPipe):
    """Items in random order, drawn from a buffer of ``buffer_size``."""

    def __init__(self, datapipe: IterDataPipe, *, buffer_size: int = 10000, unbatch_level: int = 0):
        if buffer_size <= 0:
            raise ValueError("buffer_size should be larger than 0")
        self.datapipe = datapipe.unbatch(unbatch_level) if unbatch_level else datapipe
        self.buffer_size, self.enabled, self.seed = buffer_size, True, None

    def set_shuffle(self, shuffle: bool = True) -> Shuffler:
        """Whether to shuffle."""
        self.enabled = shuffle
        return self

    def set_seed(self, seed: int) -> Shuffler:
        """The seed of the next iteration."""
        self.seed = seed
        return self

    def __iter__(self) -> Iterator:
        if not self.enabled:
            yield from self.datapipe
            return
        seed, self.seed = self.seed, None
        if seed is None:
            seed = int(torch.empty((), dtype=torch.int64).random_().item())
        draw = random.Random(seed)
        buffer: list = []
        for item in self.datapipe:
            if len(buffer) < self.buffer_size:
                buffer.append(item)
                continue
            i = draw.randrange(len(buffer))
            given, buffer[i] = buffer[i], item
            yield given
        draw.shuffle(buffer)
        yield from buffer

    def __len__(self) -> int:
        return len(self.datapipe)


@functional_datapipe("sharding_filter")
class ShardingFilter(IterDataPipe):
    """Every n-th item: in a DataLoader's worker the part that is its own."""

    def __init__(self, source_datapipe: IterDataPipe):
        self.source_datapipe = source_datapipe
        self.shard: tuple[int, int] | None = None

    def apply_sharding(self, num_of_instances: int, instance_id: int) -> None:
        """Take item ``instance_id`` of each ``num_of_instances``."""
        self.shard = (num_of_instances, instance_id)

    def __iter__(self) -> Iterator:
        info = get_worker_info()
        own = (1, 0) if info is None else (info.num_workers, info.id)
        n, i = self.shard or own
        return itertools.islice(iter(self.source_datapipe), i, None, n)


# ---- Pipes of samples by key ---------------------------------------------------------------------
class SequenceWrapper(MapDataPipe):
    """The items of a sequence or mapping."""

    def __init__(self, sequence: Any, deepcopy: bool = True):
        import copy

        self.sequence = copy.deepcopy(sequence) if deepcopy else sequence

    def __getitem__(self, index: Any) -> Any:
        return self.sequence[index]

    def __len__(self) -> int:
        return len(self.sequence)


@functional_datapipe("map")
class _MapMapper(MapDataPipe):
    def __init__(self, datapipe: MapDataPipe, fn: Callable):
        self.datapipe, self.fn = datapipe, fn

    def __getitem__(self, index: Any) -> Any:
        return self.fn(self.datapipe[index])

    def __len__(self) -> int:
        return len(self.datapipe)


@functional_datapipe("batch")
class _MapBatcher(MapDataPipe):
    def __init__(self, datapipe: MapDataPipe, batch_size: int, drop_last: bool = False):
        self.datapipe, self.batch_size, self.drop_last = datapipe, batch_size, drop_last

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(f"Index {index} is out of bound.")
        start, n = index * self.batch_size, len(self.datapipe)
        return DataChunk(self.datapipe[i] for i in range(start, min(start + self.batch_size, n)))

    def __len__(self) -> int:
        n = len(self.datapipe)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)


@functional_datapipe("concat")
class _MapConcater(MapDataPipe):
    def __init__(self, *datapipes: MapDataPipe):
        self.datapipes = datapipes

    def __getitem__(self, index: int) -> Any:
        start = 0
        for pipe in self.datapipes:
            if index - start < len(pipe):
                return pipe[index - start]
            start += len(pipe)
        raise IndexError(f"Index {index} is out of range.")

    def __len__(self) -> int:
        return sum(map(len, self.datapipes))


@functional_datapipe("zip")
class _MapZipper(_MapConcater):
    def __getitem__(self, index: Any) -> Any:
        return tuple(pipe[index] for pipe in self.datapipes)

    def __len__(self) -> int:
        return min(map(len, self.datapipes))


class _MapShuffler(Shuffler):
    """Iterates over a pipe by its keys in random order."""

    def __init__(self, datapipe: MapDataPipe, *, indices: list | None = None):
        self.source = datapipe
        keys = range(len(datapipe)) if indices is None else indices
        super().__init__(IterableWrapper(list(keys)), buffer_size=max(1, len(keys)))

    def __iter__(self) -> Iterator:
        return (self.source[key] for key in super().__iter__())


MapDataPipe.register_datapipe_as_function("shuffle", _MapShuffler)
