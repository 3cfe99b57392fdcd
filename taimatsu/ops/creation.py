"""Making tensors."""

from taimatsu import _core

from .table import composite, core_composite, native

TENSOR_OPTIONS = (
    "ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None,"
    " bool? requires_grad=False"
)
_LIKE = f"*, {TENSOR_OPTIONS}, MemoryFormat? memory_format=None"


def _factory(schema: str, doc: str, **options):
    return native(schema, doc=doc, method=False, **{"out": True, **options})


empty = _factory(
    f"empty(int[] size, *, {TENSOR_OPTIONS}, MemoryFormat? memory_format=None) -> Tensor",
    "A tensor of the given sizes; its elements are whatever the memory held.",
)
zeros = _factory(f"zeros(int[] size, *, {TENSOR_OPTIONS}) -> Tensor", "Zeros.")
ones = _factory(f"ones(int[] size, *, {TENSOR_OPTIONS}) -> Tensor", "Ones.")
full = _factory(
    f"full(int[] size, Number fill_value, *, {TENSOR_OPTIONS}) -> Tensor",
    "`fill_value` everywhere; its type gives the dtype.",
)
empty_strided = _factory(
    f"empty_strided(int[] size, int[] stride, *, {TENSOR_OPTIONS}) -> Tensor",
    "An uninitialised tensor with given strides (in elements).", out=False,
)
empty_like = _factory(f"empty_like(Tensor self, {_LIKE}) -> Tensor",
                      "An uninitialised tensor with the sizes of `self`.", out=False)
zeros_like = _factory(f"zeros_like(Tensor self, {_LIKE}) -> Tensor",
                      "Zeros with the sizes of `self`.", out=False)
ones_like = _factory(f"ones_like(Tensor self, {_LIKE}) -> Tensor",
                     "Ones with the sizes of `self`.", out=False)
full_like = _factory(f"full_like(Tensor self, Number fill_value, {_LIKE}) -> Tensor",
                     "`fill_value` with the sizes of `self`.", out=False)

arange = _factory(
    f"arange(Number end, *, {TENSOR_OPTIONS}) -> Tensor",
    """Numbers from `start` (0) towards `end`, which is left out, `step` (1) apart.

    int64 where all three are ints, else the default dtype.

    >>> taimatsu.arange(1, 6, 2)
    tensor([1, 3, 5])
    """,
)
arange_start = _factory(
    f"arange.start(Number start, Number end, Number step=1, *, {TENSOR_OPTIONS}) -> Tensor",
    "Numbers from `start` towards `end`.",
)


@composite(f"range(Number start, Number end, Number step=1, *, {TENSOR_OPTIONS}) -> Tensor",
           method=False, out=True)
def range_(start, end, step, dtype, layout, device, pin_memory, requires_grad):
    """Numbers from `start` to `end`, which is included if it is met: `arange` leaves it out.

    They have the default dtype unless one is given. RuntimeError for a step of 0 or one that leads
    away from `end`.
    """
    if not step:
        raise RuntimeError("range: step must be nonzero")
    if (end - start) * step < 0:
        raise RuntimeError("range: upper bound and lower bound inconsistent with step sign; got "
                           f"{start} to {end} by {step}")
    count = int((end - start) / step) + 1
    steps = arange(count, dtype=_core.float64, device=device)
    out = (start + step * steps).to(dtype or _core.get_default_dtype())
    return out.requires_grad_() if requires_grad else out


linspace = _factory(
    f"linspace(Number start, Number end, int steps, *, {TENSOR_OPTIONS}) -> Tensor",
    "`steps` numbers at equal distances from `start` to `end`, both included.",
)
eye = _factory(
    f"eye(int n, int? m=None, *, {TENSOR_OPTIONS}) -> Tensor",
    "Ones on the diagonal of an n x m matrix (m: n), zeros elsewhere.",
)


