"""``backends``: what the libraries and devices behind the ops can do, and switches for them.

Switches of devices that are not there are kept for the programs that set them.
"""

from __future__ import annotations

from contextlib import nullcontext

from . import (
    _precision,
    cpu,
    cuda,
    cudnn,
    cusparselt,
    mha,
    mkl,
    mkldnn,
    mps,
    nnpack,
    openmp,
    opt_einsum,
    quantized,
)  # fmt: skip

__all__ = [
    "cpu", "cuda", "cudnn", "cusparselt", "mha", "mkl", "mkldnn", "mps", "nnpack", "openmp",
    "opt_einsum", "quantized",
]  # fmt: skip

_precision.gives(__name__, _precision.everything)


def __allow_nonbracketed_mutation() -> nullcontext:
    """A context in which switches may be set one by one, as they always may here."""
    return nullcontext()
