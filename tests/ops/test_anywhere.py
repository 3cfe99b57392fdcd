"""Native ops computed by other ops, as on a device without routines for them: see `ops.anywhere`.

The whole call runs so, whatever natives it comes down to, and gives what the CPU's routines give.
"""

import numpy as np
import pytest
from scipy import stats

import taimatsu as torch
from taimatsu._interpreter import Interpreter
from taimatsu.ops.anywhere import random, routines
from taimatsu.ops.table import ENTRIES

from .samples import PUBLIC, REFUSED, Maker, each, samples, tensors, tolerance, wide


class Elsewhere(Interpreter):
    """Natives by their `anywhere`, composites by what they are made of; counts the former."""

    def __init__(self):
        self.used = set()

    def call(self, op, args, targets):
        if op.kind == "composite" and op.formula.__name__ != "formula":
            return self.descend(op, args, targets)
        if op.anywhere is None:
            return self.below(op, args, targets)
        self.used.add(op.name)
        with self:
            result = op.anywhere(*args)
            if targets is None and "(a!)" in op.schema:
                targets = (args[0],)
            if targets is not None:
                results = result if isinstance(result, tuple) else (result,)
                for target, value in zip(targets, results, strict=True):
                    if target is not value:
                        target.copy_(value)
                result = targets if len(targets) > 1 else targets[0]
        return result


DTYPES = (torch.float32, torch.bfloat16, torch.int64, torch.uint8, torch.bool, torch.complex64)

# Natives that aren't public: ops that come down to them.
THROUGH = {
    "_attention": ("nn.functional.scaled_dot_product_attention",),
    "_cholesky": ("linalg.cholesky", "linalg.cholesky_ex"),
    "_ctc_loss": ("nn.functional.ctc_loss",),
    "_fft_c2c": ("fft.fft", "fft.fftn", "fft.ifft"),
    "_fft_c2r": ("fft.irfft", "fft.hfft"),
    "_fft_r2c": ("fft.rfft", "fft.rfft2"),
    "_gru": ("gru.input", "gru.data"),
    "_histc": ("histc",),
    "_histogram": ("histogram", "histogram.edges"),
    "_householder_product": ("linalg.householder_product",),
    "_index": ("take", "nn.functional.nll_loss"),
    "_index_fill": ("index_fill",),
    "_index_fold": ("index_reduce",),
    "_index_put_": ("index_put", "put"),
    "_isin": ("isin",),
    "_lstm": ("lstm.input", "lstm.data"),
    "_lstsq": ("linalg.lstsq",),
    "_lu_factor": ("linalg.lu_factor", "linalg.lu", "linalg.det"),
    "_lu_solve": ("linalg.lu_solve",),
    "_nonzero": ("nonzero", "argwhere"),
    "_ormqr": ("ormqr",),
    "_qr": ("linalg.qr",),
    "_rnn": ("rnn_tanh.input", "rnn_relu.data"),
    "_row_order": ("linalg.lu", "lu_unpack"),
    "_scatter_fold": ("scatter_reduce", "scatter.reduce"),
    "_searchsorted": ("searchsorted", "bucketize"),
    "_solve": ("linalg.solve", "linalg.inv"),
    "_solve_triangular": ("linalg.solve_triangular", "cholesky_solve"),
    "_unique": ("unique",),
    "_unique_consecutive": ("unique_consecutive",),
    "_wrap_margins": ("nn.functional.pad",),
}


BATCHES = [3, 2, 1]  # of a packed sequence: 6 rows
ROWS = torch.tensor([0, 2, 2, 4]), torch.tensor([1, 4, 0, 4])  # compressed: starts and columns


def _after_attention(t):
    query, key, value, grad = (t(2, 5, 4) for _ in range(4))
    output, logsumexp = NATIVE["_attention"](query, key, value, None, None, 0.0, True, 0.5)
    return [(grad, query, key, value, None, None, output, logsumexp, 0.0, True, 0.5)]


def _after_ctc(t):
    x = t(6, 2, 4).log_softmax(-1)
    rest = t.i(3, 2, 3) + 1, torch.tensor([6, 5]), torch.tensor([3, 2])
    loss, log_alpha = NATIVE["_ctc_loss"](x, *rest, 0, False)
    return [(x, *rest, t(2), loss, log_alpha, 0, True)]


