"""Random numbers, against the same transformations of NumPy's Mersenne Twister."""

import copy
import pickle

import numpy as np
import pytest
from arrays import FLOATS, HALVES, array

import taimatsu as torch

SEED = 42


class Draws:
    """The numbers that a seed gives, in order."""

    def __init__(self, seed=SEED):
        bits = np.random.MT19937()
        bits._legacy_seeding(seed)
        self.bits = bits

    def u32(self, n):
        return self.bits.random_raw(n).astype(np.uint64)

    def u64(self, n):
        pairs = self.u32(2 * n)
        return pairs[0::2] << np.uint64(32) | pairs[1::2]

    def floats(self, n):
        return (self.u32(n) & np.uint64(0xFFFFFF)).astype(np.float64) * 2.0**-24

    def doubles(self, n):
        return (self.u64(n) & np.uint64(2**53 - 1)).astype(np.float64) * 2.0**-53

    def normal_pairs(self, n):
        """Box-Muller, one pair after the other."""
        u = self.doubles(n + n % 2)
        r, theta = np.sqrt(-2 * np.log1p(-u[1::2])), 2 * np.pi * u[0::2]
        return np.stack([r * np.cos(theta), r * np.sin(theta)], 1).reshape(-1)[:n]


def normal_16(u):
    """Sixteen at a time: element j pairs with element j + 8."""
    u = u.reshape(-1, 2, 8)
    r, theta = np.sqrt(-2 * np.log(1 - u[:, 0])), 2 * np.pi * u[:, 1]
    return np.stack([r * np.cos(theta), r * np.sin(theta)], 1).reshape(-1)


def generator(seed=SEED):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("n", [1, 5, 624, 2000])
def test_uniform(n):
    assert array(torch.rand(n, generator=generator())).tolist() == Draws().floats(n).tolist()
    got = torch.rand(n, generator=generator(), dtype=torch.float64)
    assert array(got).tolist() == Draws().doubles(n).tolist()
    got = torch.empty(n).uniform_(-2, 3, generator=generator())
    np.testing.assert_allclose(array(got), Draws().floats(n) * 5 - 2, atol=1e-6)


