"""cuDNN's graphs: operations, the engine that heuristics rank first, and its execution.

Everything is a *descriptor*: attributes are set, it is finalized, and others refer to it. A plan is
made once for a kind of graph, its tensors' sizes and strides, and the settings.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterable, Sequence
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
}, unsupported=range(3000, 4000))  # fmt: skip

# cudnnDataType_t
DATA_TYPES = {torch.float32: 0, torch.float64: 1, torch.float16: 2, torch.bfloat16: 9}

INT32, BOOLEAN = 4, 11  # of intermediate tensors

# cudnnBackendDescriptorType_t
POINTWISE, CONVOLUTION, ENGINE, ENGINE_CONFIG, HEURISTICS, EXECUTION_PLAN = 0, 1, 2, 3, 4, 5
POINTWISE_OPERATION, GRAPH, VARIANT_PACK, TENSOR = 13, 15, 16, 17
MATMUL, MATMUL_OPERATION, REDUCTION, REDUCTION_OPERATION, RESHAPE_OPERATION = 18, 19, 21, 22, 31
# cudnnBackendAttributeType_t, and the type of its elements
HANDLE, DATA_TYPE, BOOL, INT64, FLOAT, DOUBLE, VOID_PTR, CONVOLUTION_MODE, HEURISTIC_MODE = (
    (0, Pointer), (1, Int), (2, ctypes.c_bool), (3, Long), (4, ctypes.c_float),
    (5, ctypes.c_double), (6, Pointer), (7, Int), (8, Int),
)  # fmt: skip
NUMERICAL_NOTE, POINTWISE_MODE, DESCRIPTOR, REDUCTION_OPERATOR = (
    (11, Int), (14, Int), (15, Pointer), (18, Int),
)  # fmt: skip

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


class Graph:
    """Operations on tensors: the caller's, single numbers, and what is only between two of them.

    The caller's are described as they lie, and given in the same order when the plan runs.
    """

    def __init__(self) -> None:
        self.operations: list[Descriptor] = []
        self.operands: list[int] = []  # by what number each is known
        self.constants: dict[int, Any] = {}  # in the host's memory
        self._tensors = 0

    def _tensor(self, data_type: int, sizes: Sequence[int], strides: Sequence[int],
                alignment: int, *more: tuple) -> Descriptor:  # fmt: skip
        self._tensors += 1
        return Descriptor(TENSOR, [
            (900, INT64, alignment), (901, DATA_TYPE, data_type), (902, INT64, [*sizes]),
            (903, INT64, [*strides]), (906, INT64, self._tensors), *more,
        ])  # fmt: skip

    def given(self, x: torch.Tensor) -> Descriptor:
        """A tensor of the caller's."""
        alignment = min(256, x.data_ptr() & -x.data_ptr()) if x.data_ptr() else 256
        made = self._tensor(DATA_TYPES[x.dtype], x.shape, x.stride(), alignment)
        self.operands.append(self._tensors)
        return made

    def constant(self, value: float) -> Descriptor:
        """A number of single precision."""
        one = (1, 1, 1, 1)
        made = self._tensor(DATA_TYPES[torch.float32], one, one, 16, (908, BOOL, True))
        self.constants[self._tensors] = ctypes.c_float(value)
        return made

    def between(self, sizes: Sequence[int], data_type: int = 0,
                strides: Sequence[int] | None = None) -> Descriptor:  # fmt: skip
        """What has no memory of its own."""
        _, h, m, n = sizes
        strides = strides or (h * m * n, m * n, n, 1)
        return self._tensor(data_type, sizes, strides, 16, (907, BOOL, True))

    def pointwise(self, mode: int, to: Descriptor, *x: Descriptor, computed: int = 0,
                  axis: int | None = None) -> Descriptor:  # fmt: skip
        """`mode` of one, two or three tensors; the last of three is a condition."""
        along = [] if axis is None else [(9, INT64, axis)]
        how = Descriptor(POINTWISE, [
            (0, POINTWISE_MODE, mode), (1, DATA_TYPE, computed), *along,
        ])  # fmt: skip
        self.operations.append(Descriptor(POINTWISE_OPERATION, [
            (750, DESCRIPTOR, how), (753, DESCRIPTOR, to),
            *((name, DESCRIPTOR, d) for name, d in zip((751, 752, 758), x, strict=False)),
        ]))  # fmt: skip
        return to

    def matmul(self, to: Descriptor, a: Descriptor, b: Descriptor) -> Descriptor:
        """Products of matrices, summed in single precision."""
        how = Descriptor(MATMUL, [(1500, DATA_TYPE, 0)])
        self.operations.append(Descriptor(MATMUL_OPERATION, [
            (1520, DESCRIPTOR, a), (1521, DESCRIPTOR, b), (1522, DESCRIPTOR, to),
            (1523, DESCRIPTOR, how),
        ]))  # fmt: skip
        return to

    def reduction(self, operator: int, to: Descriptor, x: Descriptor) -> Descriptor:
        """Along the dims where `to` has one element."""
        how = Descriptor(REDUCTION, [(1600, REDUCTION_OPERATOR, operator), (1601, DATA_TYPE, 0)])
        self.operations.append(Descriptor(REDUCTION_OPERATION, [
            (1610, DESCRIPTOR, x), (1611, DESCRIPTOR, to), (1612, DESCRIPTOR, how),
        ]))  # fmt: skip
        return to

    def reshape(self, to: Descriptor, x: Descriptor) -> Descriptor:
        """The same elements in other sizes; also the transpose."""
        self.operations.append(
            Descriptor(RESHAPE_OPERATION, [(2200, DESCRIPTOR, x), (2201, DESCRIPTOR, to)])
        )
        return to


