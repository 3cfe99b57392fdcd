"""Views, and ops that only move elements."""

from .table import composite, native, pointwise, view

# ---- views: sizes, strides and offset over the same storage (csrc/ops/view.cpp) ---------------------


def _view(schema: str, doc: str, **options):
    return view(schema, doc=doc, **options)


alias = _view("alias(Tensor(a) self) -> Tensor(a)", "The same tensor as a view.", method=False)
view_ = _view("view(Tensor(a) self, int[] size) -> Tensor(a)",
              "The same elements in other sizes, without a copy; one size may be -1.",
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

basic_index = _view("_basic_index(Tensor(a) self, Any key) -> Tensor(a)",
                    "`self[key]` for ints, slices, None and ...: one view, whatever the key.",
                    module=None)


# ---- views of views ---------------------------------------------------------------------------------


def _wrap(dim: int, n: int) -> int:
    if not -n <= dim < max(n, 1):
        raise IndexError(f"Dimension out of range (expected to be in range of "
                         f"[{-max(n, 1)}, {max(n, 1) - 1}], but got {dim})")
    return dim % n if n else 0


@composite("view_as(Tensor self, Tensor other) -> Tensor", module="Tensor", out=False)
def view_as(self, other):
    """`view` with the sizes of `other`."""
    return self.view(other.shape)


@composite("reshape_as(Tensor self, Tensor other) -> Tensor", module="Tensor", out=False)
def reshape_as(self, other):
    """`reshape` with the sizes of `other`."""
    return self.reshape(other.shape)


@composite("expand_as(Tensor self, Tensor other) -> Tensor", module="Tensor", out=False)
def expand_as(self, other):
    """`expand` to the sizes of `other`."""
    return self.expand(other.shape)


@composite("ravel(Tensor self) -> Tensor", out=False)
def ravel(self):
    """One dim."""
    return self.reshape(-1)


@composite("unflatten(Tensor self, int dim, int[] sizes) -> Tensor", out=False)
def unflatten(self, dim, sizes):
    """One dim as several."""
    dim = _wrap(dim, self.dim())
    shape = list(self.shape)
    return self.view(shape[:dim] + list(sizes) + shape[dim + 1:])


@composite("movedim(Tensor self, int[1] source, int[1] destination) -> Tensor",
           names=("moveaxis",), out=False)
def movedim(self, source, destination):
    """The dims of `source` at the positions `destination`, the others in order around them."""
    n = self.dim()
    source = [_wrap(d, n) for d in source]
    destination = [_wrap(d, n) for d in destination]
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


@composite("atleast_1d(Tensor self) -> Tensor", method=False, out=False)
def atleast_1d(self):
    """With at least one dim."""
    return self.reshape(1) if self.dim() == 0 else self


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


@composite("stack(Tensor[] tensors, int dim=0) -> Tensor", method=False, out=True)
def stack(tensors, dim):
    """Tensors of one shape along a new dim at `dim`."""
    from taimatsu import cat

    if not tensors:
        raise RuntimeError("stack expects a non-empty TensorList")
    first = tensors[0].shape
    for i, x in enumerate(tensors):
        if x.shape != first:
            raise RuntimeError(f"stack expects each tensor to be equal size, but got "
                               f"{list(first)} at entry 0 and {list(x.shape)} at entry {i}")
    dim = _wrap(dim, len(first) + 1)
    return cat([x.unsqueeze(dim) for x in tensors], dim)


@composite("hstack(Tensor[] tensors) -> Tensor", method=False, out=True)
def hstack(tensors):
    """Side by side: along dim 1, of vectors along dim 0."""
    from taimatsu import cat

    tensors = [atleast_1d(x) for x in tensors]
    return cat(tensors, 0 if tensors[0].dim() == 1 else 1)


@composite("vstack(Tensor[] tensors) -> Tensor", names=("row_stack",), method=False, out=True)
def vstack(tensors):
    """On top of one another: rows of a matrix."""
    from taimatsu import cat

    return cat([x.reshape(1, -1) if x.dim() < 2 else x for x in tensors], 0)


# ---- repetition -----------------------------------------------------------------------------------


@composite("repeat(Tensor self, int[] repeats) -> Tensor", module="Tensor", out=False)
def repeat(self, repeats):
    """The tensor laid out again and again along each dim."""
    extra = len(repeats) - self.dim()
    if extra < 0:
        raise RuntimeError("Number of dimensions of repeat dims can not be smaller than number of "
                           "dimensions of tensor")
    shape = [1] * extra + list(self.shape)
    pairs = [n for r, s in zip(repeats, shape, strict=True) for n in (r, s)]
    once = [n for s in shape for n in (1, s)]
    return self.reshape(once).expand(pairs).reshape(
        [r * s for r, s in zip(repeats, shape, strict=True)])


@composite("tile(Tensor self, int[] dims) -> Tensor", out=False)
def tile(self, dims):
    """`repeat`, with missing leading repeats taken as 1."""
    return self.repeat([1] * (self.dim() - len(dims)) + list(dims))


@composite("flip(Tensor self, int[] dims) -> Tensor", out=False)
def flip(self, dims):
    """The order along the dims reversed (a copy)."""
    from taimatsu import arange

    dims = [_wrap(d, self.dim()) for d in dims]
    if len(set(dims)) < len(dims):
        raise RuntimeError("dim appears multiple times in the list of dims")
    out = self
    for d in dims:
        n = self.size(d)
        out = out.index_select(d, arange(n - 1, -1, -1, device=self.device))
    return out.clone() if out is self else out


@composite("roll(Tensor self, int[1] shifts, int[1] dims=[]) -> Tensor", out=False)
def roll(self, shifts, dims):
    """Elements moved by `shifts` along `dims`, round the end; without dims of the flat tensor."""
    from taimatsu import cat

    if not dims:
        return roll(self.reshape(-1), shifts, (0,)).reshape(self.shape)
    out = self
    for k, d in zip(shifts, dims, strict=True):
        n = self.size(d)
        if n:
            k %= n
            out = cat([out.narrow(d, n - k, k), out.narrow(d, 0, n - k)], d)
    return out


@composite("sum_to_size(Tensor self, int[] size) -> Tensor", module="Tensor", out=False)
def sum_to_size(self, size):
    """Summed to sizes that broadcast to its own."""
    extra = self.dim() - len(size)
    dims = [d for d in range(self.dim())
            if d < extra or (size[d - extra] == 1 and self.size(d) != 1)]
    if extra < 0 or any(d >= extra and size[d - extra] not in (1, self.size(d))
                        for d in range(self.dim())):
        raise RuntimeError(f"size {list(size)} is not expandable to size {list(self.shape)}.")
    out = self.sum(dims, keepdim=True) if dims else self
    return out.reshape(size)


# ---- triangles ------------------------------------------------------------------------------------


def _triangle(name: str, keep, doc: str):
    @composite(f"{name}(Tensor self, int diagonal=0) -> Tensor", doc=doc, inplace=True, out=True)
    def triangle(self, diagonal):
        from taimatsu import arange, where

        if self.dim() < 2:
            raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions")
        rows = arange(self.size(-2), device=self.device).unsqueeze(1)
        columns = arange(self.size(-1), device=self.device)
        return where(keep(columns - rows, diagonal), self, self.new_zeros(()))

    return triangle


tril = _triangle("tril", lambda d, k: d <= k, "Zeros above the diagonal.")
triu = _triangle("triu", lambda d, k: d >= k, "Zeros below the diagonal.")


@composite("trace(Tensor self) -> Tensor", out=False)
def trace(self):
    """The sum of a matrix's diagonal."""
    if self.dim() != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {self.dim()}")
    return self.diagonal().sum()
