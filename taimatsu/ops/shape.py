"""Views, and ops that only move elements."""

from taimatsu import _core

from .table import composite, core_composite, native, view

# ---- views: sizes, strides and offset over the same storage (csrc/ops/view.cpp) ------------------


def _view(schema: str, doc: str, **options):
    return view(schema, doc=doc, **options)


alias = _view("alias(Tensor(a) self) -> Tensor(a)", "The same tensor as a view.", method=False)
view_ = _view("view(Tensor(a) self, int[] size) -> Tensor(a)",
              "The same elements in other sizes, without a copy; one size may be -1.",
              module="Tensor")
view_dtype = _view("view.dtype(Tensor(a) self, ScalarType dtype) -> Tensor(a)",
                   "The same memory as elements of another dtype; where their size differs,"
                   " the last"
                   " dim, whose stride must be 1, gets longer or shorter. Has no gradient.",
                   module="Tensor")
reshape = _view("reshape(Tensor(a) self, int[] shape) -> Tensor(a)",
                "The same elements in other sizes, a view where strides allow, else a copy.")
flatten = _view("flatten(Tensor(a) self, int start_dim=0, int end_dim=-1) -> Tensor(a)",
                "The dims from `start_dim` to `end_dim` as one.")
permute = _view("permute(Tensor(a) self, int[] dims) -> Tensor(a)", "The dims in another order.")
transpose = _view("transpose(Tensor(a) self, int dim0, int dim1) -> Tensor(a)",
                  "Two dims exchanged.", names=("swapaxes", "swapdims"))
t = _view("t(Tensor(a) self) -> Tensor(a)", "The transpose of a matrix.")
mT = _view("mT(Tensor(a) self) -> Tensor(a)", "The last two dims exchanged.",
           module=None)
select = _view("select(Tensor(a) self, int dim, int index) -> Tensor(a)",
               "The part at `index` of `dim`, which goes away.")
slice_ = _view("slice(Tensor(a) self, int dim=0, int? start=None, int? end=None, int step=1)"
               " -> Tensor(a)", "`self[start:end:step]` along `dim`.", module=None)
narrow = _view("narrow(Tensor(a) self, int dim, int start, int length) -> Tensor(a)",
               "`length` elements of `dim` from `start`.")


@composite("narrow.Tensor(Tensor self, int dim, Tensor start, int length) -> Tensor", out=False)
def narrow_from(self, dim, start, length):
    """`narrow` from a position that a 0-dim tensor holds."""
    inexact = start.dtype.is_floating_point or start.dtype.is_complex
    if start.dim() or inexact or start.dtype == _core.bool:
        raise RuntimeError("start must be an 0-dim integral Tensor.")
    return narrow(self, dim, int(start), length)


expand = _view("expand(Tensor(a) self, int[] size) -> Tensor(a)",
               "Dims of extent 1 repeated without a copy; -1 keeps an extent.", module="Tensor")
squeeze = _view("squeeze(Tensor(a) self) -> Tensor(a)", "Without the dims of extent 1.")
squeeze_dim = _view("squeeze.dim(Tensor(a) self, int dim) -> Tensor(a)",
                    "Without `dim`, if its extent is 1.")
squeeze_dims = _view("squeeze.dims(Tensor(a) self, int[] dim) -> Tensor(a)",
                     "Without those of the dims whose extent is 1.")
unsqueeze = _view("unsqueeze(Tensor(a) self, int dim) -> Tensor(a)", "A dim of extent 1 at `dim`.")
as_strided = _view("as_strided(Tensor(a) self, int[] size, int[] stride, int? storage_offset=None)"
                   " -> Tensor(a)", "Any sizes and strides over the storage.")
diagonal = _view("diagonal(Tensor(a) self, int offset=0, int dim1=0, int dim2=1) -> Tensor(a)",
                 "The diagonal of two dims, as the last dim.")
unfold = _view("unfold(Tensor(a) self, int dimension, int size, int step) -> Tensor(a)",
               "Windows of `size` along a dim, `step` apart, as a new last dim.", module="Tensor")
split = _view("split(Tensor(a) self, int split_size, int dim=0) -> Tensor(a)[]",
              "Pieces of `split_size` along `dim`; the last may be smaller.")
split_sizes = _view("split.sizes(Tensor(a) self, int[] split_size, int dim=0) -> Tensor(a)[]",
                    "Pieces of given sizes along `dim`.", names=("split_with_sizes",))
unbind = _view("unbind(Tensor(a) self, int dim=0) -> Tensor(a)[]", "The parts along `dim`.")
view_as_real = _view("view_as_real(Tensor(a) self) -> Tensor(a)",
                     "Complex numbers as pairs of real ones, in a last dim of extent 2.",
                     method=False)
view_as_complex = _view("view_as_complex(Tensor(a) self) -> Tensor(a)",
                        "Pairs along the last dim as complex numbers.", method=False)

basic_index = _view("_basic_index(Tensor(a) self, Any? key) -> Tensor(a)",
                    "`self[key]` for ints, slices, None and ...: one view, whatever the key.",
                    module=None)


