"""``onnx``: models for other run times. There is no graph to export yet.

`is_in_onnx_export` is False and `export` raises NotImplementedError. Libraries register how their
ops are written when they are imported; that is kept, and not used.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

from . import errors, symbolic_helper
from .errors import OnnxExporterError

__all__ = [
    "OnnxExporterError", "OperatorExportTypes", "TensorProtoDataType", "TrainingMode", "errors",
    "export", "is_in_onnx_export", "register_custom_op_symbolic", "symbolic_helper",
    "unregister_custom_op_symbolic",
]  # fmt: skip

OperatorExportTypes = enum.Enum("OperatorExportTypes", "ONNX ONNX_ATEN ONNX_ATEN_FALLBACK", start=0)
TrainingMode = enum.Enum("TrainingMode", "EVAL PRESERVE TRAINING", start=0)
TensorProtoDataType = enum.IntEnum(
    "TensorProtoDataType",
    "UNDEFINED FLOAT UINT8 INT8 UINT16 INT16 INT32 INT64 STRING BOOL FLOAT16 DOUBLE UINT32 UINT64 "
    "COMPLEX64 COMPLEX128 BFLOAT16",
    start=0,
)

_symbolics: dict[tuple[str, int], Callable] = {}


def is_in_onnx_export() -> bool:
    """Whether the caller is being exported: False."""
    return False


def export(*args: Any, **kwargs: Any) -> NoReturn:
    """Writes a model in ONNX's format. NotImplementedError: there is no graph of it yet."""
    raise NotImplementedError(
        "onnx.export: models can't be exported yet; keep the parameters with "
        "torch.save(model.state_dict(), path) and export from PyTorch"
    )


def register_custom_op_symbolic(symbolic_name: str, symbolic_fn: Callable, opset_version: int):
    """Keeps how an op of a library is written in a version of ONNX."""
    _symbolics[symbolic_name, opset_version] = symbolic_fn


def unregister_custom_op_symbolic(symbolic_name: str, opset_version: int) -> None:
    """Forgets it."""
    _symbolics.pop((symbolic_name, opset_version), None)


def _opset(version: int) -> None:
    """The module of the ops of a version, which libraries call while they are exported."""
    name = f"{__name__}.symbolic_opset{version}"
    module = ModuleType(name, f"Ops of ONNX's version {version}, for exports.")
    module.__spec__ = ModuleSpec(name, None)

    def of_export(op: str) -> Callable:
        if op.startswith("__"):
            raise AttributeError(op)
        return export

    module.__getattr__ = of_export  # type: ignore[method-assign]
    sys.modules[name] = globals()[name.rpartition(".")[2]] = module


for _version in range(7, 21):
    _opset(_version)
