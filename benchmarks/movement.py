"""Ops that move data: indexing, scattering, copies between layouts and dtypes, sorting."""

from __future__ import annotations

from .table import Group, Workload, workloads

ROWS, COLUMNS = 1000, 1000


def matrices(torch):
    F = torch.nn.functional
    x, y = torch.randn(ROWS, COLUMNS), torch.randn(ROWS, COLUMNS)
    large, images = torch.randn(2000, 2000), torch.randn(8, 64, 56, 56)
    lines, at = torch.randint(0, ROWS, (ROWS,)), torch.randint(0, COLUMNS, (ROWS, COLUMNS))
    mask, few = x > 0, x > 2
    half = x.to(torch.bfloat16)
    table, tokens = torch.randn(10_000, 256), torch.randint(0, 10_000, (32, 128))
    parts = [torch.randn(100, COLUMNS) for _ in range(10)]
    return locals()


MOVES = (
    *workloads(
        index_select="x.index_select(0, lines)",
        index_select_inner="x.index_select(1, lines)",
        index="x[lines]",
        index_pairs="x[lines, lines]",
        gather="x.gather(1, at)",
        gather_outer="x.gather(0, at)",
        scatter_add="x.scatter_add(1, at, y)",
        scatter_add_outer="x.scatter_add(0, at, y)",
        index_add="x.index_add(0, lines, y)",
        index_put="x.index_put((lines,), y)",
        index_put_accumulate="x.index_put((lines,), y, accumulate=True)",
        embedding="F.embedding(tokens, table)",
    ),
    Workload(
        "embedding backward",
        "torch.autograd.grad(out, weight, g, retain_graph=True)",
        """
weight = table.clone().requires_grad_()
out = F.embedding(tokens, weight)
g = torch.ones_like(out.detach())
""",
    ),
    *workloads(
        cumsum_inner="x.cumsum(1)",
        cumsum_outer="x.cumsum(0)",
        max_inner="x.max(1)",
        max_outer="x.max(0)",
        mean_inner="x.mean(1)",
        mean_outer="x.mean(0)",
        transposed_copy="large.t().contiguous()",
        to_channels_last="images.contiguous(memory_format=torch.channels_last)",
        permuted_copy="images.permute(0, 2, 3, 1).reshape(-1)",
        to_bfloat16="x.to(torch.bfloat16)",
        from_bfloat16="half.to(torch.float32)",
        cat_outer="torch.cat(parts)",
        cat_inner="torch.cat((x, y), 1)",
        stack="torch.stack(parts)",
        masked_select="x[mask]",
        masked_select_few="x[few]",
        nonzero="mask.nonzero()",
        masked_fill="x.masked_fill(mask, 0.0)",
        where="torch.where(mask, x, y)",
    ),
)


def unsorted(torch):
    line, matrix = torch.randn(100_000), torch.randn(ROWS, COLUMNS)
    integers = torch.randint(-(10**12), 10**12, (100_000,))
    integer_matrix = torch.randint(-(10**12), 10**12, (ROWS, COLUMNS))
    tokens = torch.randint(0, 1000, (100_000,))
    return locals()


GROUPS = (
    Group("moving 1e6 elements", matrices, MOVES, mean=1.5, floor=0.95),
    Group(
        "sorting",
        unsorted,
        workloads(
            sort="line.sort()",
            sort_rows="matrix.sort(1)",
            sort_columns="matrix.sort(0)",
            sort_integers="integers.sort()",
            sort_integer_rows="integer_matrix.sort(1)",
            argsort="line.argsort()",
        ),
        floor=5,
    ),
    Group(
        "selecting",
        unsorted,
        workloads(
            topk_10="line.topk(10)",
            topk_rows="matrix.topk(10, 1)",
            topk_1000="line.topk(1000)",
            kthvalue="line.kthvalue(50_000)",
            median="line.median()",
            unique="tokens.unique()",
            unique_floats="line.unique()",
            searchsorted="torch.searchsorted(matrix[0].sort()[0], line)",
            bincount="tokens.bincount()",
        ),
        mean=1.5,
        floor=0.95,
    ),
)