def signature(x: torch.Tensor) -> tuple:
    """What a graph is told of one."""
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


def _allowed(config: Descriptor, exact: bool, reproducible: bool) -> bool:
    """Whether an engine (`exact`) doesn't round its inputs, and gives the same bits each time."""
    (engine,) = config.get_descriptors(300, ENGINE, 1)
    notes = engine.get(1303, NUMERICAL_NOTE, 16)
    refused = {_REDUCED} | ({_TENSOR_CORE, _DOWN_CONVERT} if exact else set())
    return not (refused | ({_NONDETERMINISTIC} if reproducible else set())) & set(notes)


class Plan:
    """How cuDNN carries out a graph. NotImplementedError if it can't."""

    def __init__(self, on: int, given: Graph, exact: bool = False, reproducible: bool = True):
        self._given = given
        graph = Descriptor(GRAPH, [(800, HANDLE, on), (801, DESCRIPTOR, given.operations)])
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
                    if not _allowed(config, exact, reproducible):
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
        """Runs it on the tensors that the graph was given."""
        area, constants = workspace(self.workspace, operands[0]), self._given.constants
        pack = Descriptor(VARIANT_PACK, [
            (1000, INT64, [*self._given.operands, *constants]),
            (1001, VOID_PTR, [*(x.data_ptr() for x in operands),
                              *(ctypes.addressof(c) for c in constants.values())]),
            (1003, VOID_PTR, area.data_ptr()),
        ])  # fmt: skip
        cudnn.cudnnBackendExecute(on, self.descriptor.handle, pack.handle)


_plans: dict[tuple, Plan | None] = {}


def run(kind: tuple, on: int, make: Callable[[], Graph], operands: Sequence[torch.Tensor],
        exact: bool = False, reproducible: bool = True) -> bool:  # fmt: skip
    """Carries out the graph that `make` gives; False where cuDNN has no engine for it.

    `kind` and what the operands are like say all that the graph depends on.
    """
    key = (on, kind, exact, reproducible, *map(signature, operands))
    if key not in _plans:
        try:
            _plans[key] = Plan(on, make(), exact, reproducible)
        except NotImplementedError:
            _plans[key] = None
    plan = _plans[key]
    if plan is not None:
        plan(on, operands)
    return plan is not None
