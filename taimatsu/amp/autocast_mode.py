"""`autocast`: inside, matrix products run in a 16-bit dtype and what needs range in float32.

An interpreter casts the floating-point operands of ops by three tables. An op in none of them takes
what it gets; a composite in one of them is cast as a whole.
"""

from __future__ import annotations

import functools
import threading
import typing
import warnings
from collections.abc import Callable
from typing import Any

import taimatsu as torch
from taimatsu import Tensor
from taimatsu._interpreter import Interpreter

__all__ = ["autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]

LOWER = frozenset((
    "addbmm", "addmm", "baddbmm", "bmm", "conv1d", "conv2d", "conv3d", "conv_tbc",
    "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolution", "linear", "matmul",
    "mm", "scaled_dot_product_attention", "vecdot",
))  # fmt: skip
FLOAT32 = frozenset((
    "adaptive_avg_pool3d", "avg_pool3d", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "cdist", "cholesky", "cholesky_ex", "cholesky_inverse",
    "cholesky_solve", "cond", "cosine_embedding_loss", "cross_entropy", "ctc_loss", "eig", "eigh",
    "eigvals", "eigvalsh", "grid_sample", "hinge_embedding_loss", "huber_loss", "inv", "inv_ex",
    "inverse", "kl_div", "l1_loss", "lstsq", "lu_solve", "margin_ranking_loss", "matrix_rank",
    "max_pool3d", "mse_loss", "multi_margin_loss", "multilabel_margin_loss", "nanquantile",
    "nll_loss", "orgqr", "ormqr", "pinv", "pinverse", "poisson_nll_loss", "polar", "prod",
    "quantile", "smooth_l1_loss", "soft_margin_loss", "solve", "solve_ex", "stft", "svdvals",
    "tensorinv", "tensorsolve", "trace", "triplet_margin_loss", "view_as_complex",
))  # fmt: skip
WIDEST = frozenset(("cat", "index_copy", "stack"))

_DTYPES = (torch.bfloat16, torch.float16)


# By the type of device, what matrix products are in. Programs ask for those that aren't there too.
_BFLOAT16, _FLOAT16 = "cpu hpu xla maia", "cuda mps xpu mtia ipu privateuseone"
_DEFAULTS = {
    **dict.fromkeys(_BFLOAT16.split(), torch.bfloat16),
    **dict.fromkeys(_FLOAT16.split(), torch.float16),
}


class _State(threading.local):
    def __init__(self) -> None:
        self.enabled = dict.fromkeys(_DEFAULTS, False)
        self.dtype = dict(_DEFAULTS)
        self.cache_enabled = True
        self.nesting = 0
        self.cache: dict[int, tuple[Tensor, Tensor]] = {}  # weights, and their casts


_state = _State()


def _cast(x: Any, dtype: Any = None) -> Any:
    """x, and tensors in lists, in `dtype` (or its device's) if it is a floating one."""
    if isinstance(x, (tuple, list)):
        return type(x)(_cast(a, dtype) for a in x)
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.dtype == torch.float64:
        return x
    place = x.device.type
    if not _state.enabled.get(place, False):
        return x
    dtype = dtype or _state.dtype[place]
    if x.dtype == dtype:
        return x
    weight = x.is_leaf and x.requires_grad and _state.cache_enabled and dtype in _DTYPES
    if not weight or not torch.is_grad_enabled():
        return x.to(dtype)
    known = _state.cache.get(id(x))
    if known is None or known[1].dtype != dtype:
        known = _state.cache[id(x)] = (x, x.to(dtype))
    return known[1]


class _Casting(Interpreter):
    """Casts by the thread's state, so that of several, nested ones the state decides once."""

    def call(self, op: Any, args: tuple, targets: tuple | None) -> Any:
        name = op.name.partition(".")[0]
        if targets is None and any(_state.enabled.values()):
            if name in LOWER:
                return self.below(op, _cast(args))
            if name in FLOAT32:
                return self.below(op, _cast(args, torch.float32))
            if name in WIDEST:
                return self.below(op, _cast(args, self._widest(args)))
        if op.kind == "composite":
            return self.descend(op, args, targets)
        return self.below(op, args, targets)

    def _widest(self, args: tuple) -> Any:
        dtypes = set()
        for a in args:
            dtypes |= {t.dtype for t in (a if isinstance(a, (tuple, list)) else [a])
                       if isinstance(t, Tensor)}  # fmt: skip
        return torch.float32 if torch.float32 in dtypes else next(iter(dtypes))


class autocast:
    """A context manager and decorator: inside, ops choose their dtype.

    ``device_type``: "cpu" or "cuda". ``dtype``: of matrix products and convolutions, bfloat16 or
    float16 (by default the device's: bfloat16 on the CPU). ``enabled=False`` switches it off inside
    of another. ``cache_enabled``: weights are cast once. RuntimeError for another device.

    >>> with torch.autocast("cpu", torch.bfloat16):
    ...     y = model(x)
    >>> y.dtype
    torch.bfloat16
    """

    def __init__(
        self,
        device_type: str,
        dtype: Any = None,
        enabled: bool = True,
        cache_enabled: bool | None = None,
    ):
        if not isinstance(device_type, str):
            raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
        if not is_autocast_available(device_type):
            raise RuntimeError(
                f"User specified an unsupported autocast device_type '{device_type}'"
            )
        self.device = device_type
        self.fast_dtype = get_autocast_dtype(device_type) if dtype is None else dtype
        self._cache_enabled = _state.cache_enabled if cache_enabled is None else cache_enabled
        if enabled and self.fast_dtype not in _DTYPES:
            warnings.warn(
                f"In {device_type.upper()} autocast, but the target dtype {self.fast_dtype} is not "
                "supported: bfloat16 and float16 are. Disabling autocast.",
                stacklevel=2,
            )
            enabled = False
        if enabled and device_type == "cuda" and not torch.cuda.is_available():
            warnings.warn(
                "CUDA is not available or torch_xla is imported. Disabling autocast.", stacklevel=2
            )
            enabled = False
        self._enabled = enabled

    def __enter__(self) -> typing.Self:
        self._before = (
            _state.enabled[self.device], _state.dtype[self.device], _state.cache_enabled
        )  # fmt: skip
        _state.enabled[self.device] = self._enabled
        _state.dtype[self.device] = self.fast_dtype
        _state.cache_enabled = self._cache_enabled
        autocast_increment_nesting()
        self._frame = _Casting()
        self._frame.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._frame.__exit__()
        if autocast_decrement_nesting() == 0:
            clear_autocast_cache()
        _state.enabled[self.device], _state.dtype[self.device], _state.cache_enabled = self._before

    def __call__(self, function: Callable) -> Callable:
        @functools.wraps(function)
        def decorated(*args: Any, **kwargs: Any) -> Any:
            options = (self.device, self.fast_dtype, self._enabled, self._cache_enabled)
            with autocast(*options):  # a fresh one: the function may call itself
                return function(*args, **kwargs)

        return decorated


# ---- the state ----------------------------------------------------------------------------------


def is_autocast_available(device_type: str) -> bool:
    """Whether `autocast` knows the kind of device.

    >>> torch.amp.is_autocast_available("cpu")
    True
    """
    return device_type in _state.enabled


def _known(device_type: str) -> str:
    if not is_autocast_available(device_type):
        raise RuntimeError(f"unsupported scalar type for autocast on device {device_type!r}")
    return device_type


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether autocast is on for the device in this thread."""
    return _state.enabled[_known(device_type)]


def is_autocast_cpu_enabled() -> bool:
    """`is_autocast_enabled("cpu")`."""
    return _state.enabled["cpu"]


def get_autocast_dtype(device_type: str) -> Any:
    """The dtype of matrix products under autocast on the device."""
    return _state.dtype[_known(device_type)]


def set_autocast_dtype(device_type: str, dtype: Any) -> None:
    """Set the dtype of matrix products under autocast on the device, in this thread."""
    _state.dtype[_known(device_type)] = dtype


def get_autocast_cpu_dtype() -> Any:
    """`get_autocast_dtype("cpu")`."""
    return _state.dtype["cpu"]


def set_autocast_cpu_dtype(dtype: Any) -> None:
    """`set_autocast_dtype("cpu", dtype)`."""
    _state.dtype["cpu"] = dtype


def get_autocast_gpu_dtype() -> Any:
    """`get_autocast_dtype("cuda")`."""
    return _state.dtype["cuda"]


def set_autocast_gpu_dtype(dtype: Any) -> None:
    """`set_autocast_dtype("cuda", dtype)`."""
    _state.dtype["cuda"] = dtype


def is_autocast_cache_enabled() -> bool:
    """Whether weights are cast once inside an autocast block."""
    return _state.cache_enabled


def set_autocast_cache_enabled(enabled: bool) -> None:
    """Set whether weights are cast once inside an autocast block, in this thread."""
    _state.cache_enabled = enabled


def clear_autocast_cache() -> None:
    """Forget the cast weights."""
    _state.cache.clear()


def autocast_increment_nesting() -> int:
    """Count one more block; gives the number."""
    _state.nesting += 1
    return _state.nesting


def autocast_decrement_nesting() -> int:
    """Count one block less; gives the number."""
    _state.nesting -= 1
    return _state.nesting


# ---- custom Functions ---------------------------------------------------------------------------


def custom_fwd(
    fwd: Callable | None = None, *, device_type: str, cast_inputs: Any = None
) -> Callable:
    """A decorator of a Function's ``forward``: under autocast its floating-point inputs are cast to
    ``cast_inputs`` and it runs without autocast; without that dtype it runs under what is on."""
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def decorated(*args: Any, **kwargs: Any) -> Any:
        on = is_autocast_enabled(device_type)
        args[0]._dtype = get_autocast_dtype(device_type)
        args[0]._fwd_used_autocast = on and cast_inputs is None
        if cast_inputs is None or not on:
            return fwd(*args, **kwargs)
        given = (args[0], *_cast(args[1:], cast_inputs))
        named = {k: _cast(v, cast_inputs) for k, v in kwargs.items()}
        with autocast(device_type, enabled=False):
            return fwd(*given, **named)

    return decorated


def custom_bwd(bwd: Callable | None = None, *, device_type: str) -> Callable:
    """A decorator of a Function's ``backward``: it runs under the autocast of its forward."""
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def decorated(*args: Any, **kwargs: Any) -> Any:
        ctx = args[0]
        with autocast(device_type, enabled=ctx._fwd_used_autocast, dtype=ctx._dtype):
            return bwd(*args, **kwargs)

    return decorated
