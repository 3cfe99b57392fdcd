"""`QConfigMapping`: a `QConfig` for each module of a model, by name, pattern, type, or all."""

from __future__ import annotations

import re
import typing
from collections import OrderedDict
from typing import Any

from taimatsu import nn

from . import mappings
from .qconfig import QConfig, get_default_qat_qconfig, get_default_qconfig

__all__ = ["QConfigMapping", "get_default_qat_qconfig_dict", "get_default_qat_qconfig_mapping",
           "get_default_qconfig_dict", "get_default_qconfig_mapping"]  # fmt: skip


class QConfigMapping:
    """Which `QConfig` a module gets. The most specific one counts: order, name, pattern, type, all.

    >>> mapping = QConfigMapping().set_global(default_qconfig).set_module_name("head", None)
    """

    def __init__(self) -> None:
        self.global_qconfig: Any = None
        self.object_type_qconfigs: OrderedDict[Any, Any] = OrderedDict()
        self.module_name_regex_qconfigs: OrderedDict[str, Any] = OrderedDict()
        self.module_name_qconfigs: OrderedDict[str, Any] = OrderedDict()
        self.module_name_object_type_order_qconfigs: OrderedDict[tuple, Any] = OrderedDict()

    def set_global(self, global_qconfig: Any) -> typing.Self:
        """For all modules."""
        self.global_qconfig = global_qconfig
        return self

    def set_object_type(self, object_type: Any, qconfig: Any) -> typing.Self:
        """For modules of a class, or calls of a function."""
        self.object_type_qconfigs[object_type] = qconfig
        return self

    def set_module_name_regex(self, module_name_regex: str, qconfig: Any) -> typing.Self:
        """For modules whose name matches; the first pattern counts."""
        self.module_name_regex_qconfigs[module_name_regex] = qconfig
        return self

    def set_module_name(self, module_name: str, qconfig: Any) -> typing.Self:
        """For one module, and those in it."""
        self.module_name_qconfigs[module_name] = qconfig
        return self

    def set_module_name_object_type_order(
        self, module_name: str, object_type: Any, index: int, qconfig: Any
    ) -> typing.Self:
        """For the nth call of a function in a module."""
        self.module_name_object_type_order_qconfigs[(module_name, object_type, index)] = qconfig
        return self

    def qconfig_for(self, name: str, module: nn.Module) -> Any:
        """The one that counts for a module."""
        path = name
        while path:
            if path in self.module_name_qconfigs:
                return self.module_name_qconfigs[path]
            path = path.rpartition(".")[0]
        for pattern, qconfig in self.module_name_regex_qconfigs.items():
            if re.match(pattern, name):
                return qconfig
        return self.object_type_qconfigs.get(type(module), self.global_qconfig)

    def to_dict(self) -> dict[str, Any]:
        """As a dict, with lists of pairs."""
        return {
            "": self.global_qconfig,
            "object_type": list(self.object_type_qconfigs.items()),
            "module_name_regex": list(self.module_name_regex_qconfigs.items()),
            "module_name": list(self.module_name_qconfigs.items()),
            "module_name_object_type_order": [
                (*key, value) for key, value in self.module_name_object_type_order_qconfigs.items()
            ],
        }

    @classmethod
    def from_dict(cls, qconfig_dict: dict[str, Any]) -> typing.Self:
        """Of such a dict."""
        made = cls().set_global(qconfig_dict.get(""))
        for key, add in (
            ("object_type", made.set_object_type),
            ("module_name_regex", made.set_module_name_regex),
            ("module_name", made.set_module_name),
            ("module_name_object_type_order", made.set_module_name_object_type_order),
        ):
            for row in qconfig_dict.get(key, ()):
                add(*row)
        return made

    def __repr__(self) -> str:
        rows = [f" {name}\n  {value}" for name, value in self.to_dict().items() if value]
        return "QConfigMapping (\n" + "\n".join(rows) + "\n)"


def _mapping(qconfig: QConfig, ranges: dict[Any, Any], plain_weight: Any) -> QConfigMapping:
    made = QConfigMapping().set_global(qconfig)
    per_tensor = QConfig(qconfig.activation, plain_weight)
    for cls in (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d):
        made.set_object_type(cls, per_tensor)
    for cls, observer in ranges.items():
        made.set_object_type(cls, QConfig(observer, qconfig.weight))
    return made


def get_default_qconfig_mapping(backend: str = "x86", version: int = 0) -> QConfigMapping:
    """`get_default_qconfig` for all; results of known ranges by these."""
    from .observer import default_weight_observer

    return _mapping(get_default_qconfig(backend, version), mappings.RANGES, default_weight_observer)


def get_default_qat_qconfig_mapping(backend: str = "x86", version: int = 1) -> QConfigMapping:
    """`get_default_qat_qconfig` for all; results of known ranges by these."""
    from .fake_quantize import default_weight_fake_quant

    qconfig = get_default_qat_qconfig(backend, version)
    return _mapping(qconfig, mappings.ROUNDED_RANGES, default_weight_fake_quant)


def get_default_qconfig_dict(backend: str = "x86", version: int = 0) -> dict[str, Any]:
    """`get_default_qconfig_mapping` as a dict."""
    return get_default_qconfig_mapping(backend, version).to_dict()


def get_default_qat_qconfig_dict(backend: str = "x86", version: int = 1) -> dict[str, Any]:
    """`get_default_qat_qconfig_mapping` as a dict."""
    return get_default_qat_qconfig_mapping(backend, version).to_dict()


