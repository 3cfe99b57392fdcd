"""``nn``: modules, parameters, containers, layers, losses."""
# ruff: noqa: F401, F403

from . import functional, hooks, init, parameter, utils
from .activation import *
from .adaptive import *
from .containers import *
from .conv import *
from .dropout import *
from .linear import *
from .loss import *
from .module import Module
from .norm import *
from .padding import *
from .parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter
from .pooling import *
from .shape import *
from .sparse import *
