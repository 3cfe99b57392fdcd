"""``distributed.tensor``: tensors that lie on a mesh of processes, and models of them.

>>> from taimatsu.distributed.tensor import Shard, distribute_tensor
>>> mesh = init_device_mesh("cpu", (1,))
>>> distribute_tensor(torch.ones(4, 2), mesh, [Shard(0)]).sum().full_tensor()
tensor(8.)

`_api`: `DTensor`; `_rules`: how ops are carried out in parts; `_redistribute`: how tensors are
moved; `parallel`: layers whose parameters are divided; `debug`: what is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import taimatsu as torch

from ..device_mesh import DeviceMesh, init_device_mesh
from ..placements import Partial, Placement, Replicate, Shard
from ._api import DTensor, distribute_module, distribute_tensor, wrap
from ._redistribute import Spec, convert, local_shape, normalized

__all__ = [
    "DTensor", "DeviceMesh", "Partial", "Placement", "Replicate", "Shard", "distribute_module",
    "distribute_tensor", "empty", "full", "init_device_mesh", "ones", "rand", "randn", "zeros",
]  # fmt: skip


def _sizes(size: tuple) -> tuple[int, ...]:
    return tuple(size[0]) if len(size) == 1 and not isinstance(size[0], int) else size


def _made(
    make: Callable[..., Any], size: tuple, options: dict[str, Any], whole: bool = False
) -> DTensor:
    """Each process makes its part; with ``whole``, all of it, for the same random numbers."""
    mesh = options.pop("device_mesh", None)
    if mesh is None:
        from ._api import _default_mesh

        mesh = _default_mesh()
    placements = options.pop("placements", None)
    requires_grad = options.pop("requires_grad", False)
    sizes = _sizes(size)
    spec = Spec(mesh, normalized(mesh, placements, len(sizes)), sizes)
    if whole:
        everywhere = Spec(mesh, normalized(mesh, None, len(sizes)), sizes)
        local = convert(make(sizes, **options), everywhere, spec.placements)
    else:
        local = make(local_shape(spec)[0], **options)
    return wrap(local, spec).requires_grad_(requires_grad)


def zeros(*size: Any, **options: Any) -> DTensor:
    """Zeros, by ``device_mesh`` and ``placements`` (by default replicated)."""
    return _made(torch.zeros, size, options)


def ones(*size: Any, **options: Any) -> DTensor:
    """Ones, by ``device_mesh`` and ``placements`` (by default replicated)."""
    return _made(torch.ones, size, options)


def empty(*size: Any, **options: Any) -> DTensor:
    """What memory holds, by ``device_mesh`` and ``placements`` (by default replicated)."""
    return _made(torch.empty, size, options)


def full(size: Sequence[int], fill_value: Any, **options: Any) -> DTensor:
    """One number, by ``device_mesh`` and ``placements`` (by default replicated)."""
    return _made(lambda sizes, **given: torch.full(sizes, fill_value, **given), (size,), options)


def rand(*size: Any, **options: Any) -> DTensor:
    """Uniform random numbers: those that one process would draw, if all have the same seed."""
    return _made(torch.rand, size, options, whole=True)


def randn(*size: Any, **options: Any) -> DTensor:
    """Normal random numbers: those that one process would draw, if all have the same seed."""
    return _made(torch.randn, size, options, whole=True)
