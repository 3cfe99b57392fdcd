"""GPU kernels: that PTX of every kind assembles, and that the loops dealt out to threads are right.

The first needs `ptxas` (skipped without); the second runs on the CPU, see `simt`.
"""

from __future__ import annotations

import mmap
import os
import re

import gpu_table
import numpy as np
import pytest
import simt
from machine import NUMPY, Axis, Call, axis, bf16, pointwise, row

from taimatsu.codegen import monoids, ptx
from taimatsu.codegen.cache import Cache
from taimatsu.codegen.grid import WAVES, Grid
from taimatsu.codegen.ir import (
    BF16,
    BOOL,
    C64,
    DTYPES,
    F16,
    F32,
    F64,
    I32,
    I64,
    U8,
    Buffer,
    Expr,
    Nest,
    Store,
    const,
    item,
    load,
    reduce,
    scan,
)  # fmt: skip
from taimatsu.codegen.llvm import held_as_bits
from taimatsu.codegen.simplify import cast, node, where
from taimatsu.ops.anywhere import formulas

rng = np.random.default_rng(0)


def assemble(launches: list[ptx.Launch], target=ptx.SM80) -> None:
    """Fails if the PTX doesn't assemble."""
    if ptx.assembler() is None:
        pytest.skip("needs ptxas")
    cubin, said = ptx.assemble(gpu_table.together(launches), target.cpu)
    assert cubin is not None, said


# Nests of every kind


def shifted(t):
    """y[i] = x[n - 1 - i] where i is even, else 0: computed positions, a guard."""
    i, x, y = Axis("i"), Buffer("x", t, 1, 1), Buffer("y", t, 1, 0)
    size = Expr("size", (), (x, 0), I64)
    at = node("sub", node("sub", size, const(1, I64)), axis(i))
    even = node("eq", node("irem", axis(i), const(2, I64)), const(0, I64), dtype=BOOL)
    value = where(even, load(x, at), const(0, t))
    return Nest("shifted", (i,), [Store(y, (axis(i),), value)], (y,), (x,))


def scattered(t):
    """y[k, index[i]] += x[k, i]: only k is dealt out."""
    k, i = Axis("k"), Axis("i")
    y, x, index = Buffer("y", t, 2, 0), Buffer("x", t, 2, 1), Buffer("index", I64, 1, 2)
    at = (axis(k), load(index, axis(i)))
    store = Store(y, at, load(x, axis(k), axis(i)), monoids.SUM)
    return Nest("scattered", (k, i), [store], (y,), (x, index))


def softmax(axes, x):
    e = node("exp", node("sub", x, reduce(monoids.MAX, axes, x)))
    return node("div", e, reduce(monoids.SUM, axes, e))


def argmax(axes, x):
    best = reduce(monoids.ARGMAX, axes, x, *map(axis, axes))
    return item(best, 0), item(best, 2)


def variance(axes, x):
    one, zero = const(1, x.dtype), const(0, x.dtype)
    return item(reduce(monoids.WELFORD, axes, one, x, zero), 2)


def total(axes, x):
    return reduce(monoids.SUM, axes, cast(x, x.dtype.compute))


ELEMENTARY = ["exp", "log", "log2", "log1p", "tanh", "sin", "cos", "tan", "atan", "erf", "erfc",
              "lgamma", "pow", "fmod", "atan2", "hypot"]  # fmt: skip


@pytest.mark.parametrize("target", [ptx.SM80, ptx.SM90], ids=lambda t: t.cpu)
def test_elementary_functions_assemble(target):
    launches = []
    for op in ELEMENTARY:
        n = 2 if op in ("pow", "fmod", "atan2", "hypot") else 1
        for t in (F32, F64):
            nest = pointwise(lambda *xs, op=op: node(op, *xs), (t,), *[t] * n)
            launches.append(ptx.render(nest, ("sc",) * (n + 1), target))
    assemble(launches, target)


def test_pointwise_assembles():
    launches = []
    for t in DTYPES.values():
        wide = (t.kind == "f" and not held_as_bits(t)) or t is BF16
        nest = pointwise(lambda x, t=t, w=wide: cast(cast(x, F32), t) if w else x, (t,), t)
        layouts = (("sc", "sc"), ("sc", "ss"), ("sc", "uu"))
        launches += [ptx.render(nest, classes) for classes in layouts]
    assemble(launches)


