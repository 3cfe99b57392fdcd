"""Parts of PyTorch's compiler that programs ask; see `taimatsu.fx`."""

from taimatsu._lazy import submodules

__getattr__ = submodules(__name__)
