"""``optim``: optimizers and learning-rate schedules."""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

from . import adam, adaptive, lr_scheduler, swa_utils
from .adafactor import Adafactor
from .adam import Adam, Adamax, AdamW, NAdam, RAdam
from .adaptive import ASGD, Adadelta, Adagrad, RMSprop, Rprop
from .lbfgs import LBFGS
from .muon import Muon
from .optimizer import Optimizer
from .sgd import SGD
from .sparse_adam import SparseAdam

__all__ = [
    "ASGD",
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SparseAdam",
    "lr_scheduler",
    "swa_utils",
]

# PyTorch has each of them in a module of its own, by which programs import them too.
for _kind in (ASGD, Adadelta, Adagrad, AdamW, Adamax, NAdam, RAdam, RMSprop, Rprop):
    _name = f"{__name__}.{_kind.__name__.lower()}"
    _file = adam if _kind.__name__ in vars(adam) else adaptive
    _made = ModuleType(_name, f"See `{_file.__name__}`.")
    vars(_made).update({k: v for k, v in vars(_file).items() if not k.startswith("__")})
    _made.__spec__, _made.__file__ = ModuleSpec(_name, None), _file.__file__
    sys.modules[_name] = globals()[_kind.__name__.lower()] = _made
