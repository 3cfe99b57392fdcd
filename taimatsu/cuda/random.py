"""``cuda.random``: the default generators of GPUs. Seeding is remembered until there is one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from taimatsu import Generator, Tensor

from ._driver import core, device_count, index_of, is_available

__all__ = [
    "get_rng_state", "get_rng_state_all", "initial_seed", "manual_seed", "manual_seed_all", "seed",
    "seed_all", "set_rng_state", "set_rng_state_all",
]  # fmt: skip


def generator_of(device: Any = None) -> Generator:
    """The default generator of a GPU."""
    return core().default_generator(index_of(device))


def take_counters(generator: Any, device: Any, count: int) -> tuple:
    """A key, and the first of `count` counters that nobody else gets; None: the default generator.

    Inside of a capture they are tensors, which `CUDAGraph.replay` gives new values.
    """
    from .graphs import recording

    generator = generator_of(device) if generator is None else generator
    graph = recording()
    return generator.take_counters(count) if graph is None else graph.draw(generator, device, count)


def manual_seed(seed: int) -> None:
    """Starts the sequence of the current GPU that belongs to `seed`; nothing without one."""
    if is_available():
        generator_of().manual_seed(int(seed))


def manual_seed_all(seed: int) -> None:
    """`manual_seed` of all GPUs."""
    for i in range(device_count()):
        generator_of(i).manual_seed(int(seed))


def seed() -> None:
    """Seeds the current GPU's generator from the system's entropy; nothing where there is none."""
    if is_available():
        generator_of().seed()


def seed_all() -> None:
    """`seed` of all GPUs, which get the same one."""
    for i in range(device_count()):
        first = generator_of(0)
        if i == 0:
            first.seed()
        else:
            generator_of(i).manual_seed(first.initial_seed())


def initial_seed() -> int:
    """The seed of the current GPU's sequence."""
    core("initial_seed")
    return generator_of().initial_seed()


def get_rng_state(device: Any = "cuda") -> Tensor:
    """The state of a GPU's generator: a uint8 tensor on the CPU."""
    core("get_rng_state")
    return generator_of(device).get_state()


def get_rng_state_all() -> list[Tensor]:
    """The states of all GPUs' generators."""
    return [get_rng_state(i) for i in range(device_count())]


def set_rng_state(new_state: Tensor, device: Any = "cuda") -> None:
    """Goes on from a state that `get_rng_state` returned."""
    core("set_rng_state")
    generator_of(device).set_state(new_state)


def set_rng_state_all(new_states: Iterable[Tensor]) -> None:
    """`set_rng_state` of all GPUs."""
    for i, state in enumerate(new_states):
        set_rng_state(state, i)
