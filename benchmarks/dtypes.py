"""Generated kernels over dtypes, shapes and directions that `kernels` has no place for."""

from __future__ import annotations

from functools import partial

from .table import Group, Workload, workloads


def operands(torch, n: int):
    """Matrices of about n elements in the dtypes, and masks of them."""
    F = torch.nn.functional
    side = int(n**0.5)
    x, y = torch.randn(side, side), torch.randn(side, side)
    double, other = x.double(), y.double()
    bf, bg = x.bfloat16(), y.bfloat16()
    half, halves = x.half(), y.half()
    c, d = torch.complex(x, y), torch.complex(y, x)
    i, j = torch.randint(1, 100, (side, side)), torch.randint(1, 100, (side, side))
    byte = torch.randint(0, 255, (side, side), dtype=torch.uint8)
    m, k = x > 0, y > 0
    positive = x.abs() + 0.1
    column, row = torch.randn(side, 1), torch.randn(side)
    return locals()


POINTWISE = workloads(
    add_double="double + other",
    mul_bfloat16="bf * bg",
    add_float16="half + halves",
    mul_complex="c * d",
    div_complex="c / d",
    abs_complex="c.abs()",
    exp_complex="c.exp()",
    add_int64="i + j",
    mul_int64="i * j",
    floor_divide_int64="i // j",
    remainder_int64="i % j",
    floor_divide_number="i // 7",
    remainder="x % y",
    floor_divide="x // y",
    add_byte="byte + byte",
    and_int64="i & j",
    shift_int64="i << 3",
    less="x < y",
    less_number="x < 0.5",
    equal_int64="i == j",
    less_double="double < other",
    and_bool="m & k",
    not_bool="~m",
    isnan="x.isnan()",
    isfinite="x.isfinite()",
    broadcast_row="x + row",
    broadcast_column="x * column",
    transposed="x + y.t()",
    strided="x[:, ::2] + y[:, ::2]",
    sum_strided="x[:, ::2].sum()",
    argmax_strided="x[:, ::2].argmax()",
    gcd="i.gcd(j)",
    neg_bfloat16="-bf",
    square_complex="c ** 2",
    root_double="double.abs() ** 0.5",
    mixed="x + i",
    clamp="x.clamp(-1, 1)",
    abs="x.abs()",
    neg="-x",
    sign="x.sign()",
    round="x.round()",
    floor="x.floor()",
    reciprocal="x.reciprocal()",
    sqrt="positive.sqrt()",
    rsqrt="positive.rsqrt()",
    pow_2="x ** 2",
    pow_3="x ** 3",
    pow_half="positive ** 0.5",
    pow="positive ** y",
    sin="x.sin()",
    cos="x.cos()",
    tan="x.tan()",
    atan="x.atan()",
    atan2="x.atan2(y)",
    asin="(x * 0.1).asin()",
    sinh="x.sinh()",
    asinh="x.asinh()",
    exp="x.exp()",
    exp2="x.exp2()",
    expm1="x.expm1()",
    log="positive.log()",
    log2="positive.log2()",
    log10="positive.log10()",
    log1p="positive.log1p()",
    erf="x.erf()",
    erfinv="(x * 0.1).erfinv()",
    lgamma="positive.lgamma()",
    digamma="positive.digamma()",
    sigmoid="x.sigmoid()",
    tanh="x.tanh()",
    silu="F.silu(x)",
    softplus="F.softplus(x)",
    elu="F.elu(x)",
    leaky_relu="F.leaky_relu(x)",
    hardswish="F.hardswish(x)",
    logsigmoid="F.logsigmoid(x)",
    mish="F.mish(x)",
    lerp="x.lerp(y, 0.3)",
    addcmul="x.addcmul(y, y, value=0.5)",
    maximum="x.maximum(y)",
    fmod="x.fmod(y)",
    hypot="x.hypot(y)",
    logaddexp="x.logaddexp(y)",
    copysign="x.copysign(y)",
    exp_double="double.exp()",
    log_double="double.abs().log()",
    tanh_double="double.tanh()",
    sin_double="double.sin()",
    erf_double="double.erf()",
    sqrt_double="double.abs().sqrt()",
    pow_double="double.abs() ** other",
    exp_bfloat16="bf.exp()",
    tanh_bfloat16="bf.tanh()",
    gelu_bfloat16="F.gelu(bf)",
    silu_float16="F.silu(half)",
    where_double="double.where(m, other)",
    where_int64="i.where(m, j)",
)


def tables(torch, rows: int, columns: int):
    """A matrix of a shape, and what normalisations and losses take."""
    F = torch.nn.functional
    x = torch.randn(rows, columns)
    double, bf, i, m = x.double(), x.bfloat16(), (x * 100).long(), x > 0
    positive = x.abs() + 0.1
    weight, bias = torch.randn(columns), torch.randn(columns)
    target = torch.randint(0, columns, (rows,))
    return locals() | {"columns": columns}


