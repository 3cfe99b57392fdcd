"""cuDNN's graphs: one operation, the engine that heuristics rank first, and its execution.

Everything is a *descriptor*: attributes are set, it is finalized, and others refer to it. A plan is
made once for a kind of operation, its tensors' sizes and strides, and the settings.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import taimatsu as torch

from . import Int, Library, Long, Pointer, enter, workspace

_Longs = ctypes.POINTER(Long)
cudnn = Library("cudnn", {
    "cudnnCreate": [ctypes.POINTER(Pointer)],
    "cudnnSetStream": [Pointer, Pointer],
    "cudnnBackendCreateDescriptor": [Int, ctypes.POINTER(Pointer)],
    "cudnnBackendDestroyDescriptor": [Pointer],
    "cudnnBackendFinalize": [Pointer],
    "cudnnBackendSetAttribute": [Pointer, Int, Int, Long, Pointer],
    "cudnnBackendGetAttribute": [Pointer, Int, Int, Long, _Longs, Pointer],
    "cudnnBackendExecute": [Pointer, Pointer, Pointer],
})  # fmt: skip

# cudnnDataType_t
DATA_TYPES = {torch.float32: 0, torch.float64: 1, torch.float16: 2, torch.bfloat16: 9}

# cudnnBackendDescriptorType_t
CONVOLUTION, ENGINE, ENGINE_CONFIG, HEURISTICS, EXECUTION_PLAN = 1, 2, 3, 4, 5
GRAPH, VARIANT_PACK, TENSOR = 15, 16, 17
# cudnnBackendAttributeType_t, and the type of its elements
HANDLE, DATA_TYPE, INT64, FLOAT, DOUBLE, VOID_PTR, CONVOLUTION_MODE, HEURISTIC_MODE = (
    (0, Pointer), (1, Int), (3, Long), (4, ctypes.c_float), (5, ctypes.c_double), (6, Pointer),
    (7, Int), (8, Int),
)  # fmt: skip
NUMERICAL_NOTE, DESCRIPTOR = (11, Int), (15, Pointer)

NOT_SUPPORTED = 3000  # the first of the statuses that say so
_MOST_ENGINES = 16
_MODES = 3, 2  # of heuristics: A, then the fallback
_TENSOR_CORE, _DOWN_CONVERT, _REDUCED, _NONDETERMINISTIC = 0, 1, 2, 4  # numerical notes


class Descriptor:
    """A descriptor of cuDNN. ``attributes``: (name, type, values) each."""

    def __init__(self, kind: int, attributes: Iterable[tuple] = (), finalized: bool = True):
        made = Pointer()
        cudnn.cudnnBackendCreateDescriptor(kind, made)
        self.handle = made.value
        self.kept: list[Any] = []  # what it refers to
        for name, (code, element), values in attributes:
            listed = values if isinstance(values, Sequence) else [values]
            self.kept += [v for v in listed if isinstance(v, Descriptor)]
            raw = [v.handle if isinstance(v, Descriptor) else v for v in listed]
            array = (element * len(raw))(*raw)
            cudnn.cudnnBackendSetAttribute(self.handle, name, code, len(raw), array)
        if finalized:
            cudnn.cudnnBackendFinalize(self.handle)

    def get(self, name: int, kind: tuple, most: int) -> list[Any]:
        """The values of an attribute."""
        code, element = kind
        count, array = Long(), (element * most)()
        cudnn.cudnnBackendGetAttribute(self.handle, name, code, most, count, array)
        return list(array[: min(count.value, most)])

    def get_descriptors(self, name: int, kind: int, most: int) -> list[Descriptor]:
        """The same of descriptors, which the caller makes."""
        made = [Descriptor(kind, finalized=False) for _ in range(most)]
        code, element = DESCRIPTOR
        count, array = Long(), (element * most)(*(d.handle for d in made))
        cudnn.cudnnBackendGetAttribute(self.handle, name, code, most, count, array)
        return made[: count.value]

    def __del__(self) -> None:
        if hasattr(self, "handle") and not sys.is_finalizing():
            cudnn.cudnnBackendDestroyDescriptor(self.handle)


def tensor(uid: int, x: torch.Tensor) -> Descriptor:
    """A tensor's sizes, strides and dtype, under the number by which its memory is given."""
    alignment = min(256, x.data_ptr() & -x.data_ptr()) if x.data_ptr() else 256
    return Descriptor(TENSOR, [
        (900, INT64, alignment), (901, DATA_TYPE, DATA_TYPES[x.dtype]), (902, INT64, [*x.shape]),
        (903, INT64, [*x.stride()]), (906, INT64, uid),
    ])  # fmt: skip


def signature(x: torch.Tensor) -> tuple:
    """What `tensor` says of one."""
    return x.dtype, tuple(x.shape), tuple(x.stride()), x.data_ptr() & -x.data_ptr() & 255


_handles: dict[int, int] = {}


def handle(x: torch.Tensor) -> int:
    """cuDNN's of the tensor's GPU, on its current stream."""
    stream, device = enter(x), x.get_device()
    if device not in _handles:
        made = Pointer()
        cudnn.cudnnCreate(made)
        _handles[device] = made.value or 0
    cudnn.cudnnSetStream(_handles[device], stream)
    return _handles[device]


def _allowed(config: Descriptor, exact: bool) -> bool:
    """Whether an engine gives the same bits each time, and (`exact`) doesn't round its inputs."""
    (engine,) = config.get_descriptors(300, ENGINE, 1)
    notes = engine.get(1303, NUMERICAL_NOTE, 16)
    refused = {_NONDETERMINISTIC, _REDUCED} | ({_TENSOR_CORE, _DOWN_CONVERT} if exact else set())
    return not refused & set(notes)


class Plan:
    """How cuDNN carries out an operation."""

    def __init__(self, on: int, operation: Descriptor, exact: bool):
        graph = Descriptor(GRAPH, [(800, HANDLE, on), (801, DESCRIPTOR, [operation])])
        for mode in _MODES:
            try:
                ranked = Descriptor(
                    HEURISTICS, [(201, DESCRIPTOR, graph), (200, HEURISTIC_MODE, mode)]
                )
                configs = ranked.get_descriptors(202, ENGINE_CONFIG, _MOST_ENGINES)
            except RuntimeError:
                continue
            for config in configs:
                try:
                    if not _allowed(config, exact):
                        continue
                    self.descriptor = Descriptor(
                        EXECUTION_PLAN, [(400, HANDLE, on), (401, DESCRIPTOR, config)]
                    )
                except RuntimeError:  # ranked, but not for this GPU
                    continue
                self.kept = graph, ranked
                (self.workspace,) = self.descriptor.get(402, INT64, 1)
                return
        raise NotImplementedError("cuDNN has no engine for this")

    def __call__(self, on: int, operands: Sequence[torch.Tensor]) -> None:
        """Runs it; operand i has the number i + 1."""
        area = workspace(self.workspace, operands[0])
        pack = Descriptor(VARIANT_PACK, [
            (1000, INT64, list(range(1, len(operands) + 1))),
            (1001, VOID_PTR, [x.data_ptr() for x in operands]),
            (1003, VOID_PTR, area.data_ptr()),
        ])  # fmt: skip
        cudnn.cudnnBackendExecute(on, self.descriptor.handle, pack.handle)
