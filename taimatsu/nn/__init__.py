"""``nn``: modules, parameters, containers, layers, losses."""
# ruff: noqa: F401, F403

from . import attention, common_types, functional, grad, hooks, init, parallel, parameter, utils
from .activation import *
from .adaptive import *
from .containers import *
from .conv import *
from .dropout import *
from .lazy import *
from .linear import *
from .linear_loss import *
from .loss import *
from .module import Module
from .multihead import *
from .norm import *
from .padding import *
from .parallel import DataParallel
from .parameter import (
    Buffer,
    Parameter,
    UninitializedBuffer,
    UninitializedParameter,
    factory_kwargs,
)
from .pooling import *
from .rnn import *
from .shape import *
from .sparse import *
from .transformer import *

# isort: split
from taimatsu._lazy import submodules

from . import modules  # the same under PyTorch's paths

__getattr__ = submodules(__name__)
