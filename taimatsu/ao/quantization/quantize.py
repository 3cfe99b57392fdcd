"""Quantizing a model: `prepare` puts observers in, `convert` puts quantized modules in."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import taimatsu as torch
from taimatsu.ao.nn.qat import WeightRounded
from taimatsu.ao.nn.quantized import FloatFunctional
from taimatsu.nn import Module, Sequential

from . import mappings
from .fake_quantize import is_activation_post_process
from .qconfig import (
    QConfig,
    activation_is_memoryless,
    assert_valid_qconfig,
    default_dynamic_qconfig,
    float16_dynamic_qconfig,
    float_qparams_weight_only_qconfig,
    float_qparams_weight_only_qconfig_4bit,
)
from .stubs import QuantWrapper

__all__ = [
    "add_quant_dequant", "convert", "default_eval_fn", "prepare", "prepare_qat",
    "propagate_qconfig_", "quantize", "quantize_dynamic", "quantize_qat", "swap_module",
]  # fmt: skip


def default_eval_fn(model: Module, calib_data: Any) -> None:
    """Runs a model on pairs of inputs and targets, so that observers see something."""
    for data, _ in calib_data:
        model(data)


def propagate_qconfig_(
    module: Module, qconfig_dict: dict[Any, Any] | None = None,
    prepare_custom_config_dict: dict[str, Any] | None = None,
) -> None:  # fmt: skip
    """Gives each module the ``qconfig`` of its parent, unless it has one; or by name or type.

    ``qconfig_dict``: by a module's name or class, "" for all.
    """
    skipped = (prepare_custom_config_dict or {}).get("non_traceable_module_name", ())

    def visit(mod: Module, parent: Any, prefix: str) -> None:
        table = qconfig_dict or {}
        given = table.get(prefix, table.get(type(mod), getattr(mod, "qconfig", None)))
        config = given if given is not None or _is_set(mod) else table.get("", parent)
        assert_valid_qconfig(config, mod)
        mod.qconfig = config
        for name, child in mod.named_children():
            full = f"{prefix}.{name}" if prefix else name
            if full not in skipped:
                visit(child, config, full)

    visit(module, None, "")


def _is_set(mod: Module) -> bool:
    return "qconfig" in mod.__dict__


def _post_process(qconfig: QConfig, mod: Module) -> Any:
    """What observes a module's results."""
    known = mappings.RANGES.get(type(mod))
    return qconfig.activation() if known is None else known()


def _observe(module: Module, types: set[Any], leaves: set[Any]) -> None:
    """Puts an observer behind each module that is to be quantized."""

    def insert(mod: Module) -> None:
        if getattr(mod, "qconfig", None) is None or hasattr(mod, "activation_post_process"):
            return
        mod.add_module("activation_post_process", _post_process(mod.qconfig, mod))
        # In front of the user's hooks, so that these see what the quantized module will give.
        mod.register_forward_hook(_look, prepend=True)
        mod._forward_hooks.move_to_end(next(iter(mod._forward_hooks)), last=False)

    for child in module.children():
        if type(child) is torch.nn.Dropout:
            continue
        if isinstance(child, FloatFunctional):
            if getattr(child, "qconfig", None) is not None:
                child.activation_post_process = _post_process(child.qconfig, child)
        elif isinstance(child, (_fused_type(), WeightRounded)):
            insert(child)
        elif type(child) in mappings.no_observer_set() or is_activation_post_process(child):
            continue
        else:
            _observe(child, types, leaves)
    if type(module) in types and not isinstance(module, (Sequential, WeightRounded)):
        insert(module)


def _fused_type() -> type:
    from taimatsu.ao.nn.intrinsic import _Fused

    return _Fused


def _look(mod: Module, input: Any, output: Any) -> Any:
    return mod.activation_post_process(output)


