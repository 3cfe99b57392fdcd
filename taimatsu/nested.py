"""``nested``: batches of tensors whose sizes differ along one dim, in one piece of memory.

A nested tensor of layout ``torch.jagged`` holds the rows of all its parts one after the other,
`values`, and where each begins, `offsets`. Its sizes have ``j1`` for the dim that differs.

>>> x = torch.nested.nested_tensor([torch.ones(2, 3), torch.zeros(1, 3)], layout=torch.jagged)
>>> x.values().shape, x.offsets()
(torch.Size([3, 3]), tensor([0, 2, 3]))
>>> (x * 2).unbind()[1]
tensor([[0., 0., 0.]])

Functions of elements, and of the dims that don't differ, are computed on the values at once; sums
over the dim that does by its segments; `matmul` with a matrix and `nn.functional.linear` on the
values; attention part by part. All others raise NotImplementedError: call `to_padded_tensor`, or
`unbind`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import taimatsu as torch
from taimatsu import Tensor, _core

__all__ = [
    "as_nested_tensor", "masked_select", "narrow", "nested_tensor", "nested_tensor_from_jagged",
    "to_padded_tensor",
]  # fmt: skip


class Ragged(int):
    """The size of a dim that differs from part to part: equal for one set of offsets only."""

    _numbers = 0

    def __new__(cls, longest: int) -> Ragged:
        made = super().__new__(cls, longest)
        Ragged._numbers += 1
        made.number = Ragged._numbers
        return made

    number: int

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ragged) and other.number == self.number

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(("ragged", self.number))

    def __repr__(self) -> str:
        return f"j{self.number}"


class NestedTensor(Tensor):
    """Parts of different sizes along a dim; made by `nested_tensor` and its kin."""

    _offsets: Tensor
    _ragged: int  # the dim, counted in the nested tensor: 1 is the first behind the parts
    _size: Ragged

    is_nested = property(lambda self: True)
    layout = property(lambda self: torch.jagged)

    # ---- what it is made of -------------------------------------------------------------------
    def values(self) -> Tensor:
        """The rows of all parts, one after the other."""
        with _core.DisableTorchFunctionSubclass():
            return self.as_subclass(Tensor)

    def offsets(self) -> Tensor:
        """Where each part begins; the last is where the last one ends."""
        return self._offsets

    def lengths(self) -> Tensor:
        """How many rows each part has."""
        return self._offsets.diff()

    def size(self, dim: int | None = None) -> Any:
        """The sizes; that of the dim that differs is a `Ragged`."""
        values = self.values()
        sizes: list[Any] = [self._offsets.numel() - 1, *values.shape]
        sizes[self._ragged] = self._size
        return tuple(sizes) if dim is None else sizes[dim]

    shape = property(size)

    def dim(self) -> int:
        """The number of dims, that of the parts among them."""
        return self.values().dim() + 1

    ndim = property(dim)

    def _like(self, values: Tensor, ragged: int | None = None) -> NestedTensor:
        return _nested(values, self._offsets, ragged or self._ragged, self._size)

    def unbind(self, dim: int = 0) -> tuple[Tensor, ...]:
        """The parts, as views. RuntimeError for other dims than 0."""
        if dim != 0:
            raise RuntimeError("unbind: of nested tensors along dim 0 only")
        starts = self._offsets.tolist()
        along, values = self._ragged - 1, self.values()
        return tuple(
            values.narrow(along, a, b - a) for a, b in zip(starts, starts[1:], strict=False)
        )

    def __len__(self) -> int:
        return self._offsets.numel() - 1

    def __iter__(self) -> Any:
        return iter(self.unbind())

    def to_padded_tensor(self, padding: float, output_size: Any = None) -> Tensor:
        """The parts as one tensor, filled up with ``padding`` to the longest, or to a size.

        RuntimeError if ``output_size`` is smaller than a part.
        """
        parts = self.unbind()
        along = self._ragged - 1
        sizes = list(self.values().shape)
        sizes[along] = max((p.shape[along] for p in parts), default=0)
        if output_size is not None:
            wanted = list(output_size)[1:]
            if any(w < n for w, n in zip(wanted, sizes, strict=True)):
                raise RuntimeError(
                    f"to_padded_tensor: output_size {tuple(output_size)} is smaller than the parts"
                )
            sizes = wanted
        padded = []
        for part in parts:
            margins: list[int] = []
            for have, want in zip(reversed(part.shape), reversed(sizes), strict=True):
                margins += [0, want - have]
            padded.append(torch.nn.functional.pad(part, margins, value=padding))
        return torch.stack(padded)

    def requires_grad_(self, requires_grad: bool = True) -> NestedTensor:
        """Whether gradients are wanted."""
        with _core.DisableTorchFunctionSubclass():
            Tensor.requires_grad_(self, requires_grad)
        return self

    def __repr__(self, **options: Any) -> str:
        grad = f", grad_fn={self.grad_fn}" if self.grad_fn is not None else ""
        return f"NestedTensor(size={self.size()}, offsets={self._offsets}{grad}, contiguous=True)"

    # ---- functions ----------------------------------------------------------------------------
    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in ("__get__", "__set__"):
            with _core.DisableTorchFunctionSubclass():
                return func(*args, **kwargs)
        if name in _OWN:
            return _OWN[name](*args, **kwargs)
        if name in _ANSWERS:
            with _core.DisableTorchFunctionSubclass():
                return func(*args, **kwargs)
        if name in _ELEMENTWISE or _elementwise(name):
            return _on_values(func, args, kwargs)
        raise NotImplementedError(
            f"{name}: not defined for nested tensors; call to_padded_tensor() or unbind() first"
        )


# What the values answer, and what is done to them; beside the ops of elements in the table.
_ANSWERS, _ELEMENTWISE = (frozenset(names.split()) for names in (
    "dtype device is_floating_point is_complex element_size __hash__ backward register_hook "
    "retain_grad get_device is_signed __dir__",
    "clone detach contiguous to cpu cuda float double half bfloat16 int long bool type dropout "
    "alpha_dropout linear matmul __matmul__ layer_norm rms_norm zeros_like ones_like empty_like "
    "rand_like randn_like full_like where masked_fill gelu silu relu softplus leaky_relu",
))  # fmt: skip


def _elementwise(name: str) -> bool:
    """Whether the table has an op of this name that is one of elements."""
    from taimatsu.ops.table import ENTRIES

    if not _pointwise:
        for op in ENTRIES:
            if op.kind == "pointwise":
                base = op.name.partition(".")[0]
                _pointwise.update((base, *op.names, f"{base}_"))
    plain = name.strip("_")
    return name in _pointwise or plain in _pointwise or plain.lstrip("ri") in _pointwise


_pointwise: set[str] = set()


def _nested(values: Tensor, offsets: Tensor, ragged: int = 1, size: Ragged | None = None
            ) -> NestedTensor:  # fmt: skip
    with _core.DisableTorchFunctionSubclass():
        made = values.as_subclass(NestedTensor)
    made._offsets, made._ragged = offsets, ragged
    longest = int(offsets.diff().max()) if offsets.numel() > 1 else 0
    made._size = size if size is not None else Ragged(longest)
    return made


def _find(args: Any, kwargs: dict) -> list[NestedTensor]:
    from taimatsu.utils._pytree import tree_leaves

    return [t for t in tree_leaves((args, kwargs)) if isinstance(t, NestedTensor)]


def _on_values(func: Callable, args: tuple, kwargs: dict) -> Any:
    """A function of elements, or of the last dims, computed on the values of all parts at once."""
    from taimatsu.utils._pytree import tree_map

    found = _find(args, kwargs)
    first = found[0]
    if any(t._size != first._size for t in found[1:]):
        raise RuntimeError(
            f"{func.__name__}: nested tensors of different offsets, {first.size()} and "
            f"{next(t for t in found if t._size != first._size).size()}"
        )

    def plain(x: Any) -> Any:
        if isinstance(x, NestedTensor):
            return x.values()
        if isinstance(x, Tensor) and x.dim() == first.dim():  # has a dim for the parts
            if x.shape[0] != 1 or x.shape[first._ragged] != 1:
                raise RuntimeError(
                    f"{func.__name__}: a tensor of shape {tuple(x.shape)} doesn't broadcast to "
                    f"{first.size()}"
                )
            return x.squeeze(0)
        return x

    made = func(*tree_map(plain, args), **tree_map(plain, kwargs))
    return first._like(made) if isinstance(made, Tensor) else made


def _dim_of(x: NestedTensor, dim: int) -> int:
    if not -x.dim() <= dim < x.dim():
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-x.dim()}, {x.dim() - 1}], but "
            f"got {dim})"
        )
    return dim % x.dim()


def _reduction(name: str) -> Callable:
    plain = getattr(torch, name)

    def reduce(x: NestedTensor, dim: Any = None, keepdim: bool = False, **options: Any) -> Any:
        if dim is None:
            return plain(x.values(), **options)
        dims = [_dim_of(x, d) for d in ([dim] if isinstance(dim, int) else dim)]
        if 0 in dims and x._ragged not in dims:
            raise RuntimeError(f"{name}: not supported along the batch dimension alone")
        if x._ragged in dims:
            rest = [d - 1 for d in dims if d not in (0, x._ragged)]
            parts = [plain(p, [x._ragged - 1, *rest], keepdim=keepdim, **options)
                     for p in x.unbind()]  # fmt: skip
            made = torch.stack(parts)
            return plain(made, 0, keepdim=keepdim) if 0 in dims else made
        made = plain(x.values(), [d - 1 for d in dims], keepdim=keepdim, **options)
        lost = 0 if keepdim else sum(d < x._ragged for d in dims)
        return x._like(made, x._ragged - lost)

    return reduce


def _softmax(function: str) -> Callable:
    def run(input: NestedTensor, dim: Any = None, *args: Any, **options: Any) -> NestedTensor:
        at = _dim_of(input, dim)
        plain = getattr(torch, function)
        if at == input._ragged:
            parts = [plain(p, at - 1) for p in input.unbind()]
            return input._like(torch.cat(parts, at - 1))
        return input._like(plain(input.values(), at - 1))

    return run


def _transposed(x: NestedTensor, dim0: int, dim1: int) -> NestedTensor:
    a, b = _dim_of(x, dim0), _dim_of(x, dim1)
    if 0 in (a, b) and a != b:
        raise RuntimeError("transpose: the dim of the parts stays the first")
    ragged = b if x._ragged == a else a if x._ragged == b else x._ragged
    return x._like(x.values().transpose(a - 1, b - 1), ragged)


def _attention(query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0,
               is_causal: bool = False, **options: Any) -> NestedTensor:  # fmt: skip
    """Part by part: (heads, rows, width) each."""
    attend = torch.nn.functional.scaled_dot_product_attention
    parts = [
        attend(q[None], k[None], v[None], None, dropout_p, is_causal, **options)[0]
        for q, k, v in zip(query.unbind(), key.unbind(), value.unbind(), strict=True)
    ]
    return query._like(torch.cat(parts, query._ragged - 1))


def _view(x: NestedTensor, *sizes: Any) -> NestedTensor:
    wanted = list(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else [*sizes]
    ragged = [i for i, n in enumerate(wanted) if isinstance(n, Ragged)]
    at = ragged[0] if ragged else (1 if -1 in wanted[1:2] else None)
    if at is None or wanted[0] not in (-1, len(x)) or x._ragged != 1 or at != 1:
        raise RuntimeError(
            f"view: shape {wanted} is invalid for a nested tensor of size {x.size()}: its first "
            "dims, of the parts and of their rows, stay"
        )
    values = x.values()
    return x._like(values.reshape([values.shape[0], *wanted[2:]]))


def _unsqueezed(x: NestedTensor, dim: int) -> NestedTensor:
    at = dim % (x.dim() + 1)
    if at == 0:
        raise RuntimeError("unsqueeze: the dim of the parts stays the first")
    return x._like(x.values().unsqueeze(at - 1), x._ragged + (at <= x._ragged))


def _catenated(tensors: Sequence[NestedTensor], dim: int = 0) -> NestedTensor:
    first = tensors[0]
    at = _dim_of(first, dim)
    if at in (0, first._ragged):
        return nested_tensor_of([p for t in tensors for p in t.unbind()])
    return first._like(torch.cat([t.values() for t in tensors], at - 1))


def _select(x: NestedTensor, key: Any) -> Any:
    if isinstance(key, int):
        return x.unbind()[key]
    raise NotImplementedError("__getitem__: of nested tensors takes the number of a part")


_OWN: dict[str, Callable] = {
    "sum": _reduction("sum"), "mean": _reduction("mean"), "amax": _reduction("amax"),
    "amin": _reduction("amin"), "softmax": _softmax("softmax"),
    "log_softmax": _softmax("log_softmax"), "transpose": _transposed,
    "scaled_dot_product_attention": _attention, "view": _view, "reshape": _view,
    "unsqueeze": _unsqueezed, "cat": _catenated, "__getitem__": _select,
    "unbind": NestedTensor.unbind, "numel": lambda x: x.values().numel(),
    "is_contiguous": lambda x, **options: x.values().is_contiguous(),
    **{name: getattr(NestedTensor, name)
       for name in ("values", "offsets", "lengths", "size", "dim", "to_padded_tensor", "__len__",
                    "__repr__", "__iter__", "requires_grad_")},
}  # fmt: skip


# ---- making -------------------------------------------------------------------------------------


def nested_tensor_of(parts: Sequence[Tensor]) -> NestedTensor:
    """The parts in one, on the tape. RuntimeError where other dims than the first differ."""
    if not parts:
        return _nested(torch.empty(0), torch.zeros(1, dtype=torch.int64))
    if len({(p.dim(), tuple(p.shape[1:])) for p in parts}) > 1:
        raise RuntimeError(
            "nested_tensor: the parts may differ in the size of their first dim only; got "
            f"{[tuple(p.shape) for p in parts]}"
        )
    lengths = torch.tensor([0, *(p.shape[0] for p in parts)], device=parts[0].device)
    return _nested(torch.cat(list(parts)), lengths.cumsum(0))


def _check_layout(layout: Any) -> None:
    if layout not in (None, torch.jagged, torch.strided):
        raise RuntimeError(
            f"nested_tensor: layout is torch.jagged (or torch.strided); got {layout}"
        )


def nested_tensor(
    tensor_list: Any, *, dtype: Any = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """A nested tensor, a leaf, of copies of these tensors or nested lists.

    They may differ in the size of their first dim. RuntimeError where others differ.

    >>> torch.nested.nested_tensor([[1, 2], [3]], layout=torch.jagged).offsets()
    tensor([0, 2, 3])
    """
    _check_layout(layout)
    parts = [torch.as_tensor(t, dtype=dtype, device=device).detach() for t in tensor_list]
    return nested_tensor_of(parts).requires_grad_(requires_grad)


def as_nested_tensor(ts: Any, dtype: Any = None, device: Any = None, layout: Any = None) -> Tensor:
    """A nested tensor of these tensors, or of the parts of one: gradients go back to them.

    >>> [len(part) for part in torch.nested.as_nested_tensor([torch.ones(2), torch.ones(3)])]
    [2, 3]
    """
    _check_layout(layout)
    if isinstance(ts, NestedTensor):
        return ts.to(dtype=dtype or ts.dtype)
    return nested_tensor_of([torch.as_tensor(t, dtype=dtype, device=device) for t in ts])


def nested_tensor_from_jagged(
    values: Tensor, offsets: Tensor | None = None, lengths: Tensor | None = None,
    jagged_dim: int | None = None, min_seqlen: int | None = None, max_seqlen: int | None = None,
) -> Tensor:  # fmt: skip
    """A nested tensor that is a view of ``values``: part i is from offsets[i] to offsets[i + 1].

    ``lengths`` may be given in place of the offsets; ``jagged_dim`` is the dim, counted with that
    of the parts [1]. RuntimeError without either.
    """
    if offsets is None:
        if lengths is None:
            raise RuntimeError("nested_tensor_from_jagged(): At least one of offsets or lengths is "
                               "required.")  # fmt: skip
        offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    return _nested(values, offsets, 1 if jagged_dim is None else jagged_dim)


def narrow(
    tensor: Tensor, dim: int, start: Any, length: Any, layout: Any = torch.strided
) -> Tensor:
    """A nested tensor of pieces of one tensor's rows: row i from start[i] on, length[i] long.

    RuntimeError for other dims than 1.
    """
    if dim != 1:
        raise RuntimeError("nested.narrow: only dim=1 supported for jagged layout")
    rows = tensor.shape[0]
    starts = start.tolist() if isinstance(start, Tensor) else [start] * rows
    lengths = length.tolist() if isinstance(length, Tensor) else [length] * rows
    return nested_tensor_of([
        tensor[i].narrow(0, s, n) for i, (s, n) in enumerate(zip(starts, lengths, strict=True))
    ])  # fmt: skip


def masked_select(tensor: Tensor, mask: Tensor) -> Tensor:
    """A nested tensor of the elements of each row where the mask holds.

    RuntimeError unless the mask is of two dims.
    """
    if mask.dim() != 2 or tensor.shape[: 2] != mask.shape:
        raise RuntimeError(
            f"nested.masked_select: the mask is of the first two dims; got {tuple(mask.shape)} for "
            f"{tuple(tensor.shape)}"
        )
    counts = mask.sum(1)
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return _nested(tensor[mask], offsets)


def to_padded_tensor(
    input: Any, padding: float, output_size: Any = None, out: Any = None
) -> Tensor:
    """The parts of a nested tensor as one, filled up to the longest; see `NestedTensor`."""
    if not isinstance(input, NestedTensor):
        raise RuntimeError(f"to_padded_tensor: needs a nested tensor; got {type(input).__name__}")
    return input.to_padded_tensor(padding, output_size)
