"""``backends.cuda``: the libraries of NVIDIA's GPUs; switches, some of which are only kept.

Which routine computes `scaled_dot_product_attention` is chosen by `nn.attention.sdpa_kernel`.
"""

from __future__ import annotations

import enum
import typing
from contextlib import contextmanager
from typing import Any

from taimatsu import _process
from taimatsu._absent import Absent

from . import _precision

_absent = Absent(globals(), "CUDA")
_absent.answer(
    bool,
    "can_use_efficient_attention can_use_flash_attention is_built is_ck_sdpa_available "
    "is_flash_attention_available",
    "False.",
)
_absent.refuse("blas_workspace_size cublas_workspace_size cublaslt_workspace_size")
_absent.types("cuFFTPlanCache cuFFTPlanCacheAttrContextProp")


class _Switches:
    """Named values that may be set."""

    _names: frozenset[str] = frozenset()

    def __init__(self, **values: Any):
        vars(self).update(values, _names=frozenset(values))

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(getattr(type(self), name, None), property):
            return super().__setattr__(name, value)
        if name not in self._names:
            raise AttributeError(f"Unknown attribute {name}")
        vars(self)[name] = value


class cuBLASModule(_Switches):
    """The precision of products of matrices."""

    def __init__(self) -> None:
        super().__init__(
            allow_fp16_reduced_precision_reduction=True,
            allow_bf16_reduced_precision_reduction=True, allow_fp16_accumulation=False,
        )  # fmt: skip

    @property
    def allow_tf32(self) -> bool:
        """Whether float32 may be multiplied in TF32: `set_float32_matmul_precision` by a bool."""
        return _precision.matmul.fp32_precision == "tf32"

    @allow_tf32.setter
    def allow_tf32(self, allowed: bool) -> None:
        _process.set_float32_matmul_precision("high" if allowed else "highest")

    @property
    def fp32_precision(self) -> str:
        """The same by name: "tf32", "ieee", or "none" where `backends.fp32_precision` tells."""
        return _precision.matmul.fp32_precision

    @fp32_precision.setter
    def fp32_precision(self, precision: str) -> None:
        _precision.matmul.fp32_precision = precision


class cuFFTPlanCacheManager:
    """Plans of Fourier transforms, by GPU: ``cufft_plan_cache[0].max_size = 10``, ``.size``,
    ``.clear()``; without an index those of the current GPU. RuntimeError where there is none."""

    def __getitem__(self, device: Any) -> Any:
        from taimatsu import cuda

        if not cuda.is_available():
            raise RuntimeError(f"cufft_plan_cache: there is no GPU; got device {device}")
        from taimatsu.cuda._driver import index_of
        from taimatsu.cuda.libraries.fourier import plans

        index = index_of(device)
        if index >= cuda.device_count():
            raise RuntimeError(
                f"cufft_plan_cache: there is no GPU {index}, but {cuda.device_count()} of them"
            )
        return plans(index)

    def __getattr__(self, name: str) -> Any:
        from taimatsu import cuda

        if name not in ("size", "max_size", "clear"):
            raise AttributeError(name)
        return getattr(self[None], name) if cuda.is_available() or name == "clear" else 0

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "max_size":
            raise AttributeError(f"cufft_plan_cache: only max_size can be set; got {name}")
        self[None].max_size = value


matmul = cuBLASModule()
cufft_plan_cache = cuFFTPlanCacheManager()

_BlasBackend = enum.Enum("_BlasBackend", "Default Cublas Cublaslt Ck")
_LinalgBackend = enum.Enum("_LinalgBackend", "Default Cusolver Magma")
_ROCmFABackend = enum.Enum("_ROCmFABackend", "Default AOTriton Ck")
_BACKENDS: tuple = (_BlasBackend, _LinalgBackend, _ROCmFABackend)
_preferred: dict[Any, Any] = {kind: kind["Default"] for kind in _BACKENDS}


