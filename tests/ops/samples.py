"""Arguments to call every op of the table with.

A schema mostly says what an op takes: `derived` makes arguments from types, roles and names. Where
it can't, `HINTS` has a line: a function of a `Maker` that returns tuples of arguments (a dict at
the end holds keywords). `DOMAINS` narrows the range of floating values.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import taimatsu as torch
from taimatsu.ops.table import ENTRIES, Op

from .families import DOMAINS, HINTS

# Where ops are tried. The matrix is the same for every device: test_device.py says how it is run.
DEVICE = torch.device(os.environ.get("TAIMATSU_TEST_DEVICE", "cpu"))

# What an op may raise when it is given what it doesn't take.
REFUSED = (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError)

LAYOUTS = ("contiguous", "transposed", "stepped", "expanded", "offset")
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
COMPLEX = (torch.complex64, torch.complex128)
INTEGERS = (
    torch.int8, torch.int16, torch.int32, torch.int64,
    torch.uint8, torch.uint16, torch.uint32, torch.uint64,
)  # fmt: skip
DTYPES = (*FLOATS, *COMPLEX, *INTEGERS, torch.bool)


def key(op: Op) -> str:
    """The op's name in the files of this folder: "add", "div.mode", "nn.functional.gelu"."""
    return op.name if op.module in ("", "Tensor") else f"{op.module}.{op.name}"


PUBLIC = {
    key(op): op
    for op in ENTRIES
    if op.module is not None and not op.name.startswith("_")
}


def lookup(table: dict[str, Any], name: str, default: Any = None) -> Any:
    """The row for an overload, or the one for all overloads of its name."""
    base = name.rpartition(".")[0] if "." in PUBLIC[name].name else name
    return table.get(name, table.get(base, default))


class Maker:
    """Tensors of one dtype and layout with reproducible elements."""

    def __init__(
        self,
        dtype: torch.dtype,
        layout: str = "contiguous",
        domain: tuple[float, float] = (-2, 2),
        scale: int = 1,
        seed: int = 0,
    ):
        self.dtype, self.layout, self.domain, self.scale = dtype, layout, domain, scale
        self.random = np.random.default_rng(seed)

    @property
    def inexact(self) -> bool:
        return self.dtype.is_floating_point or self.dtype.is_complex

    def number(self, integral: int = 2, floating: float = 1.5) -> Any:
        """A Python number of the dtype's category."""
        if self.dtype == torch.bool:
            return True
        return floating if self.inexact else integral

    def __call__(self, *shape: int, low: float | None = None, high: float | None = None,
                 dtype=None):
        shape = tuple(n * self.scale for n in shape)
        dtype = dtype or self.dtype
        low = self.domain[0] if low is None else low
        high = self.domain[1] if high is None else high
        if dtype.is_floating_point:
            a = self.random.uniform(low, high, shape)
        elif dtype.is_complex:
            a = self.random.uniform(low, high, shape) + 1j * self.random.uniform(low, high, shape)
        elif dtype == torch.bool:
            a = self.random.integers(0, 2, shape).astype(bool)
        else:
            least = max(int(np.floor(low)), -4) if dtype.is_signed else max(int(np.ceil(low)), 0)
            a = self.random.integers(least, max(least + 2, 6), shape)
        return self.laid_out(torch.tensor(a).to(dtype))

    def i(self, n: int, *shape: int, dtype=torch.int64):
        """Positions in range(n)."""
        shape = tuple(k * self.scale for k in shape)
        return torch.tensor(self.random.integers(0, n * self.scale, shape)).to(dtype)

    def m(self, *shape: int):
        """A mask."""
        return torch.tensor(self.random.integers(0, 2, tuple(k * self.scale for k in shape)) > 0)

    def spd(self, *shape: int):
        """Symmetric positive definite matrices."""
        a = self(*shape)
        return (a @ a.mT.conj() + 4 * torch.eye(shape[-1], dtype=a.dtype)).detach()

    def laid_out(self, x):
        """The same elements (one of them repeated, if expanded) in memory as `layout` says."""
        if x.dim() == 0 or self.layout == "contiguous":
            return x
        if self.layout == "transposed":
            return x.clone() if x.dim() < 2 else x.mT.contiguous().mT
        if self.layout == "stepped":
            return torch.stack([x, x], -1).flatten(-2)[..., ::2]
        if self.layout == "offset":
            return torch.cat([x.reshape(-1)[:1], x.reshape(-1)])[1:].view(x.shape)
        return x[..., :1].expand(x.shape) if x.shape[-1] else x


Sample = tuple[tuple, dict[str, Any]]


class NoSample(Exception):
    """The schema alone doesn't say how the op is to be called."""


_SHAPES = ((3, 4), (4,), (3, 1), (3, 4), (1, 4))


def _argument(op: Op, p, t: Maker, shape, nth: int) -> Any:
    if p.type in ("Tensor", "Row"):
        whole = op.kind != "pointwise" or nth == 0
        return t(*shape) if whole else t(*shape[2 - len(_SHAPES[nth]) :])
    if p.type == "Number":
        return t.number()
    if p.type == "int":
        return (len(shape) - 1) if p.name == "dim" else 2
    if p.type == "int" or (p.length is not None and p.name == "dim"):
        return [len(shape) - 1]
    if p.type == "float":
        return 0.5
    if p.type == "bool":
        return True
    raise NoSample(f"{key(op)}: can't tell a value for {p.text!r}; add a line to HINTS")


