"""ATen's ops by name, as TorchScript's code calls them, and its functions of plain values.

Most are ops of the table. `SIGNATURES` has those whose parameters come in another order there, in
ATen's order, with what only ATen takes and the value that it gets.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable
from typing import Any, NoReturn

import taimatsu as torch
from taimatsu import _op_namespaces
from taimatsu import ops as table
from taimatsu.nn import functional as F

from .aten_schemas import NAMES

__all__ = ["DTYPES", "SIGNATURES", "Error", "operator_of"]


class Error(RuntimeError):
    """An error raised in compiled code, or code that can't be run."""


# ---- Numbers that stand for things ------------------------------------------------------------
DTYPES = dict(enumerate(
    (
        "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "complex32",
        "complex64", "complex128", "bool",
    )
))  # fmt: skip
DTYPES[15] = "bfloat16"
CODES = {name: code for code, name in DTYPES.items()}
MEMORY_FORMATS = (
    torch.contiguous_format, torch.preserve_format, torch.channels_last, torch.channels_last_3d,
)  # fmt: skip
REDUCTIONS = ("none", "mean", "sum")


def _dtype(code: Any) -> Any:
    return getattr(torch, DTYPES[code]) if type(code) is int else code


_DECODED: dict[str, Callable] = {
    "dtype": _dtype,
    "layout": lambda code: torch.strided if code == 0 else code,
    "memory_format": lambda code: MEMORY_FORMATS[code] if type(code) is int else code,
}


# ---- Ops ----------------------------------------------------------------------------------------
SIGNATURES = {
    "batch_norm": "input weight bias running_mean running_var training momentum eps cudnn=True",
    "instance_norm": (
        "input weight bias running_mean running_var use_input_stats momentum eps cudnn=True"
    ),
    "layer_norm": "input normalized_shape weight bias eps cudnn=True",
    "group_norm": "input num_groups weight bias eps cudnn=True",
    "cross_entropy_loss": "input target weight reduction ignore_index label_smoothing",
    "nll_loss": "input target weight reduction ignore_index",
    "nll_loss_nd": "input target weight reduction ignore_index",
    "mse_loss": "input target reduction",
    "l1_loss": "input target reduction",
    "huber_loss": "input target reduction delta",
    "smooth_l1_loss": "input target reduction beta",
    "binary_cross_entropy": "input target weight reduction",
    "binary_cross_entropy_with_logits": "input target weight pos_weight reduction",
    "kl_div": "input target reduction log_target=False",
    "soft_margin_loss": "input target reduction",
    "cosine_embedding_loss": "input1 input2 target margin reduction",
    "margin_ranking_loss": "input1 input2 target margin reduction",
    "hinge_embedding_loss": "input target margin reduction",
    "multi_margin_loss": "input target p margin weight reduction",
    "multilabel_margin_loss": "input target reduction",
    "triplet_margin_loss": "anchor positive negative margin p eps swap reduction",
    "poisson_nll_loss": "input target log_input full eps reduction",
}  # what each is called here, where the name is another one:
_OURS = {"cross_entropy_loss": "cross_entropy", "nll_loss_nd": "nll_loss"}


def _in_atens_order(name: str) -> Callable:
    names = [entry.partition("=")[0] for entry in SIGNATURES[name].split()]
    ours = getattr(F, _OURS.get(name, name))

    def call(input: Any, *args: Any, **kwargs: Any) -> Any:
        given = dict(zip(names[1:], args)) | kwargs  # noqa: B905  (the last ones have defaults)
        given.pop("cudnn", None)
        if type(given.get("reduction")) is int:
            given["reduction"] = REDUCTIONS[given["reduction"]]
        return ours(input, **given)

    return call


def _convolution(
    x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool,
    output_padding: Any, groups: int, *flags: Any,
) -> Any:  # fmt: skip
    dims = len(stride)
    if transposed:
        function = getattr(F, f"conv_transpose{dims}d")
        return function(x, weight, bias, stride, padding, output_padding, groups, dilation)
    return getattr(F, f"conv{dims}d")(x, weight, bias, stride, padding, dilation, groups)


def _upsample(mode: str, aligned: bool) -> Callable:
    def call(x: Any, size: Any, *rest: Any) -> Any:
        align = rest[0] if aligned else None
        factors = [s for s in rest[aligned:] if s is not None]
        if len(factors) == 1 and isinstance(factors[0], (list, tuple)):
            factors = list(factors[0])
        if size is not None:
            return F.interpolate(x, size=list(size), mode=mode, align_corners=align)
        return F.interpolate(x, scale_factor=factors, mode=mode, align_corners=align)

    return call