# Arguments of natives that public ops don't show.
CALLS = {
    "_attention_backward": _after_attention,
    "_convolution_weight": lambda t: [
        (t(2, 6, 4, 3), t(2, 4, 7, 7), [6, 2, 3, 3], [2, 2], [1, 1], [1, 2], False, [0, 0], 2),
        (t(2, 4, 5), t(2, 6, 11), [4, 3, 3], [2], [0], [1], False, [0], 2),
        (t(2, 6, 11), t(2, 4, 5), [4, 3, 3], [2], [0], [1], True, [0], 2),
    ],
    "_ctc_loss_backward": _after_ctc,
    "_dirichlet_grad": lambda t: [(t(3, 4).sigmoid(), t(3, 4).exp(), t(3, 4).exp() + 9)],
    "_gru_backward": lambda t: [
        (t(6, 4), t(3, 4), t(6, 16), t(6, 4), t(3, 4), t(12, 4), BATCHES, back)
        for back in (False, True)
    ],
    "_index": lambda t: [
        (t(4, 5, 3), [None, t.i(5, 2), t.i(3, 2)]),
        (t(4, 5, 3), [t.i(4, 2, 1), None, t.i(3, 3) - 3]),
        (t(4, 5), [t.i(4, 0), None]),
    ],
    "_index_put_": lambda t: [
        (t(4, 5, 3), [None, t.i(5, 2), t.i(3, 2)], t(4, 2), False),
        (t(4, 5, 3), [t.i(4, 6), None, t.i(3, 6)], t(6, 5), True),
        (t(4, 5), [t.i(4, 9), None], t(1), True),
    ],
    "_lstm_backward": lambda t: [
        (t(6, n), t(3, n), None, t(6, 16), t(6, 4), t(6, n), t(3, n), t(3, 4), t(16, n), w, BATCHES,
         back)
        for back in (False, True) for n, w in ((4, None), (2, t(2, 4)))
    ],
    "_mm_sums": lambda t: [
        (t(5, 3), t(3, 4), left) for left in (False, True)
    ] + [(t(4, 5).mT, t(4, 2), True), (t(5, 3)[:, ::2], t(2, 4), False), (t(3, 0), t(0, 2), True)],
    "_recurrence": lambda t: [(t(3, 5), t(3, 5), 1, False), (t(3, 6), t(3, 6), 0, True)],
    "_rnn_backward": lambda t: [
        (t(6, 4), None, t(6, 4), t(3, 4), t(4, 4), BATCHES, back, not back)
        for back in (False, True)
    ],
    "_row_starts": lambda t: [(torch.tensor([0, 0, 2, 3]), 5), (torch.tensor([2]), 3)],
    "_rows_dots": lambda t: [(*ROWS, t(3, 4), t(5, 4))],
    "_rows_product": lambda t: [(*ROWS, t(4), t(5, n)) for n in (1, 6)],
    "_rows_where": lambda t: [(t(3, 4), t.m(3)), (t(3, 4, 2), t.m(3, 4))],
    "_spread": lambda t: [(torch.tensor(counts),) for counts in ([2, 0, 1], [0])],
    "_standard_gamma_grad": lambda t: [(t(3, 9).exp() * 3, t(3, 9).exp() * 4)],
    "_unique_rows": lambda t: [(t.i(2, 9, 2).to(t.dtype), True), (t.i(2, 9, 2).to(t.dtype), False)],
}  # fmt: skip
ANY_DTYPE = ("_index", "_index_put_", "_rows_where", "_unique_rows")
NATIVE = {op.name: op for op in ENTRIES if op.kind == "native"}


def calls(name, dtype):
    """(op, arguments) that come down to the native op `name`."""
    if name in CALLS and (dtype == torch.float32 or name in ANY_DTYPE):
        yield from ((NATIVE[name], args, {}) for args in CALLS[name](Maker(dtype)))
    public = THROUGH.get(name) or [key for key, op in PUBLIC.items() if op.name == name]
    for key in public:
        yield from ((PUBLIC[key], *call) for call in samples(key, dtype))


