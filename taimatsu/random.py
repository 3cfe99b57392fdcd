"""The default generator of random numbers: seeding it, its state, a state of one's own."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from . import Generator, Tensor
from ._core import _seed_accelerators, default_generator

__all__ = [
    "default_generator",
    "fork_rng",
    "get_rng_state",
    "initial_seed",
    "manual_seed",
    "seed",
    "set_rng_state",
]


def manual_seed(seed: int) -> Generator:
    """Start the default generators' sequence that belongs to `seed`; return that of the CPU.

    RuntimeError for a seed outside [-2**63, 2**64).

    >>> _ = taimatsu.manual_seed(0)
    >>> taimatsu.rand(2)
    tensor([0.4963, 0.7682])
    """
    _seed_accelerators(int(seed))
    return default_generator.manual_seed(int(seed))


def seed() -> int:
    """Seed the default generator from the system's entropy, and return the seed."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed of the default generator's sequence.

    >>> torch.initial_seed()
    0
    """
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """The default generator's state: a uint8 tensor, in PyTorch's format.

    >>> state = torch.get_rng_state()
    >>> first = torch.rand(1)
    >>> torch.set_rng_state(state)
    >>> torch.rand(1) == first
    tensor([True])
    """
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Go on from a state that `get_rng_state` returned."""
    default_generator.set_state(new_state)


@contextmanager
def fork_rng(
    devices: Iterable[int] | None = None, enabled: bool = True, **kwargs: object
) -> Iterator[None]:
    """Inside the block, random numbers leave the default generator as it was before.

    >>> with taimatsu.random.fork_rng():
    ...     _ = taimatsu.rand(10)
    """
    if not enabled:
        yield
        return
    state = get_rng_state()
    cuda = importlib.import_module("taimatsu.cuda")
    if devices is None:
        devices = range(cuda.device_count()) if cuda.is_initialized() else ()
    states = {device: cuda.get_rng_state(device) for device in devices}
    try:
        yield
    finally:
        set_rng_state(state)
        for device, kept in states.items():
            cuda.set_rng_state(kept, device)
