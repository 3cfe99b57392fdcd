"""The modules of `func`, by PyTorch's private names, by which libraries import and extend them."""

import sys

from taimatsu.func import _modules as functional_call
from taimatsu.func import _transforms as eager_transforms
from taimatsu.func import _vmap as vmap

sys.modules |= {
    f"{__name__}.functional_call": functional_call,
    f"{__name__}.eager_transforms": eager_transforms,
    f"{__name__}.vmap": vmap,
}
