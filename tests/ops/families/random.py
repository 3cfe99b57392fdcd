"""Random numbers: their streams are pinned in tests/cpu/test_random*.py."""

import numpy as np

_STREAMS = "random: tests/cpu/test_random.py, test_random_golden.py"

ELSEWHERE = dict.fromkeys(
    ("poisson", "binomial", "native_dropout"),
    _STREAMS,
)

ORACLES = {
    "rrelu": lambda x, lower=0.125, upper=1 / 3, training=False: np.where(
        x > 0, x, x * ((lower + upper) / 2)
    ),
}

HINTS = {
    "rrelu": lambda t: [(t(3, 4),), (t(3, 4), 0.1, 0.4)],
    "poisson": lambda t: [t(3, 4)],
    "binomial": lambda t: [(t(3, 4), t(3, 4))],
}
DOMAINS = dict.fromkeys(("poisson", "binomial"), (0.1, 0.9))