def wide(text: str, op: str) -> int:
    """How many loads (ld) or stores (st) of sixteen bytes there are."""
    return len(re.findall(rf"\b{op}(?:\.global)?\.v(?:4\.[bfu]32|2\.[bfu]64)", text))


@pytest.mark.parametrize("t", [U8, F16, BF16, F32, F64, I64], ids=repr)
def test_sixteen_bytes_at_once(t):
    """Along an axis without gaps; the same number along it, and rows, too."""
    def both(x, y):
        return cast(node("add", cast(x, t.compute), cast(y, t.compute)), t)

    text = ptx.render(pointwise(both, (t,), t, t), ("sc", "sc", "su")).ptx
    assert wide(text, "ld") >= 1 and wide(text, "st") >= 1
    apart = ptx.render(pointwise(both, (t,), t, t), ("ss", "ss", "ss")).ptx
    assert wide(apart, "ld") == wide(apart, "st") == 0
    rows = ptx.render(row(total, [(t.compute, "cell")], (t, "row")), ("cu", "sc")).ptx
    assert wide(rows, "ld") >= 1


@pytest.mark.parametrize("t", [F32, BF16, I64], ids=repr)
def test_rows_merge_by_shuffles_and_in_shared_memory(t):
    text = ptx.render(row(total, [(t.compute, "cell")], (t, "row")), ("cu", "sc")).ptx
    assert text.count("shfl.sync.down.b32") >= 5 and "bar.sync" in text.replace("barrier", "bar")
    assert "atom" not in text  # in an order that is always the same


def test_no_rounding_is_left_to_the_assembler():
    """ptxas may contract a mul and an add that don't say how they round."""
    nest = pointwise(lambda x, y: node("add", node("mul", x, y), y), (F32,), F32, F32)
    text = ptx.render(nest, ("sc", "ss", "ss")).ptx
    assert "mul.rn.f32" in text and "add.rn.f32" in text and "fma" not in text


@pytest.mark.parametrize("t", [F32, F64, C64], ids=repr)
def test_rows_assemble(t):
    launches = []
    makers = [(total, [(t, "cell")])]
    if t is not C64:
        makers += [(softmax, [(t, "row")]), (argmax, [(t, "cell"), (I64, "cell")]),
                   (variance, [(t, "cell")])]  # fmt: skip
    for formula, out in makers:
        for layout in ("sc", "cs"):
            nest = row(formula, out, (t, "row"))
            cells = tuple("su" if role == "cell" else layout for _, role in out)
            launches.append(ptx.render(nest, (*cells, layout)))
    assemble(launches)


def test_scans_and_computed_positions_assemble():
    nest = row(lambda axes, x: scan(monoids.SUM, axes[1], x), [(F32, "row")], (F32, "row"))
    launches = [ptx.render(nest, (layout, layout)) for layout in ("sc", "cs")]
    launches.append(ptx.render(shifted(F32), ("c", "c")))
    launches.append(ptx.render(scattered(F32), ("c", "c", "c")))
    assemble(launches)


def test_the_table():
    """Every formula, forward and derivative, has a GPU kernel, and it assembles (with `ptxas`).

    LLVM refuses what it can't select by ending the process. All dtypes, layouts and targets with
    TABLE_ON_GPU=all in the environment: that takes hours.
    """
    work = gpu_table.sample()
    if os.environ.get("TABLE_ON_GPU") == "all":
        work = gpu_table.everything(gpu_table.TARGETS, DTYPES)
    made, failures, _ = gpu_table.check(work)
    assert not failures, "\n".join(failures[:20])
    assert made > 500


def test_cubins_are_kept_on_disk(tmp_path, monkeypatch):
    if ptx.assembler() is None:
        pytest.skip("needs ptxas")
    kept = Cache(str(tmp_path))
    monkeypatch.setattr(ptx, "cache", lambda: kept)
    monkeypatch.setattr(ptx, "_loaded", {})
    nest, classes = row(total, [(F32, "cell")], (F32, "row")), ("cu", "sc")
    first = ptx.kernel(nest, classes, "sm_90")
    assert first.image[:4] == b"\x7fELF"
    monkeypatch.setattr(ptx, "_loaded", {})  # as in another process
    monkeypatch.setattr(ptx, "render", None)
    assert ptx.kernel(nest, classes, "sm_90") == first
    with pytest.raises(ValueError, match="no target 'sm_10'; there are sm_70"):
        ptx.kernel(nest, classes, "sm_10")


