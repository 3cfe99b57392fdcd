"""Every op, once. Importing this package hands the table to the core.

`namespaces` maps a public module ("" is the package itself, "nn.functional", "linalg" ...) to its
functions; methods and in-place methods go straight to `Tensor`.
"""

from __future__ import annotations

from collections.abc import Callable

from taimatsu import _core

from . import deprecated, table
from .table import Op

namespaces: dict[str, dict[str, Callable]] = {}


# Functions of several arguments that have an in-place form beside the method's.
_INPLACE_FUNCTIONS = frozenset((
    "addmv", "alpha_dropout", "clamp", "clamp_max", "clamp_min", "clip", "dropout",
    "feature_alpha_dropout", "feature_dropout", "gcd", "lcm", "ldexp", "logit", "nan_to_num",
    "round", "threshold", "xlogy",
))  # fmt: skip


def register(entries: list[Op]) -> None:
    """Makes functions and methods of table entries; those of one name are overloads, in order."""
    groups: dict[tuple[str, str], list[Op]] = {}
    methods: dict[str, list[Op]] = {}
    for op in entries:
        base, _, _ = op.name.partition(".")
        if op.module is None or base.startswith("_"):
            op.call = _core.define(op)  # not public, but the core may call it by name
            continue
        for name in (base, *op.names):
            groups.setdefault((op.module, name), []).append(op)
            if op.method:
                methods.setdefault(name, []).append(op)
    for (module, name), ops in groups.items():
        if module == "Tensor":
            continue
        doc = ops[0].doc
        public = namespaces.setdefault(module, {})
        old = deprecated.FUNCTIONS.get(name, []) if not module else []
        public[name] = _core.function(name, ops + old, "plain", doc, module)
        inplace = [op for op in ops if op.inplace]
        unary = inplace and "," not in inplace[0].schema
        if inplace and (not inplace[0].method or unary or name in _INPLACE_FUNCTIONS):
            public[name + "_"] = _core.function(name + "_", inplace, "inplace", doc, module)
    for name, ops in methods.items():
        old = deprecated.METHODS.get(name, [])
        _core.method(name, ops + old, "plain", ops[0].doc)
        inplace = [op for op in ops if op.inplace]
        if inplace:
            _core.method(name + "_", inplace + old, "inplace", f"In-place `{name}`.")


from . import (  # noqa: E402, F401, I001  (the table's modules, in reading order)
    arithmetic,
    comparison,
    activation,
    special,
    polynomials,
    gamma,
    reduction,
    normalization,
    creation,
    conversion,
    shape,
    indexing,
    rearrange,
    scattering,
    linalg,
    factorization,
    spectrum,
    older_norms,
    systems,
    attention,
    conv,
    rnn,
    window,
    quantization,
    margins,
    patches,
    resample,
    grid,
    distance,
    embedding,
    compressed,
    fft,
    signal,
    loss,
    sorting,
    statistics,
    segments,
    random,
    histograms,
    dropout,
    optim,
)

register(table.ENTRIES)


def __getattr__(name: str):
    """PyTorch's ``torch.ops.<namespace>`` and ``torch.ops.load_library``."""
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from taimatsu import _op_namespaces

    if name == "load_library":
        return _op_namespaces.load_library
    return _op_namespaces.namespace(name)


__all__ = ["namespaces", "register", "table"]
