"""`loss_parallel`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["loss_parallel"]


@contextmanager
def loss_parallel() -> Iterator[None]:
    """A context for the loss of logits that are divided by classes.

    `cross_entropy` takes such DTensors anywhere; the logits are gathered for it.
    """
    yield
