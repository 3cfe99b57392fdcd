"""What the matrix has to be told about ops: a module of this package tells it of some of them.

A module has any of these tables, by the op's name ("add", "linalg.svd", "nn.functional.gelu";
"div.mode" for one overload, "div" for all), and they are merged here:

ORACLES            the same by NumPy and SciPy, called with arrays
CHECKS             instead: conditions on (results, *args), where several results are right
ELSEWHERE          instead: where it is tested, or why it can't be, in words
HINTS              samples: a function of a `Maker` that returns lists of arguments
DOMAINS            the interval that floating elements are drawn from
INTEGER_ONLY, COMPLEX_ONLY, NEEDS_ALL_ELEMENTS, HERMITIAN   names -> True
NO_GRADIENT, NO_SECOND   names -> True: ops that have none, with the reason in a comment
GRADIENT_SAMPLES   samples for derivatives, where HINTS stand at a kink
"""

import pkgutil
from importlib import import_module
from typing import Any

_TABLES = (
    "ORACLES", "CHECKS", "ELSEWHERE", "HINTS", "DOMAINS", "INTEGER_ONLY", "COMPLEX_ONLY",
    "NEEDS_ALL_ELEMENTS", "HERMITIAN", "NO_GRADIENT", "NO_SECOND", "GRADIENT_SAMPLES",
)  # fmt: skip


def _merged(table: str) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for module in pkgutil.iter_modules(__path__):
        rows = getattr(import_module(f"{__name__}.{module.name}"), table, {})
        assert not (twice := merged.keys() & rows), f"{table}: {sorted(twice)} in two modules"
        merged.update(rows)
    return merged


(ORACLES, CHECKS, ELSEWHERE, HINTS, DOMAINS, INTEGER_ONLY, COMPLEX_ONLY, NEEDS_ALL_ELEMENTS,
 HERMITIAN, NO_GRADIENT, NO_SECOND, GRADIENT_SAMPLES) = map(_merged, _TABLES)  # fmt: skip