def close(found, wanted, inputs):
    for a, b in zip(tensors(found), tensors(wanted), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape, (a.dtype, a.shape, b.dtype, b.shape)
        digits = max(tolerance(x.dtype) for x in (a, *inputs))
        a, b = wide(a), wide(b)
        scale = max([1e-3, *(np.abs(v[np.isfinite(v)]).max(initial=0)
                             for v in [b, *map(wide, inputs)])])
        np.testing.assert_allclose(a, b, rtol=digits, atol=digits * float(scale))


def attempt(op, args, kwargs):
    """The CPU's result, or None where it refuses."""
    try:
        return op(*args, **kwargs)
    except REFUSED:
        return None


DRAWS = sorted(n for n in routines() if "Generator" in NATIVE[n].schema)


MEMORY = {  # made, filled and copied by the core itself, whatever the device
    "clone", "copy_", "empty", "empty_like", "empty_strided", "fill_", "full", "full_like", "ones",
    "ones_like", "zero_", "zeros", "zeros_like",
}  # fmt: skip


def test_what_is_computed_on_the_cpu():
    """Natives that no device but the CPU has a routine for; what docs/cuda.md says of them."""
    alone = NATIVE.keys() - routines().keys() - MEMORY
    assert alone == {"_eig", "_eigh", "_ldl_factor", "_ldl_solve", "_svd"}
    assert all(NATIVE[name].routine("cuda") for name in alone)  # by a library of NVIDIA's


@pytest.mark.parametrize("name", sorted(routines().keys() - set(DRAWS)))
def test_as_the_cpu(name):
    tried = 0
    for dtype in DTYPES:
        try:
            todo = list(calls(name, dtype))
        except REFUSED:  # a sample itself needs an op that refuses the dtype
            continue
        for op, args, kwargs in todo:
            given = each((args, kwargs), lambda x: x.clone())
            wanted = attempt(op, args, kwargs)
            if wanted is None:
                continue
            with Elsewhere() as mode:
                found = op(*given[0], **given[1])
            if name in mode.used:
                tried += 1
                close(found, wanted, tensors(given))
    assert tried


# ---- random numbers: their laws -----------------------------------------------------------------

N = 4000
LAWS = {
    "uniform_": (lambda x: x.uniform_(-1, 2), stats.uniform(-1, 3)),
    "normal_": (lambda x: x.normal_(1, 2), stats.norm(1, 2)),
    "exponential_": (lambda x: x.exponential_(2), stats.expon(scale=0.5)),
    "cauchy_": (lambda x: x.cauchy_(1, 2), stats.cauchy(1, 2)),
    "log_normal_": (lambda x: x.log_normal_(0.5, 0.25), stats.lognorm(0.25, scale=np.exp(0.5))),
    "geometric_": (lambda x: x.geometric_(0.3), stats.geom(0.3)),
    "random_.from": (lambda x: x.random_(-3, 7), stats.randint(-3, 7)),
    "random_.to": (lambda x: x.random_(5), stats.randint(0, 5)),
    "random_": (lambda x: x.random_(), stats.randint(0, (1 << 24) + 1)),
    "bernoulli_.float": (lambda x: x.bernoulli_(0.3), stats.bernoulli(0.3)),
    "bernoulli_.Tensor": (lambda x: x.bernoulli_(torch.full([N], 0.6)), stats.bernoulli(0.6)),
    "multinomial": (lambda x: torch.multinomial(torch.tensor([1.0, 0, 3]), N, True) // 2,
                    stats.bernoulli(0.75)),
    "_randperm_": (lambda x: torch.randperm(N), stats.randint(0, N)),
    "poisson few": (lambda x: torch.poisson(x.fill_(4)), stats.poisson(4)),
    "poisson many": (lambda x: torch.poisson(x.fill_(40)), stats.poisson(40)),
    "_binomial few": (lambda x: torch.binomial(x.fill_(20), torch.full([N], 0.1)),
                      stats.binom(20, 0.1)),
    "_binomial many": (lambda x: torch.binomial(x.fill_(90), torch.full([N], 0.7)),
                       stats.binom(90, 0.7)),
    "_standard_gamma": (lambda x: NATIVE["_standard_gamma"](x.fill_(3)), stats.gamma(3)),
    "_standard_gamma small": (lambda x: NATIVE["_standard_gamma"](x.fill_(0.3)), stats.gamma(0.3)),
}  # fmt: skip


class Counters:
    """A generator of a device: a key, and counters that nobody has had."""

    def __init__(self, key):
        self.key, self.next = key, 0

    def __call__(self, generator, device, count):
        first, self.next = self.next, self.next + count
        return self.key, first


def test_laws_are_known():
    assert {case.split()[0] for case in LAWS} == {*DRAWS}


@pytest.mark.parametrize("case", LAWS)
def test_laws(case, monkeypatch):
    name = case.split()[0]
    draw, law = LAWS[case]
    monkeypatch.setattr(random, "_seed", Counters(1))
    with Elsewhere() as mode:
        x = draw(torch.empty(N))
        y = draw(torch.empty(N))
    assert name in mode.used
    assert not torch.equal(x, y)
    monkeypatch.setattr(random, "_seed", Counters(1))
    with Elsewhere():
        assert torch.equal(draw(torch.empty(N)), x)
    x = np.sort(wide(x).astype(np.float64))
    if hasattr(law.dist, "pmf"):  # steps: the empirical distribution is compared where it jumps
        at = np.unique(x)
        distance = np.abs(np.searchsorted(x, at, "right") / N - law.cdf(at)).max()
        assert distance < 2.2 / np.sqrt(N)
    else:
        assert stats.kstest(x, law.cdf).pvalue > 1e-4


def test_parameters_at_the_ends(monkeypatch):
    """What has no chance in it, and what is no number."""
    monkeypatch.setattr(random, "_seed", Counters(1))
    nan, inf = float("nan"), float("inf")
    with Elsewhere():
        assert torch.poisson(torch.tensor([0.0, nan])).nan_to_num(-1).tolist() == [0, -1]
        with pytest.raises(RuntimeError, match="non-negative"):
            torch.poisson(torch.tensor([-1.0]))
        n, p = torch.tensor([0.0, 5, 5, nan, 1e6]), torch.tensor([0.5, 0, 1, 0.5, 1e-30])
        assert torch.binomial(n, p).nan_to_num(-1).tolist() == [0, 0, 5, -1, 0]
        shapes = torch.tensor([0.0, 1e-30, nan, inf])
        tiny = torch.finfo(torch.float32).smallest_normal
        found = NATIVE["_standard_gamma"](shapes)
        assert found[:2].tolist() == [tiny, tiny] and found[2].isnan()


def test_philox_is_that_of_its_paper():
    """The first of the known answers that come with Random123."""
    words = random.philox(torch.tensor([0]), 0)
    assert [int(w) for w in words] == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]


