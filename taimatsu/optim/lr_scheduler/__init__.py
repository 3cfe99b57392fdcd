"""Learning-rate schedules: each changes the ``lr`` of an optimizer's groups, once a ``step``.

Most are *chainable*: the new rate follows from the present one, so that several schedules act on
one optimizer as the product of their factors. Those rates are what ``get_lr`` computes; where
there is one, ``_get_closed_form_lr`` is the rate as a function of the epoch alone.
"""
# ruff: noqa: F403

from .base import *
from .combined import *
from .cosine import *
from .cyclic import *
from .decay import *
from .plateau import *

_LRScheduler = LRScheduler  # noqa: F405  (the name that older programs derive from)
