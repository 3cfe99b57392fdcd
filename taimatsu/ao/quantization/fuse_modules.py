"""Modules in a row made one: a convolution, its batch norm and its ReLU."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from taimatsu import nn
from taimatsu.ao.nn import intrinsic
from taimatsu.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

__all__ = [
    "fuse_conv_bn", "fuse_conv_bn_relu", "fuse_convtranspose_bn", "fuse_known_modules",
    "fuse_linear_bn", "fuse_modules", "fuse_modules_qat", "get_fuser_method",
]  # fmt: skip

_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def _same_mode(is_qat: bool, *modules: nn.Module) -> None:
    if len({m.training for m in modules}) > 1:
        raise AssertionError("Conv and BN both must be in the same mode (train or eval).")
    if is_qat and not modules[0].training:
        raise AssertionError("fuse_modules_qat: the modules must be in training mode")


def _dims(conv: nn.Module) -> int:
    return next(n for n, cls in enumerate(_CONVS, 1) if isinstance(conv, cls))


def fuse_conv_bn(is_qat: bool, conv: Any, bn: Any) -> nn.Module:
    """A convolution with the norm in its weight; for training, both as one module.

    AssertionError unless both are in one mode, the norm is of the convolution's channels.
    """
    _same_mode(is_qat, conv, bn)
    if not is_qat:
        return fuse_conv_bn_eval(conv, bn)
    if bn.num_features != conv.out_channels:
        raise AssertionError("Output channel of Conv2d must match num_features of BatchNorm2d")
    return getattr(intrinsic, f"ConvBn{_dims(conv)}d")(conv, bn)


def fuse_conv_bn_relu(is_qat: bool, conv: Any, bn: Any, relu: Any) -> nn.Module:
    """A convolution with the norm in its weight, and a ReLU; for training, all as one module."""
    _same_mode(is_qat, conv, bn, relu)
    n = _dims(conv)
    if is_qat:
        return getattr(intrinsic, f"ConvBnReLU{n}d")(conv, bn, relu)
    return getattr(intrinsic, f"ConvReLU{n}d")(fuse_conv_bn_eval(conv, bn), relu)


def fuse_linear_bn(is_qat: bool, linear: Any, bn: Any) -> nn.Module:
    """A linear map with the norm in its weight; for training, both as one module."""
    _same_mode(is_qat, linear, bn)
    return intrinsic.LinearBn1d(linear, bn) if is_qat else fuse_linear_bn_eval(linear, bn)


def fuse_convtranspose_bn(is_qat: bool, convt: Any, bn: Any) -> nn.Module:
    """A transposed convolution with the norm in its weight. Exception in training."""
    _same_mode(is_qat, convt, bn)
    if is_qat:
        raise Exception("Fusing ConvTranspose+BatchNorm not yet supported in QAT.")
    return fuse_conv_bn_eval(convt, bn, transpose=True)


def _sequence(cls: type) -> Callable:
    return lambda is_qat, *modules: cls(*modules)


_FUSERS: dict[tuple[type, ...], Callable] = {
    **dict.fromkeys(zip(_CONVS, _NORMS, strict=True), fuse_conv_bn),
    **{(conv, norm, nn.ReLU): fuse_conv_bn_relu for conv, norm in zip(_CONVS, _NORMS, strict=True)},
    **{
        (conv, nn.ReLU): _sequence(getattr(intrinsic, f"ConvReLU{n}d"))
        for n, conv in enumerate(_CONVS, 1)
    },
    **{
        (getattr(nn, f"ConvTranspose{n}d"), norm): fuse_convtranspose_bn
        for n, norm in enumerate(_NORMS, 1)
    },
    (nn.Linear, nn.BatchNorm1d): fuse_linear_bn,
    (nn.Linear, nn.ReLU): _sequence(intrinsic.LinearReLU),
    (nn.BatchNorm2d, nn.ReLU): _sequence(intrinsic.BNReLU2d),
    (nn.BatchNorm3d, nn.ReLU): _sequence(intrinsic.BNReLU3d),
}


def get_fuser_method(op_list: Any, additional_fuser_method_mapping: Any = None) -> Callable:
    """The function ``f(is_qat, *modules)`` that makes modules of these classes one.

    NotImplementedError if there is none.
    """
    found = {**_FUSERS, **(additional_fuser_method_mapping or {})}.get(tuple(op_list))
    if found is None:
        raise NotImplementedError(
            f"did not find fuser method for: {', '.join(cls.__name__ for cls in op_list)}"
        )
    return found


def fuse_known_modules(
    mod_list: list[nn.Module], is_qat: bool, additional_fuser_method_mapping: Any = None
) -> list[nn.Module]:
    """The modules with the fused one first, and `nn.Identity` in place of the others."""
    fuser = get_fuser_method([type(m) for m in mod_list], additional_fuser_method_mapping)
    fused = fuser(is_qat, *mod_list)
    for hook in mod_list[0]._forward_pre_hooks.values():
        fused.register_forward_pre_hook(hook)
    for hook in mod_list[-1]._forward_hooks.values():
        fused.register_forward_hook(hook)
    mod_list[0]._forward_pre_hooks.clear()
    mod_list[-1]._forward_hooks.clear()
    identities = []
    for _ in mod_list[1:]:
        identity = nn.Identity()
        identity.training = mod_list[0].training
        identities.append(identity)
    return [fused, *identities]


def _fuse(
    model: nn.Module, modules_to_fuse: Any, is_qat: bool, inplace: bool, fuser_func: Callable,
    custom: Any,
) -> nn.Module:  # fmt: skip
    model = model if inplace else copy.deepcopy(model)
    groups = [modules_to_fuse] if all(isinstance(n, str) for n in modules_to_fuse) else (
        modules_to_fuse
    )  # fmt: skip
    extra = (custom or {}).get("additional_fuser_method_mapping")
    for names in groups:
        made = fuser_func([model.get_submodule(name) for name in names], is_qat, extra)
        for name, module in zip(names, made, strict=True):
            owner, _, last = name.rpartition(".")
            setattr(model.get_submodule(owner), last, module)
    return model


def fuse_modules(
    model: nn.Module, modules_to_fuse: Any, inplace: bool = False,
    fuser_func: Callable = fuse_known_modules, fuse_custom_config_dict: Any = None,
) -> nn.Module:  # fmt: skip
    """The model with each of these lists of modules, by name, made one; for inference.

    Rows that are known: convolution, batch norm, ReLU; convolution and either; linear map and ReLU
    or batch norm; batch norm and ReLU. NotImplementedError for others.

    >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU()).eval()
    >>> fuse_modules(model, ["0", "1", "2"])
    Sequential(
      (0): ConvReLU2d(
        (0): Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1))
        (1): ReLU()
      )
      (1): Identity()
      (2): Identity()
    )
    """
    return _fuse(model, modules_to_fuse, False, inplace, fuser_func, fuse_custom_config_dict)


def fuse_modules_qat(
    model: nn.Module, modules_to_fuse: Any, inplace: bool = False,
    fuser_func: Callable = fuse_known_modules, fuse_custom_config_dict: Any = None,
) -> nn.Module:  # fmt: skip
    """`fuse_modules` for training: batch norms stay, beside the convolution."""
    return _fuse(model, modules_to_fuse, True, inplace, fuser_func, fuse_custom_config_dict)
