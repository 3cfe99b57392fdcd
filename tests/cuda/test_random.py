"""Generators of GPUs: a seed and an offset are all of their state."""

from __future__ import annotations

import copy
import pickle

import pytest

import taimatsu as torch

cuda = torch.cuda


def draw(n: int = 5, **options) -> list[float]:
    return torch.rand(n, device="cuda", **options).cpu().tolist()


def test_seeds_repeat():
    torch.manual_seed(1)
    first, second = draw(), draw()
    assert first != second
    torch.manual_seed(1)
    assert draw() == first and draw() == second
    cuda.manual_seed(1)
    assert draw() == first and cuda.initial_seed() == 1
    cuda.seed_all()
    assert draw() != first


def test_the_cpus_numbers_are_their_own():
    torch.manual_seed(1)
    cpu = torch.rand(3).tolist()
    torch.manual_seed(1)
    draw()
    assert torch.rand(3).tolist() == cpu


def test_states():
    cuda.manual_seed_all(3)
    draw()
    state = cuda.get_rng_state()
    assert state.dtype == torch.uint8 and state.numel() == 16 and state.is_cpu
    numbers = draw()
    cuda.set_rng_state(state)
    assert draw() == numbers
    states = cuda.get_rng_state_all()
    numbers = draw()
    cuda.set_rng_state_all(states)
    assert draw() == numbers and len(states) == 2


def test_each_device_has_its_own():
    assert len(cuda.default_generators) == 2
    cuda.manual_seed_all(5)
    draw()
    a = torch.rand(4, device="cuda:1").cpu().tolist()
    cuda.manual_seed_all(5)
    assert torch.rand(4, device="cuda:1").cpu().tolist() == a
    with cuda.device(1):
        cuda.manual_seed(9)
    assert [g.initial_seed() for g in cuda.default_generators] == [5, 9]


def test_a_generator_of_ones_own():
    g = torch.Generator(device="cuda").manual_seed(2)
    assert g.device == torch.device("cuda", 0)
    numbers = draw(generator=g)
    assert g.get_offset() == 4
    again = pickle.loads(pickle.dumps(g))
    clone = g.clone_state()
    next_numbers = draw(generator=g)
    assert draw(generator=again) == next_numbers == draw(generator=clone)
    g.set_offset(0)
    assert draw(generator=g) == numbers
    with pytest.raises(RuntimeError, match="multiple of 4"):
        g.set_offset(3)
    with pytest.raises(RuntimeError, match="size 16"):
        g.set_state(torch.Generator().get_state())
    assert copy.copy(g.graphsafe_get_state()).initial_seed() == 2


def test_fork_rng():
    torch.manual_seed(4)
    draw()
    state = cuda.get_rng_state()
    with torch.random.fork_rng():
        draw()
        torch.rand(2)
    assert torch.equal(cuda.get_rng_state(), state)
