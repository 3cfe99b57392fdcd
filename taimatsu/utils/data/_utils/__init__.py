"""Where PyTorch keeps `default_collate` and its kin."""

from taimatsu._lazy import submodules

from . import collate

__getattr__ = submodules(__name__)


__all__ = ["collate"]
