"""`parallelize_module`."""

from __future__ import annotations

import fnmatch
import warnings
from typing import Any

from ...device_mesh import DeviceMesh
from .style import ParallelStyle

__all__ = ["parallelize_module"]


def parallelize_module(
    module: Any, device_mesh: DeviceMesh | None = None,
    parallelize_plan: ParallelStyle | dict[str, ParallelStyle] | None = None, *,
    src_data_rank: int | None = 0,
) -> Any:  # fmt: skip
    """Divides a module, or its parts by name, as the plan says; the module itself.

    Names may have wildcards: ``"layers.*.up"``. Their dims' size is that of ``device_mesh``, of one
    dim. ValueError for a mesh of more dims, TypeError for a plan that isn't one.
    """
    if device_mesh is None:
        from .._api import _default_mesh

        device_mesh = _default_mesh()
    if device_mesh.ndim != 1:
        raise ValueError(
            f"Tensor Parallel only accepts a 1D DeviceMesh, but found {device_mesh.ndim}D! Take a "
            'part of it: mesh["tp"]'
        )
    if parallelize_plan is None:
        warnings.warn("No parallelize_plan is provided and auto-parallel is not supported",
                      stacklevel=2)  # fmt: skip
        return module
    if isinstance(parallelize_plan, ParallelStyle):
        parallelize_plan.src_data_rank = src_data_rank
        return parallelize_plan._apply(module, device_mesh)
    if not isinstance(parallelize_plan, dict):
        raise TypeError(
            "Expect Union[ParallelStyle, Dict[str, ParallelStyle]] for parallelize_plan, "
            f"{type(parallelize_plan)} found!"
        )
    named = dict(module.named_modules())
    for pattern, style in parallelize_plan.items():
        parts = pattern.split(".")
        found = [
            part for name, part in named.items()
            if len(name.split(".")) == len(parts)
            and all(map(fnmatch.fnmatchcase, name.split("."), parts))
        ]  # fmt: skip
        if not found:
            warnings.warn(f"Parallelize plan key '{pattern}' could not be resolved: no matching "
                          "module found", stacklevel=2)  # fmt: skip
        for part in found:
            style.src_data_rank = src_data_rank
            style._apply(part, device_mesh)
    return module
