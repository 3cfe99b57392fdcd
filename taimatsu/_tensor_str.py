"""How tensors print: aligned columns, nested brackets, the middle left out of large ones."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import Any

import taimatsu as torch

__all__ = ["printoptions", "set_printoptions", "tensor_str"]


class Options:
    """Digits, when to leave out the middle, how much to show there, columns, notation."""

    def __init__(self) -> None:
        self.precision, self.threshold = 4, 1000.0
        self.edgeitems, self.linewidth = 3, 80
        self.sci_mode: bool | None = None  # None: as the values ask for


OPTIONS = PRINT_OPTS = Options()
PROFILES: dict[str, dict[str, Any]] = {
    "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 80},
    "full": {"precision": 4, "threshold": math.inf, "edgeitems": 3, "linewidth": 80},
}


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Set how tensors print.

    ``precision``: digits after the point (4); ``threshold``: more elements than that are
    summarised (1000), to ``edgeitems`` at each end of each dim (3); ``linewidth`` in characters
    (80); ``profile``: 'default', 'short' or 'full'; ``sci_mode``: scientific notation always, never
    or (None) by the values.

    >>> torch.set_printoptions(precision=2)
    >>> torch.tensor([1.12345])
    tensor([1.12])
    """
    options: dict[str, Any] = dict(PROFILES[profile]) if profile is not None else {}
    given = {
        "precision": precision,
        "threshold": threshold,
        "edgeitems": edgeitems,
        "linewidth": linewidth,
    }
    options.update((name, value) for name, value in given.items() if value is not None)
    for name, value in options.items():
        setattr(OPTIONS, name, value)
    OPTIONS.sci_mode = sci_mode


class printoptions:
    """`set_printoptions` for the length of a ``with`` block."""

    def __init__(self, **options: Any):
        self._options = options

    def __enter__(self) -> None:
        self._before = dict(vars(OPTIONS))
        set_printoptions(**self._options)

    def __exit__(self, *exc: object) -> None:
        vars(OPTIONS).update(self._before)


# ---- one number ---------------------------------------------------------------------------------


class _Integers:
    """The format of integers and booleans: as wide as the widest."""

    def __init__(self, values: list):
        self.width = max((len(str(v)) for v in values), default=1)

    def __call__(self, value: Any) -> str:
        return str(value).rjust(self.width)


class _Floats:
    """One notation and width for all values: "1.", "1.2500" or "1.2500e+00".

    Whole numbers have no digits after the point; numbers that span more than three orders of
    magnitude, or are very large or small, are in scientific notation. Zeros, infinities and NaNs
    have no say in this.
    """

    def __init__(self, values: list):
        values = [v for v in values if v != 0 and math.isfinite(v)]
        self.whole = all(v == math.ceil(v) for v in values)
        self.scientific = False
        if values:
            largest, smallest = max(map(abs, values)), min(map(abs, values))
            self.scientific = largest / smallest > 1000.0 or largest > 1.0e8
            self.scientific |= not self.whole and smallest < 1.0e-4
            if OPTIONS.sci_mode is not None:
                self.scientific = OPTIONS.sci_mode
        self.width = max((len(self._digits(v)) for v in values), default=1)

    def _digits(self, value: float) -> str:
        if self.scientific:
            return f"{value:.{OPTIONS.precision}e}"
        if self.whole:
            return f"{value:.0f}" + "." * math.isfinite(value)
        return f"{value:.{OPTIONS.precision}f}"

    def __call__(self, value: float) -> str:
        return self._digits(value).rjust(self.width)


class _Complexes:
    """Real and imaginary parts, each in a format of its own."""

    def __init__(self, values: list):
        self.real = _Floats([v.real for v in values])
        self.imag = _Floats([v.imag for v in values])
        self.width = self.real.width + self.imag.width + 1

    def __call__(self, value: complex) -> str:
        imag = (self.imag(value.imag) + "j").lstrip()
        sign = "" if imag[0] in "+-" else "+"
        return self.real(value.real) + sign + imag


# ---- nested lists -------------------------------------------------------------------------------


def _nested(tensor: Any, summarize: bool) -> Any:
    """The values as nested lists, with ``...`` in place of what is left out."""
    if tensor.dim() == 0:
        return tensor.item()
    edge = OPTIONS.edgeitems
    n = tensor.size(0)
    if summarize and n > 2 * edge:
        head, tail = tensor[:edge], tensor[n - edge :]
        return [*_nested(head, True), ..., *_nested(tail, True)] if edge else [...]
    if tensor.dim() == 1 or not summarize:
        return tensor.tolist()
    return [_nested(part, summarize) for part in tensor.unbind(0)]


def _values(nested: Any) -> Iterator[Any]:
    if not isinstance(nested, list):
        if nested is not ...:
            yield nested
        return
    for part in nested:
        yield from _values(part)


