"""Names of PyTorch's native module that programs use, such as ``torch._C._get_tracing_state``.

What there is lives elsewhere: in `taimatsu._core`, `nn.functional`, `overrides`. Types of graphs
are here for annotations only.
"""

from __future__ import annotations

import contextlib
import enum
import importlib
import sys
import types as _types
from typing import Any

import taimatsu as _taimatsu
from taimatsu import Generator, Size, Tensor, device, dtype, layout, memory_format
from taimatsu._core import (  # noqa: F401
    DisableTorchFunction,
    DisableTorchFunctionSubclass,
    OutOfMemoryError,
    _disabled_torch_dispatch_impl,
    _disabled_torch_function_impl,
    _DisableTorchDispatch,
    _has_torch_function,
    default_generator,
    get_default_device,
    get_num_threads,
    is_grad_enabled,
    set_num_threads,
)
from taimatsu._function_schema import Argument, FunctionSchema, parse_schema  # noqa: F401
from taimatsu._linalg_error import LinAlgError as _LinAlgError  # noqa: F401
from taimatsu.futures import Future  # noqa: F401

__all__ = ["Generator", "Size", "Tensor", "device", "dtype", "layout", "memory_format"]

TensorBase = _TensorBase = Tensor
_TensorMeta = type(Tensor)
_get_default_device = lambda: get_default_device().type


def _get_tracing_state() -> Any:
    """Something true while a trace is recorded, else None."""
    from taimatsu import jit

    return True if jit.is_tracing() else None


def _is_tracing() -> bool:
    return _get_tracing_state() is not None


def _are_functorch_transforms_active() -> bool:
    """Whether the caller runs under `vmap`."""
    from taimatsu._interpreter import frames

    # The batches' interpreter; derivatives are taken on the tape, where nothing is wrapped.
    return any(type(frame).__name__ == "VMap" for frame in frames())


def _is_torch_function_mode_enabled() -> bool:
    """Whether the caller runs inside a `TorchFunctionMode`."""
    from taimatsu.overrides import _modes

    return bool(_modes.stack)


def _is_alias_of(data: Tensor, other: Tensor) -> bool:
    """Whether both tensors are in one memory."""
    return data.untyped_storage()._cdata == other.untyped_storage()._cdata


def _log_api_usage_once(name: str) -> None:
    """Nothing: no use is recorded."""


def _get_privateuse1_backend_name() -> str:
    return "privateuseone"


def _get_accelerator(check: bool = False) -> Any:
    return device("cpu")


def _mps_is_available() -> bool:
    """Whether there is a GPU of Apple's: False."""
    return False


def _get_cudnn_enabled() -> bool:
    """See `backends.cudnn.enabled`."""
    return _taimatsu.backends.cudnn.enabled


def _cuda_isInBadFork() -> bool:
    return False


def _jit_setting(*value: Any) -> bool:
    """A switch of PyTorch's graph executor; what was set before: False."""
    return False


_jit_set_texpr_fuser_enabled = _jit_set_profiling_mode = _jit_set_profiling_executor = _jit_setting
_jit_override_can_fuse_on_gpu = _jit_override_can_fuse_on_cpu = _jit_setting
_jit_set_nvfuser_enabled = _jit_set_nvfuser_guard_mode = _jit_can_fuse_on_cpu = _jit_setting
_jit_can_fuse_on_gpu = _jit_setting


class Graph:
    """A graph of TorchScript, for annotations."""


class Node:
    """A node of a graph, for annotations."""


class Value:
    """A value in a graph, for annotations."""


class Block:
    """A block of a graph, for annotations."""


class Type:
    """A type of TorchScript, for annotations."""


globals().update({
    name: type(name, (Type,), {"__doc__": "See `Type`.", "__module__": __name__})
    for name, module in vars(_taimatsu)["_LAZY_NAMES"].items()
    if module == "_C"
})  # fmt: skip


DispatchKey = enum.Enum(
    "DispatchKey",
    "Undefined CPU CUDA XPU MPS Meta PrivateUse1 BackendSelect Python PythonDispatcher "
    "Functionalize ADInplaceOrView Autograd AutogradCPU AutogradCUDA AutogradXPU AutogradMPS "
    "AutogradMeta AutogradFunctionality AutocastCPU AutocastCUDA AutocastXPU AutocastMPS "
    "FuncTorchBatched CompositeImplicitAutograd CompositeExplicitAutograd",
)


class DispatchKeySet:
    """Some of the keys by which PyTorch chooses kernels."""

    def __init__(self, key: Any):
        self._keys = key if isinstance(key, frozenset) else frozenset((key,))

    def __or__(self, other: DispatchKeySet) -> DispatchKeySet:
        return DispatchKeySet(self._keys | other._keys)

    def __sub__(self, other: DispatchKeySet) -> DispatchKeySet:
        return DispatchKeySet(self._keys - other._keys)

    def has(self, key: Any) -> bool:
        """Whether a key is one of them."""
        return key in self._keys


class _ExcludeDispatchKeyGuard(contextlib.ExitStack):
    """A context without some keys: those of autocast turn it off. RuntimeError for others."""

    def __init__(self, keys: DispatchKeySet):
        super().__init__()
        names = [key.name for key in keys._keys]
        if not all(name.startswith("Autocast") for name in names):
            raise RuntimeError(f"_ExcludeDispatchKeyGuard: only autocast's keys; got {names}")
        self._devices = [name.removeprefix("Autocast").lower() for name in names]

    def __enter__(self) -> _ExcludeDispatchKeyGuard:
        from taimatsu.amp import autocast

        for kind in self._devices:
            if kind in ("cpu", "cuda"):
                self.enter_context(autocast(kind, enabled=False))
        return super().__enter__()


def _functional(name: str) -> Any:
    import taimatsu.nn.functional as F

    if name == "_parse_to":
        from taimatsu.nn.module import _parse_to

        return _parse_to
    if name in ("flatten_dense_tensors", "unflatten_dense_tensors"):
        from taimatsu import _utils

        return getattr(_utils, f"_{name}")
    return getattr(F, name)


_nn = _types.ModuleType(f"{__name__}._nn", "Functions of `nn.functional`.")
_nn.__getattr__ = _functional  # type: ignore[method-assign]
sys.modules[_nn.__name__] = _nn


def __getattr__(name: str) -> Any:
    if name in ("ScriptModule", "ScriptFunction"):
        return getattr(_taimatsu.jit, name)
    if name in ("_VariableFunctions", "_VariableFunctionsClass"):
        import taimatsu

        return taimatsu
    if name == "_functorch":  # its imports are made when it is asked for
        return importlib.import_module(f"{__name__}.{name}")
    if name.startswith("__"):
        raise AttributeError(name)
    raise AttributeError(
        f"module 'torch._C' has no attribute {name!r}: it is private to PyTorch's native code"
    )