def prepare(
    model: Module, inplace: bool = False, allow_list: set[Any] | None = None,
    observer_non_leaf_module_list: list[Any] | None = None,
    prepare_custom_config_dict: dict[str, Any] | None = None,
) -> Module:  # fmt: skip
    """The model with observers behind the modules that are to be quantized.

    Modules are chosen and observed by their ``qconfig``, a `QConfig`, which children inherit. Run
    the result on typical data, then `convert` it.

    >>> model = QuantWrapper(nn.Linear(4, 2)).eval()
    >>> model.qconfig = get_default_qconfig()
    >>> prepared = prepare(model)
    >>> _ = prepared(torch.randn(8, 4))
    >>> quantized = convert(prepared)
    """
    model = model if inplace else copy.deepcopy(model)
    types = allow_list or mappings.get_default_qconfig_propagation_list()
    propagate_qconfig_(model, None, prepare_custom_config_dict)
    if not any(getattr(m, "qconfig", None) is not None for m in model.modules()):
        import warnings

        warnings.warn(
            "None of the submodule got qconfig applied. Make sure you passed correct configuration "
            "through `qconfig_dict` or by assigning the `.qconfig` attribute directly on "
            "submodules", stacklevel=2,
        )  # fmt: skip
    _observe(model, types, set(observer_non_leaf_module_list or ()))
    return model


def add_quant_dequant(module: Module) -> Module:
    """The model with each module that has a ``qconfig`` of its own in a `QuantWrapper`."""
    if not list(module.children()) and getattr(module, "qconfig", None):
        return QuantWrapper(module)
    for name, child in module.named_children():
        module._modules[name] = add_quant_dequant(child)
    return module


def prepare_qat(
    model: Module, mapping: dict[Any, Any] | None = None, inplace: bool = False
) -> Module:
    """The model with modules whose weights and results are rounded, for training.

    AssertionError unless it is in training mode.
    """
    if not model.training:
        raise AssertionError("prepare_qat only works on models in training mode")
    mapping = mapping or mappings.get_default_qat_module_mappings()
    model = model if inplace else copy.deepcopy(model)
    propagate_qconfig_(model)
    convert(model, mapping, inplace=True, remove_qconfig=False)
    types = {*mappings.get_default_qconfig_propagation_list(), *mapping.values()}
    _observe(model, types, set(mapping.values()))
    return model


def convert(
    module: Module, mapping: dict[Any, Any] | None = None, inplace: bool = False,
    remove_qconfig: bool = True, is_reference: bool = False,
    convert_custom_config_dict: dict[str, Any] | None = None,
    use_precomputed_fake_quant: bool = False,
) -> Module:  # fmt: skip
    """The model with quantized modules in place of observed ones, by ``from_float`` of the class
    that ``mapping`` has for them."""
    module = module if inplace else copy.deepcopy(module)
    table = mapping or mappings.get_default_static_quant_module_mappings()
    _convert(module, table)
    if remove_qconfig:
        for mod in module.modules():
            _remove_marks(mod)
    return module


def _convert(module: Module, table: dict[Any, Any]) -> None:
    for name, child in list(module.named_children()):
        if not isinstance(child, _fused_type()) and type(child) not in table:
            _convert(child, table)
        module._modules[name] = swap_module(child, table, {})


def _remove_marks(mod: Module) -> None:
    if "qconfig" in mod.__dict__:
        del mod.qconfig
    post = mod._modules.get("activation_post_process")
    if post is not None and is_activation_post_process(post):
        del mod._modules["activation_post_process"]
        for key, hook in list(mod._forward_hooks.items()):
            if hook is _look:
                del mod._forward_hooks[key]


def swap_module(
    mod: Module, mapping: dict[Any, Any], custom_module_class_mapping: dict[Any, Any] | None = None,
    use_precomputed_fake_quant: bool = False,
) -> Module:  # fmt: skip
    """The module that ``mapping`` has in the place of this one, if it has a ``qconfig``."""
    target = mapping.get(type(mod))
    if getattr(mod, "qconfig", None) is None or target is None:
        return mod
    made = target.from_float(mod)
    for hook in mod._forward_pre_hooks.values():
        made.register_forward_pre_hook(hook)
    for hook in mod._forward_hooks.values():
        if hook is not _look:
            made.register_forward_hook(hook)
    return made


