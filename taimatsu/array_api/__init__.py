# ruff: noqa: F401 (to be imported is what the names are here for)
"""The functions of the Python array API standard (2024.12) on tensors: ``x.__array_namespace__()``.

Where the names of this library differ from the standard's, here are the standard's: ``axis`` and
``keepdims``, `permute_dims`, `unique_values`; here a dtype does not depend on whether a tensor has
dims, and the unsigned integers take part in promotion. Libraries written against the standard
(SciPy, scikit-learn) ask a tensor for this module. Gradients flow through all of it.

>>> x = torch.arange(3.0)
>>> xp = x.__array_namespace__()
>>> xp.sum(xp.stack([x, x]), axis=0)
tensor([0., 2., 4.])

Departures, which are the library's own: ``x.size`` is a method, a negative step in an index is
refused, and data are read from the graph, so that ``numpy.asarray`` needs ``x.detach()``.
"""

from __future__ import annotations

from taimatsu import (
    Tensor,
    bool,
    complex64,
    complex128,
    e,
    float32,
    float64,
    inf,
    int8,
    int16,
    int32,
    int64,
    nan,
    newaxis,
    pi,
    uint8,
    uint16,
    uint32,
    uint64,
)

from . import fft, linalg
from ._creation import *  # noqa: F403
from ._elementwise import *  # noqa: F403
from ._info import __array_namespace_info__
from ._manipulation import *  # noqa: F403
from ._promotion import can_cast, finfo, iinfo, isdtype, result_type
from ._reductions import *  # noqa: F403
from ._sets import *  # noqa: F403
from .linalg import matmul, matrix_transpose, tensordot, vecdot

__array_api_version__ = "2024.12"
VERSIONS = ("2021.12", "2022.12", "2023.12", "2024.12")  # that a program may ask for