# Emulated


def emulate(nest, arrays, extents=None, indexed=False, grid=None, **options) -> int:
    """Launches the nest's GPU kernel on arrays, outputs first; returns the flags.

    `grid`: (blocks, threads) in place of what is worked out for the geometry.
    """
    call = Call(nest, arrays, extents=extents, indexed=indexed)  # for its geometry
    launch = ptx.render(nest, tuple(call.classes), **options)
    geometry = list(call.geometry(call.bounds))
    shape = launch.grid(geometry, 1) if grid is None else Grid(*grid)
    return simt.run(launch, arrays, geometry, call.scalars, shape)


@pytest.mark.parametrize("t", [F32, F64, I32, U8, BOOL, F16, BF16, C64], ids=repr)
@pytest.mark.parametrize("shape", [(1, 1000), (3, 77), (5, 16), (1, 1), (2, 0)])
def test_copies_of_any_shape(t, shape):
    x = (rng.random(shape) * 100).astype(NUMPY[t.name])
    y = np.zeros_like(x)
    assert emulate(pointwise(lambda v: v, (t,), t), [y, x]) == 0
    np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize("offset", [0, 1, 4])
def test_vectors_that_are_not_aligned(offset):
    """Wide accesses only where every operand's rows start at a multiple of sixteen bytes."""
    x = rng.random((3, 128), np.float32)[:, offset : offset + 101]
    y = np.zeros((3, 101), np.float32)
    assert emulate(pointwise(lambda v: node("neg", v), (F32,), F32), [y, x]) == 0
    np.testing.assert_array_equal(y, -x)


def test_threads_go_round():
    x = rng.random((3, 1000), np.float32)
    y = np.zeros_like(x)
    nest = pointwise(lambda v: node("neg", v), (F32,), F32)
    assert emulate(nest, [y, x], grid=((2, 1, 1), (32, 2))) == 0
    np.testing.assert_array_equal(y, -x)


def test_nothing_at_all():
    """No rows; rows of no elements, which have the sum's neutral element."""
    nest = row(total, [(F32, "cell")], (F32, "row"))
    for shape in ((1, 3, 1, 0), (1, 3, 0, 4), (1, 0, 1, 4), (0, 3, 1, 4)):
        for order in "CF":
            y = np.full((*shape[:2], 1, 1), 7, np.float32)
            assert emulate(nest, [y, np.zeros(shape, np.float32, order)], extents=shape) == 0
            assert (y == 0).all()


def test_positions_beyond_four_gibibytes():
    """Counters, strides and addresses have 64 bits; of the memory only a few pages are there."""
    far, n = 5 << 30, 40
    noreserve = getattr(mmap, "MAP_NORESERVE", 0x4000)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | noreserve
    memory = np.frombuffer(mmap.mmap(-1, 2 * far + n, flags), np.uint8)
    rows = rng.integers(1, 99, (2, n)).astype(np.uint8)
    memory[far : far + n], memory[2 * far :] = rows
    y = np.zeros((3, n), np.uint8)
    copy = ptx.render(pointwise(lambda v: v, (U8,), U8), ("sc", "sc"))
    by_strides = [1, 3, 0, n, n, 1, far, 1]  # rows 1 and 2
    nothing = np.zeros(1, np.int64)
    assert simt.run(copy, [y, memory], by_strides, nothing, copy.grid(by_strides, 1)) == 0
    np.testing.assert_array_equal(y[1:], rows)
    nest = pointwise(lambda v: node("add", v, const(1, U8)), (U8,), U8)
    following = ptx.render(nest, ("sc", "sc"))
    from_there = [0, 1, far, far + n, 0, 1, 0, 1]  # in place
    grid = following.grid(from_there, 1)
    assert simt.run(following, [memory, memory], from_there, nothing, grid) == 0
    np.testing.assert_array_equal(memory[far : far + n], rows[0] + 1)