def derived(op: Op, t: Maker, shape: tuple[int, ...] = (3, 4)) -> Iterator[Sample]:
    """Arguments by the schema alone."""
    from taimatsu.ops.schema import REQUIRED

    args, kwargs, nth = [], {}, 0
    for p in op.parsed.params:
        if p.default is not REQUIRED or (p.optional and p.default is None):
            continue
        value = _argument(op, p, t, shape, nth)
        nth += p.tensor
        if p.keyword_only:
            kwargs[p.name] = value
        else:
            args.append(value)
    yield tuple(args), kwargs
    for i, p in enumerate(op.parsed.params):  # a number in a tensor's place
        if p.number and i < len(args) and sum(isinstance(a, torch.Tensor) for a in args) > 1:
            yield tuple(t.number() if k == i else a for k, a in enumerate(args)), kwargs
    optional = {p.name: p for p in op.parsed.params if p.name not in kwargs}
    if op.kind == "row" and "dim" in optional and shape:
        for dim in {0, -1}:
            given = {"dim": dim} | ({"keepdim": True} if "keepdim" in optional else {})
            yield args[:1], kwargs | given
        if optional["dim"].length is not None and len(shape) > 1:
            yield args[:1], kwargs | {"dim": [0, 1]}
    for p in op.parsed.params:  # numbers and flags other than their defaults
        if p.default is REQUIRED or p.tensor or p.optional or p.name == "keepdim":
            continue
        if p.type == "bool":
            yield tuple(args), kwargs | {p.name: not p.default}
        elif p.type == "Number":
            yield tuple(args), kwargs | {p.name: t.number()}


def samples(name: str, dtype: torch.dtype, layout: str = "contiguous", *,
            shape: tuple[int, ...] | None = None, device: torch.device = DEVICE,
            **options) -> list[Sample]:
    """Calls of the op `name`, its HINTS or (always, for a `shape`) derived ones."""
    op = PUBLIC[name]
    t = Maker(dtype, layout, lookup(DOMAINS, name, (-2, 2)), **options)
    hint: Callable | None = lookup(HINTS, name)
    if hint is None or shape is not None:
        found = derived(op, t, (3, 4) if shape is None else shape)
        return [placed((tuple(args), kwargs), op, device) for args, kwargs in found]
    calls = []
    for call in hint(t):
        *args, last = call if isinstance(call, tuple) else (call,)
        keywords = last if isinstance(last, dict) else {}
        args = tuple(args if isinstance(last, dict) else (*args, last))
        calls.append(placed((args, keywords), op, device))
    return calls


def placed(call: Sample, op: Op, device: torch.device) -> Sample:
    """A call whose tensors are on the device, each in memory as it was."""
    if device.type == "cpu":
        return call

    def there(x):
        n = x.untyped_storage().nbytes() // x.itemsize
        whole = x.detach().as_strided([n], [1], 0).to(device)
        return whole.as_strided(x.shape, x.stride(), x.storage_offset())

    args, kwargs = each(call, there)
    if not tensors(call) and any(p.name == "device" for p in op.parsed.params):
        kwargs = {"device": device, **kwargs}
    return args, kwargs


# ---- what is done with arguments and results -----------------------------------------------------


def each(value: Any, function: Callable) -> Any:
    """`value` with `function` applied to the tensors in it."""
    if isinstance(value, torch.Tensor):
        return function(value)
    if isinstance(value, dict):
        return {k: each(v, function) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(each(v, function) for v in value) if type(value) in (tuple, list) \
            else tuple(each(v, function) for v in value)
    return value


def tensors(value: Any) -> list[torch.Tensor]:
    """All tensors in `value`."""
    found: list[torch.Tensor] = []
    each(value, found.append)
    return found


def snapshot(value: Any) -> list[tuple]:
    """All there is to a list of tensors, to see whether a failed call left them alone."""
    return [(tuple(x.shape), x.stride(), x.dtype, x.requires_grad, raw(x)) for x in tensors(value)]


def raw(x: torch.Tensor) -> bytes:
    """The elements as bytes, in logical order."""
    if x.is_meta:
        return b""
    known = {torch.bfloat16: torch.float32, torch.complex32: torch.complex64}  # to NumPy
    return x.detach().to("cpu", known.get(x.dtype, x.dtype)).numpy().tobytes()


def wide(x: torch.Tensor) -> np.ndarray:
    """The elements as NumPy knows them, floating ones in double precision."""
    x = x.detach().cpu()
    if x.dtype.is_floating_point:
        return x.to(torch.float64).numpy().copy()
    return x.to(torch.complex128).numpy().copy() if x.dtype.is_complex else x.numpy().copy()


def tolerance(dtype: torch.dtype) -> float:
    """What is allowed relative to the largest entry, by the dtype alone."""
    if not (dtype.is_floating_point or dtype.is_complex):
        return 0.0
    return 64 * torch.finfo(dtype).eps if dtype.itemsize > 2 else 4 * torch.finfo(dtype).eps
