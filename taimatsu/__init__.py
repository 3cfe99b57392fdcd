"""Taimatsu: PyTorch's programming model, rebuilt Python-first.

    import taimatsu as torch

Subpackages (`nn`, `optim`, ...) are imported on first use, so that `import taimatsu` stays cheap.
"""

from __future__ import annotations

import importlib
from typing import Any

from . import _core, _forks  # noqa: F401  (the handlers of forks)
from ._core import *  # noqa: F403  (Tensor, dtypes, devices, modes: the native core's public names)
from ._core import (
    Generator,
    Size,
    Tensor,
    UntypedStorage,
    device,
    dtype,
    layout,
    memory_format,
)
from .version import __version__

# isort: split
from . import ops
from ._tensor import *  # noqa: F403  (Tensor's methods in Python; e, pi, inf ...)
from ._tensor_sparse import *  # noqa: F403
from .functional import *  # noqa: F403  (functions of several ops: einsum, meshgrid ...)

globals().update(ops.namespaces[""])

# Names of the top level that live in subpackages.
_LAZY_NAMES = {
    "save": "serialization",
    "load": "serialization",
    "set_printoptions": "_tensor_str",
    "einsum": "_einsum",
    "lobpcg": "_lobpcg",
    "binary_cross_entropy_with_logits": "_losses",
    "cosine_embedding_loss": "_losses",
    "ctc_loss": "_losses",
    "hinge_embedding_loss": "_losses",
    "kl_div": "_losses",
    "margin_ranking_loss": "_losses",
    "poisson_nll_loss": "_losses",
    "triplet_margin_loss": "_losses",
    "pca_lowrank": "_lowrank",
    "svd_lowrank": "_lowrank",
    "pointwise": "ops.table",
    "row": "ops.table",
    "indexed": "ops.table",
    "manual_seed": "random",
    "seed": "random",
    "initial_seed": "random",
    "get_rng_state": "random",
    "set_rng_state": "random",
    "vmap": "func",
    "GradScaler": "amp",
    "autocast_decrement_nesting": "amp.autocast_mode",
    "autocast_increment_nesting": "amp.autocast_mode",
    "clear_autocast_cache": "amp.autocast_mode",
    "get_autocast_cpu_dtype": "amp.autocast_mode",
    "get_autocast_dtype": "amp.autocast_mode",
    "get_autocast_gpu_dtype": "amp.autocast_mode",
    "is_autocast_cache_enabled": "amp.autocast_mode",
    "is_autocast_cpu_enabled": "amp.autocast_mode",
    "is_autocast_enabled": "amp.autocast_mode",
    "set_autocast_cache_enabled": "amp.autocast_mode",
    "set_autocast_cpu_dtype": "amp.autocast_mode",
    "set_autocast_dtype": "amp.autocast_mode",
    "set_autocast_gpu_dtype": "amp.autocast_mode",
    "autocast": "amp.autocast_mode",
}
for _module, _names in {
    "_streams": "Event Stream",
    "_scaled": "_scaled_mm",
    "_higher_order_ops.control": "cond while_loop",
    "_aliases": (
        "AVG SUM AcceleratorError AggregationType FatalError JITException Storage StorageBase "
        "legacy_contiguous_format"
    ),
    "_quantized": (
        "dequantize int_repr per_channel_affine per_channel_affine_float_qparams "
        "per_channel_symmetric per_tensor_affine per_tensor_symmetric q_per_channel_axis "
        "q_per_channel_scales q_per_channel_zero_points q_scale q_zero_point qscheme "
        "quantize_per_channel quantize_per_tensor quantize_per_tensor_dynamic"
    ),
    "sparse._construct": (
        "sparse_bsc_tensor sparse_bsr_tensor sparse_compressed_tensor sparse_coo_tensor "
        "sparse_csc_tensor sparse_csr_tensor"
    ),
    "sparse._functions": (
        "ccol_indices_copy col_indices_copy crow_indices_copy dsmm hsmm hspmm indices_copy "
        "resize_as_sparse_ row_indices_copy saddmm smm spmm sspaddmm values_copy"
    ),
    "jit": "ScriptFunction ScriptModule fork wait",
    "_assertions": (
        "_assert _assert_async _check _check_index _check_is_size _check_not_implemented "
        "_check_tensor_all _check_tensor_all_with _check_type _check_value _check_with"
    ),
    "_private": (
        "_cast_Byte _cast_Char _cast_Double _cast_Float _cast_Half _cast_Int _cast_Long "
        "_cast_Short _convert_indices_from_coo_to_csr _convert_indices_from_csr_to_coo "
        "_dirichlet_grad _grouped_mm _int_mm _log_softmax _log_softmax_backward_data "
        "_sample_dirichlet _segment_reduce _shape_as_tensor _softmax _softmax_backward_data "
        "_standard_gamma _standard_gamma_grad _unique _unique2 _weight_norm norm_except_dim"
    ),
    "compiler": "compile",
    "_C": (
        "AnyType AwaitType BoolType ClassType ComplexType DeviceObjType DictType EnumType "
        "FloatType FutureType IntType InterfaceType ListType NoneType NumberType OptionalType "
        "PyObjectType RRefType StreamObjType StringType SymBoolType SymIntType "
        "TensorType TupleType UnionType"
    ),
    "_function_schema": "Argument FunctionSchema parse_schema",
    "futures": "Future",
    "utils.dlpack": "to_dlpack",
    "serialization": "PyTorchFileReader",
    "storage": "TypedStorage",
    "_tensor_types": (
        "set_default_tensor_type BFloat16Storage BoolStorage ByteStorage CharStorage "
        "DoubleStorage FloatStorage HalfStorage IntStorage LongStorage ShortStorage "
        "BFloat16Tensor BoolTensor ByteTensor CharTensor DoubleTensor FloatTensor HalfTensor "
        "IntTensor LongTensor ShortTensor ComplexDoubleStorage ComplexFloatStorage"
    ),
    "_symbols": (
        "SymBool SymFloat SymInt sym_float sym_int sym_ite sym_max sym_min sym_not sym_sqrt "
        "sym_sum"
    ),
    "_process": (
        "compiled_with_cxx11_abi get_deterministic_debug_mode get_device_module "
        "get_float32_matmul_precision get_num_interop_threads has_lapack has_mkl has_openmp "
        "has_spectral is_deterministic_algorithms_warn_only_enabled is_vulkan_available "
        "is_warn_always_enabled set_deterministic_debug_mode set_float32_matmul_precision "
        "set_num_interop_threads set_warn_always"
    ),
}.items():
    _LAZY_NAMES.update(dict.fromkeys(_names.split(), _module))


def __getattr__(name: str) -> Any:
    if name == "torch":  # PyTorch has itself as an attribute
        return importlib.import_module(__name__)
    if name in _LAZY_NAMES:
        value = getattr(importlib.import_module(f"{__name__}.{_LAZY_NAMES[name]}"), name)
        globals()[name] = value
        return value
    if name.startswith("_foreach_"):
        from ._foreach import foreach

        if (value := foreach(name.removeprefix("_foreach_"))) is not None:
            globals()[name] = value
            return value
    if not name.startswith("__") or name in ("__config__", "__future__"):
        try:
            return importlib.import_module(f"{__name__}.{name}")
        except ModuleNotFoundError as missing:
            if missing.name != f"{__name__}.{name}":  # one that the submodule needs
                raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    import pkgutil

    found = pkgutil.iter_modules(__path__)  # noqa: F405  (a name of every package)
    submodules = {m.name for m in found if not m.name.startswith("_")}
    return sorted({*globals(), *submodules, *_LAZY_NAMES})


__all__ = [
    "Generator", "Size", "Tensor", "UntypedStorage", "__version__", "_core", "device", "dtype",
    "layout", "memory_format", *ops.namespaces[""],
]  # fmt: skip
