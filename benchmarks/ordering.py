"""Sorting, selecting, searching, counting, and the random numbers that are drawn to be sorted."""

from __future__ import annotations

from functools import partial

from .table import Group, workloads


def unsorted(torch, n: int, rows: int):
    """A line of n elements, a square matrix and a narrow one, of floats and of integers."""
    line, matrix, narrow = torch.randn(n), torch.randn(rows, rows), torch.randn(n // 16, 16)
    limit = 10**12
    integers = torch.randint(-limit, limit, (n,))
    integer_matrix = torch.randint(-limit, limit, (rows, rows))
    tokens, small = torch.randint(0, 1000, (n,)), torch.randint(0, 100, (n,), dtype=torch.int32)
    double, half, few = line.double(), line.bfloat16(), torch.randint(0, 50, (rows, rows))
    edges, tests = torch.randn(1000).sort()[0], torch.randint(0, 1000, (100,))
    ordered, bits, weights = line.sort()[0], line > 0, torch.rand(n)
    n_half = n // 2
    return locals()


SORTS = workloads(
    sort="line.sort()",
    sort_descending="line.sort(descending=True)",
    sort_stable="line.sort(stable=True)",
    sort_sorted="ordered.sort()",
    sort_rows="matrix.sort(1)",
    sort_columns="matrix.sort(0)",
    sort_narrow="narrow.sort(1)",
    argsort="line.argsort()",
    sort_double="double.sort()",
    sort_bfloat16="half.sort()",
)
INTEGER_SORTS = workloads(
    sort_int64="integers.sort()",
    sort_int64_rows="integer_matrix.sort(1)",
    sort_tokens="tokens.sort()",
    sort_int32="small.sort()",
)
CHOICES = workloads(
    topk_10="line.topk(10)",
    topk_half="line.topk(n_half)",
    topk_rows="matrix.topk(10, 1)",
    topk_columns="matrix.topk(10, 0)",
    topk_int64="integers.topk(10)",
    topk_unsorted="matrix.topk(10, 1, sorted=False)",
    kthvalue="line.kthvalue(n_half)",
    kthvalue_rows="matrix.kthvalue(10, 1)",
    median="line.median()",
    median_rows="matrix.median(1)",
    median_int64="integers.median()",
    nanmedian="matrix.nanmedian(1)",
    quantile="line.quantile(0.3)",
    mode_rows="few.mode(1)",
    unique="tokens.unique()",
    unique_inverse="tokens.unique(return_inverse=True, return_counts=True)",
    unique_floats="line.unique()",
    unique_int64="integers.unique()",
    unique_bool="bits.unique()",
    unique_consecutive="tokens.unique_consecutive()",
    searchsorted="torch.searchsorted(edges, line)",
    bucketize="torch.bucketize(line, edges)",
    isin="torch.isin(tokens, tests)",
    isin_many="torch.isin(integers, tokens)",
    bincount="tokens.bincount()",
    bincount_weights="tokens.bincount(weights)",
    histc="line.histc(100, -3, 3)",
    histogram="torch.histogram(line, 100)",
)
FEW = tuple(  # what lines of 8 have elements enough for
    w for w in (*SORTS, *INTEGER_SORTS, *CHOICES) if "(10, " not in w.statement
)


def generators(torch, n: int):
    x, p = torch.empty(n), torch.full((n,), 0.3)
    F, weights = torch.nn.functional, torch.rand(1000)
    return locals()


DRAWS = workloads(
    rand="torch.rand(n)",
    randn="torch.randn(n)",
    rand_double="torch.rand(n, dtype=torch.float64)",
    randn_double="torch.randn(n, dtype=torch.float64)",
    randint="torch.randint(0, 1000, (n,))",
    randperm="torch.randperm(n)",
    uniform_="x.uniform_(-1, 1)",
    normal_="x.normal_(0, 2)",
    exponential_="x.exponential_()",
    bernoulli="p.bernoulli()",
    bernoulli_="x.bernoulli_(0.3)",
    dropout="F.dropout(p, 0.3)",
    multinomial="weights.multinomial(100)",
    multinomial_replaced="weights.multinomial(1000, replacement=True)",
)

GROUPS = (
    Group("sorting 1e5 elements", partial(unsorted, n=100_000, rows=316), SORTS, mean=5, floor=2),
    Group("sorting 1e6 elements", partial(unsorted, n=1_000_000, rows=1000), SORTS, mean=5,
          floor=2),
    Group("sorting 1e5 integers", partial(unsorted, n=100_000, rows=316), INTEGER_SORTS, mean=1.5,
          floor=0.95),
    Group("sorting 1e6 integers", partial(unsorted, n=1_000_000, rows=1000), INTEGER_SORTS,
          mean=1.5, floor=0.95),
    Group("selecting of 1e5", partial(unsorted, n=100_000, rows=316), CHOICES, mean=1.5,
          floor=0.95),
    Group("selecting of 1e6", partial(unsorted, n=1_000_000, rows=1000), CHOICES, mean=1.5,
          floor=0.95),
    Group("ordering 64 elements", partial(unsorted, n=64, rows=8), FEW, mean=2, floor=0.95),
    Group("drawing 16 numbers", partial(generators, n=16), DRAWS, mean=1.5, floor=0.95),
    Group("drawing 1e6 numbers", partial(generators, n=1_000_000), DRAWS, mean=1, floor=0.95),
)  # fmt: skip