def quantize(
    model: Module, run_fn: Callable, run_args: Any, mapping: dict[Any, Any] | None = None,
    inplace: bool = False,
) -> Module:  # fmt: skip
    """`prepare`, ``run_fn(model, *run_args)``, and `convert`."""
    model = model if inplace else copy.deepcopy(model)
    model.eval()
    prepare(model, inplace=True)
    run_fn(model, *run_args)
    return convert(model, mapping, inplace=True)


def quantize_qat(model: Module, run_fn: Callable, run_args: Any, inplace: bool = False) -> Module:
    """`prepare_qat`, ``run_fn(model, *run_args)`` that trains it, and `convert`."""
    model = model if inplace else copy.deepcopy(model)
    model.train()
    prepare_qat(model, inplace=True)
    run_fn(model, *run_args)
    return convert(model, inplace=True)


def _dynamic_configs(dtype: Any) -> dict[Any, Any]:
    recurrent = ("LSTM", "GRU", "LSTMCell", "GRUCell", "RNNCell")
    products = [torch.nn.Linear, *(getattr(torch.nn, name) for name in recurrent)]
    if dtype is torch.qint8:
        return dict.fromkeys(products, default_dynamic_qconfig)
    if dtype is torch.float16:
        return dict.fromkeys(products, float16_dynamic_qconfig)
    tables = (torch.nn.Embedding, torch.nn.EmbeddingBag)
    if dtype is torch.quint8:
        return dict.fromkeys(tables, float_qparams_weight_only_qconfig)
    if dtype is torch.quint4x2:
        return dict.fromkeys(tables, float_qparams_weight_only_qconfig_4bit)
    raise ValueError(
        f"Don't know how to quantize with default settings for {dtype}. Provide full qconfig please"
    )


def quantize_dynamic(
    model: Module, qconfig_spec: Any = None, dtype: Any = torch.qint8,
    mapping: dict[Any, Any] | None = None, inplace: bool = False,
) -> Module:  # fmt: skip
    """The model with quantized weights; what they are multiplied with is quantized as it comes.

    qconfig_spec   a set of names or classes of modules, or a dict of their `QConfig` [Linear and
                   the recurrent ones]
    dtype          torch.qint8, float16; quint8 for embeddings

    ValueError for other dtypes.

    >>> model = nn.Sequential(nn.Linear(4, 2))
    >>> quantize_dynamic(model, {nn.Linear})
    Sequential(
      (0): DynamicQuantizedLinear(in_features=4, out_features=2, dtype=torch.qint8, qscheme=torch.per_tensor_affine)
    )
    """  # noqa: E501
    if qconfig_spec is None:
        qconfig_spec = _dynamic_configs(dtype)
    elif isinstance(qconfig_spec, (set, frozenset, list, tuple)):
        defaults = _dynamic_configs(dtype)
        default = next(iter(defaults.values()))
        qconfig_spec = {key: defaults.get(key, default) for key in qconfig_spec}
    table = mapping or mappings.get_default_dynamic_quant_module_mappings()
    model = model if inplace else copy.deepcopy(model)
    model.eval()
    propagate_qconfig_(model, qconfig_spec)
    for mod in model.modules():
        config = getattr(mod, "qconfig", None)
        if config is not None and type(mod) in table and not (
            activation_is_memoryless(config) or _weight_only(config)
        ):  # fmt: skip
            raise ValueError(
                f"quantize_dynamic: {type(mod).__name__} needs a dynamic QConfig; got {config}"
            )
    return convert(model, table, inplace=True)


def _weight_only(config: QConfig) -> bool:
    return getattr(config.activation(), "dtype", None) is torch.float32