def test_without_replacement_all_are_different(monkeypatch):
    monkeypatch.setattr(random, "_seed", Counters(1))
    p = torch.tensor([[1.0, 2, 0, 3], [4, 0, 5, 6]])
    with Elsewhere():
        found = torch.multinomial(p, 3)
    assert sorted(found[0].tolist()) == [0, 1, 3] and sorted(found[1].tolist()) == [0, 2, 3]


@pytest.mark.parametrize("n", [1, 2, 31, 100, 1000, 1031])
def test_sorting_any_number(n):
    x = torch.randint(0, 50, (2, n))
    with Elsewhere():
        values, index = x.sort(1)
    wanted = x.sort(1)
    assert torch.equal(values, wanted[0]) and torch.equal(index, wanted[1])


@pytest.mark.parametrize("n", [1, 2, 63, 67, 96, 131, 1000, 4096])
def test_transforms_of_any_length(n):
    x = torch.randn(2, n, dtype=torch.complex128)
    with Elsewhere():
        found = torch.fft.fft(x)
    np.testing.assert_allclose(found.numpy(), np.fft.fft(x.numpy()), atol=1e-12 * n)


@pytest.mark.parametrize("n", [17, 40])
def test_factors_of_larger_matrices(n):
    a = torch.randn(2, n, n, dtype=torch.float64)
    spd = a @ a.mT + n * torch.eye(n, dtype=torch.float64)
    b = torch.randn(2, n, 3, dtype=torch.float64)
    with Elsewhere():
        found = torch.linalg.cholesky(spd), torch.linalg.solve(a, b), *torch.linalg.qr(a)
    wanted = torch.linalg.cholesky(spd), torch.linalg.solve(a, b), *torch.linalg.qr(a)
    for x, y in zip(found, wanted, strict=True):
        np.testing.assert_allclose(x.numpy(), y.numpy(), atol=1e-10)


def test_places_of_many():
    x = torch.randint(0, 2, (100, 200))
    with Elsewhere():
        found = x.nonzero()
    assert torch.equal(found, x.nonzero())