@pytest.mark.parametrize("dtype", HALVES)
def test_uniform_halves_stay_below_the_end(dtype):
    x = torch.empty(20_000, dtype=dtype).uniform_(generator=generator())
    assert array(x).min() >= 0 and array(x).max() < 1


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("n", [1, 2, 7, 15, 16, 17, 100, 5000])
def test_normal(n, dtype):
    got = array(torch.randn(n, generator=generator(), dtype=dtype))
    d = Draws()
    if n < 16:
        expected = d.normal_pairs(n)
    else:
        uniform = d.floats if dtype == torch.float32 else d.doubles
        expected = normal_16(np.resize(uniform(n), n // 16 * 16))
        if n % 16:  # the last sixteen are drawn anew
            expected = np.append(expected, np.zeros(n % 16))
            expected[-16:] = normal_16(uniform(16))
    np.testing.assert_allclose(got, expected, atol=3e-6 if dtype == torch.float32 else 1e-14)


def test_the_second_normal_number_of_a_pair_is_kept():
    g = generator()
    got = [torch.randn(3, generator=g, dtype=torch.float64) for _ in range(2)]
    np.testing.assert_allclose(np.concatenate([array(x) for x in got]), Draws().normal_pairs(6))


def test_memory_order():
    """A tensor in another order of dims gets its numbers in the order of memory."""
    x = torch.empty(4, 5).t().uniform_(generator=generator())
    assert array(x.t()).reshape(-1).tolist() == Draws().floats(20).tolist()
    y = torch.zeros(4, 6)
    y[:, ::2].uniform_(generator=generator())
    assert array(y)[:, ::2].reshape(-1).tolist() == Draws().floats(12).tolist()
    assert not array(y)[:, 1::2].any()


@pytest.mark.parametrize("high", [1, 10, 2**28 - 1, 2**28, 2**32, 2**40])
def test_randint(high):
    got = array(torch.randint(high, (50,), generator=generator())).astype(np.uint64)
    expected = Draws().u32(50) if high < 2**28 else Draws().u64(50)
    assert got.tolist() == (expected % np.uint64(high)).tolist()
    low = torch.randint(-3, high - 3, (50,), generator=generator())
    assert array(low + 3).tolist() == got.tolist()


@pytest.mark.parametrize(
    ("dtype", "modulus"),
    [(torch.uint8, 2**8), (torch.int8, 2**7), (torch.int16, 2**15), (torch.int32, 2**31),
     (torch.bool, 2), (torch.float32, 2**24 + 1)],
)  # fmt: skip
def test_random_counts_through_the_dtype(dtype, modulus):
    got = array(torch.empty(50, dtype=dtype).random_(generator=generator()))
    assert got.astype(np.uint64).tolist() == (Draws().u32(50) % np.uint64(modulus)).tolist()


def test_random_int64():
    got = array(torch.empty(50, dtype=torch.int64).random_(generator=generator()))
    assert got.tolist() == (Draws().u64(50) & np.uint64(2**63 - 1)).tolist()


@pytest.mark.parametrize(
    ("name", "args", "expected"),
    [
        ("exponential_", (1.5,), lambda d, n: -np.log1p(-d.doubles(n)) / 1.5),
        ("geometric_", (0.3,), lambda d, n: np.ceil(np.log(d.doubles(n)) / np.log1p(-0.3))),
        ("cauchy_", (1, 2), lambda d, n: 1 + 2 * np.tan(np.pi * (d.doubles(n) - 0.5))),
        ("log_normal_", (1, 0.5), lambda d, n: np.exp(d.normal_pairs(n) * 0.5 + 1)),
        ("bernoulli_", (0.3,), lambda d, n: (d.doubles(n) < 0.3).astype(float)),
    ],
)
def test_other_distributions(name, args, expected):
    x = getattr(torch.empty(30, dtype=torch.float64), name)(*args, generator=generator())
    np.testing.assert_allclose(array(x), expected(Draws(), 30), rtol=1e-12)


def test_bernoulli_of_a_tensor():
    p = torch.full((30,), 0.3)
    got = array(torch.bernoulli(p, generator=generator()))
    assert got.tolist() == (Draws().floats(30) < np.float32(0.3)).astype(float).tolist()


def test_randperm():
    expected = list(range(100))
    draws = Draws().u32(99)
    for i in range(99):
        j = i + int(draws[i]) % (100 - i)
        expected[i], expected[j] = expected[j], expected[i]
    assert torch.randperm(100, generator=generator()).tolist() == expected
    assert torch.randperm(0).tolist() == []


def test_multinomial():
    p = np.array([[0.1, 0.2, 0.3, 0.4], [4.0, 0.0, 0.0, 4.0]])
    got = torch.multinomial(torch.from_numpy(p), 9, True, generator=generator())
    u, upto = Draws().doubles(18).reshape(2, 9), np.cumsum(p / p.sum(1, keepdims=True), 1)
    expected = [np.searchsorted(c, row).tolist() for c, row in zip(upto, u, strict=True)]
    assert got.tolist() == expected
    got = torch.multinomial(torch.from_numpy(p), 2, generator=generator())
    score = p / -np.log1p(-Draws().doubles(8).reshape(2, 4))
    assert got.tolist() == np.argsort(-score, 1)[:, :2].tolist()


def test_state_goes_on_where_it_was():
    g = generator()
    torch.randn(3, generator=g)
    state = g.get_state()
    assert state.shape == (5056,) and state.dtype == torch.uint8
    expected = torch.randn(7, generator=g).tolist()
    other = torch.Generator().set_state(state)
    assert torch.randn(7, generator=other).tolist() == expected
    g.set_state(state)
    for other in (pickle.loads(pickle.dumps(g)), copy.deepcopy(g), g.clone_state()):
        assert torch.randn(7, generator=other).tolist() == expected


def test_default_generator():
    from taimatsu import random

    assert random.manual_seed(7) is random.default_generator and random.initial_seed() == 7
    first = torch.rand(3).tolist()
    with random.fork_rng():
        torch.rand(100)
    second = torch.rand(3).tolist()
    random.manual_seed(7)
    assert torch.rand(6).tolist() == first + second
    state = random.get_rng_state()
    x = torch.rand(3).tolist()
    random.set_rng_state(state)
    assert torch.rand(3).tolist() == x
    assert isinstance(random.seed(), int)


def test_factories():
    assert torch.rand(2, 3, requires_grad=True).requires_grad
    assert torch.randn((2, 3), dtype=torch.complex64).is_complex()
    like = torch.zeros(3, 4, dtype=torch.float64)
    assert torch.rand_like(like).dtype == torch.randn_like(like).dtype == torch.float64
    assert torch.randint_like(like, 5).shape == (3, 4)
    assert torch.normal(torch.zeros(3), torch.ones(2, 3)).shape == (2, 3)
    assert torch.normal(1.0, 2.0, (4,)).shape == (4,)


def test_dropout():
    from taimatsu.nn import functional as F

    torch.random.manual_seed(SEED)
    x = torch.ones(1000, requires_grad=True)
    y = F.dropout(x, 0.25)
    kept = Draws().doubles(1000) < 0.75
    np.testing.assert_allclose(array(y), kept / 0.75, rtol=1e-6)
    y.sum().backward()
    np.testing.assert_allclose(array(x.grad), kept / 0.75, rtol=1e-6)
    assert F.dropout(x, 0.5, training=False) is x
    assert not F.dropout(x, 1.0).any()


def test_complex_normal_has_variance_one():
    z = array(torch.randn(20_000, dtype=torch.complex128, generator=generator()))
    assert abs((np.abs(z) ** 2).mean() - 1) < 0.03


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: torch.empty(2).uniform_(2, 1), RuntimeError),
        (lambda: torch.empty(2).normal_(0, -1), RuntimeError),
        (lambda: torch.empty(2).exponential_(0), RuntimeError),
        (lambda: torch.empty(2).geometric_(1), RuntimeError),
        (lambda: torch.empty(2).bernoulli_(1.5), RuntimeError),
        (lambda: torch.bernoulli(torch.tensor([2.0])), RuntimeError),
        (lambda: torch.empty(2, dtype=torch.int64).normal_(), NotImplementedError),
        (lambda: torch.empty(2, dtype=torch.uint8).random_(300), RuntimeError),
        (lambda: torch.randint(5, 5, (2,)), RuntimeError),
        (lambda: torch.randperm(-1), RuntimeError),
        (lambda: torch.rand(2, generator=5), TypeError),
        (lambda: torch.multinomial(torch.tensor([-1.0, 2.0]), 1), RuntimeError),
        (lambda: torch.multinomial(torch.zeros(2), 1), RuntimeError),
        (lambda: torch.multinomial(torch.ones(2), 3), RuntimeError),
        (lambda: torch.Generator().manual_seed(2**64), RuntimeError),
        (lambda: torch.Generator().manual_seed("a"), TypeError),
        (lambda: torch.Generator("cuda"), RuntimeError),
        (lambda: torch.Generator().set_state(torch.zeros(3)), TypeError),
        (lambda: torch.Generator().set_state(torch.zeros(3, dtype=torch.uint8)), RuntimeError),
        (lambda: torch.Generator().set_state(torch.full((5056,), 255, dtype=torch.uint8)),
         RuntimeError),
    ],
)  # fmt: skip
def test_errors(call, error):
    with pytest.raises(error):
        call()


def test_an_error_leaves_the_tensor_as_it_was():
    x = torch.ones(3)
    version = x._version
    with pytest.raises(RuntimeError):
        x.uniform_(2, 1)
    assert x.tolist() == [1, 1, 1] and x._version == version
