"""Fourier transforms by cuFFT: plans are kept by GPU, sizes and dtype, the last used ones."""

from __future__ import annotations

import ctypes
import math
import sys
from collections import OrderedDict
from typing import Any

import taimatsu as torch
from taimatsu.ops.anywhere import computes

from . import DATA_TYPES, Int, Library, Long, Pointer, Size, enter, workspace

MOST_DIMS = 3  # of one plan

_Sizes = ctypes.POINTER(Long)
cufft = Library("cufft", {
    "cufftCreate": [ctypes.POINTER(Int)],
    "cufftDestroy": [Int],
    "cufftSetAutoAllocation": [Int, Int],
    "cufftXtMakePlanMany": [
        Int, Int, _Sizes, _Sizes, Long, Long, Int, _Sizes, Long, Long, Int, Long,
        ctypes.POINTER(Size), Int,
    ],
    "cufftSetStream": [Int, Pointer],
    "cufftSetWorkArea": [Int, Pointer],
    "cufftXtExec": [Int, Pointer, Pointer, Int],
})  # fmt: skip


class Plan:
    """Transforms of ``count`` arrays, each contiguous and of ``sizes``, from dtype to dtype."""

    def __init__(self, sizes: tuple[int, ...], count: int, source: Any, target: Any):
        handle, self.workspace = Int(), Size()
        cufft.cufftCreate(handle)
        self.handle = handle.value
        cufft.cufftSetAutoAllocation(self.handle, 0)
        cufft.cufftXtMakePlanMany(
            self.handle, len(sizes), (Long * len(sizes))(*sizes), None, 1, 0, DATA_TYPES[source],
            None, 1, 0, DATA_TYPES[target], count, self.workspace,
            DATA_TYPES[source if source.is_complex else target],
        )  # fmt: skip

    def __call__(self, x: torch.Tensor, y: torch.Tensor, forward: bool) -> torch.Tensor:
        area = workspace(self.workspace.value, x)
        cufft.cufftSetStream(self.handle, enter(x))
        cufft.cufftSetWorkArea(self.handle, area.data_ptr())
        cufft.cufftXtExec(self.handle, x.data_ptr(), y.data_ptr(), -1 if forward else 1)
        return y

    def __del__(self) -> None:
        if hasattr(self, "handle") and not sys.is_finalizing():
            cufft.cufftDestroy(self.handle)


class Plans:
    """The plans of a GPU: ``max_size`` at most, those that were used last."""

    def __init__(self) -> None:
        self._plans: OrderedDict[tuple, Plan] = OrderedDict()
        self._max_size = 4096

    def __call__(self, *key: Any) -> Plan:
        plan = self._plans.get(key) or Plan(*key)
        self._plans[key] = plan
        self._plans.move_to_end(key)
        self._shrink()
        return plan

    def _shrink(self) -> None:
        while len(self._plans) > self._max_size:
            self._plans.popitem(last=False)

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self._plans)

    @property
    def max_size(self) -> int:
        """How many there may be."""
        return self._max_size

    @max_size.setter
    def max_size(self, count: int) -> None:
        if count < 0:
            raise RuntimeError(f"cufft_plan_cache.max_size must not be negative; got {count}")
        self._max_size = count
        self._shrink()

    def clear(self) -> None:
        """Drops all."""
        self._plans.clear()


_plans: dict[int, Plans] = {}


def plans(device: int) -> Plans:
    """Those of a GPU."""
    return _plans.setdefault(device, Plans())


def _transformed(x: torch.Tensor, sizes: tuple[int, ...], target: Any, last: int, forward: bool):
    """x's last dims (of ``sizes``, those of the real side) transformed; ``last`` elements long."""
    x = x.contiguous()
    count = math.prod(x.shape[: x.dim() - len(sizes)])
    y = torch.empty([*x.shape[:-1], last], dtype=target, device=x.device)
    enter(x)
    return plans(x.get_device())(sizes, count, x.dtype, target)(x, y, forward)


def _all_dims(x: torch.Tensor, dims: list[int], forward: bool) -> torch.Tensor:
    while dims:
        group = dims[-MOST_DIMS:]
        dims = dims[: -len(group)]
        ends = list(range(-len(group), 0))
        moved = x.movedim(group, ends)
        sizes = tuple(moved.shape[-len(group) :])
        x = _transformed(moved, sizes, x.dtype, sizes[-1], forward).movedim(ends, group)
    return x


@computes("_fft_c2c", device="cuda")
def _(self, dim, scale, forward):
    if not cufft.usable() or not self.numel() or not dim:
        return NotImplemented
    y = _all_dims(self, sorted(d % self.dim() for d in dim), forward)
    return y if scale == 1 else y * scale


@computes("_fft_r2c", device="cuda")
def _(self, dim, scale, onesided):
    if not cufft.usable() or not self.numel():
        return NotImplemented
    n = self.size(dim)
    target = torch.promote_types(self.dtype, torch.complex64)
    if not onesided:  # as complex numbers: the other half comes with it
        y = _all_dims(self.to(target), [dim % self.dim()], True)
    else:
        y = _transformed(self.movedim(dim, -1), (n,), target, n // 2 + 1, True).movedim(-1, dim)
    return y if scale == 1 else y * scale


@computes("_fft_c2r", device="cuda")
def _(self, dim, scale, n):
    if not cufft.usable() or not self.numel():
        return NotImplemented
    target = torch.float64 if self.dtype == torch.complex128 else torch.float32
    y = _transformed(self.movedim(dim, -1), (n,), target, n, False).movedim(-1, dim)
    return y if scale == 1 else y * scale
