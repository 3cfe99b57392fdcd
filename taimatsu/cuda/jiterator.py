"""``cuda.jiterator``: kernels from CUDA's C++, which needs its compiler.

An elementwise kernel of one's own is a formula here (`torch.pointwise`): it runs on CPUs and GPUs,
and has its derivative.
"""

from __future__ import annotations

from typing import Any, NoReturn

__all__: list[str] = []


def _refuse() -> NoReturn:
    raise RuntimeError(
        "cuda.jiterator: CUDA's C++ is not compiled here, kernels are generated from formulas; "
        "write the function in Python and give it to torch.pointwise"
    )


def _create_jit_fn(code_string: str, **kwargs: Any) -> NoReturn:
    """RuntimeError: see the module."""
    _refuse()


def _create_multi_output_jit_fn(code_string: str, num_outputs: int, **kwargs: Any) -> NoReturn:
    """RuntimeError: see the module."""
    _refuse()