ROWS = workloads(
    sum="x.sum()",
    sum_inner="x.sum(1)",
    sum_outer="x.sum(0)",
    mean_inner="x.mean(1)",
    mean_outer="x.mean(0)",
    var_inner="x.var(1)",
    var_outer="x.var(0)",
    var_all="x.var()",
    std_inner="x.std(1)",
    norm="x.norm()",
    norm_inner="x.norm(dim=1)",
    norm_1="x.norm(1, dim=1)",
    prod_inner="x.prod(1)",
    logsumexp="x.logsumexp(1)",
    max_all="x.max()",
    max_inner="x.max(1)",
    max_outer="x.max(0)",
    amax_inner="x.amax(1)",
    argmax="x.argmax()",
    argmax_inner="x.argmax(1)",
    argmax_outer="x.argmax(0)",
    aminmax="x.aminmax()",
    count_nonzero="x.count_nonzero()",
    sum_double="double.sum(1)",
    sum_bfloat16="bf.sum(1)",
    sum_int64="i.sum(1)",
    sum_int64_outer="i.sum(0)",
    max_int64="i.max(1)",
    sum_bool="m.sum()",
    sum_bool_inner="m.sum(1)",
    any="m.any()",
    all_inner="m.all(1)",
    any_outer="m.any(0)",
    cumsum_inner="x.cumsum(1)",
    cumsum_outer="x.cumsum(0)",
    cumsum_int64="i.cumsum(1)",
    cumsum_bool="m.cumsum(1)",
    cumprod="x.cumprod(1)",
    cummax="x.cummax(1)",
    cummax_outer="x.cummax(0)",
    logcumsumexp="x.logcumsumexp(1)",
    softmax_inner="x.softmax(1)",
    softmax_outer="x.softmax(0)",
    log_softmax="x.log_softmax(1)",
    softmax_bfloat16="bf.softmax(1)",
    layer_norm="F.layer_norm(x, (columns,), weight, bias)",
    rms_norm="F.rms_norm(x, (columns,), weight)",
    normalize="F.normalize(x)",
    cross_entropy="F.cross_entropy(x, target)",
    dist="torch.dist(x, positive)",
    cosine_similarity="F.cosine_similarity(x, positive)",
)


def spectra(torch):
    x, batch = torch.randn(1000), torch.randn(32, 128)
    c, grid = torch.complex(batch, batch), torch.randn(8, 64, 64)
    tiny = torch.randn(4, 8)
    long = torch.randn(1 << 16)
    return locals()


TRANSFORMS = workloads(
    fft_tiny="torch.fft.fft(tiny)",
    rfft_tiny="torch.fft.rfft(tiny)",
    fft="torch.fft.fft(c)",
    ifft="torch.fft.ifft(c)",
    rfft="torch.fft.rfft(batch)",
    irfft="torch.fft.irfft(c)",
    rfft_1000="torch.fft.rfft(x)",
    fft2="torch.fft.fft2(grid)",
    rfft2="torch.fft.rfft2(grid)",
    fft_long="torch.fft.fft(long)",
    fft_columns="torch.fft.fft(c, dim=0)",
)

GRADIENTS = tuple(
    Workload(
        f"{name} backward",
        "torch.autograd.grad(out, a, g, retain_graph=True)",
        f"a = positive.clone().requires_grad_()\nout = {forward}\ng = out.detach().clone()",
    )
    for name, forward in {
        "softmax_outer": "a.softmax(0)",
        "rms_norm": "F.rms_norm(a, (columns,), weight)",
        "var": "a.var(1)",
        "norm": "a.norm(dim=1)",
        "max": "a.max(1)[0]",
        "mean": "a.mean(1)",
        "cumsum": "a.cumsum(1)",
        "cumprod": "a.cumprod(1)",
        "logsumexp": "a.logsumexp(1)",
        "sort": "a.sort(1)[0]",
        "index": "a[target % a.size(0)]",
        "cross_entropy": "F.cross_entropy(a, target, reduction='none')",
    }.items()
)

GROUPS = (
    Group("pointwise, 16 elements", partial(operands, n=16), POINTWISE, mean=4, floor=0.95),
    Group("pointwise, 1e5 elements", partial(operands, n=100_000), POINTWISE, mean=1.5, floor=0.95),
    Group("pointwise, 1e7 elements", partial(operands, n=10_000_000), POINTWISE, mean=1.5,
          floor=0.95),
    Group("rows, 1000 x 1000", partial(tables, rows=1000, columns=1000), (*ROWS, *GRADIENTS),
          mean=1.5, floor=0.95),
    Group("rows, 10000 x 32", partial(tables, rows=10_000, columns=32), (*ROWS, *GRADIENTS),
          mean=1.5, floor=0.95),
    Group("rows, 8 x 50000", partial(tables, rows=8, columns=50_000), (*ROWS, *GRADIENTS), mean=1.5,
          floor=0.95),
    Group("rows, 4 x 4", partial(tables, rows=4, columns=4), (*ROWS, *GRADIENTS), mean=4,
          floor=0.95),
    Group("Fourier transforms", spectra, TRANSFORMS, mean=1, floor=0.7),
)  # fmt: skip
