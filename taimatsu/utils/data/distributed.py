"""PyTorch's place of `DistributedSampler`; see `taimatsu.utils.data.sampler`."""

from taimatsu.utils.data.sampler import DistributedSampler

__all__ = ["DistributedSampler"]
