"""``DataLoader``: batches of a dataset, made here or by workers ahead of time."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import sys
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import taimatsu as torch

from ._fetch import (
    Exhausted,
    Failure,
    Skipped,
    fetcher,
    get_worker_info,
    kept_random_state,
    random_state,
    seed_all,
    seed_of_batch,
    set_random_state,
)
from ._utils.pin_memory import pin_memory as pinned
from .collate import default_collate, default_convert
from .dataset import Dataset, IterableDataset
from .sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler

__all__ = ["DataLoader", "get_worker_info"]

_END = object()
_collate_fn_t = Callable[[list[Any]], Any]


class _InfiniteConstantSampler(Sampler):
    """What an iterable dataset is batched by: it has no indices."""

    def __iter__(self) -> Iterator[None]:
        while True:
            yield None


class _DatasetKind:
    """How a dataset is read: by indices, or from its beginning."""

    Map, Iterable = 0, 1


class DataLoader:
    """Iterates over a dataset in batches.

    ``batch_size`` samples at a time (None: single samples, not batched), in order or ``shuffle``d,
    or as ``sampler`` or ``batch_sampler`` say; ``collate_fn`` makes a batch of a list of samples;
    ``drop_last`` leaves out an incomplete batch.

    With ``num_workers`` > 0 batches are made ahead, ``prefetch_factor`` for each worker. Workers
    are processes, of ``multiprocessing_context``'s start method, or threads: ``worker_kind``
    "process" or "thread", by default threads where Python has no global lock. Batches of processes
    come through shared memory. ``worker_init_fn(i)`` runs first in each; ``timeout`` seconds is
    the most to wait for a batch; ``persistent_workers`` stay for the next epoch; without
    ``in_order`` batches come as they are ready.

    Worker i is seeded with a number drawn from ``generator``, plus i: Python's, NumPy's and this
    library's random numbers. With ``seed_per="batch"`` every batch gets a seed of its own instead,
    so that random transforms are the same for any number of workers and after `load_state_dict`.
    Threads are not seeded, as they have the generators in common: ``get_worker_info().seed``.

    Raises what a dataset raises in a worker, with its traceback; RuntimeError if a worker dies,
    or for a timeout; ValueError for options that exclude each other.

    >>> loader = DataLoader(TensorDataset(torch.arange(5)), batch_size=2)
    >>> [batch.tolist() for (batch,) in loader]
    [[0, 1], [2, 3], [4]]
    """

    def __class_getitem__(cls, item: Any) -> type:
        return cls

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Sampler | Iterable | None = None,
        batch_sampler: Sampler | Iterable[list] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Any = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
        worker_kind: str | None = None,
        seed_per: str = "worker",
    ):
        if num_workers < 0:
            raise ValueError(
                "num_workers option should be non-negative; use num_workers=0 to disable "
                "multiprocessing."
            )
        if timeout < 0:
            raise ValueError("timeout option should be non-negative")
        if num_workers == 0 and prefetch_factor is not None:
            raise ValueError(
                "prefetch_factor option could only be specified in multiprocessing. Let "
                "num_workers > 0 to enable multiprocessing, otherwise set prefetch_factor to None."
            )
        if prefetch_factor is not None and prefetch_factor < 1:
            raise ValueError("prefetch_factor option should be non-negative")
        if persistent_workers and num_workers == 0:
            raise ValueError("persistent_workers option needs num_workers > 0")
        if worker_kind not in (None, "process", "thread"):
            raise ValueError(f'worker_kind should be "process" or "thread"; got {worker_kind!r}')
        if seed_per not in ("worker", "batch"):
            raise ValueError(f'seed_per should be "worker" or "batch"; got {seed_per!r}')
        if pin_memory and not torch.cuda.is_available():
            pin_memory = False
            warnings.warn(
                "DataLoader: pin_memory is set but no accelerator is found; batches stay in "
                "ordinary memory",
                stacklevel=2,
            )
        self.dataset = dataset
        self.num_workers = num_workers
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.pin_memory = pin_memory
        self.pin_memory_device = pin_memory_device
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.persistent_workers = persistent_workers
        self.in_order = in_order
        self.worker_kind = worker_kind or ("process" if _has_global_lock() else "thread")
        self.seed_per = seed_per
        self.generator = generator
        self._iterable = isinstance(dataset, IterableDataset)
        self._check_order(shuffle, sampler, batch_sampler)
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError(
                    "batch_sampler option is mutually exclusive with batch_size, shuffle, "
                    "sampler, and drop_last"
                )
            batch_size = None
        elif batch_size is None and drop_last:
            raise ValueError(
                "batch_size=None option disables auto-batching and is mutually exclusive with "
                "drop_last"
            )
        if sampler is None:
            if self._iterable:
                sampler = _InfiniteConstantSampler()
            elif shuffle:
                sampler = RandomSampler(dataset, generator=generator)
            else:
                sampler = SequentialSampler(dataset)
        if batch_size is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        if collate_fn is None:
            collate_fn = default_convert if batch_sampler is None else default_collate
        self.collate_fn = collate_fn
        self._resume: dict | None = None  # the state to begin the next epoch from
        self._current: Any = None  # a weak reference to the epoch under way
        self._persistent: _Workers | None = None
        self.check_worker_number_rationality()

    def _check_order(self, shuffle: Any, sampler: Any, batch_sampler: Any) -> None:
        if self._iterable:
            for name, value in (("shuffle", shuffle), ("sampler", sampler),
                                ("batch_sampler", batch_sampler)):  # fmt: skip
                if value not in (None, False):
                    raise ValueError(
                        "DataLoader with IterableDataset: expected unspecified "
                        f"{name} option, but got {name}={value}"
                    )
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")

    @property
    def multiprocessing_context(self) -> Any:
        """The context whose start method worker processes have; None for the default."""
        return self._context

    @multiprocessing_context.setter
    def multiprocessing_context(self, context: Any) -> None:
        if context is not None:
            if self.num_workers == 0:
                raise ValueError(
                    "multiprocessing_context can only be used with multi-process loading "
                    f"(num_workers > 0), but got num_workers={self.num_workers}"
                )
            if isinstance(context, str):
                methods = multiprocessing.get_all_start_methods()
                if context not in methods:
                    raise ValueError(
                        "multiprocessing_context option should specify a valid start method in "
                        f"{methods!r}, but got multiprocessing_context={context!r}"
                    )
                context = torch.multiprocessing.get_context(context)
            elif not isinstance(context, multiprocessing.context.BaseContext):
                raise TypeError(
                    "multiprocessing_context option should be a valid context object or a string "
                    f"specifying the start method, but got multiprocessing_context={context}"
                )
        self._context = context

    def check_worker_number_rationality(self) -> None:
        """Warn of more workers than this process may use processors."""
        count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        if count is not None and self.num_workers > count:
            warnings.warn(
                f"This DataLoader will create {self.num_workers} worker processes in total. Our "
                f"suggested max number of worker in current system is {count}, which is smaller "
                "than what this DataLoader is going to create; more may be slower",
                stacklevel=3,
            )

    # What an epoch that is under way would not follow.
    _FIXED = frozenset(
        ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")
    )

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._FIXED and "_persistent" in self.__dict__:
            raise ValueError(
                f"{name} attribute should not be set after {type(self).__name__} is initialized"
            )
        super().__setattr__(name, value)

    @property
    def _auto_collation(self) -> bool:
        return self.batch_sampler is not None

    @property
    def _order(self) -> Iterable:
        return self.sampler if self.batch_sampler is None else self.batch_sampler

    def __iter__(self) -> _Epoch:
        resume, self._resume = self._resume, None
        epoch = (_EpochOfWorkers if self.num_workers else _Epoch)(self, resume)
        self._current = weakref.ref(epoch)
        return epoch

    def __len__(self) -> int:
        """The number of batches; of an iterable dataset, if it has a length."""
        if not self._iterable:
            return len(self._order)
        n = len(self.dataset)
        if self.batch_size is None:
            return n
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    # ---- position --------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Where the loader is: in the epoch under way, or before the next one.

        Batches that workers have made but nobody has got count as not made. An iterable dataset
        with ``state_dict`` and ``load_state_dict`` is asked; any other is read again up to here.
        RuntimeError without ``in_order``.

        >>> loader = DataLoader(range(6), batch_size=2)
        >>> _ = next(iter(loader))
        >>> state = loader.state_dict()
        """
        if not self.in_order and self.num_workers:
            raise RuntimeError(
                "DataLoader.state_dict: with in_order=False the batches that were given are not "
                "the first ones; use in_order=True"
            )
        epoch = self._current and self._current()
        if epoch is not None and not epoch.finished:
            return epoch.state_dict()
        if self._resume is not None:
            return self._resume
        return {"batches": 0, "random": self._random_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Begin the next epoch where `state_dict` was called, on a loader of the same arguments."""
        self._resume = dict(state)

    def _generators(self) -> list[Any]:
        """The generators that the order of samples may be drawn from, but for the global one."""
        inner = getattr(self.batch_sampler, "sampler", None)
        holders = (self, self.batch_sampler, self.sampler, inner)
        found = [getattr(h, "generator", None) for h in holders]
        return list({id(g): g for g in found if isinstance(g, torch.Generator)}.values())

    def _random_state(self) -> dict[str, Any]:
        return {**random_state(), "generators": [g.get_state() for g in self._generators()]}


def _has_global_lock() -> bool:
    return getattr(sys, "_is_gil_enabled", lambda: True)()


class _Epoch:
    """One pass over the data, made in this process as it goes."""

    def __init__(self, loader: DataLoader, resume: dict | None):
        self.loader = loader
        self.batched = loader._auto_collation
        self.iterable, self.dataset = loader._iterable, loader.dataset
        self.collate_fn, self.drop_last = loader.collate_fn, loader.drop_last
        self.finished = False
        self.given = 0 if resume is None else resume["batches"]
        state = None if resume is None else resume.get("dataset")
        if resume is None:
            self.random = loader._random_state()
            self._begin(None, 0)
        else:
            # The order is drawn again, from where it was drawn; what else the program draws is not
            # disturbed.
            self.random = resume["random"]
            with kept_random_state():
                set_random_state(self.random)
                for g, drawn in zip(loader._generators(), self.random["generators"], strict=True):
                    g.set_state(drawn)
                self._begin(resume.get("sampler"), 0 if self.iterable else self.given)
        self._go_on(self.given if state is None else 0, state)

    def _begin(self, sampler_state: Any, skipped: int) -> None:
        """Draw what this epoch draws, and go past the first batches of the order."""
        loader = self.loader
        sampler = loader.batch_sampler if self.batched else loader.sampler
        self.sampler_state = sampler_state
        if sampler_state is not None:
            sampler.load_state_dict(sampler_state)
        elif hasattr(sampler, "state_dict") and hasattr(sampler, "load_state_dict"):
            self.sampler_state = sampler.state_dict()
        # Workers' seed; drawn without any too, so that the order of samples is the same for every
        # number of workers.
        options = {} if loader.generator is None else {"generator": loader.generator}
        self.base_seed = int(torch.empty((), dtype=torch.int64).random_(**options).item())
        order = itertools.islice(iter(loader._order), skipped, None)
        first = next(order, _END)  # now, as it is often only then that a sampler draws its order
        self.order: Iterator = order if first is _END else itertools.chain([first], order)

    def _go_on(self, skipped: int, dataset_state: Any) -> None:
        """Prepare for the batch after those given; an iterable reads past `skipped` ones."""
        if dataset_state is not None:
            self.dataset.load_state_dict(dataset_state["states"][0])
        self.fetch = fetcher(self)
        if self.iterable:
            for _ in range(skipped):
                self.fetch.skip(next(self.order))

    def __iter__(self) -> _Epoch:
        return self

    def __len__(self) -> int:
        return len(self.loader)

    def __next__(self) -> Any:
        try:
            batch = self._next()
        except StopIteration:
            self.finished = True
            self.close()
            raise
        self.given += 1
        return pinned(batch) if self.loader.pin_memory else batch

    def _next(self) -> Any:
        indices = next(self.order)
        if self.loader.seed_per == "worker":
            batch = self.fetch(indices)
        else:
            with kept_random_state():
                seed_all(seed_of_batch(self.base_seed, self.given))
                batch = self.fetch(indices)
        if batch is Exhausted:
            raise StopIteration
        return batch

    def close(self) -> None:
        """Let go of what the epoch needs."""

    def state_dict(self) -> dict[str, Any]:
        """See `DataLoader.state_dict`."""
        state = {"batches": self.given, "random": self.random}
        if self.sampler_state is not None:
            state["sampler"] = self.sampler_state
        if (dataset := self._dataset_state()) is not None:
            state["dataset"] = dataset
        return state

    def _dataset_state(self) -> Any:
        if self.iterable and hasattr(self.dataset, "state_dict"):
            return {"states": [self.dataset.state_dict()], "turns": [0]}
        return None


class _Workers:
    """Workers and what they were last told; closed when nobody refers to it any more."""

    def __init__(self, loader: DataLoader):
        from ._workers import Setup, WorkerProcesses, WorkerThreads

        setup = Setup(
            loader.dataset, loader.collate_fn, loader._iterable, loader._auto_collation,
            loader.drop_last, loader.worker_init_fn, loader.num_workers, loader.seed_per,
            loader.worker_kind,
        )  # fmt: skip
        kind = WorkerProcesses if loader.worker_kind == "process" else WorkerThreads
        context = loader.multiprocessing_context
        method = context and context.get_start_method()  # of the standard library's contexts too
        context = torch.multiprocessing.get_context(method)
        self.workers = kind(setup, context)
        self.epochs = 0
        self.close = weakref.finalize(self, self.workers.close)


class _EpochOfWorkers(_Epoch):
    """One pass over the data, made ahead by workers."""

    def _go_on(self, skipped: int, dataset_state: Any) -> None:
        from ._workers import Epoch

        loader = self.loader
        n = loader.num_workers
        self.pool = loader._persistent or _Workers(loader)
        if loader.persistent_workers:
            loader._persistent = self.pool
        self.workers = self.pool.workers
        self.pool.epochs += 1
        self.number = self.pool.epochs  # replies to an earlier, abandoned one are not for this
        self.tasks: deque = deque()  # given out, in order, and whose they are
        self.load = [0] * n
        self.arrived: dict[int, Any] = {}
        self.turns: deque[int] = deque(range(n))  # who is next
        self.states: list[Any] = [None] * n  # of the dataset in each worker, after what was given
        if dataset_state is not None:
            self.states, self.turns = list(dataset_state["states"]), deque(dataset_state["turns"])
        self.handed = 0 if self.iterable else skipped
        self.skipped = skipped if self.iterable else 0
        self.no_more = False
        if dataset_state is not None:
            self.handed = self.given
        for i in range(n):
            self.workers.send(i, Epoch(self.number, self.base_seed, self.states[i]))
        self._hand_out()

    def _hand_out(self) -> None:
        from ._workers import Task

        limit = (self.loader.prefetch_factor or 1) * self.loader.num_workers
        while len(self.tasks) < limit and self.turns and not self.no_more:
            indices = next(self.order, _END)
            if indices is _END:
                self.no_more = True
                return
            if not self.loader.in_order:
                i = min(self.turns, key=self.load.__getitem__)
                self.turns.remove(i)
            else:
                i = self.turns.popleft()
            self.turns.append(i)
            task = Task(self.number, self.handed, indices, self.handed < self.skipped)
            self.handed += 1
            self.load[i] += 1
            self.tasks.append((i, task))
            self.workers.send(i, task)

    def _next(self) -> Any:
        while True:
            reply = self._take()
            if reply is None:
                if not self.tasks:
                    raise StopIteration
                self._receive()
                continue
            self._hand_out()
            value = reply.value
            if isinstance(value, Failure):
                value.reraise()
            if isinstance(value, BaseException):
                raise value
            if value is not Exhausted and value is not Skipped:
                return value

    def _take(self) -> Any:
        """The reply that is next to be given, if it is there."""
        if not self.arrived:
            return None
        place = 0
        if not self.loader.in_order:
            number = next(iter(self.arrived))
            place = next(k for k, (_, task) in enumerate(self.tasks) if task.number == number)
        i, task = self.tasks[place]
        reply = self.arrived.pop(task.number, None)
        if reply is None:
            return None
        del self.tasks[place]
        if reply.value is Exhausted:
            if i in self.turns:
                self.turns.remove(i)
        else:
            self.states[i] = reply.dataset_state
        return reply

    def _receive(self) -> None:
        """Wait for a reply."""
        from ._workers import ProcessDied

        timeout = self.loader.timeout
        try:
            received = self.workers.receive(timeout or None)
        except ProcessDied as died:
            i = died.args[0]
            task = next((t for k, t in self.tasks if k == i and t.number not in self.arrived), None)
            error = self.workers.died(i, task)
            self._abandon()
            raise error from None
        except BaseException:  # Ctrl-C
            self._abandon()
            raise
        if received is None:
            self._abandon()
            raise RuntimeError(f"DataLoader timed out after {timeout} seconds")
        i, reply = received
        if reply.epoch == self.number:
            self.load[i] -= 1
            self.arrived[reply.number] = reply

    def close(self) -> None:
        """End the workers, unless they stay for the next epoch."""
        if not self.loader.persistent_workers:
            self._abandon()

    def _abandon(self) -> None:
        self.finished = True
        self.tasks.clear()
        self.no_more = True
        self.loader._persistent = None
        self.pool.close()

    def _dataset_state(self) -> Any:
        if not (self.iterable and hasattr(self.dataset, "state_dict")):
            return None
        upcoming = [i for i, _ in self.tasks]
        turns = list(dict.fromkeys([*upcoming, *self.turns]))
        return {"states": list(self.states), "turns": [i for i in turns if i in self.turns]}


# PyTorch's names, by which libraries recognise iterators.
_BaseDataLoaderIter = _SingleProcessDataLoaderIter = _Epoch
_MultiProcessingDataLoaderIter = _EpochOfWorkers
