"""Random numbers bit for bit as PyTorch's CPU generator gives them; see streams.py."""

import numpy as np
import pytest
from streams import CHECKSUMS, PROGRAMS, checksum

import taimatsu

parity = pytest.mark.parity


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PROGRAMS)
def test_stream(name):
    assert checksum(taimatsu, name) == CHECKSUMS[name]


@parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_checksums_are_those_of_pytorch(name):
    assert checksum(pytest.importorskip("torch"), name) == CHECKSUMS[name]


@pytest.mark.parametrize("n", [16, 17, 1000])
def test_any_number_of_threads(n):
    drawn = []
    for threads in (1, 3):
        taimatsu.set_num_threads(threads)
        taimatsu.manual_seed(1)
        drawn.append(taimatsu.randn(n * 100).numpy().tobytes())
    assert drawn[0] == drawn[1]


@parity
@pytest.mark.parametrize("count", [0, 1, 3, 16, 30, 700])
def test_states_are_those_of_pytorch(count):
    """Byte for byte after any draws, and either goes on from the other's."""
    torch = pytest.importorskip("torch")
    theirs, ours = torch.Generator().manual_seed(5), taimatsu.Generator().manual_seed(5)
    torch.randn(count, generator=theirs)
    taimatsu.randn(count, generator=ours)
    state = theirs.get_state().numpy()
    assert ours.get_state().numpy().tobytes() == state.tobytes()
    other = taimatsu.Generator().set_state(taimatsu.from_numpy(state.copy()))
    back = torch.Generator().set_state(torch.from_numpy(ours.get_state().numpy()))
    expected = torch.randn(40, generator=theirs).numpy()
    assert taimatsu.randn(40, generator=other).numpy().tobytes() == expected.tobytes()
    assert torch.randn(40, generator=back).numpy().tobytes() == expected.tobytes()


@parity
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_doubles_of_one_c_library(dtype):
    """What is the same only where both use one C library: here."""
    torch = pytest.importorskip("torch")
    for method, args in [("normal_", (1.5, 0.3)), ("exponential_", (2.7,)), ("cauchy_", (1, 0.3)),
                         ("log_normal_", (0.7, 0.3)), ("geometric_", (0.2,))]:  # fmt: skip
        for sizes in ((7,), (1003,)):
            drawn = []
            for library in (torch, taimatsu):
                library.manual_seed(8)
                x = library.empty(*sizes, dtype=getattr(library, dtype))
                drawn.append(getattr(x, method)(*args).numpy())
            np.testing.assert_array_equal(drawn[0], drawn[1])


def test_every_random_op_takes_a_generator():
    x = taimatsu.full((40,), 0.5)
    calls = {
        "rand": (40,), "randn": (40,), "randint": (9, (40,)), "randperm": (40,), "rand_like": (x,),
        "randn_like": (x,), "randint_like": (x, 9), "normal": (x, x), "bernoulli": (x,),
        "poisson": (x,), "binomial": (x * 8, x), "multinomial": (x, 9), "rrelu": (x - 1, 0.1, 0.9,
                                                                                   True),
    }  # fmt: skip
    for name, args in calls.items():
        drawn = [
            getattr(taimatsu, name)(*args, generator=taimatsu.Generator().manual_seed(3))
            for _ in range(2)
        ]
        assert drawn[0].tolist() == drawn[1].tolist(), name
        assert drawn[0].tolist() != getattr(taimatsu, name)(*args).tolist(), name
    state = taimatsu.get_rng_state()
    taimatsu.rand(3, generator=taimatsu.Generator())
    assert taimatsu.get_rng_state().tolist() == state.tolist()


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: taimatsu.Generator().get_offset(), RuntimeError),
        (lambda: taimatsu.Generator().set_offset(3), RuntimeError),
        (lambda: taimatsu.Generator().graphsafe_get_state(), NotImplementedError),
        (lambda: taimatsu.poisson(taimatsu.tensor([-1.0])), RuntimeError),
        (lambda: taimatsu.poisson(taimatsu.tensor([1])), NotImplementedError),
        (lambda: taimatsu.randperm(300, dtype=taimatsu.uint8), RuntimeError),
        (lambda: taimatsu.multinomial(taimatsu.zeros(2**24 + 1), 1), RuntimeError),
        (lambda: taimatsu.rrelu(taimatsu.zeros(2), 0.3, 0.1), RuntimeError),
        (lambda: taimatsu.binomial(taimatsu.ones(2), taimatsu.ones(2).double()), RuntimeError),
    ],
)
def test_errors(call, error):
    with pytest.raises(error):
        call()


def test_gradients_of_draws_are_zero():
    p = taimatsu.full((3,), 0.5, requires_grad=True)
    for y in (taimatsu.bernoulli(p), taimatsu.poisson(p)):
        (g,) = taimatsu.autograd.grad(y.sum(), p)
        assert g.tolist() == [0, 0, 0]