def _prefer(kind: Any, backend: Any) -> Any:
    if isinstance(backend, str):
        found = {member.name.lower(): member for member in kind}
        if backend.lower() not in found:
            raise RuntimeError(f"unknown backend {backend!r}; there are {', '.join(found)}")
        backend = found[backend.lower()]
    if backend is not None:
        _preferred[kind] = backend
    return _preferred[kind]


def preferred_blas_library(backend: Any = None) -> Any:
    """Sets, if it is given, and returns the library of matrix products on GPUs."""
    return _prefer(_BlasBackend, backend)


def preferred_linalg_library(backend: Any = None) -> Any:
    """Sets, if it is given, and returns the library of factorisations on GPUs."""
    return _prefer(_LinalgBackend, backend)


def preferred_rocm_fa_library(backend: Any = None) -> Any:
    """Sets, if it is given, and returns the library of attention on AMD's GPUs."""
    return _prefer(_ROCmFABackend, backend)


_sdp = {"flash": True, "math": True, "mem_efficient": True, "cudnn": True}
_reduced = False


def _switch(kind: str) -> tuple[Any, Any]:
    def enabled() -> bool:
        return _sdp[kind]

    def enable(enabled: bool) -> None:
        _sdp[kind] = bool(enabled)

    enabled.__doc__ = f"Whether {kind} attention may be used on a GPU."
    enable.__doc__ = f"Sets whether {kind} attention may be used on a GPU."
    return enabled, enable


flash_sdp_enabled, enable_flash_sdp = _switch("flash")
math_sdp_enabled, enable_math_sdp = _switch("math")
mem_efficient_sdp_enabled, enable_mem_efficient_sdp = _switch("mem_efficient")
cudnn_sdp_enabled, enable_cudnn_sdp = _switch("cudnn")


class SDPAParams(typing.NamedTuple):
    """The arguments of an attention, for the functions that tell who may compute it."""

    query: Any
    key: Any
    value: Any
    attn_mask: Any
    dropout: float
    is_causal: bool
    enable_gqa: bool


def can_use_cudnn_attention(params: Any, debug: bool = False) -> bool:
    """Whether cuDNN is asked to compute an attention; `debug` is taken and has no effect."""
    if not params.query.is_cuda:
        return False
    from taimatsu.cuda.libraries.attention import usable

    query, key, value, mask, dropout, is_causal, _ = params
    keep = True if dropout else None
    return usable(query, key, value, mask, keep, is_causal)


def fp16_bf16_reduction_math_sdp_allowed() -> bool:
    """Whether sums of attention may be 16-bit."""
    return _reduced


def allow_fp16_bf16_reduction_math_sdp(enabled: bool) -> None:
    """Sets whether sums of attention may be 16-bit."""
    global _reduced
    _reduced = bool(enabled)


@contextmanager
def sdp_switched(switches: dict[str, bool]):
    """Which kinds of attention may be used inside the block."""
    before = dict(_sdp)
    _sdp.update(switches)
    try:
        yield {}
    finally:
        _sdp.update(before)


def sdp_kernel(
    enable_flash: bool = True, enable_math: bool = True, enable_mem_efficient: bool = True,
    enable_cudnn: bool = True,
):  # fmt: skip
    """Settings that hold inside the block; `nn.attention.sdpa_kernel` replaced it."""
    return sdp_switched({
        "flash": enable_flash, "math": enable_math, "mem_efficient": enable_mem_efficient,
        "cudnn": enable_cudnn,
    })  # fmt: skip


__all__ = [
    *_absent.names, "SDPAParams", "allow_fp16_bf16_reduction_math_sdp", "can_use_cudnn_attention",
    "cuBLASModule", "cuFFTPlanCacheManager", "cudnn_sdp_enabled", "cufft_plan_cache",
    "enable_cudnn_sdp", "enable_flash_sdp", "enable_math_sdp", "enable_mem_efficient_sdp",
    "flash_sdp_enabled", "fp16_bf16_reduction_math_sdp_allowed", "math_sdp_enabled", "matmul",
    "mem_efficient_sdp_enabled", "preferred_blas_library", "preferred_linalg_library",
    "preferred_rocm_fa_library", "sdp_kernel",
]  # fmt: skip
