"""The formulas that algorithms on any device are made of: moving, searching, merging, counting."""

from __future__ import annotations

from taimatsu.codegen.lang import cast, isnan, maximum, minimum, where

from ..table import indexed, row

_HIDDEN = {"module": None, "method": False}


@indexed("_iota(Tensor self) -> Tensor", ranks={"self": 1}, promote="none", **_HIDDEN)
def iota(x, i):
    """0, 1, 2 ... in the place of the elements of `self`."""
    return i.to(x.dtype)


@indexed("_take(Tensor self, Index index) -> Tensor", out=lambda x, i: i, outside=RuntimeError,
         **_HIDDEN)  # fmt: skip
def take(x, index, a, i, b):
    """self[a, index[a, i, b], b]: reading along the middle one of three dims."""
    return x[a, index[a, i, b], b]


@indexed("_writer(Index index, int size) -> Tensor last", accumulates=("last",), over="index",
         ranks={"last": 3, "index": 3}, out=lambda i, size: [i[0], size, i[2]], static=("size",),
         outside=RuntimeError, **_HIDDEN)  # fmt: skip
def writer(last, index, a, i, b):
    """One more than the last position i whose index[a, i, b] is the place; 0 where there is none.

    What is written to places by index is then read by place, the same each time.
    """
    last[a, index[a, i, b], b].raise_to(i + 1)


@indexed("_counted(Index index, int size) -> Tensor count", accumulates=("count",), over="index",
         ranks={"count": 1, "index": 1}, out=lambda i, size: [size], static=("size",),
         outside=RuntimeError, **_HIDDEN)  # fmt: skip
def counted(count, index, i):
    """How often each of 0 ... size - 1 occurs."""
    count[index[i]] += 1


@indexed("_band(Tensor self, int diagonal, bool lower) -> Tensor", **_HIDDEN)
def band(x, a, i, j, *, diagonal, lower):
    """The elements on and below (or above) a diagonal of matrices, and zeros."""
    return where(j - i <= diagonal if lower else j - i >= diagonal, x[a, i, j], cast(0, x.dtype))


@indexed("_reversed(Tensor self) -> Tensor", **_HIDDEN)
def reversed_(x, a, i, b):
    """The middle one of three dims from its end."""
    return x[a, x.sizes[1] - 1 - i, b]


# ---- order: NaN counts as greater than any number ------------------------------------------------


def _before(a, b):
    return (a < b) | (isnan(b) & ~isnan(a))


def _not_after(a, b):
    return (a <= b) | isnan(b)


def _bisect(low, high, steps, on):
    """The first place in low ... high where `on` doesn't hold; 2 ** steps exceeds high - low."""
    for _ in range(steps):
        mid = (low + high) >> 1
        open_ = low < high
        yes = (open_ & on(mid)).to("i64")
        high = high + (open_.to("i64") - yes) * (mid - high)
        low = low + yes * (mid + 1 - low)
    return low


@indexed("_search(Tensor sequence, Tensor self, bool right, int steps) -> Tensor",
         out=lambda s, x: x, static=("steps",), **_HIDDEN)  # fmt: skip
def search(s, x, r, i, *, right, steps):
    """How many elements of the sorted row s[r] are less than x[r, i] (`right`: or equal to it)."""
    wanted = x[r, i]
    order = _not_after if right else _before
    return _bisect(0 * i, s.sizes[1], steps, lambda at: order(s.near(r, at), wanted))


@indexed("_merge(Tensor self, Index index, int width, bool descending, int steps)"
         " -> (Tensor, Tensor)", static=("steps",), dynamic=("width",), **_HIDDEN)  # fmt: skip
def merge(x, index, r, p, *, width, descending, steps):
    """Each two neighbouring runs of `width` sorted elements as one; `index` goes along.

    The element at place k of the merged run: bisection finds how many of the first k come from the
    run on the left, which is first among equals. `width` is a power of two below 2 ** steps.
    """
    k = p & (2 * width - 1)
    left = p - k
    rest = x.sizes[1] - left
    n_left, n_right = minimum(width, rest), minimum(maximum(rest - width, 0), width)

    def stays_first(i, j):
        a, b = x.near(r, left + i), x.near(r, left + width + j)
        return _not_after(b, a) if descending else _not_after(a, b)

    low, high = maximum(k - n_right, 0), minimum(k, n_left)
    low = _bisect(low, high, steps, lambda i: stays_first(i, k - 1 - i))
    j = k - low
    from_left = ((low < n_left) & ((j >= n_right) | stays_first(low, j))).to("i64")
    at = left + width + j + from_left * (low - width - j)
    return x.near(r, at), index.near(r, at)


_JOIN = {
    "sum": lambda a, b: a + b,
    "prod": lambda a, b: a * b,
    "amax": maximum,
    "amin": minimum,
}


@indexed("_join(Tensor self, Index run, int distance, str reduce='sum') -> Tensor",
         dynamic=("distance",), **_HIDDEN)  # fmt: skip
def join(x, run, i, b, *, distance, reduce):
    """Each row joined with the one `distance` before it, where both are of the same run.

    With distances 1, 2, 4 ... the last row of a run becomes the run's sum (or product ...).
    """
    before = i - distance
    alike = (before >= 0) & (run.near(before) == run[i])
    return where(alike, _JOIN[reduce](x.near(before, b), x[i, b]), x[i, b])


@row("_product_sums(Row self, Row other, int dim) -> Cell", **_HIDDEN)
def product_sums(x, y):
    """The sums of products along `dim`."""
    return (x * y).sum()
