"""Matrix products: square ones, batches of small ones, other dtypes, thin shapes, transposes."""

from __future__ import annotations

from .table import Group, Workload, workloads

SIZES = (64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
OTHER_SIZES = (64, 256, 1024)


def square(torch, dtype="float32", sizes=SIZES):
    """a64, b64, a96, ...: two random matrices of each size."""
    kind = getattr(torch, dtype)
    return {f"{name}{n}": torch.randn(n, n).to(kind) for n in sizes for name in "ab"}


def products(sizes) -> tuple[Workload, ...]:
    return tuple(Workload(f"{n} x {n}", f"a{n} @ b{n}") for n in sizes)


def thin(torch):
    """Vectors, batches, layers, and matrices that are longer than wide."""
    F = torch.nn.functional
    a, b, column, row = (torch.randn(*s) for s in ((512, 512), (512, 512), (512,), (1, 512)))
    tall, narrow, wide = (torch.randn(*s) for s in ((20_000, 32), (32, 32), (32, 20_000)))
    batch8, batch16, batch64 = (torch.randn(n, m, m) for n, m in ((1000, 8), (500, 16), (32, 64)))
    heads, keys = torch.randn(32, 128, 64), torch.randn(32, 128, 64)
    x, weight, bias = torch.randn(128, 256), torch.randn(512, 256), torch.randn(512)
    one, four, large = (torch.randn(*s) for s in ((1, 256), (4, 2048), (2048, 2048)))
    return locals()


def complex_numbers(torch):
    """Square matrices, a large one with vectors, a batch."""
    names = square(torch, "complex64", OTHER_SIZES)
    batch, vector = (torch.randn(*s, dtype=torch.complex64) for s in ((256, 16, 16), (1024,)))
    return names | {"torch": torch, "batch": batch, "vector": vector}


GROUPS = (
    Group("matmul, float32", square, products(SIZES), mean=1, floor=0.95),
    Group(
        "matmul, float64",
        lambda torch: square(torch, "float64", OTHER_SIZES),
        products(OTHER_SIZES),
        floor=0.95,
    ),
    Group(
        "matmul, bfloat16",
        lambda torch: square(torch, "bfloat16", OTHER_SIZES),
        products(OTHER_SIZES),
        floor=0.95,
    ),
    Group(
        "matmul, complex64",
        complex_numbers,
        (
            *products(OTHER_SIZES),
            *workloads(
                matrix_vector="a1024 @ vector",
                row_matrix="vector @ a1024",
                dot="torch.dot(vector, vector)",
                bmm_16="batch @ batch",
            ),
        ),
        floor=0.95,
    ),
    Group(
        "matmul, other shapes",
        thin,
        workloads(
            matrix_vector="a @ column",
            transposed_vector="a.t() @ column",
            row_matrix="row @ a",
            row_transposed="row @ a.t()",
            a_bT="a @ b.t()",
            aT_b="a.t() @ b",
            aT_bT="a.t() @ b.t()",
            tall="tall @ narrow",
            tall_T_tall="tall.t() @ tall",
            wide="narrow @ wide",
            bmm_8="torch.bmm(batch8, batch8)",
            bmm_16="torch.bmm(batch16, batch16)",
            bmm_64="torch.bmm(batch64, batch64)",
            scores="heads @ keys.transpose(1, 2)",
            addmm="torch.addmm(bias, x, weight.t())",
            linear="F.linear(x, weight, bias)",
            linear_one="F.linear(one, weight, bias)",
            few_large="four @ large",
            row_large="four[:1] @ large",
        ),
        floor=0.95,
    ),
)
