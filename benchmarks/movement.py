"""Ops that move data: indexing, scattering, copies between layouts and dtypes."""

from __future__ import annotations

from .table import Group, Workload, workloads

ROWS, COLUMNS = 1000, 1000


def matrices(torch):
    F = torch.nn.functional
    x, y = torch.randn(ROWS, COLUMNS), torch.randn(ROWS, COLUMNS)
    large, images = torch.randn(2000, 2000), torch.randn(8, 64, 56, 56)
    lines, at = torch.randint(0, ROWS, (ROWS,)), torch.randint(0, COLUMNS, (ROWS, COLUMNS))
    mask, few = x > 0, x > 2
    half, short = x.to(torch.bfloat16), x.to(torch.float16)
    z, pairs, order = x.clone(), torch.arange(ROWS)[:, None], torch.randperm(ROWS)
    counts = torch.randint(0, 3, (ROWS,))
    table, tokens = torch.randn(10_000, 256), torch.randint(0, 10_000, (32, 128))
    parts = [torch.randn(100, COLUMNS) for _ in range(10)]
    return locals()


MOVES = (
    *workloads(
        index_select="x.index_select(0, lines)",
        index_select_inner="x.index_select(1, lines)",
        index="x[lines]",
        index_pairs="x[lines, lines]",
        index_grid="x[pairs, at]",
        index_slice="x[:, lines]",
        take="x.take(at)",
        take_along_dim="x.take_along_dim(at, 1)",
        gather="x.gather(1, at)",
        gather_outer="x.gather(0, at)",
        scatter="x.scatter(1, at, y)",
        scatter_add="x.scatter_add(1, at, y)",
        scatter_value="x.scatter(1, at, 1.0)",
        scatter_reduce_amax="x.scatter_reduce(1, at, y, 'amax')",
        scatter_reduce_mean="x.scatter_reduce(0, at, y, 'mean')",
        scatter_add_outer="x.scatter_add(0, at, y)",
        index_add="x.index_add(0, lines, y)",
        index_put="x.index_put((lines,), y)",
        index_put_accumulate="x.index_put((lines,), y, accumulate=True)",
        index_put_pairs="x.index_put((pairs, at), y, accumulate=True)",
        index_copy="x.index_copy(0, order, y)",
        index_fill="x.index_fill(0, order, 0.0)",
        index_reduce="x.index_reduce(0, lines, y, 'amax')",
        setitem="z[lines] = y",
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
        transposed_copy="large.t().contiguous()",
        transposed_copy_of_pages="large[:1024, :1024].t().contiguous()",
        transposed_copy_of_halves="half.t().contiguous()",
        put="z.put_(at[0], y[0])",
        to_channels_last="images.contiguous(memory_format=torch.channels_last)",
        permuted_copy="images.permute(0, 2, 3, 1).reshape(-1)",
        to_bfloat16="x.to(torch.bfloat16)",
        from_bfloat16="half.to(torch.float32)",
        to_float16="x.to(torch.float16)",
        from_float16="short.to(torch.float32)",
        to_float64="x.double()",
        to_int64="x.long()",
        to_bool="x.bool()",
        from_int64="at.float()",
        cat_outer="torch.cat(parts)",
        cat_inner="torch.cat((x, y), 1)",
        stack="torch.stack(parts)",
        stack_inner="torch.stack((x, y), 2)",
        chunks="[c.clone() for c in x.chunk(4, 1)]",
        flip="x.flip(1)",
        flip_outer="x.flip(0)",
        flip_both="x.flip(0, 1)",
        roll="x.roll(3, 1)",
        roll_flat="x.roll(3)",
        rot90="x.rot90()",
        repeat="x.repeat(2, 2)",
        repeat_interleave="x.repeat_interleave(2, 1)",
        repeat_interleave_counts="x.repeat_interleave(counts, 0)",
        tril="x.tril()",
        triu="x.triu(1)",
        pad="F.pad(x, (1, 1, 1, 1))",
        unfold="images.unfold(2, 3, 1).clone()",
        diagonal="large.diagonal().clone()",
        clone="x.clone()",
        fill="z.fill_(2.0)",
        masked_select="x[mask]",
        masked_select_few="x[few]",
        masked_scatter="x.masked_scatter(mask, y)",
        masked_assign="z[mask] = 0.0",
        nonzero="mask.nonzero()",
        nonzero_floats="x.relu().nonzero()",
        masked_fill="x.masked_fill(mask, 0.0)",
        where="torch.where(mask, x, y)",
        where_number="torch.where(mask, x, 0.0)",
    ),
)


def vectors(torch):
    F = torch.nn.functional
    x, y, z = torch.randn(10, 10), torch.randn(10, 10), torch.randn(10, 10)
    lines, at = torch.randint(0, 10, (10,)), torch.randint(0, 10, (10, 10))
    order, counts = torch.randperm(10), torch.randint(0, 3, (10,))
    mask, table = x > 0, torch.randn(100, 16)
    return locals()


GROUPS = (
    Group("moving 1e6 elements", matrices, MOVES, mean=1.5, floor=0.95),
    Group(
        "moving 100 elements",
        vectors,
        workloads(
            index_select="x.index_select(0, lines)",
            index="x[lines]",
            index_pairs="x[lines, lines]",
            index_slice="x[:, lines]",
            gather="x.gather(1, at)",
            scatter="x.scatter(1, at, y)",
            scatter_add="x.scatter_add(1, at, y)",
            scatter_add_="z.scatter_add_(1, at, y)",
            scatter_reduce="x.scatter_reduce(1, at, y, 'amax')",
            index_add="x.index_add(0, lines, y)",
            index_copy="x.index_copy(0, order, y)",
            index_fill="x.index_fill(0, lines, 0.0)",
            index_put="x.index_put((lines,), y)",
            setitem="z[lines] = y",
            masked_assign="z[mask] = 0.0",
            masked_select="x[mask]",
            masked_fill="x.masked_fill(mask, 0.0)",
            nonzero="mask.nonzero()",
            embedding="F.embedding(lines, table)",
            cat="torch.cat((x, y))",
            stack="torch.stack((x, y))",
            flip="x.flip(0)",
            roll="x.roll(1, 0)",
            tril="x.tril()",
            pad="F.pad(x, (1, 1))",
            repeat="x.repeat(2, 1)",
            repeat_interleave="x.repeat_interleave(2, 0)",
            repeat_interleave_counts="x.repeat_interleave(counts, 0)",
            transposed_copy="x.t().contiguous()",
            to_bfloat16="x.bfloat16()",
        ),
        mean=2,
        floor=0.95,
    ),
)