def test_division_by_zero_sets_the_flag():
    x, z = np.arange(40).reshape(1, -1), np.arange(40)[::-1].reshape(1, -1).copy()
    y = np.zeros_like(x)
    nest = pointwise(lambda a, b: node("idiv", a, b), (I64,), I64, I64)
    assert emulate(nest, [y, x, z]) == 1
    np.testing.assert_array_equal(y[:, :39], x[:, :39] // z[:, :39])


def test_a_rare_path_in_some_threads():
    x = np.linspace(-3, 3, 50, dtype=np.float32).reshape(1, -1)
    x[0, 20] = 1e20
    y = np.zeros_like(x)
    assert emulate(pointwise(lambda v: node("sin", v), (F32,), F32), [y, x]) == 0
    np.testing.assert_allclose(y, np.sin(x.astype(np.float64)), atol=1e-7)


@pytest.mark.parametrize(
    ("length", "threads"),
    [(1, (32, 2)), (33, (32, 2)), (1000, (32, 2)), (4, (64, 1)), (5000, (64, 1))],
)
def test_contiguous_rows(length, threads):
    """A warp or a block for each row, held in registers or not; more rows than teams."""
    x = rng.standard_normal((1, 5, 1, length)).astype(np.float32)
    options = {"grid": ((2, 1, 1), threads)}
    y = np.zeros_like(x)
    assert emulate(row(softmax, [(F32, "row")], (F32, "row")), [y, x], **options) == 0
    e = np.exp(x - x.max(-1, keepdims=True))
    np.testing.assert_allclose(y, e / e.sum(-1, keepdims=True), rtol=1e-5)
    best, where_ = np.zeros((1, 5, 1, 1), np.float32), np.zeros((1, 5, 1, 1), np.int64)
    x[:, 2, :, length // 2] = np.nan
    nest = row(argmax, [(F32, "cell"), (I64, "cell")], (F32, "row"))
    assert emulate(nest, [best, where_, x], extents=x.shape, **options) == 0
    np.testing.assert_array_equal(where_[..., 0], np.argmax(x, -1))
    np.testing.assert_array_equal(best[..., 0], np.max(x, -1))


@pytest.mark.parametrize("t", [F64, C64, I64, F16], ids=repr)
def test_sums_of_every_width(t):
    x = (rng.random((2, 3, 2, 90)) * 10).astype(NUMPY[t.name])
    if t.kind == "c":
        x = x + 1j * x[::-1]
    y = np.zeros((2, 3, 1, 1), x.dtype)
    nest = row(total, [(t, "cell")], (t, "row"))
    if t is F16:  # summed in f32, as every op does
        def half_total(axes, v):
            return cast(reduce(monoids.SUM, axes, cast(v, F32)), F16)

        nest = row(half_total, [(t, "cell")], (t, "row"))
    assert emulate(nest, [y, x], extents=x.shape) == 0
    expected = x.sum((2, 3), keepdims=True, dtype=np.float32 if t is F16 else x.dtype)
    np.testing.assert_allclose(y, expected.astype(x.dtype), rtol=1e-3 if t is F16 else 1e-5)


def test_rows_across_lanes_and_scans():
    x = rng.standard_normal((2, 7, 1, 40))
    y = np.zeros_like(x)
    nest = row(lambda axes, v: scan(monoids.SUM, axes[1], v), [(F64, "row")], (F64, "row"))
    assert emulate(nest, [y, x]) == 0
    np.testing.assert_allclose(y, np.cumsum(x, -1))
    columns = np.asfortranarray(x.transpose(3, 1, 2, 0)).transpose(3, 1, 2, 0)
    z = np.zeros((2, 7, 1, 1))
    nest = row(total, [(F64, "cell")], (F64, "row"))
    assert emulate(nest, [z, columns], extents=x.shape) == 0
    np.testing.assert_allclose(z[..., 0, 0], x.sum((2, 3)))


def test_indexed():
    x, y = rng.random(50), np.zeros(50)
    assert emulate(shifted(F64), [y, x], indexed=True, extents=(50,)) == 0
    np.testing.assert_array_equal(y, np.where(np.arange(50) % 2 == 0, x[::-1], 0))
    index, x, y = rng.integers(0, 4, 30), rng.random((3, 30)), np.zeros((3, 4))
    arrays = [y, x, index]
    assert emulate(scattered(F64), arrays, indexed=True, extents=(3, 30)) == 0
    expected = np.zeros((3, 4))
    np.add.at(expected, (slice(None), index), x)
    np.testing.assert_allclose(y, expected)


def test_integers_are_counted_by_all_threads_at_once():
    index = rng.integers(0, 5, 300)
    count = np.zeros(5, np.int64)
    nest = formulas.counted.variant((("i64", "tensor"),), {"size": 5}).nest
    grid = (3, 1, 1), (32, 1)
    assert emulate(nest, [count, index], indexed=True, extents=(300,), grid=grid) == 0
    np.testing.assert_array_equal(count, np.bincount(index, minlength=5))


@pytest.mark.parametrize("grid", [((2, 1, 1), (8, 1)), ((1, 1, 1), (1, 1))])
def test_additions_have_an_owner(grid):
    """The same bits for any number of threads, though the sum depends on its order."""
    i = Axis("i")
    y, x, index = Buffer("y", F32, 1, 0), Buffer("x", F32, 1, 1), Buffer("index", I64, 1, 2)
    at = (load(index, axis(i)),)
    store = Store(y, at, load(x, axis(i)), monoids.SUM)
    nest = Nest("scattered", (i,), [store], (y,), (x, index))
    terms = (rng.standard_normal(200) * 1e3).astype(np.float32)
    places, total = rng.integers(0, 3, 200), np.zeros(3, np.float32)
    arrays = [total, terms, places]
    assert emulate(nest, arrays, indexed=True, extents=(200,), grid=grid) == 0
    expected = np.zeros(3, np.float32)
    for p, v in zip(places, terms, strict=True):
        expected[p] += v
    np.testing.assert_array_equal(total, expected)


def test_a_scan_that_is_read_twice_is_computed_again():
    def normalized(axes, v):
        running = scan(monoids.SUM, axes[1], v)
        return node("div", running, reduce(monoids.MAX, axes, running))

    x = rng.random((1, 3, 1, 70))
    y = np.zeros_like(x)
    nest = row(normalized, [(F64, "row")], (F64, "row"))
    assert emulate(nest, [y, x], grid=((1, 1, 1), (32, 1))) == 0
    sums = np.cumsum(x, -1)
    np.testing.assert_allclose(y, sums / sums[..., -1:])


@pytest.mark.parametrize("layout", ["rows", "columns"])
def test_long_rows_in_sections(layout):
    """The sections' accumulators are merged by the finish function."""
    x = rng.standard_normal((1, 2, 1, 1000)).astype(np.float32)
    x[0, 1, 0, 777] = 10
    if layout == "columns":
        x = np.asfortranarray(x)
    best, at = np.zeros((1, 2, 1, 1), np.float32), np.zeros((1, 2, 1, 1), np.int64)
    nest = row(argmax, [(F32, "cell"), (I64, "cell")], (F32, "row"))
    threads = (32, 2)
    grid = (1, 1, 3), threads, 3, 1024, (1, 1), (32, 2)
    assert emulate(nest, [best, at, x], extents=x.shape, grid=grid) == 0
    np.testing.assert_array_equal(at[..., 0], np.argmax(x, -1))
    np.testing.assert_array_equal(best[..., 0], np.max(x, -1))


@pytest.mark.parametrize("members", [1, 4])
def test_columns_are_shared_among_warps(members):
    x = np.asfortranarray(rng.standard_normal((1, 40, 1, 50)).astype(np.float32))
    y = np.zeros_like(x)
    nest = row(softmax, [(F32, "row")], (F32, "row"))
    assert emulate(nest, [y, x], grid=((1, 1, 1), (32, members))) == 0
    e = np.exp(x - x.max(-1, keepdims=True))
    np.testing.assert_allclose(y, e / e.sum(-1, keepdims=True), rtol=1e-5)


def test_a_grid_for_every_geometry():
    """Enough threads for small geometries, no more than go round for large ones."""
    add = ptx.render(pointwise(lambda v: v, (F32,), F32), ("sc", "sc"))
    assert add.grid([0, 1, 0, 1000, 0, 1, 0, 1]) == Grid((1, 1, 1), (256, 1))
    assert add.grid([0, 1000, 0, 8, 8, 1, 8, 1]).threads == (2, 128)
    large = add.grid([0, 1, 0, 10**9, 0, 1, 0, 1], 100)
    assert large.blocks == (100 * WAVES, 1, 1)
    sums = ptx.render(row(total, [(F32, "cell")], (F32, "row")), ("cu", "sc"))
    few = sums.grid([0, 1, 0, 2, 0, 1, 0, 10**6])
    assert few.sections == 62 and few.scratch == 62 * 2 * F32.bits // 8
    assert sums.grid([0, 1, 0, 10**4, 0, 1, 0, 100]).threads == (32, 8)
    assert sums.grid([0, 0, 0, 0, 0, 1, 0, 100]).blocks == (1, 1, 1)


@pytest.mark.parametrize("t", [F32, C64, BOOL], ids=repr)
def test_transposed_operands_go_through_tiles(t):
    x = (rng.random((45, 70)) * 2).astype(NUMPY[t.name])
    z = (rng.random((45, 70)) * 2).astype(NUMPY[t.name])
    y = np.zeros_like(x)
    nest = pointwise(lambda a, b: node("add", a, b), (t,), t, t)
    arrays = [y, np.asfortranarray(x), z]
    launch = ptx.render(nest, ("sc", "cs", "sc"))
    assert launch.form == "tiles"
    assert emulate(nest, arrays, grid=((2, 1, 1), (32, 8))) == 0
    np.testing.assert_array_equal(y, x + z)


@pytest.mark.parametrize("threads", [(32, 2), (96, 1)])
def test_scans_by_a_warp_or_a_block(threads):
    def running(axes, v):
        best = scan(monoids.ARGMAX, axes[1], v, axis(axes[1]))
        return scan(monoids.SUM, axes[1], v), item(best, 1)

    x = rng.standard_normal((1, 3, 1, 333))
    y, at = np.zeros_like(x), np.zeros(x.shape, np.int64)
    nest = row(running, [(F64, "row"), (I64, "row")], (F64, "row"))
    assert emulate(nest, [y, at, x], grid=((2, 1, 1), threads)) == 0
    np.testing.assert_allclose(y, np.cumsum(x, -1))
    largest = np.maximum.accumulate(x, -1)
    np.testing.assert_array_equal(np.take_along_axis(x, at, -1), largest)


@pytest.mark.parametrize(
    ("t", "sizes", "transposed"),
    [(F32, (70, 35, 66), True), (F32, (3, 40, 5), False), (BF16, (5, 17, 66), False),
     (I64, (2, 3, 4), True)],
)  # fmt: skip
def test_products_by_tiles(t, sizes, transposed):
    """Rows of one operand and columns of another, both expanded: a product of matrices."""
    n, k, m = sizes
    a = rng.integers(-3, 4, (1, n, 1, 1, k)[1:]).astype(np.float32)
    b = rng.integers(-3, 4, (k, m) if transposed else (m, k)).astype(np.float32)
    expected = a.reshape(n, k) @ (b if transposed else b.T)
    if t is BF16:
        a, b = bf16(a), bf16(b)
    a, b = a.astype(NUMPY[t.name]), b.astype(NUMPY[t.name])
    x = np.broadcast_to(a.reshape(n, 1, 1, k), (n, m, 1, k))
    y = np.broadcast_to((b.T if transposed else b).reshape(1, m, 1, k), (n, m, 1, k))
    wide = F32 if t is BF16 else t

    def product(axes, u, v):
        return reduce(monoids.SUM, axes, node("mul", cast(u, wide), cast(v, wide)))

    out = np.zeros((n, m, 1, 1), NUMPY[wide.name])
    nest = row(product, [(wide, "cell")], (t, "row"), (t, "row"))
    assert ptx.plan(nest, ("cu", "uc", "cs" if transposed else "sc")).product == 2
    several = n * m > 20  # tiles go round; else the grid is worked out
    grid = ((1, 2, 1), (16, 16)) if several else None
    assert emulate(nest, [out, x, y], extents=(n, m, 1, k), grid=grid) == 0
    np.testing.assert_array_equal(out[..., 0, 0], expected)
    if several:
        return
    out[:] = 0  # as any rows
    assert emulate(nest, [out, x, y], extents=(n, m, 1, k), grid=((1, 1, 1), (32, 1))) == 0
    np.testing.assert_array_equal(out[..., 0, 0], expected)
