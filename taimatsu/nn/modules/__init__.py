"""The modules by the paths that PyTorch has them at: ``nn.modules.conv``, ``nn.modules.batchnorm``.

Where each is defined is the matter of ``nn``; here the same module objects have other names.
"""

from __future__ import annotations

import importlib
import sys

from taimatsu import nn as _nn

_HOMES = {
    "activation": "activation", "adaptive": "adaptive", "batchnorm": "norm",
    "channelshuffle": "shape", "container": "containers", "conv": "conv", "distance": "shape",
    "dropout": "dropout", "flatten": "shape", "fold": "shape", "instancenorm": "norm",
    "lazy": "lazy", "linear": "linear", "loss": "loss", "module": "module",
    "normalization": "norm", "padding": "padding", "pixelshuffle": "shape", "pooling": "pooling",
    "sparse": "sparse", "transformer": "transformer", "upsampling": "shape",
}  # fmt: skip

for _name, _home in _HOMES.items():
    _module = importlib.import_module(f"taimatsu.nn.{_home}")
    sys.modules[f"{__name__}.{_name}"] = globals()[_name] = _module

__all__ = sorted(
    name for name, value in vars(_nn).items()
    if isinstance(value, type) and issubclass(value, _nn.Module)
)  # fmt: skip
globals().update({name: getattr(_nn, name) for name in __all__})
