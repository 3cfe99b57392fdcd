"""``nn.parallel``: one model on several devices of a machine. With the CPU alone there is one."""

from __future__ import annotations

from .data_parallel import DataParallel, data_parallel
from .distributed import DistributedDataParallel
from .scatter_gather import gather, scatter, scatter_kwargs

__all__ = [
    "DataParallel", "DistributedDataParallel", "data_parallel", "gather", "parallel_apply",
    "replicate", "scatter", "scatter_kwargs",
]  # fmt: skip


def replicate(network, devices, detach: bool = False):
    """Copies of a module on devices. RuntimeError where there are none but the CPU."""
    raise RuntimeError(
        f"replicate: needs devices besides the CPU, and there are none; got {devices}"
    )


def parallel_apply(modules, inputs, kwargs_tup=None, devices=None) -> list:
    """``modules[i](*inputs[i], **kwargs_tup[i])`` of each, in threads of their own.

    ValueError if there are not as many inputs as modules.
    """
    from concurrent.futures import ThreadPoolExecutor

    import taimatsu as torch

    kwargs_tup = kwargs_tup or ({},) * len(modules)
    if not len(modules) == len(inputs) == len(kwargs_tup):
        raise ValueError(
            f"parallel_apply: needs one input for each module; got {len(modules)} modules, "
            f"{len(inputs)} inputs"
        )
    grad = torch.is_grad_enabled()

    def run(module, args, kwargs):
        with torch.set_grad_enabled(grad):
            args = args if isinstance(args, (list, tuple)) else (args,)
            return module(*args, **kwargs)

    with ThreadPoolExecutor(max_workers=max(1, len(modules))) as pool:
        return list(pool.map(run, modules, inputs, kwargs_tup))
