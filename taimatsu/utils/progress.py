"""A progress bar for loaders and training loops that shows where the time goes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

__all__ = ["Progress", "progress"]

T = TypeVar("T")


class Progress(Generic[T]):
    """Iterates over something and shows how far it is; see `progress`.

    ``waiting`` and ``computing`` are the seconds that went into getting items and into what the
    loop did with them, ``items`` counts samples.
    """

    def __init__(
        self, iterable: Iterable[T], desc: str | None = None, total: int | None = None,
        unit: str = "item", **options: Any,
    ):  # fmt: skip
        try:
            from tqdm.auto import tqdm
        except ImportError:
            raise ImportError("utils.progress needs tqdm: pip install tqdm") from None
        self.iterable = iterable
        if total is None:
            try:
                total = len(iterable)  # type: ignore[arg-type]
            except TypeError:
                total = None
        self.bar = tqdm(desc=desc, total=total, unit="batch", **options)
        self.unit = unit
        self.items = 0
        self.waiting = self.computing = 0.0
        self._shown: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self.iterable)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[T]:
        clock = time.perf_counter
        with self.bar:
            began = clock()
            for batch in self.iterable:
                got = clock()
                self.waiting += got - began
                self.items += _samples(batch)
                yield batch
                began = clock()
                self.computing += began - got
                self.bar.set_postfix_str(self.summary(), refresh=False)
                self.bar.update()
            self.waiting += clock() - began
            self.bar.set_postfix_str(self.summary(), refresh=True)

    def show(self, **values: Any) -> None:
        """Show values, as a loss, beside the bar.

        >>> for batch in (bar := progress(loader)):  # doctest: +SKIP
        ...     bar.show(loss=train(batch))
        """
        self._shown.update(values)

    def summary(self) -> str:
        """Samples per second, the shares of the time, and what `show` was given."""
        seconds = self.waiting + self.computing
        rate = self.items / seconds if seconds else 0.0
        wait = self.waiting / seconds if seconds else 0.0
        values = [
            f"{k} {v:.4g}" if isinstance(v, (float, int)) else f"{k} {_text(v)}"
            for k, v in self._shown.items()
        ]
        figures = (f"{rate:,.0f} {self.unit}s/s", f"data {wait:.0%}", f"compute {1 - wait:.0%}")
        return ", ".join([*figures, *values])


def _text(value: Any) -> str:
    return f"{value.item():.4g}" if hasattr(value, "item") and value.numel() == 1 else str(value)


def _samples(batch: Any) -> int:
    """How many samples a batch has: the first size of the first tensor in it."""
    while isinstance(batch, (tuple, list, dict)) and batch:
        batch = next(iter(batch.values())) if isinstance(batch, dict) else batch[0]
    return batch.shape[0] if getattr(batch, "shape", ()) else 1


def progress(
    iterable: Iterable[T], desc: str | None = None, total: int | None = None, unit: str = "item",
    **options: Any,
) -> Progress[T]:  # fmt: skip
    """Iterate with a progress bar: batches, samples per second, and where the time goes.

    "data 40%" says that the loop waited for its data for 40% of the time: use more workers.
    ``options`` are tqdm's, which has to be installed (ImportError).

    >>> loader = taimatsu.utils.data.DataLoader(range(100), batch_size=10)
    >>> for batch in progress(loader, "epoch 1", disable=True):
    ...     pass
    """
    return Progress(iterable, desc, total, unit, **options)
