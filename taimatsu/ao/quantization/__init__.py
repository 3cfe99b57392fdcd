"""``ao.quantization``: models whose weights, and tensors, are integers of 8 bits.

dynamic   weights are quantized, tensors as they come: `quantize_dynamic`
static    `prepare` puts observers in, the model runs on typical data, `convert` puts quantized
          modules in; tensors are quantized between a `QuantStub` and a `DeQuantStub`
training  `prepare_qat` puts modules in that round as the quantized ones will; then `convert`

What is looked at by which observer is told by a module's ``qconfig``, a `QConfig`.

`observer`, `fake_quantize`: what looks and what rounds; `qconfig`; `mappings`: which module takes
the place of which; `quantize`; `fuse_modules`.
"""

from __future__ import annotations

import enum

from taimatsu._lazy import submodules

from .fake_quantize import *  # noqa: F403
from .fuse_modules import *  # noqa: F403
from .granularity import *  # noqa: F403
from .mappings import *  # noqa: F403
from .observer import *  # noqa: F403
from .qconfig import *  # noqa: F403
from .qconfig_mapping import *  # noqa: F403
from .quantize import *  # noqa: F403
from .stubs import *  # noqa: F403


class QuantType(enum.IntEnum):
    """The ways to quantize."""

    DYNAMIC = 0
    STATIC = 1
    QAT = 2
    WEIGHT_ONLY = 3


__getattr__ = submodules(__name__)