def _zero_dim(name: str, start, end) -> list:
    for which, x in (("start", start), ("end", end)):
        if isinstance(x, _core.Tensor) and x.dim():
            raise RuntimeError(f"{name} only supports 0-dimensional start and end tensors, but got "
                               f"{which} with {x.dim()} dimension(s).")
    return [
        x if not isinstance(x, _core.Tensor) else 0 if x.is_meta else x.item() for x in (start, end)
    ]


@composite("linspace.Tensor(Tensor|Number start, Tensor|Number end, int steps, *,"
           f" {TENSOR_OPTIONS}) -> Tensor", method=False, out=True)
def linspace_tensor(start, end, steps, dtype, layout, device, pin_memory, requires_grad):
    """`linspace` between the values of 0-dim tensors."""
    return linspace(*_zero_dim("linspace", start, end), steps, dtype=dtype, layout=layout,
                    device=device, pin_memory=pin_memory, requires_grad=requires_grad)


@composite(f"logspace(Number start, Number end, int steps, float base=10.0, *, {TENSOR_OPTIONS})"
           " -> Tensor", method=False, out=True)
def logspace(start, end, steps, base, dtype, layout, device, pin_memory, requires_grad):
    """`steps` numbers from base**start to base**end whose logarithms are at equal distances; of
    integers, `start` and `end` are integers first."""
    from taimatsu import float64, get_default_dtype
    from taimatsu import pow as power

    if dtype is not None and not (dtype.is_floating_point or dtype.is_complex):
        start, end = int(start), int(end)
    exponents = linspace(start, end, steps, dtype=float64, device=device)
    out = power(base, exponents).to(dtype or get_default_dtype())
    return out.requires_grad_() if requires_grad else out


@composite("logspace.Tensor(Tensor|Number start, Tensor|Number end, int steps, float base=10.0,"
           f" *, {TENSOR_OPTIONS}) -> Tensor", method=False, out=True)
def logspace_tensor(start, end, steps, base, dtype, layout, device, pin_memory, requires_grad):
    """`logspace` between the values of 0-dim tensors."""
    return logspace(*_zero_dim("logspace", start, end), steps, base, dtype=dtype, layout=layout,
                    device=device, pin_memory=pin_memory, requires_grad=requires_grad)


def _new(name: str, params: str = ""):
    return core_composite(
        f"new_{name}(Tensor self, int[] size, {params}*, {TENSOR_OPTIONS}) -> Tensor",
        f"`{name}` with the dtype and device of `self`.", module="Tensor", out=False)


new_empty, new_zeros, new_ones = _new("empty"), _new("zeros"), _new("ones")
new_full = _new("full", "Number fill_value, ")

# ---- copies and fills ----------------------------------------------------------------------------

clone = native("clone(Tensor self, *, MemoryFormat? memory_format=None) -> Tensor", out=False,
               doc="A copy with memory of its own, through which gradients flow.")
clone.gradient(self=lambda g: g)

copy_ = native("copy_(Tensor(a!) self, Tensor src, bool non_blocking=False) -> Tensor", out=False,
               module="Tensor",
               doc="Writes `src` into `self`, broadcast and converted.")
copy_.gradient(self=lambda g: None, src=lambda g, src_like: g.to(src_like.device))

fill_ = native("fill_(Tensor(a!) self, Number value) -> Tensor", out=False,
               doc="Writes `value` everywhere.")
fill_.gradient(self=lambda g: None)

zero_ = native("zero_(Tensor(a!) self) -> Tensor", out=False, doc="Writes zeros.")
zero_.gradient(self=lambda g: None)


@composite("fill_.Tensor(Tensor(a!) self, Tensor value) -> Tensor", out=False)
def fill_tensor(self, value):
    """Writes the one element of `value` everywhere."""
    if value.dim():
        raise RuntimeError("fill_: only supports 0-dimension value tensor but got tensor with "
                           f"{value.dim()} dimensions")
    return self.copy_(value)
