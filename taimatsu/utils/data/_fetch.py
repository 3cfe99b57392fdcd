"""Making batches, wherever that happens: in the process itself, in a worker process or thread."""

from __future__ import annotations

import importlib.machinery
import random
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import taimatsu as torch

from .dataset import _fetch

_local = threading.local()  # .info: the WorkerInfo of this worker


class WorkerInfo:
    """What a worker knows of itself; see `get_worker_info`."""

    def __init__(self, id: int, num_workers: int, seed: int, dataset: Any, kind: str = "process"):
        self.id, self.num_workers, self.seed = id, num_workers, seed
        self.dataset, self.kind = dataset, kind

    def __repr__(self) -> str:
        return f"WorkerInfo({', '.join(f'{k}={v!r}' for k, v in vars(self).items())})"


def get_worker_info() -> WorkerInfo | None:
    """In a worker of a DataLoader: its ``id``, ``num_workers``, ``seed`` and ``dataset``.

    None in the main process. An IterableDataset asks it which part of the data to read.
    """
    return getattr(_local, "info", None)


class Exhausted:
    """In place of a batch: the iterable has no more."""


class Skipped:
    """In place of a batch that was only read past."""


class MapFetcher:
    """Batches of samples by index."""

    def __init__(self, dataset: Any, collate: Callable, batched: bool):
        self.dataset, self.collate, self.batched = dataset, collate, batched

    def __call__(self, indices: Any, progress: Any = None) -> Any:
        """The batch of the indices; `progress[0]` is the position of the one being read."""
        if not self.batched:
            return self.collate(self.dataset[indices])
        if progress is None or callable(getattr(self.dataset, "__getitems__", None)):
            return self.collate(_fetch(self.dataset, indices))
        samples = []
        for progress[0], i in enumerate(indices):
            samples.append(self.dataset[i])
        return self.collate(samples)


class IterableFetcher:
    """The next batches of an iterable dataset."""

    def __init__(self, dataset: Any, collate: Callable, batched: bool, drop_last: bool):
        self.dataset, self.collate, self.batched = dataset, collate, batched
        self.drop_last, self.samples = drop_last, iter(dataset)

    def __call__(self, indices: Any, progress: Any = None) -> Any:
        """As many samples as there are `indices`, or as are left; `Exhausted` at the end."""
        samples = self.read(len(indices) if self.batched else 1)
        if not samples or (self.drop_last and self.batched and len(samples) < len(indices)):
            return Exhausted
        return self.collate(samples if self.batched else samples[0])

    def skip(self, indices: Any) -> Any:
        """Read past a batch."""
        return Skipped if self.read(len(indices) if self.batched else 1) else Exhausted

    def read(self, n: int) -> list:
        """The next `n` samples, or what is left."""
        return [sample for _, sample in zip(range(n), self.samples, strict=False)]


def fetcher(setup: Any) -> MapFetcher | IterableFetcher:
    """Of a DataLoader, or of what a worker has of it."""
    batched = setup.batched
    if setup.iterable:
        return IterableFetcher(setup.dataset, setup.collate_fn, batched, setup.drop_last)
    return MapFetcher(setup.dataset, setup.collate_fn, batched)


# ---- Random numbers ------------------------------------------------------------------------------
def seed_all(seed: int) -> None:
    """Seed Python's, NumPy's and this library's global generators."""
    random.seed(seed)
    torch.manual_seed(seed)
    _numpy_seed.set([seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF])


class _NumpySeed:
    """Seeds NumPy when it is imported: importing it takes longer than starting a worker."""

    words: list[int] | None = None

    def set(self, words: list[int] | None) -> None:
        """Seed it now if it is there, else then; None: no more."""
        self.words = words
        if words is not None and (module := sys.modules.get("numpy.random")) is not None:
            module.seed(words)
        elif self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        """As a finder of modules, whose only concern is numpy.random."""
        if name != "numpy.random" or self.words is None:
            return None
        spec: Any = importlib.machinery.PathFinder.find_spec(name, path)
        run = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            run(module)
            if self.words is not None:
                module.seed(self.words)

        spec.loader.exec_module = exec_module
        return spec


_numpy_seed = _NumpySeed()


def seed_of_batch(base_seed: int, number: int) -> int:
    """A seed for one batch of an epoch, whoever makes it: neighbours far from each other."""
    return (base_seed + 0x9E3779B97F4A7C15 * (number + 1)) & 0x7FFFFFFFFFFFFFFF


def random_state() -> dict[str, Any]:
    """The states of the global generators, as plain values that a checkpoint can hold."""
    state: dict[str, Any] = {"default": torch.get_rng_state(), "python": random.getstate()}
    if (module := sys.modules.get("numpy.random")) is not None:
        name, key, *rest = module.get_state()
        state["numpy"] = (name, key.tolist(), *rest)
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Go on from what `random_state` gave."""
    torch.set_rng_state(state["default"])
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    if "numpy" in state:
        import numpy

        numpy.random.set_state(tuple(state["numpy"]))  # noqa: NPY002


@contextmanager
def kept_random_state() -> Iterator[None]:
    """Inside the block the global generators may be set to anything."""
    before = random_state()
    try:
        yield
    finally:
        _numpy_seed.set(None)
        set_random_state(before)


# ---- Exceptions ----------------------------------------------------------------------------------
class _Text(str):
    """A message that a KeyError shows as it is."""

    __repr__ = str.__str__


class Failure:
    """The exception being handled in a worker, as it travels to the main process."""

    def __init__(self, where: str):
        import traceback

        error: Any = sys.exc_info()[1]
        self.kind, self.where = type(error), where
        self.text = "".join(traceback.format_exception(error))

    def plain(self) -> Failure:
        """Where the type of the exception can't be pickled."""
        self.kind = RuntimeError
        return self

    def reraise(self) -> None:
        """Raise one of its type, whose message has the worker's traceback."""
        name = self.kind.__name__
        message: Any = f"Caught {name} {self.where}.\nOriginal {self.text}"
        if self.kind is KeyError:
            message = _Text(message)
        try:
            error = self.kind(message)
        except Exception:  # a type that is made of something else than a message
            raise RuntimeError(message) from None
        raise error
