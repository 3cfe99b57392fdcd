"""Top-level functions of several tensors that are neither ops of the table nor methods."""

from __future__ import annotations

from typing import Any

import taimatsu as torch

from ._overridable import overridable

Tensor = torch.Tensor


def broadcast_shapes(*shapes: Any) -> torch.Size:
    """The shape that tensors of the given shapes broadcast to.

    Raises RuntimeError where they don't, ValueError for negative extents.

    >>> taimatsu.broadcast_shapes((2, 1), (3,))
    torch.Size([2, 3])
    """
    out: list[int] = []
    for shape in shapes:
        shape = [shape] if isinstance(shape, int) else list(shape)
        if any(n < 0 for n in shape):
            raise ValueError(f"broadcast_shapes: negative extent in {tuple(shape)}")
        out = [1] * (len(shape) - len(out)) + out
        for d, n in enumerate(reversed(shape), 1):
            if out[-d] == 1:
                out[-d] = n
            elif n not in (1, out[-d]):
                raise RuntimeError(
                    "Shape mismatch: objects cannot be broadcast to a single shape; got "
                    f"{', '.join(map(str, shapes))}"
                )
    return torch.Size(out)


@overridable
def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """Views of the tensors expanded to their common shape."""
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tuple(tensors[0])
    sizes: list[int] = []
    for t in tensors:
        shape = list(t.shape)
        sizes = [1] * (len(shape) - len(sizes)) + sizes
        for d, n in enumerate(reversed(shape), 1):
            if sizes[-d] == 1:
                sizes[-d] = n
            elif n not in (1, sizes[-d]):
                raise RuntimeError(
                    f"The size of tensor a ({sizes[-d]}) must match the size of tensor b ({n}) "
                    f"at non-singleton dimension {len(sizes) - d}"
                )
    return tuple(t if list(t.shape) == sizes else t.expand(sizes) for t in tensors)


@overridable
def meshgrid(*tensors: Any, indexing: str | None = None) -> tuple[Tensor, ...]:
    """Coordinate grids of vectors; `indexing` is "ij" (default) or "xy"."""
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tuple(tensors[0])
    if indexing not in (None, "ij", "xy"):
        raise RuntimeError(
            f'meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}'
        )
    if not tensors:
        raise RuntimeError("meshgrid expects a non-empty TensorList")
    swap = indexing == "xy" and len(tensors) > 1
    if swap:
        tensors = (tensors[1], tensors[0], *tensors[2:])
    shape = [t.numel() for t in tensors]
    grids = []
    for d, t in enumerate(tensors):
        if t.dim() > 1:
            raise RuntimeError(f"meshgrid: expected vectors, got a tensor of shape {t.shape}")
        sizes = [1] * len(shape)
        sizes[d] = shape[d]
        grids.append(t.reshape(sizes).expand(shape))
    if swap:
        grids[:2] = grids[1::-1]
    return tuple(grids)