# ---- views of views ------------------------------------------------------------------------------


def wrap_dim(dim: int, rank: int) -> int:
    """`dim` counted from the front; a tensor without dims passes for one with one."""
    rank = max(rank, 1)
    if not -rank <= dim < rank:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-rank}, "
                         f"{rank - 1}], but got {dim})")
    return dim % rank


view_as = core_composite("view_as(Tensor self, Tensor other) -> Tensor",
                         "`view` with the sizes of `other`.", module="Tensor", out=False)
reshape_as = core_composite("reshape_as(Tensor self, Tensor other) -> Tensor",
                            "`reshape` with the sizes of `other`.", module="Tensor", out=False)
expand_as = core_composite("expand_as(Tensor self, Tensor other) -> Tensor",
                           "`expand` with the sizes of `other`.", module="Tensor", out=False)


@composite("ravel(Tensor self) -> Tensor", out=False)
def ravel(self):
    """One dim."""
    return self.reshape(-1)


@composite("unflatten(Tensor self, int dim, int[] sizes) -> Tensor", out=False)
def unflatten(self, dim, sizes):
    """One dim as several."""
    dim = wrap_dim(dim, self.dim())
    shape = list(self.shape)
    return self.view(shape[:dim] + list(sizes) + shape[dim + 1:])


@composite("movedim(Tensor self, int[1] source, int[1] destination) -> Tensor",
           names=("moveaxis",), out=False)
def movedim(self, source, destination):
    """The dims of `source` at the positions `destination`, the others in order around them."""
    n = self.dim()
    source = [wrap_dim(d, n) for d in source]
    destination = [wrap_dim(d, n) for d in destination]
    if len(source) != len(destination) or len(set(source)) < len(source) \
            or len(set(destination)) < len(destination):
        raise RuntimeError(f"movedim: source and destination must name as many, and distinct, "
                           f"dims; got {source} and {destination}")
    rest = iter([d for d in range(n) if d not in source])
    places = dict(zip(destination, source, strict=True))
    return self.permute([places[d] if d in places else next(rest) for d in range(n)])


