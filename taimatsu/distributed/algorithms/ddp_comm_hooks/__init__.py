"""Hooks for `DistributedDataParallel.register_comm_hook`; see `default_hooks`."""

from taimatsu._lazy import submodules

__getattr__ = submodules(__name__)