@overridable
def allclose(
    input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> bool:
    """Whether `isclose` holds everywhere."""
    return bool(torch.isclose(input, other, rtol=rtol, atol=atol, equal_nan=equal_nan).all())


@overridable
def equal(input: Tensor, other: Tensor) -> bool:
    """Whether both have the same shape and elements."""
    if input.shape != other.shape:
        return False
    return bool((input == other).all())


def _atleast(dims: int, tensors: tuple) -> Any:
    many = len(tensors) != 1 or isinstance(tensors[0], (list, tuple))
    if len(tensors) == 1 and many:
        tensors = tuple(tensors[0])

    def raised(x: Any) -> Tensor:
        if not isinstance(x, Tensor):
            raise TypeError(f"atleast_{dims}d(): expected tensors, got {type(x).__name__}")
        if x.dim() >= dims:
            return x
        if dims == 3:
            return x.reshape(1, -1, 1) if x.dim() < 2 else x.unsqueeze(2)
        return x.reshape((1,) * (dims - x.dim()) + tuple(x.shape))

    return tuple(map(raised, tensors)) if many else raised(tensors[0])


@overridable
def atleast_1d(*tensors: Any) -> Any:
    """The tensor (or each of several, as a tuple) as a vector if it is 0-dim."""
    return _atleast(1, tensors)


@overridable
def atleast_2d(*tensors: Any) -> Any:
    """The tensor (or each of several) with two dims at least; a vector becomes a row."""
    return _atleast(2, tensors)


@overridable
def atleast_3d(*tensors: Any) -> Any:
    """The tensor (or each of several) with three dims at least: (n, m) becomes (n, m, 1)."""
    return _atleast(3, tensors)


def from_file(
    filename: str, shared: bool | None = None, size: int = 0, *, dtype: Any = None,
    layout: Any = None, device: Any = None, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """A vector of `size` elements over a file's bytes; see ``UntypedStorage.from_file``."""
    dtype = dtype or torch.get_default_dtype()
    storage: Any = torch.UntypedStorage
    mapped = storage.from_file(filename, bool(shared), size * dtype.itemsize)
    return torch._core.tensor_from_storage(mapped, dtype, 0, (size,), (1,))


def is_tensor(obj: Any) -> bool:
    """Whether `obj` is a Tensor."""
    return isinstance(obj, Tensor)


def is_storage(obj: Any) -> bool:
    """Whether `obj` is a storage, typed or not."""
    return isinstance(obj, (torch.UntypedStorage, torch.TypedStorage))


def numel(input: Tensor) -> int:
    """The number of elements."""
    return input.numel()


def is_floating_point(input: Tensor) -> bool:
    """Whether the dtype is a floating-point one."""
    return input.is_floating_point()


def is_complex(input: Tensor) -> bool:
    """Whether the dtype is a complex one."""
    return input.is_complex()


def is_nonzero(input: Tensor) -> bool:
    """Whether a one-element tensor isn't zero."""
    if input.numel() != 1:
        raise RuntimeError(
            "Boolean value of Tensor with "
            + ("more than one value" if input.numel() else "no values")
            + " is ambiguous"
        )
    return bool(input)


@overridable
def chain_matmul(*matrices: Tensor, out: Tensor | None = None) -> Tensor:
    """The product of one or more matrices in the cheapest order: `linalg.multi_dot`.

    RuntimeError for none, or tensors that are not matrices.
    """
    if not matrices:
        raise RuntimeError("chain_matmul(): Expected one or more matrices")
    for i, m in enumerate(matrices):
        if m.dim() != 2:
            raise RuntimeError(f"chain_matmul(): Tensor {i} is {m.dim()}D; expected matrices")
    return matrices[0] if len(matrices) == 1 else torch.linalg.multi_dot(list(matrices), out=out)


@overridable
def lu(
    A: Tensor,
    pivot: bool = True,
    get_infos: bool = False,
    out: tuple[Tensor, ...] | None = None,
) -> tuple[Tensor, ...]:
    """The compact LU factorisation and its pivots: `linalg.lu_factor`, also of singular matrices.

    With `get_infos` a third tensor, int32, that isn't 0 for those.

    >>> [tuple(x.shape) for x in taimatsu.lu(taimatsu.eye(3))]
    [(3, 3), (3,)]
    """
    if out is not None and not get_infos:
        out = (*out, torch.empty(0, dtype=torch.int32))
    factors = torch.linalg.lu_factor_ex(A, pivot=pivot, out=out)
    return factors if get_infos else tuple(factors[:2])


@overridable
def block_diag(*tensors: Tensor) -> Tensor:
    """A matrix with the given ones along its diagonal; vectors are rows.

    TypeError for what isn't a tensor, RuntimeError for more than two dims.

    >>> taimatsu.block_diag(taimatsu.tensor([1, 2]), taimatsu.tensor([[3], [4]]))
    tensor([[1, 2, 0],
            [0, 0, 3],
            [0, 0, 4]])
    """
    for i, t in enumerate(tensors):
        if not isinstance(t, Tensor):
            raise TypeError(
                f"block_diag(): expected Tensor as element {i} in argument 0, but got "
                f"{type(t).__name__}"
            )
        if t.dim() > 2:
            raise RuntimeError(
                "block_diag: Input tensors must have 2 or fewer dimensions. "
                f"Input {i} has {t.dim()} dimensions"
            )
    blocks = [t.reshape(1, t.numel()) if t.dim() < 2 else t for t in tensors]
    if not blocks:
        return torch.empty(1, 0)
    columns = sum(b.size(1) for b in blocks)
    rows, before = [], 0
    for b in blocks:
        after = columns - before - b.size(1)
        rows.append(torch.nn.functional.pad(b, (before, after)))
        before += b.size(1)
    return torch.cat(rows, 0)


@overridable
def cartesian_prod(*tensors: Tensor) -> Tensor:
    """All combinations of one element of each vector, as rows."""
    if len(tensors) == 1:
        return tensors[0]
    return torch.stack([g.reshape(-1) for g in meshgrid(*tensors, indexing="ij")], 1)


def _method_as_function(name: str) -> Any:
    method = getattr(Tensor, name)

    def function(input: Tensor, *args: Any, **kwargs: Any) -> Any:
        return method(input, *args, **kwargs)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"`Tensor.{name}` as a function.\n\n{method.__doc__}"
    return function


# What is a method that is no op of the table, and a function too.
_METHODS = (
    "as_strided_", "detach", "detach_", "get_device", "is_conj", "is_distributed", "is_inference",
    "is_neg", "is_same_size", "is_signed", "resize_as_", "unsafe_chunk", "unsafe_split",
    "unsafe_split_with_sizes",
)  # fmt: skip
globals().update({name: _method_as_function(name) for name in _METHODS})


def scalar_tensor(s: Any, *, dtype: Any = None, device: Any = None, **options: Any) -> Tensor:
    """A 0-dim tensor of a number, of the default dtype unless another is given."""
    dtype = dtype or torch.get_default_dtype()
    return torch.full((), s, dtype=dtype, device=device, **options)


def detach_copy(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The tensor without its history, in memory of its own."""
    copied = input.detach().clone()
    return copied if out is None else out.resize_(copied.shape).copy_(copied)


def fill(input: Tensor, value: Any) -> Tensor:
    """A tensor like the input with all elements set to a number, or to that of a 0-dim tensor."""
    return input.clone().fill_(value)


def empty_permuted(size: Any, physical_layout: Any, **options: Any) -> Tensor:
    """An uninitialised tensor whose dims lie in memory in the order of `physical_layout`.

    RuntimeError unless that is a permutation of the dims.

    >>> taimatsu.empty_permuted((2, 3, 4), (0, 2, 1)).stride()
    (12, 1, 3)
    """
    order = list(physical_layout)
    if sorted(order) != list(range(len(size))):
        raise RuntimeError(
            f"empty_permuted: expected a permutation of the {len(size)} dims; got {tuple(order)}"
        )
    inverse = [order.index(d) for d in range(len(order))]
    return torch.empty([size[d] for d in order], **options).permute(inverse)


def typename(obj: Any, /) -> str:
    """The name of an object's type: of a tensor "torch.FloatTensor"."""
    if isinstance(obj, Tensor):
        return obj.type()
    cls = obj if isinstance(obj, type) or callable(obj) else type(obj)
    module = getattr(cls, "__module__", None) or ""
    prefix = "" if module in ("", "builtins", "__builtin__") else f"{module}."
    return prefix + getattr(cls, "__qualname__", type(cls).__qualname__)


__all__ = [
    "allclose", "atleast_1d", "atleast_2d", "atleast_3d", "block_diag", "broadcast_shapes",
    "broadcast_tensors", "cartesian_prod", "chain_matmul", "equal", "is_complex",
    "is_floating_point", "is_nonzero", "is_storage", "is_tensor", "lu", "meshgrid", "numel",
    "detach_copy", "empty_permuted", "fill", "from_file", "scalar_tensor", "typename", *_METHODS,
]  # fmt: skip

# PyTorch defines these here; they are ops of the table or have modules of their own.
_ELSEWHERE = frozenset((
    "cdist", "einsum", "istft", "norm", "pca_lowrank", "split", "stft", "svd_lowrank", "tensordot",
    "unique", "unique_consecutive", "unravel_index",
))  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _ELSEWHERE:
        return getattr(torch, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