@composite("chunk(Tensor self, int chunks, int dim=0) -> Tensor[]", out=False)
def chunk(self, chunks, dim):
    """About `chunks` pieces along `dim`, equal but for the last."""
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    if self.dim() == 0:
        raise RuntimeError("chunk expects at least a 1-dimensional tensor")
    n = self.size(dim)
    size = max(1, -(-n // chunks))
    if n == 0:
        return tuple(self.narrow(dim, 0, 0) for _ in range(chunks))
    return self.split(size, dim)


@composite("tensor_split.sections(Tensor self, int indices_or_sections, int dim=0) -> Tensor[]",
           out=False)
def tensor_split_sections(self, sections, dim):
    """`sections` pieces along `dim`, as equal as can be."""
    if sections <= 0:
        raise RuntimeError(f"number of sections must be larger than 0, got {sections}")
    n = self.size(dim)
    return self.split([n // sections + (i < n % sections) for i in range(sections)], dim)


@composite("tensor_split(Tensor self, int[] indices_or_sections, int dim=0) -> Tensor[]", out=False)
def tensor_split(self, indices, dim):
    """Pieces along `dim` between the given indices."""
    n = self.size(dim)
    borders = [0, *(min(max(i + n if i < 0 else i, 0), n) for i in indices), n]
    return tuple(self.narrow(dim, a, max(0, b - a))
                 for a, b in zip(borders, borders[1:], strict=False))


@composite("broadcast_to(Tensor self, int[] size) -> Tensor", out=False)
def broadcast_to(self, size):
    """`expand`."""
    return self.expand(size)


cat = native(
    "cat(Tensor[] tensors, int dim=0) -> Tensor",
    names=("concat", "concatenate"),
    method=False,
    out=True,
    doc="""The tensors one after the other along `dim`; their other sizes must be equal.

    Dtypes are promoted; empty vectors are skipped. RuntimeError for 0-dim tensors or other
    sizes that differ, ValueError without any tensor.

    >>> taimatsu.cat([taimatsu.ones(2), taimatsu.zeros(1)])
    tensor([1., 1., 0.])
    """,
)


@cat.gradient
def _(g, tensors, dim):
    pieces, start = [], 0
    for t in tensors:
        if t.dim() == 1 and t.numel() == 0:
            pieces.append(t.new_zeros(0))
            continue
        pieces.append(g.narrow(dim, start, t.shape[dim]))
        start += t.shape[dim]
    return pieces


stack = core_composite("stack(Tensor[] tensors, int dim=0) -> Tensor", method=False, out=True,
                       doc="Tensors of one shape along a new dim at `dim`.")


def _some(name: str, tensors) -> None:
    if not tensors:
        raise RuntimeError(f"{name} expects a non-empty TensorList")


@composite("hstack(Tensor[] tensors) -> Tensor", method=False, out=True)
def hstack(tensors):
    """Side by side: along dim 1, of vectors along dim 0."""
    _some("hstack", tensors)
    tensors = [x.reshape(1) if x.dim() == 0 else x for x in tensors]
    return cat(tensors, 0 if tensors[0].dim() == 1 else 1)


@composite("vstack(Tensor[] tensors) -> Tensor", names=("row_stack",), method=False, out=True)
def vstack(tensors):
    """On top of one another: rows of a matrix."""
    _some("vstack", tensors)
    return cat([x.reshape(1, -1) if x.dim() < 2 else x for x in tensors], 0)


# ---- the inverse of expand -----------------------------------------------------------------------


@composite("sum_to_size(Tensor self, int[] size) -> Tensor", module="Tensor", out=False)
def sum_to_size(self, size):
    """Summed to sizes that broadcast to its own."""
    if not size:
        return self.sum()
    extra = self.dim() - len(size)
    dims = [d for d in range(self.dim())
            if d < extra or (size[d - extra] == 1 and self.size(d) != 1)]
    if extra < 0 or any(d >= extra and size[d - extra] not in (1, self.size(d))
                        for d in range(self.dim())):
        raise RuntimeError(f"size {list(size)} is not expandable to size {list(self.shape)}.")
    out = self.sum(dims, keepdim=True) if dims else self
    return out.reshape(size)


def _with_depth(x):
    """With three dims at least: (n) becomes (1, n, 1), (n, m) becomes (n, m, 1)."""
    return x.reshape(1, -1, 1) if x.dim() < 2 else x.unsqueeze(2) if x.dim() == 2 else x


@composite("dstack(Tensor[] tensors) -> Tensor", method=False, out=True)
def dstack(tensors):
    """Behind one another: along dim 2, with as many dims at least."""
    _some("dstack", tensors)
    return cat([_with_depth(x) for x in tensors], 2)


@composite("column_stack(Tensor[] tensors) -> Tensor", method=False, out=True)
def column_stack(tensors):
    """Side by side; vectors are columns."""
    return hstack([x.reshape(-1, 1) if x.dim() < 2 else x for x in tensors])


def _split_along(name: str, dim, least: int, doc: str) -> None:
    def check(self):
        if self.dim() < least:
            raise RuntimeError(f"{name} requires a tensor with at least {least} dimension, but got "
                               f"a tensor with {self.dim()} dimensions!")
        return dim(self)

    @composite(f"{name}.sections(Tensor self, int sections) -> Tensor[]", doc=doc, out=False)
    def sections(self, sections):
        along = check(self)
        if sections <= 0 or self.size(along) % sections:
            raise RuntimeError(f"{name} attempted to split along dimension {along},"
                               f" but the size of "
                               f"the dimension {self.size(along)} is not divisible by the "
                               f"split_size {sections}!")
        return tensor_split_sections(self, sections, along)

    @composite(f"{name}(Tensor self, int[] indices) -> Tensor[]", doc=doc, out=False)
    def at(self, indices):
        return tensor_split(self, indices, check(self))


_split_along("hsplit", lambda x: 0 if x.dim() == 1 else 1, 1,
             "Pieces along dim 1 (of a vector dim 0): so many equal ones, or between indices.")
_split_along("vsplit", lambda x: 0, 2,
             "Pieces along dim 0: so many equal ones, or between indices.")
_split_along("dsplit", lambda x: 2, 3,
             "Pieces along dim 2: so many equal ones, or between indices.")


# ---- copies of views -----------------------------------------------------------------------------


def _copy_of(op, shows=None) -> None:
    """`name_copy`: what the view `op` shows, row by row in memory of its own."""
    from taimatsu._core import contiguous_format

    shows = shows or op
    name, _, params = op.schema.partition("(")
    base, dot, overload = name.partition(".")
    names = tuple(f"{n}_copy" for n in op.names)
    many = params.endswith("[]")
    params = params.partition(" -> ")[0].replace("(a)", "").removesuffix(")")
    doc = f"What `{base}` shows, copied."
    if many:

        @composite(f"{base}_copy{dot}{overload}({params}, *, Tensor[]? out=None) -> Tensor[]",
                   doc=doc, method=False, names=names)
        def copies(*args):
            *given, out = args
            shown = shows(*given)
            if out is None:
                return tuple(x.clone(memory_format=contiguous_format) for x in shown)
            if len(out) != len(shown):
                raise RuntimeError(f"{base}_copy: expected {len(shown)} tensors in out=; got "
                                   f"{len(out)}")
            for target, x in zip(out, shown, strict=True):
                target.resize_(x.shape).copy_(x)
            return None

        return

    @composite(f"{base}_copy{dot}{overload}({params}) -> Tensor", doc=doc,
               method=base == "narrow", names=names, out="exact")
    def copied(*args):
        return shows(*args).clone(memory_format=contiguous_format)


for _op in (alias, as_strided, diagonal, expand, narrow, permute, select, slice_, split,
            split_sizes, squeeze, squeeze_dim, squeeze_dims, t, transpose, unbind, unfold,
            unsqueeze, view_dtype, view_as_real, view_as_complex):
    _copy_of(_op)
_copy_of(view_, shows=reshape)  # a copy need not lie as the tensor does
