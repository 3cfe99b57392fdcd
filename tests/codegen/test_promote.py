"""Code generation promotes as the core does: it must be able to say so without it."""

import itertools

import pytest

import taimatsu as torch
from taimatsu.codegen import promote
from taimatsu.codegen.ir import DTYPES

CODES = sorted(DTYPES)
NUMBERS = {"bool": True, "i64": 2, "f64": 1.5, "c128": 1j}
NAMES = {code: getattr(torch, promote.LONG_NAMES[code]) for code in CODES}


def _operand(code: str, rank: str):
    if rank == "number":
        return NUMBERS[code]
    return torch.zeros((2,) if rank == "tensor" else (), dtype=NAMES[code])


@pytest.mark.parametrize("ranks", list(itertools.product(("tensor", "scalar", "number"), repeat=2)))
def test_result_type_is_the_cores(ranks):
    choices = [NUMBERS if rank == "number" else CODES for rank in ranks]
    for codes in itertools.product(*choices):
        try:
            expected = torch.result_type(*map(_operand, codes, ranks))
        except RuntimeError:  # the core, as PyTorch, refuses wide unsigned with signed integers
            continue
        assert NAMES[promote.result_type(zip(codes, ranks, strict=True)).name] is expected, codes
