"""``nn.modules``: the layers again, by the names of the files in which PyTorch has them.

Programs import base classes and helpers from there (``nn.modules.batchnorm._BatchNorm``), so each
of these names is a module here too. It holds what the files of `taimatsu.nn` hold that it stands
for, and PyTorch's names for helpers that are called otherwise here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from taimatsu import nn
from taimatsu.nn import (
    activation,
    adaptive,
    containers,
    conv,
    dropout,
    hooks,
    lazy,
    linear,
    linear_loss,
    loss,
    module,
    multihead,
    norm,
    padding,
    parameter,
    pooling,
    rnn,
    shape,
    sparse,
    state_dict,
    transformer,
)  # fmt: skip

from . import utils

# PyTorch's file: the files here, and what it calls otherwise.
_FILES: dict[str, tuple[tuple[ModuleType, ...], dict[str, Any]]] = {
    "activation": ((activation, multihead), {}),
    "adaptive": ((adaptive,), {}),
    "batchnorm": ((norm,), {}),
    "channelshuffle": ((shape,), {}),
    "container": ((containers,), {"_addindent": module._indent}),
    "conv": ((conv,), {"_ConvTransposeNd": conv._ConvTranspose}),
    "distance": ((shape,), {}),
    "dropout": ((dropout,), {"_DropoutNd": dropout._Dropout}),
    "flatten": ((shape,), {}),
    "fold": ((shape,), {}),
    "instancenorm": ((norm,), {}),
    "lazy": ((lazy,), {}),
    "linear": ((linear,), {}),
    "linear_cross_entropy": ((linear_loss,), {}),
    "loss": ((loss, linear_loss), {}),
    "module": (
        (module, hooks),
        {
            "_IncompatibleKeys": state_dict.IncompatibleKeys, "_addindent": module._indent,
            "_EXTRA_STATE_KEY_SUFFIX": state_dict.EXTRA_STATE,
            **{f"_global{kind[:-1].replace('ie', 'y')}_registration_hooks": found
               for kind, found in hooks.on_registration.items()},
        },
    ),
    "normalization": ((norm,), {}),
    "padding": (
        (padding,), {"_ConstantPadNd": padding._ConstantPad, "_CircularPadNd": padding._CircularPad}
    ),
    "pixelshuffle": ((shape,), {}),
    "pooling": (
        (pooling,),
        {
            "_MaxPoolNd": pooling._MaxPool, "_AvgPoolNd": pooling._AvgPool,
            "_LPPoolNd": pooling._LPPool, "_AdaptiveMaxPoolNd": pooling._AdaptiveMax,
            "_AdaptiveAvgPoolNd": pooling._Adaptive,
        },
    ),
    "rnn": ((rnn,), {}),
    "sparse": ((sparse,), {}),
    "transformer": ((transformer,), {"_get_activation_fn": transformer._activation}),
    "upsampling": ((shape,), {}),
}  # fmt: skip


def _add(name: str, files: tuple[ModuleType, ...], others: dict[str, Any]) -> None:
    full = f"{__name__}.{name}"
    made = ModuleType(full, f"See `taimatsu.nn`: {', '.join(f.__name__ for f in files)}.")
    made.__spec__, made.__file__ = ModuleSpec(full, None), files[0].__file__
    for file in files:
        vars(made).update({k: v for k, v in vars(file).items() if not k.startswith("__")})
    vars(made).update(others)
    # Layers are in `nn` wherever they are defined.
    made.__getattr__ = lambda key: _layer(name, key)  # type: ignore[method-assign]
    sys.modules[full] = globals()[name] = made


def _layer(module: str, key: str) -> Any:
    if key.startswith("_") or not hasattr(nn, key):
        raise AttributeError(f"module 'torch.nn.modules.{module}' has no attribute {key!r}")
    return getattr(nn, key)


for _name, (_files, _others) in _FILES.items():
    _add(_name, _files, _others)


# Which of our files' layers are in which of PyTorch's, where that isn't one for one.
_SHARED_FILES = {
    "BatchNorm": "batchnorm", "InstanceNorm": "instancenorm", "Channel": "channelshuffle",
    "Pixel": "pixelshuffle", "latten": "flatten", "old": "fold", "Upsampl": "upsampling",
    "Cosine": "distance", "Pairwise": "distance", "Linear": "loss",
}  # fmt: skip


def places() -> Iterator[tuple[str, type]]:
    """Each layer with the name of the module in which PyTorch has it."""
    files: dict[str, list[str]] = {}
    for place, (found, _) in _FILES.items():
        for file in found:
            files.setdefault(file.__name__, []).append(place)
    for layer in _layers():
        described = getattr(nn, layer.removeprefix("Lazy"))  # lazy ones are beside the others
        spots = files.get("taimatsu." + described.__module__.partition(".")[2], [])
        shared = (place for part, place in _SHARED_FILES.items() if part in layer)
        if spots:
            yield (spots[0] if len(spots) == 1 else next(shared, spots[-1])), getattr(nn, layer)


def __getattr__(key: str) -> Any:
    if key.startswith("_") or not hasattr(nn, key):
        raise AttributeError(f"module 'torch.nn.modules' has no attribute {key!r}")
    return getattr(nn, key)


def _layers() -> list[str]:
    return [k for k, v in vars(nn).items() if isinstance(v, type) and issubclass(v, nn.Module)]


__all__ = [*_FILES, *_layers(), "parameter", "utils"]
