"""Pooling, margins, patches, resampling, distances, embeddings."""

import itertools
import math

import numpy as np
import scipy.ndimage
import scipy.spatial.distance as points

_EXTENTS = {1: (9,), 2: (7, 6), 3: (5, 4, 4)}


def _each(v, n):
    v = [v] if isinstance(v, (int, float)) else list(v)
    return v * n if len(v) == 1 else v


# ---- pooling: a loop over the output's places ----------------------------------------------------


def _pooled(x, n, sizes, places, pick):
    """pick(elements, positions) of the window at each place; `places` gives its extents."""
    planes = x.shape[-n:]
    position = np.arange(math.prod(planes)).reshape(planes)
    values = np.zeros((*x.shape[:-n], *sizes), x.dtype)
    indices = np.zeros(values.shape, np.int64)
    for at in np.ndindex(*sizes):
        inside = tuple(np.ix_(*places(at)))
        elements = x[(..., *inside)].reshape(*x.shape[:-n], -1)
        values[(..., *at)], indices[(..., *at)] = pick(elements, position[inside].reshape(-1), at)
    return values, indices


def _largest(elements, positions, at):
    return elements.max(-1), positions[elements.argmax(-1)]


def _windows(n, kind):
    def pool(x, kernel_size, stride=None, padding=0, *rest, dilation=1, ceil_mode=False,
             return_indices=True, count_include_pad=True, divisor_override=None):
        kernel, step = _each(kernel_size, n), _each(stride or kernel_size, n)
        padding, dilation = _each(padding, n), _each(dilation, n)
        planes, sizes = x.shape[-n:], []
        for m, k, s, p, d in zip(planes, kernel, step, padding, dilation, strict=True):
            span = m + 2 * p - d * (k - 1) - 1
            count = (-(-span // s) if ceil_mode else span // s) + 1
            sizes.append(count - (ceil_mode and (count - 1) * s >= m + p))

        def begins(at):
            return [a * s - p for a, s, p in zip(at, step, padding, strict=True)]

        def places(at):
            return [[f + i * d for i in range(k) if 0 <= f + i * d < m] for f, k, d, m in
                    zip(begins(at), kernel, dilation, planes, strict=True)]

        def mean(elements, positions, at):
            margins = padding if count_include_pad else [0] * n
            count = math.prod(min(f + k, m + p) - max(f, -p) for f, k, m, p in
                              zip(begins(at), kernel, planes, margins, strict=True))
            total = elements.sum(-1) / (divisor_override or count)
            return (np.trunc(total) if x.dtype.kind == "i" else total), 0

        return _pooled(x, n, sizes, places, _largest if kind == "max" else mean)

    return pool


def _parts(n, kind):
    def pool(x, output_size, return_indices=True):
        planes = x.shape[-n:]
        sizes = [m if k is None else k for k, m in zip(_each(output_size, n), planes, strict=True)]

        def places(at):
            return [range(a * m // k, -(-(a + 1) * m // k)) for a, m, k in
                    zip(at, planes, sizes, strict=True)]

        return _pooled(x, n, sizes, places, _largest if kind == "max" else
                       lambda elements, *_: (elements.mean(-1), 0))

    return pool


def _fractional(n):
    def pool(x, kernel_size, output_size=None, *, output_ratio=None, return_indices=True,
             _random_samples):
        batched = x if x.ndim == n + 2 else x[None]
        kernel = _each(kernel_size, n)
        sizes = _each(output_size, n) if output_size else [
            int(m * r) for m, r in zip(x.shape[-n:], _each(output_ratio, n), strict=True)]
        values = np.zeros((*batched.shape[:2], *sizes), x.dtype)
        indices = np.zeros(values.shape, np.int64)
        for b, c in np.ndindex(*batched.shape[:2]):
            sample = _random_samples[b, c][::-1] if n == 2 else _random_samples[b, c]
            begins = []
            for m, k, count, u in zip(x.shape[-n:], kernel, sizes, sample, strict=True):
                step = (m - k) / max(count - 1, 1)
                begins.append([int((i + u) * step) - int(u * step) for i in range(count - 1)]
                              + [m - k])
            values[b, c], indices[b, c] = _pooled(
                batched[b, c], n, sizes, lambda at, begins=begins: [
                    range(f[a], f[a] + k) for f, a, k in zip(begins, at, kernel, strict=True)],
                _largest)
        return (values, indices) if x.ndim == n + 2 else (values[0], indices[0])

    return pool


def _unpooled(n):
    def unpool(x, indices, kernel_size, stride=None, padding=0, output_size=None):
        kernel = _each(kernel_size, n)
        sizes = output_size or [(m - 1) * k + k for m, k in zip(x.shape[-n:], kernel, strict=True)]
        y = np.zeros((math.prod(x.shape[:-n]), math.prod(sizes)), x.dtype)
        for line, at, values in zip(y, indices.reshape(len(y), -1), x.reshape(len(y), -1),
                                    strict=True):
            line[at] = values
        return y.reshape(*x.shape[:-n], *sizes)

    return unpool


def _lp(n):
    def pool(x, norm_type, kernel_size, stride=None, ceil_mode=False):
        mean = _windows(n, "mean")(x**norm_type, kernel_size, stride, ceil_mode=ceil_mode)[0]
        return (np.maximum(mean, 0) * math.prod(_each(kernel_size, n))) ** (1 / norm_type)

    return pool


def _first(pool):
    return lambda *args, **kwargs: pool(*args, **kwargs)[0]


def _pools():
    for n in (1, 2, 3):
        largest, mean, parts = _windows(n, "max"), _windows(n, "mean"), _parts(n, "max")
        nn = "nn.functional."
        yield from {
            f"max_pool{n}d": _first(largest), f"{nn}max_pool{n}d": _first(largest),
            f"{nn}max_pool{n}d_with_indices": largest,
            ("" if n == 1 else nn) + f"avg_pool{n}d": _first(mean),
            f"{nn}adaptive_avg_pool{n}d": _first(_parts(n, "mean")),
            f"{nn}adaptive_max_pool{n}d": _first(parts),
            f"{nn}adaptive_max_pool{n}d_with_indices": parts, f"{nn}lp_pool{n}d": _lp(n),
            f"{nn}max_unpool{n}d": _unpooled(n),
        }.items()  # fmt: skip
        if n == 1:
            yield from {"max_pool1d_with_indices": largest, "adaptive_max_pool1d": parts,
                        "adaptive_avg_pool1d": _first(_parts(n, "mean"))}.items()
        else:
            yield f"{nn}fractional_max_pool{n}d", _first(_fractional(n))
            yield f"{nn}fractional_max_pool{n}d_with_indices", _fractional(n)


def _pool_samples(name):
    n = int(name[name.index("pool") + 4])
    plane = _EXTENTS[n]
    if "adaptive" in name:
        uneven = [3] * n if n == 1 else [*[2] * (n - 1), None]
        return lambda t: [(t(2, 3, *plane), 2), (t(3, *plane), uneven)]
    if "fractional" in name:
        return lambda t: [
            (t(2, 3, *plane), 2, 3, {"_random_samples": t(2, 3, n, low=0.1, high=0.9)}),
            (t(3, *plane), 2, {"output_ratio": [0.5] * n,
                               "_random_samples": t(1, 3, n, low=0.1, high=0.9)}),
        ]
    if "unpool" in name:
        return lambda t: [(t(2, 3, *[2] * n), _scattered(t, 6, 2**n, 4**n, (2, 3, *[2] * n)), 2)]
    if "lp_pool" in name:
        return lambda t: [(t(2, 3, *plane, low=0.2), 2, 2), (t(3, *plane, low=0.2), 3, 3, 2, True)]
    extra = {"dilation": 2} if "max" in name else {"count_include_pad": False}
    more = [] if n == 1 or "max" in name else [{"divisor_override": 3}]
    return lambda t: [
        (t(2, 2, *plane), 2), (t(2, *plane), [3] * n, [2] * n, [1] * n, {"ceil_mode": True}),
        (t(2, *plane), 3, 1, 1, extra), *((t(2, *plane), 2, k) for k in more),
    ]  # fmt: skip


def _scattered(t, lines, count, n, shape):
    """Different positions in each line."""
    chosen = np.stack([t.random.permutation(n)[:count] for _ in range(lines)])
    import taimatsu

    return taimatsu.tensor(chosen.reshape(shape))


# ---- margins, patches, pixels --------------------------------------------------------------------


def _pad(x, pad, mode="constant", value=None):
    widths = [(0, 0)] * (x.ndim - len(pad) // 2) + [
        (pad[k], pad[k + 1]) for k in range(len(pad) - 2, -1, -2)]
    cut = tuple(slice(max(-a, 0), n - max(-b, 0)) for (a, b), n in
                zip(widths, x.shape, strict=True))
    grown = [(max(a, 0), max(b, 0)) for a, b in widths]
    if mode == "constant":
        return np.pad(x[cut], grown, constant_values=value or 0)
    if mode == "circular":
        return np.pad(x[cut], grown, "wrap")
    wide = np.pad(x, grown, {"reflect": "reflect", "replicate": "edge"}[mode])
    return wide[tuple(slice(max(-a, 0), n - max(-b, 0)) for (a, b), n in
                      zip(widths, wide.shape, strict=True))]


def _patches(shape, kernel, dilation, padding, stride):
    """(row, column) of the column matrix and (channel, h, w) in the padded planes, of each."""
    kernel, dilation, padding, stride = (_each(v, 2) for v in (kernel, dilation, padding, stride))
    blocks = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, d, p, s in
              zip(shape[-2:], kernel, dilation, padding, stride, strict=True)]
    for c, u, v, i, j in np.ndindex(shape[-3], *kernel, *blocks):
        yield ((c * kernel[0] + u) * kernel[1] + v, i * blocks[1] + j,
               (c, i * stride[0] + u * dilation[0], j * stride[1] + v * dilation[1]))


def _unfold(x, kernel_size, dilation=1, padding=0, stride=1):
    p, q = _each(padding, 2)
    wide = np.pad(x, [(0, 0)] * (x.ndim - 2) + [(p, p), (q, q)])
    found = list(_patches(x.shape, kernel_size, dilation, padding, stride))
    y = np.zeros((*x.shape[:-3], found[-1][0] + 1, found[-1][1] + 1), x.dtype)
    for row, column, at in found:
        y[..., row, column] = wide[(..., *at)]
    return y


def _fold(x, output_size, kernel_size, dilation=1, padding=0, stride=1):
    (h, w), (p, q) = _each(output_size, 2), _each(padding, 2)
    channels = x.shape[-2] // math.prod(_each(kernel_size, 2))
    wide = np.zeros((*x.shape[:-2], channels, h + 2 * p, w + 2 * q), x.dtype)
    for row, column, at in _patches((channels, h, w), kernel_size, dilation, padding, stride):
        wide[(..., *at)] += x[..., row, column]
    return wide[..., p : p + h, q : q + w]


def _pixel_shuffle(x, r):
    *batch, c, h, w = x.shape
    y = np.zeros((*batch, c // r**2, h * r, w * r), x.dtype)
    for u, v in np.ndindex(r, r):
        y[..., u::r, v::r] = x[..., u * r + v :: r * r, :, :]
    return y


def _pixel_unshuffle(x, r):
    *batch, c, h, w = x.shape
    y = np.zeros((*batch, c * r * r, h // r, w // r), x.dtype)
    for u, v in np.ndindex(r, r):
        y[..., u * r + v :: r * r, :, :] = x[..., u::r, v::r]
    return y


def _channel_shuffle(x, groups):
    order = np.arange(x.shape[1]).reshape(groups, -1).T.reshape(-1)
    return x[:, order]


# ---- resampling ----------------------------------------------------------------------------------


def _kernel(mode, antialias):
    if mode == "linear":
        return lambda x: max(0.0, 1 - abs(x)), 1
    if mode == "lanczos":
        return lambda x: np.sinc(x) * np.sinc(x / 3) if abs(x) < 3 else 0.0, 3
    a = -0.5 if antialias else -0.75

    def cubic(x):
        x = abs(x)
        if x < 1:
            return (a + 2) * x**3 - (a + 3) * x**2 + 1
        return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0

    return cubic, 2


def _matrix(n, count, mode, align, antialias, scale):
    """What each of `n` elements contributes to each of `count`."""
    step = ((n - 1) / max(count - 1, 1)) if align else 1 / scale if scale else n / count
    m = np.zeros((count, n))
    for i in range(count):
        if mode.startswith("nearest"):
            m[i, min(int((i + 0.5 * (mode == "nearest-exact")) * step), n - 1)] = 1
            continue
        kernel, reach = _kernel(mode, antialias)
        wide = max(step, 1.0) if antialias else 1.0
        center = i * step if align else (i + 0.5) * step - 0.5
        if mode == "linear" and not antialias:
            center = max(center, 0.0)
        for j in range(math.floor(center - reach * wide), math.ceil(center + reach * wide) + 1):
            if not antialias:
                m[i, min(max(j, 0), n - 1)] += kernel(center - j)
            elif 0 <= j < n:
                m[i, j] = kernel((j - center) / wide)
        m[i] /= m[i].sum() if antialias else 1
    return m


def _interpolate(x, size=None, scale_factor=None, mode="nearest", align_corners=None,
                 recompute_scale_factor=None, antialias=False):
    n = x.ndim - 2
    scales = _each(scale_factor, n) if scale_factor else [None] * n
    sizes = _each(size, n) if size else [int(m * s) for m, s in
                                         zip(x.shape[2:], scales, strict=True)]
    if mode == "area":
        return _parts(n, "mean")(x, sizes)[0]
    kind = mode.removeprefix("bi").removeprefix("tri")
    y = x.astype(np.float64)
    for d in range(n):
        m = _matrix(x.shape[2 + d], sizes[d], kind, align_corners, antialias, scales[d])
        y = np.moveaxis(np.tensordot(m, y, (1, 2 + d)), 0, 2 + d)
    return y


def _interpolations(t):
    if not t.inexact:  # bytes' weights are rounded: tests/nn/test_windows.py
        return [(t(1, 2, 5, 6), [3, 8], {"mode": m}) for m in ("nearest", "nearest-exact")]
    calls = [(t(2, 2, 5), 8, {"mode": m}) for m in ("nearest", "nearest-exact", "linear", "area")]
    for mode in ("bilinear", "bicubic"):
        calls += [(t(1, 2, 5, 6), [3, 8], {"mode": mode, "align_corners": True}),
                  (t(1, 2, 5, 6), {"scale_factor": [1.7, 0.6], "mode": mode})]
    calls += [(t(1, 1, 9, 4), [4, 6], {"mode": m, "antialias": True})
              for m in ("bilinear", "bicubic", "lanczos")]
    return [*calls, (t(1, 2, 3, 4, 5), [2, 4, 7], {"mode": "trilinear"}),
            (t(1, 2, 3, 4, 5), {"scale_factor": 2, "mode": "nearest"})]


_MODES, _PADDINGS = ("bilinear", "nearest"), ("zeros", "border", "reflection")


def _grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=None):
    mode = _MODES[mode] if isinstance(mode, int) else mode
    padding = _PADDINGS[padding_mode] if isinstance(padding_mode, int) else padding_mode
    outside = {"zeros": "grid-constant", "border": "nearest",
               "reflection": "mirror" if align_corners else "reflect"}[padding]
    y = np.zeros((*x.shape[:2], *grid.shape[1:-1]))
    extents = np.array(x.shape[2:])
    for b, c in np.ndindex(*x.shape[:2]):
        at = grid[b][..., ::-1]
        at = (at + 1) / 2 * (extents - 1) if align_corners else ((at + 1) * extents - 1) / 2
        y[b, c] = scipy.ndimage.map_coordinates(
            x[b, c], np.moveaxis(at, -1, 0), order=int(mode == "bilinear"), mode=outside,
            prefilter=False)
    return y


def _grids(t, modes, *dims):
    for mode, padding, align in itertools.product(modes, _PADDINGS, (False, True)):
        for n in dims:
            if mode == modes[0] or padding == "zeros":
                yield mode, padding, align, (t(2, 2, *(4, 3, 5)[:n]),
                                             t(2, *(3, 2, 2)[:n], n, low=-1.3, high=1.3))


def _samplers(*dims):
    return lambda t: [(*x, _MODES.index(m), _PADDINGS.index(p), a)
                      for m, p, a, x in _grids(t, _MODES, *dims)]


def _affine_grid(theta, size, align_corners=None):
    lines = [np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in size[2:]]
    if not align_corners:
        lines = [line * ((len(line) - 1) / len(line)) for line in lines]
    grid = np.meshgrid(*lines, indexing="ij")
    at = np.stack([*grid[::-1], np.ones_like(grid[0])], -1)
    return np.einsum("...k,nik->n...i", at, theta)


# ---- distances -----------------------------------------------------------------------------------


def _lengths(d, p, axis=-1, keepdims=False):
    return np.linalg.norm(d, p, axis, keepdims) if d.shape[axis] else np.zeros(d.shape[:-1])


def _cdist(x, y, p=2.0, compute_mode=None):
    return _lengths(x[..., :, None, :] - y[..., None, :, :], p)


def _pdist(x, p=2.0):
    if p == math.inf:
        return points.pdist(x, "chebyshev")
    return points.pdist(x, "minkowski", p=p) if p else points.pdist(x, "hamming") * x.shape[1]


def _cosine(x, y, dim=1, eps=1e-8):
    x, y = np.broadcast_arrays(x, y)
    lengths = [np.maximum(np.linalg.norm(v, axis=dim), eps) for v in (x, y)]
    return (x * y).sum(dim) / (lengths[0] * lengths[1])


def _renorm(x, p, dim, maxnorm):
    y = np.moveaxis(x.copy(), dim, 0)
    for part in y:
        length = np.linalg.norm(part.reshape(-1), p)
        if length > maxnorm:
            part *= maxnorm / (length + 1e-7)
    return np.moveaxis(y, 0, dim)


# ---- embeddings ----------------------------------------------------------------------------------


def _bags(at, weight, offsets=None, mode="mean", per_sample_weights=None,
          include_last_offset=False, padding_idx=None):
    if offsets is None:
        offsets = np.arange(len(at)) * at.shape[1]
    ends = offsets[1:] if include_last_offset else [*offsets[1:], at.size]
    factors = np.ones(at.size) if per_sample_weights is None else per_sample_weights.reshape(-1)
    y = np.zeros((len(ends), weight.shape[1]))
    for row, first, end in zip(y, offsets, ends, strict=False):
        inside = [k for k in range(first, end) if at.reshape(-1)[k] != padding_idx]
        if inside:
            rows = weight[at.reshape(-1)[inside]] * factors[inside][:, None]
            row[:] = {"sum": rows.sum, "mean": rows.mean, "max": rows.max}[mode](0)
    return y


def _bags_check(results, weight, at, offsets, by_freq=False, mode=0, *_):
    sums = _bags(at, weight, offsets, ("sum", "mean", "max")[mode])
    np.testing.assert_allclose(results[0], sums, rtol=0.05, atol=0.05)
    bag = np.searchsorted(offsets, np.arange(at.size), "right") - 1
    np.testing.assert_array_equal(results[1], bag)
    np.testing.assert_array_equal(results[2], np.bincount(bag, minlength=len(offsets)))


def _shrunk(weight, at, max_norm, norm_type):
    y = weight.copy()
    for k in np.unique(at):
        length = np.linalg.norm(y[k], norm_type)
        y[k] *= max_norm / (length + 1e-7) if length > max_norm else 1
    return y


def _offsets():
    import taimatsu

    return taimatsu.tensor([0, 3, 3, 5])


def _conv_tbc(x, weight, bias, pad=0):
    x = np.pad(x, [(pad, pad), (0, 0), (0, 0)])
    k = len(weight)
    return np.stack([np.einsum("kbi,kio->bo", x[t : t + k], weight) + bias
                     for t in range(len(x) - k + 1)])


_POOLS = dict(_pools())

ORACLES = {
    **_POOLS,
    "nn.functional.pad": _pad,
    "constant_pad_nd": lambda x, pad, value=0: _pad(x, pad, "constant", value),
    "nn.functional.unfold": _unfold,
    "nn.functional.fold": _fold,
    "pixel_shuffle": _pixel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle,
    "channel_shuffle": _channel_shuffle,
    "nn.functional.interpolate": _interpolate,
    **dict.fromkeys(("nn.functional.grid_sample", "grid_sampler", "grid_sampler_2d",
                     "grid_sampler_3d"), _grid_sample),
    "nn.functional.affine_grid": _affine_grid,
    "affine_grid_generator": _affine_grid,
    "cdist": _cdist,
    "pdist": _pdist,
    "pairwise_distance": lambda x, y, p=2.0, eps=1e-6, keepdim=False: _lengths(
        x - y + eps, p, keepdims=keepdim),
    "cosine_similarity": _cosine,
    "dist": lambda x, y, p=2: np.linalg.norm((x - y).reshape(-1), p),
    "renorm": _renorm,
    "embedding": lambda x, at, padding=-1, by_freq=False: x[at],
    "nn.functional.embedding_bag": _bags,
    "embedding_renorm_": _shrunk,
    "conv_tbc": _conv_tbc,
}

CHECKS = {"embedding_bag": _bags_check}

ELSEWHERE = dict.fromkeys(
    ("nn.functional.upsample", "nn.functional.upsample_nearest", "nn.functional.upsample_bilinear"),
    "interpolate under another name, with a warning: tests/nn/test_windows.py",
)

def _pads(t):
    calls = [(t(3, 4), [1, 2]), (t(3, 4), [1, 0, 0, 2], "constant", 1.0), (t(3, 4), [-1, 1])]
    for mode in ("reflect", "replicate", "circular"):
        calls.append((t(2, 3, 5), [-1, 2], mode))
        if t.dtype.itemsize == 8 and t.inexact:  # a kernel for each mode and number of dims
            calls += [(t(2, 3, 5), [2, 2, 1, -1], mode),
                      (t(1, 2, 4, 3, 5), [1, 2, 1, 0, 0, 2], mode)]
    return calls


HINTS = {
    **{f"nn.functional.upsample{mode}": lambda t: [(t(1, 2, 5, 6), [3, 8])] for mode in
       ("", "_nearest", "_bilinear")},
    **{name: _pool_samples(name) for name in _POOLS},
    "nn.functional.pad": _pads,
    "constant_pad_nd": lambda t: [(t(3, 4), [1, 2]), (t(3, 4), [1, -1, 0, 2], t.number())],
    "nn.functional.unfold": lambda t: [
        (t(2, 2, 5, 6), 2), (t(2, 5, 6), [3, 2], {"padding": 1, "stride": [2, 1]}),
        (t(1, 2, 5, 6), 2, 2, [1, 0], 2)],
    "nn.functional.fold": lambda t: [
        (t(2, 8, 20), [5, 6], 2), (t(12, 21), [5, 6], [3, 2], {"padding": 1, "stride": [2, 1]}),
        (t(1, 8, 6), [5, 6], 2, 2, [1, 0], 2)],
    "pixel_shuffle": lambda t: [(t(2, 8, 3, 2), 2), (t(9, 2, 2), 3)],
    "pixel_unshuffle": lambda t: [(t(2, 2, 4, 6), 2), (t(1, 3, 6), 3)],
    "channel_shuffle": lambda t: [(t(2, 6, 3), 2), (t(1, 4, 2, 2), 4)],
    "nn.functional.interpolate": _interpolations,
    "nn.functional.grid_sample": lambda t: [
        (*x, {"mode": m, "padding_mode": p, "align_corners": a})
        for m, p, a, x in _grids(t, _MODES, 2, 3)],
    "grid_sampler": _samplers(2, 3), "grid_sampler_2d": _samplers(2),
    "grid_sampler_3d": _samplers(3),
    "nn.functional.affine_grid": lambda t: [
        (t(2, 2, 3), [2, 3, 4, 5], {"align_corners": True}),
        (t(1, 3, 4), [1, 2, 3, 1, 4], {"align_corners": False})],
    "affine_grid_generator": lambda t: [(t(2, 2, 3), [2, 3, 4, 5], False)],
    "cdist": lambda t: [(t(2, 3, 4), t(5, 4)), *((t(3, 4), t(5, 4), p) for p in
                        (0.0, 1.0, 1.5, 3.0, math.inf)),
                        (t(3, 4), t(5, 4), 2.0, "use_mm_for_euclid_dist")],
    "pdist": lambda t: [(t(4, 3), p) for p in (0.0, 1.0, 2.0, 2.5, math.inf)],
    "pairwise_distance": lambda t: [  # no difference below 0, of what has no sign
        (t(3, 4, low=5, high=7), t(3, 4)), (t(3, 4, low=5, high=7), t(4), 1.0, {"keepdim": True})],
    "cosine_similarity": lambda t: [(t(3, 4), t(3, 4)), (t(2, 3, 4), t(4), -1)],
    "dist": lambda t: [(t(3, 4), t(3, 4)), (t(3, 4), t(4), 1), (t(3, 4), t(3, 4), 3)],
    "renorm": lambda t: [(t(3, 4), 2, 0, 1.0), (t(2, 3, 4), 1, -1, 2.5)],
    "embedding": lambda t: [(t(5, 3), t.i(5, 2, 3)), (t(5, 3), t.i(5, 4), 2),
                            (t(5, 3), t.i(5, 4), -1)],
    "embedding_bag": lambda t: [(t(5, 3), t.i(5, 6), _offsets(), False, m) for m in (0, 1, 2)],
    "nn.functional.embedding_bag": lambda t: [
        *((t.i(5, 6), t(5, 3), _offsets(), {"mode": m}) for m in ("sum", "mean", "max")),
        (t.i(5, 2, 4), t(5, 3), {"mode": "mean", "padding_idx": 1}),
        (t.i(5, 2, 4), t(5, 3), {"mode": "sum", "per_sample_weights": t(2, 4)})],
    "conv_tbc": lambda t: [(t(5, 2, 3), t(3, 3, 4), t(4)), (t(4, 2, 3), t(2, 3, 4), t(4), 1)],
    "embedding_renorm_": lambda t: [(t(5, 3), t.i(5, 4), 0.5, 2.0)],
}  # fmt: skip

_ALIASES = (  # of what has the same formula, and is differentiated under its name
    *(f"{prefix}max_pool{n}d{rest}" for n in (1, 2, 3) for prefix, rest in
      (("", ""), ("nn.functional.", "_with_indices"),
       ("nn.functional.adaptive_", "_with_indices"))),
    "max_pool1d_with_indices", "adaptive_max_pool1d", "adaptive_avg_pool1d",
)  # fmt: skip


def _halved(name):
    n = int(name[name.index("pool") + 4])
    return lambda t: [(t(1, 2, *[4] * n), 2)]


GRADIENT_SAMPLES = {
    **{name: _halved(name) for name in _ALIASES},
    "nn.functional.pad": lambda t: [
        (t(3, 4), [1, -1], "constant", 1.0), (t(1, 1, 3, 3, 4), [1, 2, 1, 0, 0, 2], "reflect"),
        (t(1, 2, 3, 4), [1, 2, 1, -1], "replicate"), (t(2, 3, 5), [2, -1], "circular")],
    # Smooth ones: not the kinks of a maximum, of a position between two elements, or of "nearest".
    **{f"nn.functional.fractional_max_pool{n}d{rest}": (lambda t: []) for n in (2, 3)
       for rest in ("", "_with_indices")},
    "cdist": lambda t: [(t(2, 3, 4), t(5, 4)), *((t(3, 4), t(5, 4), p) for p in (1.5, 3.0))],
    "pdist": lambda t: [(t(4, 3), p) for p in (2.0, 2.5)],
    "embedding": lambda t: [(t(5, 3), t.i(5, 2, 4))],  # the row of the padding has no gradient
}