def _to(x: Any, *args: Any, **kwargs: Any) -> Any:
    """(dtype), (device, dtype) or (tensor), then non_blocking and copy."""
    target, rest = {}, list(args)
    for kind, name in ((torch.Tensor, "other"), (torch.device, "device"), (str, "device")):
        if rest and isinstance(rest[0], kind):
            target[name] = rest.pop(0)
            break
    if rest and "other" not in target and (rest[0] is None or type(rest[0]) is int):
        target["dtype"] = rest.pop(0)
    given = target | dict(zip(("non_blocking", "copy"), rest)) | kwargs  # noqa: B905
    given = {k: _DECODED.get(k, lambda v: v)(v) for k, v in given.items() if v is not None}
    other = given.pop("other", None)
    given = {k: v for k, v in given.items() if k in ("dtype", "device", "copy", "memory_format")}
    return x.to(other, **given) if other is not None else x.to(**given)


def _index_put(x: Any, indices: list, values: Any, accumulate: bool = False) -> Any:
    key = tuple(slice(None) if i is None else i for i in indices)
    if accumulate:
        return x.index_put_(tuple(indices), values, accumulate=True)
    x[key] = values
    return x


def _tensor(data: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
    return torch.tensor(data, dtype=dtype, device=device, requires_grad=requires_grad)


def _softmax(name: str) -> Callable:
    return lambda x, dim, dtype=None: getattr(torch, name)(x, dim, dtype=_dtype(dtype))


_OPS: dict[str, Callable] = {
    **{name: _in_atens_order(name) for name in SIGNATURES},
    **{name: _softmax(name) for name in ("softmax", "log_softmax")},
    **{f"upsample_nearest{n}d": _upsample("nearest", False) for n in (1, 2, 3)},
    "upsample_linear1d": _upsample("linear", True),
    "upsample_bilinear2d": _upsample("bilinear", True),
    "upsample_bicubic2d": _upsample("bicubic", True),
    "upsample_trilinear3d": _upsample("trilinear", True),
    "_convolution": _convolution,
    "convolution": _convolution,
    "constant_pad_nd": lambda x, pad, value=0: F.pad(x, pad, "constant", value),
    **{f"reflection_pad{n}d": lambda x, pad: F.pad(x, pad, "reflect") for n in (1, 2, 3)},
    **{f"replication_pad{n}d": lambda x, pad: F.pad(x, pad, "replicate") for n in (1, 2, 3)},
    "feature_dropout": lambda x, p, train: F.dropout2d(x, p, train),
    "expand": lambda x, size, implicit=False: x.expand(size),
    "index_put_": _index_put,
    "numpy_T": lambda x: x.T,
    "tensor": _tensor,
    "as_tensor": _tensor,
    "to": _to,
    "type_as": lambda x, other: x.to(other),
    "is_floating_point": lambda x: x.is_floating_point(),
    "is_complex": lambda x: x.is_complex(),
    "numel": lambda x: x.numel(),
    "dim": lambda x: x.dim(),
    "size": lambda x, dim=None: list(x.shape) if dim is None else x.size(dim),
    "stride": lambda x, dim=None: list(x.stride()) if dim is None else x.stride(dim),
    "device": lambda *args: torch.device(*args),
    "split": lambda x, size, dim=0: list(torch.split(x, size, dim)),
    "chunk": lambda x, chunks, dim=0: list(torch.chunk(x, chunks, dim)),
    "unbind": lambda x, dim=0: list(torch.unbind(x, dim)),
    **{f"adaptive_max_pool{n}d": lambda x, size, n=n: getattr(F, f"adaptive_max_pool{n}d")(
        x, size, return_indices=True) for n in (1, 2, 3)},
    "im2col": lambda x, *window: F.unfold(x, *window),
    "col2im": lambda x, *window: F.fold(x, *window),
    "grid_sampler": lambda x, grid, mode, padding, aligned: F.grid_sample(
        x, grid, ("bilinear", "nearest", "bicubic")[mode],
        ("zeros", "border", "reflection")[padding], aligned),
    "one_hot": lambda x, count=-1: F.one_hot(x, count),
    "einsum": lambda equation, operands, path=None: torch.einsum(equation, operands),
    "broadcast_tensors": lambda tensors: list(torch.broadcast_tensors(*tensors)),
    "meshgrid": lambda tensors, indexing="ij": list(torch.meshgrid(tensors, indexing=indexing)),
}
for _name in ("slice", "index", "alias", "_softmax", "_log_softmax", "_unsafe_view", "_to_copy"):
    _OPS[_name] = _op_namespaces._ATEN[_name]
for _name in (
    "batch_norm",
    "cdist",
    "stft",
    "istft",
    "unique_consecutive",
    "tensordot",
    "norm",
):
    _OPS.setdefault(_name, getattr(torch, _name, None) or getattr(F, _name))


def _scalar(kind: Callable) -> Callable:
    return lambda x: kind(x.item() if isinstance(x, torch.Tensor) else x)


_OPS |= {
    "Int": _scalar(int), "IntImplicit": _scalar(int), "Float": _scalar(float),
    "FloatImplicit": _scalar(float), "Bool": _scalar(bool), "ScalarImplicit": _scalar(lambda x: x),
}  # fmt: skip

_METHOD = type(torch.Tensor.view)  # of ops of the table, not of Python's methods


def _of_table(name: str) -> Callable | None:
    for prefix, space in _op_namespaces.PREFIXES.items():
        if name.startswith(prefix):
            return table.namespaces[space].get(name.removeprefix(prefix))
    found = table.namespaces[""].get(name) or table.namespaces["nn.functional"].get(name)
    if found is None:
        method = getattr(torch.Tensor, name, None)
        found = method if type(method) is _METHOD or name in NAMES else None
    return found


# ---- Functions of plain values ------------------------------------------------------------------
def _set_item(container: Any, key: Any, value: Any) -> None:
    container[key] = value


def _format(text: str, *values: Any) -> str:
    parts = text.split("{}")
    shown = [*(torch_str(v) for v in values), *[""] * len(parts)]
    return "".join(itertools.chain(*zip(parts, shown[: len(parts) - 1] + [""], strict=True)))


def _percent_format(text: str, *values: Any) -> str:
    return text % (values[0] if len(values) == 1 else values)


def torch_str(value: Any) -> str:
    """A value as TorchScript's ``str`` writes it."""
    return str(value)


def _sort(values: list, reverse: bool = False) -> None:
    values.sort(reverse=reverse)


def _list_slice(values: Any, start: Any = None, end: Any = None, step: int = 1) -> Any:
    return values[start:end:step]


def _raise(message: str = "", kind: str | None = None) -> NoReturn:
    what = f"{kind}: {message}" if kind else message
    raise Error(f"The following operation failed in the TorchScript interpreter.\n{what}")


def _pow(base: Any, exponent: Any) -> Any:
    return float(base) ** exponent if type(base) is type(exponent) is int else base**exponent


def _method(name: str) -> Callable:
    return lambda self, *args: getattr(self, name)(*args)


def _listing(name: str) -> Callable:
    return lambda mapping: list(getattr(mapping, name)())


_PLAIN: dict[str, Callable] = {
    **{name: getattr(operator, name) for name in (
        "add", "sub", "mul", "neg", "eq", "ne", "lt", "gt", "le", "ge",
    )},
    "pow": _pow,
    **{f"__{name}__": getattr(operator, name) for name in ["xor", "lshift", "rshift", "not"]
       if hasattr(operator, name)},
    **{name: getattr(math, name) for name in (
        "sqrt", "exp", "log", "log2", "log10", "log1p", "expm1", "sin", "cos", "tan", "asin",
        "acos", "atan", "atan2", "sinh", "cosh", "tanh", "ceil", "floor", "degrees", "radians",
        "fmod", "copysign", "gcd", "factorial", "lgamma", "erf", "isnan", "isinf", "isfinite",
    ) if hasattr(math, name)},
    **{name: _method(name) for name in (
        "append", "extend", "insert", "pop", "remove", "clear", "reverse", "count", "update",
        "get", "upper", "lower", "strip", "lstrip", "rstrip",
        "split", "join", "replace", "startswith", "endswith", "find", "isdigit", "splitlines",
        "setdefault", "popitem", "title", "capitalize",
    )},
    **{name: _listing(name) for name in ("keys", "values", "items")},
    "__derive_index": lambda i, start, step: start + i * step,
    "index": _method("index"),
    "copy": _method("copy"),
    "div": operator.truediv, "floordiv": operator.floordiv, "remainder": operator.mod,
    "floor_divide": operator.floordiv, "round": round, "abs": abs,
    "__and__": operator.and_, "__or__": operator.or_, "__not__": operator.not_,
    "__is__": operator.is_, "__isnot__": operator.is_not, "__getitem__": operator.getitem,
    "__contains__": lambda container, key: key in container,
    "__range_length": lambda low, high, step: len(range(low, high, step)),
    "len": len, "list": list, "dict": dict, "str": torch_str, "format": _format, "ord": ord,
    "chr": chr, "hex": hex, "bin": bin, "oct": oct, "hash": hash, "any": any, "all": all,
    "min": min, "max": max, "sum": sum, "sorted": sorted, "sort": _sort, "slice": _list_slice,
    "_set_item": _set_item, "Delete": operator.delitem, "divmod": divmod, "warn": lambda *a: None,
    "percentFormat": _percent_format, "wait": lambda future: future.wait(),
    "is_grad_enabled": torch.is_grad_enabled, "is_leaf": lambda x: x.is_leaf,
    "set_grad_enabled": lambda on: torch.set_grad_enabled(on) and None,
    "add_": lambda a, b: a.__iadd__(b) if isinstance(a, list) else a + b,
}  # fmt: skip

_PRIM: dict[str, Callable] = {
    "RaiseException": _raise,
    "NumToTensor": lambda x: torch.tensor(x),
    "dtype": lambda x: CODES[str(x.dtype).rpartition(".")[2]], "device": lambda x: x.device,
    "layout": lambda x: 0 if x.layout is torch.strided else x.layout,
    "shape": lambda x: list(x.shape), "data": lambda x: x.data, "grad": lambda x: x.grad,
    "is_cuda": lambda x: x.is_cuda, "is_meta": lambda x: x.is_meta,
    "is_sparse": lambda x: x.is_sparse, "is_quantized": lambda x: False,
    "requires_grad": lambda x: x.requires_grad, "itemsize": lambda x: x.itemsize,
    "ndim": lambda x: x.ndim, "type": lambda x: x.type, "index": lambda x: x.index,
    "min": min, "max": max, "abs": abs, "unchecked_unwrap_optional": lambda x: x,
    "rangelist": lambda n: list(range(n)), "is_nested": lambda x: False,
}  # fmt: skip


def _has_tensor(values: Any) -> bool:
    return any(
        isinstance(v, torch.Tensor) or (type(v) in (list, tuple) and _has_tensor(v)) for v in values
    )


def _choose(name: str, of_tensors: Callable | None, plain: Callable | None) -> Callable:
    """The op for tensors, or the function of plain values; numbers for dtypes are decoded."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if of_tensors is not None and not kwargs and args and type(args[0]) is torch.Tensor:
            return of_tensors(*args)
        if plain is not None and (
            of_tensors is None
            or not ((args and _has_tensor(args[:1])) or _has_tensor(args[1:2]))
            or (type(args[0]) in (list, dict) and name in _OF_CONTAINERS)
        ):
            return plain(*args)
        if kwargs:
            kwargs = {
                k: _DECODED[k](v) if k in _DECODED else v
                for k, v in kwargs.items() if k not in ("implicit", "pin_memory")
            }  # fmt: skip
        return of_tensors(*args, **kwargs)  # type: ignore[misc]

    call.__name__ = name
    call.direct = of_tensors if plain is None else call  # type: ignore[attr-defined]
    return call


_OF_CONTAINERS = frozenset((
    "append", "extend", "insert", "pop", "remove", "clear", "count", "keys", "values", "items",
    "update", "get", "copy", "len", "list", "_set_item", "__getitem__", "__contains__", "slice",
    "index", "add", "mul", "eq", "ne", "Delete", "reverse", "__is__", "__isnot__", "add_", "dict",
))  # fmt: skip
_PLAIN_ONLY = frozenset((
    "__is__", "__isnot__", "__not__", "__contains__", "len", "list", "str", "format", "append",
    "_set_item", "keys", "values", "items", "dict", "hash",
))  # fmt: skip


def operator_of(name: str) -> Callable:
    """What ``torch.<name>`` (or "prim.<name>", "<library>.<name>") is in compiled code.

    `Error` if there is no such op: nothing else of this package can be reached by a name.
    """
    space, _, base = name.rpartition(".")
    if space == "prim":
        if base in _PRIM:
            return _PRIM[base]
    elif space not in ("", "aten"):
        found = _op_namespaces.defined.get(space, {}).get(base)
        if found is not None:
            return found
    else:
        plain = _PLAIN.get(base)
        found = None if base in _PLAIN_ONLY else _OPS.get(base) or _of_table(base)
        if found is not None or plain is not None:
            return _choose(base, found, plain)
    raise Error(f"jit: there is no op {name!r} here, which the archive's code calls")
