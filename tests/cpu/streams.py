"""Programs of random numbers and the checksums of what PyTorch 2.13's CPU generator gives them.

Each takes the library, has its generator seeded with 123, and returns a tensor. Those in single
precision whose numbers come from the C library's functions in double precision are the same with
any C library: a last bit of a double seldom reaches a float.
"""

import zlib

import numpy as np

SEED = 123


def _filled(method, *args, sizes=(1000,), dtype="float32"):
    return lambda l: getattr(l.empty(*sizes, dtype=getattr(l, dtype)), method)(*args)


def _line(l, low, high, n, dtype="float32"):
    return l.from_numpy(np.linspace(low, high, n)).to(getattr(l, dtype))


PROGRAMS = {
    **{f"rand {t}": (lambda l, t=t: l.rand(1000, dtype=getattr(l, t)))
       for t in ("float32", "float64", "float16", "bfloat16")},
    **{f"randn {t}": (lambda l, t=t: l.randn(1003, dtype=getattr(l, t)))
       for t in ("float32", "float16", "bfloat16")},
    "rand of complex numbers": lambda l: l.rand(500, dtype=l.complex64),
    "randn of complex numbers": lambda l: l.randn(500, dtype=l.complex64),
    "randn, fewer than 16": lambda l: l.cat([l.randn(n) for n in (1, 2, 3, 7, 15, 4)]),
    "randn, not contiguous": lambda l: l.empty(40, 30).t().normal_(),
    "uniform_": _filled("uniform_", -2, 3),
    "uniform_, every other": lambda l: l.zeros(40, 30)[:, ::2].uniform_(0.1, 0.7),
    "normal_": _filled("normal_", 1.5, 0.3),
    "normal of tensors": lambda l: l.normal(_line(l, 0, 1, 500), _line(l, 1, 2, 500)),
    "exponential_": _filled("exponential_", 2.7),
    "geometric_": _filled("geometric_", 0.3),
    "cauchy_": _filled("cauchy_", 1.5, 0.3),
    "log_normal_": _filled("log_normal_", 0.7, 0.3),
    **{f"random_ {t}": _filled("random_", dtype=t)
       for t in ("bool", "uint8", "int8", "int16", "int32", "int64", "float32", "float16")},
    **{f"randint {high}": (lambda l, high=high: l.randint(high, (300,)))
       for high in (2, 10, 2**28 - 1, 2**28, 2**33)},
    "randint of floats, past their integers": lambda l: l.randint(2**30, (300,), dtype=l.float32),
    "random_ from": _filled("random_", -(2**35), None, dtype="int64"),
    "randperm": lambda l: l.randperm(1000),
    "bernoulli_": _filled("bernoulli_", 0.3),
    "bernoulli": lambda l: l.bernoulli(_line(l, 0, 1, 1000)),
    "bernoulli of doubles": lambda l: l.bernoulli(_line(l, 0, 1, 1000, "float64")),
    "multinomial": lambda l: l.multinomial(_line(l, 1, 2, 80).reshape(4, 20), 7),
    "multinomial, replacing": lambda l: l.multinomial(_line(l, 1, 2, 80).reshape(4, 20), 50, True),
    "poisson": lambda l: l.poisson(_line(l, 0, 50, 500)),
    "binomial": lambda l: l.binomial(l.full((500,), 40.0), _line(l, 0, 1, 500)),
    "dropout": lambda l: l.nn.functional.dropout(_line(l, 1, 2, 1000), 0.3),
    "dropout, not contiguous": lambda l: l.nn.functional.dropout(
        _line(l, 1, 2, 1000).reshape(20, 50).t(), 0.3),
    "dropout2d": lambda l: l.nn.functional.dropout2d(_line(l, 1, 2, 600).reshape(3, 5, 8, 5), 0.3),
    "alpha_dropout": lambda l: l.nn.functional.alpha_dropout(_line(l, -1, 1, 1000), 0.3, True),
    "feature_alpha_dropout": lambda l: l.nn.functional.feature_alpha_dropout(
        _line(l, -1, 1, 600).reshape(3, 5, 8, 5), 0.3, True),
    "rrelu": lambda l: l.nn.functional.rrelu(_line(l, -1, 1, 1000), 0.1, 0.3, True),
    "gumbel_softmax, hard": lambda l: l.nn.functional.gumbel_softmax(
        _line(l, -1, 1, 200).reshape(20, 10), hard=True),
    "one after the other": lambda l: l.cat([
        l.randn(3), l.rand(5), l.randn(3), l.randperm(9).float(), l.randn(17), l.randn(2)]),
}  # fmt: skip

CHECKSUMS = {
    "rand float32": 0x1c160a3a,
    "rand float64": 0x0f59f028,
    "rand float16": 0xab87aa56,
    "rand bfloat16": 0xac0c3ad2,
    "randn float32": 0xc2f8edaf,
    "randn float16": 0xb7d13262,
    "randn bfloat16": 0xf4dc20d1,
    "rand of complex numbers": 0x1c160a3a,
    "randn of complex numbers": 0xbdd2f312,
    "randn, fewer than 16": 0xb54dc8f1,
    "randn, not contiguous": 0x11518b71,
    "uniform_": 0x5e004190,
    "uniform_, every other": 0x9818a206,
    "normal_": 0xda133f3d,
    "normal of tensors": 0x938636d5,
    "exponential_": 0xb34a50d7,
    "geometric_": 0x37380c9e,
    "cauchy_": 0x268e26b4,
    "log_normal_": 0x2b63b7ef,
    "random_ bool": 0xfea6714b,
    "random_ uint8": 0x29229293,
    "random_ int8": 0xbb970bfb,
    "random_ int16": 0x9d768ec0,
    "random_ int32": 0x9a7c6b95,
    "random_ int64": 0x2a687e40,
    "random_ float32": 0x84324ca8,
    "random_ float16": 0x7abaa2fb,
    "randint 2": 0xd16d5b4b,
    "randint 10": 0xbb46316a,
    "randint 268435455": 0x6d8abcd5,
    "randint 268435456": 0xd7a4fa09,
    "randint 8589934592": 0x0fa8be6f,
    "randint of floats, past their integers": 0x2659b7b1,
    "random_ from": 0x6f3ce509,
    "randperm": 0x4f51f468,
    "bernoulli_": 0x3841dce5,
    "bernoulli": 0x40af9f73,
    "bernoulli of doubles": 0x712456e0,
    "multinomial": 0x3387bf81,
    "multinomial, replacing": 0xccb08125,
    "poisson": 0xb0212387,
    "binomial": 0xdd065b20,
    "dropout": 0x647042b0,
    "dropout, not contiguous": 0x4f6dad1b,
    "dropout2d": 0x83f84817,
    "alpha_dropout": 0xc2e642b2,
    "feature_alpha_dropout": 0x2db03c1b,
    "rrelu": 0x0348deec,
    "gumbel_softmax, hard": 0x7dbb5d31,
    "one after the other": 0x5fb06ecf,
}


def checksum(library, name):
    """Of the bytes, in logical order, and of what the generator gives next."""
    library.manual_seed(SEED)
    x = PROGRAMS[name](library).detach().contiguous()
    if str(x.dtype).endswith("bfloat16"):
        x = x.float()
    return zlib.crc32(x.numpy().tobytes() + library.rand(3).numpy().tobytes())