def _row(values: list, indent: int, form: Any) -> str:
    """One row in brackets, broken into lines of the given width."""
    per_line = max(1, (OPTIONS.linewidth - indent) // (form.width + 2))
    gap = " ..." if len(values) > 1 else "..."
    cells = [gap if v is ... else form(v) for v in values]
    lines = [", ".join(cells[i : i + per_line]) for i in range(0, len(cells), per_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"


def _brackets(nested: Any, dims: int, indent: int, form: Any) -> str:
    if dims == 0:
        return form(nested)
    if dims == 1:
        return _row(nested, indent, form)
    parts = ["..." if p is ... else _brackets(p, dims - 1, indent + 1, form) for p in nested]
    return "[" + ("," + "\n" * (dims - 1) + " " * (indent + 1)).join(parts) + "]"


def _elements(tensor: Any, indent: int) -> str:
    """The values of a tensor that has some."""
    nested = _nested(tensor, tensor.numel() > OPTIONS.threshold)
    values = list(_values(nested))
    if tensor.dtype.is_complex:
        form: Any = _Complexes(values)
    else:
        form = (_Floats if tensor.dtype.is_floating_point else _Integers)(values)
    return _brackets(nested, tensor.dim(), indent, form)


# ---- the whole ----------------------------------------------------------------------------------


def _has_default_dtype(dtype: Any) -> bool:
    """Whether a tensor of Python numbers would have it, so that it need not be told."""
    default = torch.get_default_dtype()
    defaults = [default, torch.int64, torch.bool]
    if default in (torch.float32, torch.float64):
        defaults.append(torch.complex64 if default == torch.float32 else torch.complex128)
    return dtype in defaults


def _grad_fn_name(grad_fn: Any) -> str:
    name = getattr(grad_fn, "name", None)
    return name() if callable(name) else type(grad_fn).__name__


def _facts(tensor: Any) -> list[str]:
    """What follows the values: device, size, dtype."""
    facts = []
    if tensor.device.type != "cpu":
        facts.append(f"device='{tensor.device}'")
    if tensor.device.type == "meta":
        facts.append(f"size={tuple(tensor.shape)}")
        tells_dtype = tensor.dtype != torch.get_default_dtype()
    elif tensor.numel() == 0:
        if tensor.dim() != 1:
            facts.append(f"size={tuple(tensor.shape)}")
        tells_dtype = tensor.dtype != torch.get_default_dtype()
    else:
        if OPTIONS.edgeitems == 0:
            facts.append(f"size={tuple(tensor.shape)}")
        tells_dtype = not _has_default_dtype(tensor.dtype)
    if tells_dtype:
        facts.append(f"dtype={tensor.dtype}")
    return facts


def _history(tensor: Any) -> list[str]:
    if tensor.grad_fn is not None:
        return [f"grad_fn=<{_grad_fn_name(tensor.grad_fn)}>"]
    return ["requires_grad=True"] if tensor.requires_grad else []


def _is_plain(kind: type) -> bool:
    """A Tensor or Parameter; of these there are none before their module is imported."""
    parameter = sys.modules.get("taimatsu.nn.parameter")
    return kind is torch.Tensor or (parameter is not None and kind is parameter.Parameter)


def tensor_str(tensor: Any, *, tensor_contents: str | None = None) -> str:
    """What ``repr`` of a tensor gives; ``tensor_contents`` replaces its values.

    >>> tensor_str(torch.tensor([[1.0, 2.5], [3.0, -4.0]]))
    'tensor([[ 1.0000,  2.5000],\\n        [ 3.0000, -4.0000]])'
    """
    sparse = tensor.layout is not torch.strided
    prefix = "tensor(" if _is_plain(type(tensor)) else f"{type(tensor).__name__}("
    indent = len(prefix)
    with torch.no_grad():
        facts = [] if sparse else _facts(tensor)
        if tensor_contents is not None:
            contents = tensor_contents
        elif sparse:
            from .sparse._members import text as parts

            contents, facts = parts(tensor)
        elif tensor.device.type == "meta":
            contents = "..."
        elif tensor.numel() == 0:
            contents = "[]"
        else:
            contents = _elements(tensor.detach(), indent)
    return _add_suffixes(prefix + contents, facts + _history(tensor), indent, tensor.is_sparse)


def _add_suffixes(tensor_str: str, suffixes: list[str], indent: int, force_newline: bool) -> str:
    """The text, the facts after it, and the closing parenthesis; lines are broken between facts."""
    text = tensor_str
    column = len(text) - text.rfind("\n") + 1
    for nth, fact in enumerate(suffixes):
        if column + len(fact) + 2 > OPTIONS.linewidth or (nth == 0 and force_newline):
            text += ",\n" + " " * indent + fact
            column = indent + len(fact)
        else:
            text += ", " + fact
            column += len(fact) + 2
    return text + ")"


def _tensor_str(self: Any, indent: int) -> str:
    """The elements alone, continued lines indented: PyTorch's name for it."""
    return _elements(self.detach(), indent)
