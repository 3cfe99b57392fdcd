"""Arguments for ops whose schema doesn't say enough, a line for each; see samples.py.

`t` makes tensors: t(3, 4) of the dtype and layout under test, t.i(n, 5) positions in range(n),
t.m(3, 4) a mask, t.spd(3, 3) positive definite matrices. A dict at the end of a call holds
keywords.
"""

from __future__ import annotations

import taimatsu as torch

# Where floating elements lie, if it isn't (-2, 2): what the op is defined or differentiable on.
POSITIVE, UNIT = (0.1, 4), (0.1, 0.9)
DOMAINS = {
    **dict.fromkeys(("log", "log2", "log10", "sqrt", "rsqrt", "digamma", "lgamma"), POSITIVE),
    **dict.fromkeys(("asin", "acos", "atanh", "erfinv"), (-0.9, 0.9)),
    **dict.fromkeys(("reciprocal", "divide", "div", "true_divide", "xlogy", "logit"), UNIT),
    **dict.fromkeys(("floor_divide", "remainder", "fmod", "div.mode"), (0.6, 4.4)),
    **dict.fromkeys(("nn.functional.binary_cross_entropy", "nn.functional.kl_div"), UNIT),
    **dict.fromkeys(("bernoulli", "bernoulli_", "multinomial"), UNIT),
    **dict.fromkeys(("gcd", "lcm", "ldexp", "bitwise_left_shift", "bitwise_right_shift"), (0, 5)),
    "pow": (0.3, 3), "acosh": (1.1, 4), "log1p": (-0.9, 3), "float_power": (0.3, 3),
    "hypot": (0.3, 3), "addcdiv": (0.5, 3), "atan2": (0.3, 3), "polygamma": (0.5, 4),
    "prod": (0.5, 1.5), "cumprod": (0.5, 1.5), "bincount": (0, 5), "repeat_interleave": (0, 4),
    "histc": (-1, 1), "mvlgamma": (2, 5), "special.zeta": (1.5, 4),
    "special.entr": (0.1, 3), "special.ndtri": (0.05, 0.95), "special.xlog1py": (0.1, 3),
    **{f"special.{n}": (0.2, 12) for n in (
        "modified_bessel_k0", "modified_bessel_k1", "scaled_modified_bessel_k0",
        "scaled_modified_bessel_k1", "bessel_y0", "bessel_y1", "bessel_j0", "bessel_j1")},
}  # fmt: skip

# Ops that take integers only, or complex numbers only, though no set of dtypes says so.
INTEGER_ONLY = dict.fromkeys(("bincount", "repeat_interleave.counts"), True)
COMPLEX_ONLY = dict.fromkeys(("imag", "view_as_real", "view_as_real_copy"), True)

# Ops that a tensor whose elements repeat one another tells nothing: they write, or need full rank.
NEEDS_ALL_ELEMENTS = dict.fromkeys((
    "nn.functional.batch_norm",
), True)  # fmt: skip


def _joined(t):
    return [([t(2, 3), t(2, 3)],), ([t(4), t(4)],)]


def _conv(n):
    plane, kernel = (6, 5, 4)[:n], (3, 2, 2)[:n]

    def calls(t):
        return [
            (t(2, 4, *plane), t(3, 4, *kernel)),
            (t(4, *plane), t(6, 2, *kernel), t(6), {"stride": 2, "padding": 1, "groups": 2}),
            (t(1, 4, *plane), t(2, 4, *kernel), {"dilation": 2}),
        ]

    return calls


def _conv_transpose(n):
    plane, kernel = (4, 3, 3)[:n], (3, 2, 2)[:n]

    def calls(t):
        return [
            (t(2, 4, *plane), t(4, 3, *kernel)),
            (t(2, 4, *plane), t(4, 2, *kernel), t(4), {"stride": 2, "padding": 1, "groups": 2,
                                                      "output_padding": 1}),
        ]

    return calls


def _loss(t):
    return [(t(3, 4), t(3, 4)), (t(3, 4), t(3, 4), {"reduction": "none"}),
            (t(3, 4), t(3, 4), {"reduction": "sum"})]


def _classes(t):
    return [
        (t(5, 3), t.i(3, 5)),
        (t(5, 3), t.i(3, 5), t(3, low=0.1), {"reduction": "none", "ignore_index": 1}),
        (t(2, 3, 4), t.i(3, 2, 4), t(3, low=0.1), {"reduction": "sum"}),
    ]


def _scattered(t):
    return [(t(3, 4), 0, t.i(3, 2, 4), t(2, 4)), (t(3, 4), 1, t.i(4, 3, 2), t(3, 2))]


def _distinct(t):
    """Positions that no two elements share, so that the result is determined."""
    at = torch.tensor([[2, 0, 1, 1], [0, 2, 0, 2]])
    return [(t(3, 4), 0, at, t(2, 4))]


HINTS = {
    # arithmetic, comparison
    "add": lambda t: [(t(3, 4), t(4)), (t(3, 4), t.number()),
                      (t(3, 1), t(3, 4), {"alpha": t.number()})],
    "sub": lambda t: [(t(3, 4), t(4)), (t(3, 4), t.number()),
                      (t(3, 1), t(3, 4), {"alpha": t.number()})],
    "div.mode": lambda t: [(t(3, 4), t(4, low=1), {"rounding_mode": m}) for m in ("floor",
                                                                                  "trunc")],
    "floor_divide": lambda t: [(t(3, 4), t(4, low=1)), (t(3, 4), t.number())],
    "remainder": lambda t: [(t(3, 4), t(4, low=1)), (t(3, 4), t.number())],
    "fmod": lambda t: [(t(3, 4), t(4, low=1)), (t(3, 4), t.number())],
    "gcd": lambda t: [(t(3, 4), t(4))],
    "pow": lambda t: [(t(3, 4), t(4, low=0)), (t(3, 4), 2), (t(3, 4), 0.5 if t.inexact else 3),
                      (2, t(3, 4, low=0))],
    "round": lambda t: [t(3, 4)] + ([(t(3, 4), {"decimals": 1}),
                                     (t(3, 4), {"decimals": -1})] if t.inexact else []),
    "clamp": lambda t: [(t(3, 4), 1, 2), (t(3, 4), {"min": 0}), (t(3, 4), {"max": 1})],
    "clamp.Tensor": lambda t: [(t(3, 4), t(4, high=0), t(4, low=0)), (t(3, 4), None, t(4))],
    "clamp_min": lambda t: [(t(3, 4), 0), (t(3, 4), t(4))],
    "clamp_max": lambda t: [(t(3, 4), 0), (t(3, 4), t(4))],
    "nan_to_num": lambda t: [(t(3, 4),), (t(3, 4), 1.0, 2.0, -2.0)],
    "logit": lambda t: [(t(3, 4),), (t(3, 4), 0.2)],
    "where.indices": lambda t: [(t.m(3, 4),), (t.m(3),)],
    "where": lambda t: [(t.m(3, 4), t(3, 4), t(4)), (t.m(3, 4), t.number(), t(3, 4))],
    "masked_fill": lambda t: [(t(3, 4), t.m(4), t.number()), (t(3, 4), t.m(3, 4), t())],
    "isclose": lambda t: [(t(3, 4), t(3, 4), {"rtol": 0.5}), (x := t(3, 4), x)],
    "heaviside": lambda t: [(t(3, 4).round() if t.inexact else t(3, 4), t(4))],
    "ldexp": lambda t: [(t(3, 4), t.i(4, 4))],
    "bitwise_left_shift": lambda t: [(t(3, 4), t(4)), (t(3, 4), 2)],
    "bitwise_right_shift": lambda t: [(t(3, 4), t(4)), (t(3, 4), 2)],
    "complex": lambda t: [(t(3, 4), t(3, 4))],
    "imag": lambda t: [t(3, 4)],
    "lerp": lambda t: [(t(3, 4), t(3, 4), t(4)), (t(3, 4), t(4), 0.3)],
    # reduction, normalization
    "prod.dim_int": lambda t: [(t(3, 4), 0), (t(3, 4), 1, True)],
    "logsumexp": lambda t: [(t(3, 4), 0), (t(3, 4), [0, 1]), (t(3, 4), 1, True)],
    "nn.functional.layer_norm": lambda t: [(t(3, 4), [4]), (t(2, 3, 4), [3, 4], t(3, 4), t(3, 4))],
    "nn.functional.rms_norm": lambda t: [(t(3, 4), [4], None, 1e-3),
                                         (t(2, 3, 4), [3, 4], t(3, 4), 1e-3)],
    "nn.functional.batch_norm": lambda t: [
        (t(4, 3), t(3), t(3, low=0.5), t(3), t(3)),
        (t(4, 3, 5), None, None, t(3), t(3), True),
        (t(4, 3), t(3), t(3, low=0.5), {"training": True}),
    ],
    # creation
    "full": lambda t: [([2, 3], t.number(), {"dtype": t.dtype})],
    "empty_strided": lambda t: [([2, 3], [1, 2], {"dtype": t.dtype})],
    "arange": lambda t: [(5, {"dtype": t.dtype})] if t.dtype != torch.bool else [(2,)],
    "arange.start": lambda t: [(1, 6, 2, {"dtype": t.dtype})] if t.dtype != torch.bool else [(1,
                                                                                              2)],
    "linspace": lambda t: [(0, 4, 5, {"dtype": t.dtype})] if t.dtype != torch.bool else [(0, 4, 5)],
    "logspace": lambda t: [(0, 3, 4,
                            {"dtype": None if t.dtype == torch.bool else t.dtype, "base": 2.0})],
    "eye": lambda t: [(3, {"dtype": t.dtype}), (2, 3, {"dtype": t.dtype})],
    "zeros": lambda t: [([2, 3], {"dtype": t.dtype})],
    "ones": lambda t: [([2, 3], {"dtype": t.dtype})],
    "empty": lambda t: [([2, 3], {"dtype": t.dtype})],
    "new_full": lambda t: [(t(2), [2, 3], t.number())],
    "full_like": lambda t: [(t(3, 4), t.number())],
    "fill_": lambda t: [(t(3, 4), t.number())],
    "fill_.Tensor": lambda t: [(t(3, 4), t())],
    "copy_": lambda t: [(t(3, 4), t(4)), (t(3, 4), t.m(3, 4))],
    # conversion
    "to.dtype": lambda t: [(t(3, 4), torch.float64), (t(3, 4), torch.float32, {"copy": True})],
    "to.other": lambda t: [(t(3, 4), torch.zeros(1, dtype=torch.float64))],
    "to": lambda t: [(t(3, 4), "cpu"), (t(3, 4), {"dtype": torch.float32})],
    "polar": lambda t: [(t(3, 4, low=0), t(3, 4))],
    # shape
    **dict.fromkeys(("view", "view_copy"),
                    lambda t: [(t(3, 4).contiguous(), [2, 6]), (t(3, 4).contiguous(), [4, -1])]),
    "reshape": lambda t: [(t(3, 4), [2, 6]), (t(3, 4), [4, -1])],
    **dict.fromkeys(("permute", "permute_copy"), lambda t: [(t(2, 3, 4), [2, 0, 1])]),
    **dict.fromkeys(("transpose", "transpose_copy"), lambda t: [(t(2, 3, 4), 0, -1)]),
    **dict.fromkeys(("expand", "expand_copy"), lambda t: [(t(3, 1), [2, -1, 4])]),
    **dict.fromkeys(("as_strided", "as_strided_copy"),
                    lambda t: [(t(3, 4).clone(memory_format=torch.contiguous_format), [2, 3],
                                [1, 2], 1)]),
    **dict.fromkeys(("unfold", "unfold_copy"), lambda t: [(t(7, 2), 0, 3, 2)]),
    **dict.fromkeys(("split.sizes", "split_copy.sizes"), lambda t: [(t(3, 4), [1, 3], 1)]),
    **dict.fromkeys(("view_as_real", "view_as_real_copy"), lambda t: [t(3, 4)]),
    **dict.fromkeys(("view_as_complex", "view_as_complex_copy"),
                    lambda t: [t(3, 2).clone(memory_format=torch.contiguous_format)]),
    **dict.fromkeys(("squeeze", "squeeze_copy"), lambda t: [t(3, 1, 4)]),
    **dict.fromkeys(("squeeze.dim", "squeeze_copy.dim"), lambda t: [(t(3, 1, 4), 1), (t(3, 4), 0)]),
    **dict.fromkeys(("squeeze.dims", "squeeze_copy.dims"), lambda t: [(t(3, 1, 4), [0, 1])]),
    "narrow.Tensor": lambda t: [(t(3, 4), 1, torch.tensor(1), 2)],
    **dict.fromkeys(("narrow", "narrow_copy"), lambda t: [(t(3, 4), 1, 1, 2), (t(3, 4), 0, -2, 1)]),
    **dict.fromkeys(("view.dtype", "view_copy.dtype"), lambda t: [(t(3, 4), t.dtype)]),
    "view_as": lambda t: [(t(3, 4).contiguous(), t(2, 6))],
    "reshape_as": lambda t: [(t(3, 4), t(2, 6))],
    "expand_as": lambda t: [(t(3, 1), t(2, 3, 4))],
    "unflatten": lambda t: [(t(3, 4), 1, [2, 2])],
    "movedim": lambda t: [(t(2, 3, 4), 0, 2), (t(2, 3, 4), [0, 1], [1, 2])],
    "tensor_split": lambda t: [(t(7, 2), [1, 5])],
    "tensor_split.sections": lambda t: [(t(7, 2), 3)],
    "broadcast_to": lambda t: [(t(3, 1), [2, 3, 4])],
    "sum_to_size": lambda t: [(t(3, 4), [1, 4]), (t(3, 4), [4])],
    "cat": lambda t: [([t(2, 3), t(1, 3)],), ([t(2, 3), t(2, 1)], 1)],
    "stack": lambda t: [([t(2, 3), t(2, 3)],), ([t(2, 3), t(2, 3)], -1)],
    **dict.fromkeys(("hstack", "vstack", "dstack", "column_stack"), _joined),
    "hsplit.sections": lambda t: [(t(3, 4), 2)],
    "vsplit.sections": lambda t: [(t(4, 3), 2)],
    "dsplit.sections": lambda t: [(t(2, 3, 4), 2)],
    "hsplit": lambda t: [(t(3, 4), [1])],
    "vsplit": lambda t: [(t(3, 4), [1])],
    "dsplit": lambda t: [(t(2, 3, 4), [1])],
    # indexing, scattering
    "index_select": lambda t: [(t(3, 4), 0, t.i(3, 5)),
                               (t(3, 4), -1, t.i(4, 2, dtype=torch.int32))],
    "gather": lambda t: [(t(3, 4), 0, t.i(3, 2, 4)), (t(3, 4), 1, t.i(4, 3, 5))],
    "scatter_add": _scattered,
    "index_add": lambda t: [(t(3, 4), 0, t.i(3, 5), t(5, 4)),
                            (t(3, 4), 1, t.i(4, 2), t(3, 2), {"alpha": t.number()})],
    "index_put": lambda t: [(t(3, 4), [torch.tensor([0, 2]), torch.tensor([1, 3])], t(2)),
                            (t(3, 4), [None, t.i(4, 2)], t(), True)],
    "index_put_": lambda t: [(t(3, 4), [torch.tensor([0, 2]), torch.tensor([1, 3])], t(2))],
    "masked_select": lambda t: [(t(3, 4), t.m(3, 4)), (t(3, 4), t.m(4))],
    "take": lambda t: [(t(3, 4), t.i(12, 2, 3))],
    "scatter": _distinct,
    "scatter.value": lambda t: [(t(3, 4), 0, t.i(3, 2, 4), t.number())],
    "scatter.reduce": lambda t: [(*args, {"reduce": "add"}) for args in _scattered(t)],
    "scatter.value_reduce": lambda t: [(t(3, 4), 0, t.i(3, 2, 4), t.number(),
                                        {"reduce": "multiply"})],
    "scatter_reduce": lambda t: [(*args, how) for args in _scattered(t) for how in ("sum", "prod",
                                                                                    "amax",
                                                                                    "amin")],
    "index_fill": lambda t: [(t(3, 4), 1, t.i(4, 2), t.number()), (t(3, 4), 0, t.i(3, 1), t())],
    "index_copy": lambda t: [(t(3, 4), 0, torch.tensor([2, 0]), t(2, 4))],
    "index_reduce": lambda t: [(t(3, 4), 0, t.i(3, 5), t(5, 4), how) for how in ("prod", "amax",
                                                                                 "amin")],
    "take_along_dim": lambda t: [(t(3, 4), t.i(4, 3, 2), 1), (t(3, 4), t.i(12, 5)),
                                 (t(3, 4), t.i(4, 3, 2) - 4, 1)],
    "masked_scatter": lambda t: [(t(3, 4), t.m(3, 4), t(12))],
    **dict.fromkeys(("put", "put_"), lambda t: [
        (t(3, 4), torch.tensor([5, 0, -1]), t(3)), (t(3, 4), t.i(12, 3), t(3), True),
    ]),
    "unravel_index": lambda t: [(t.i(12, 5), (3, 4))],
    # rearrange
    "flip": lambda t: [(t(3, 4), [0]), (t(3, 4), [0, -1])],
    "fliplr": lambda t: [t(3, 4)],
    "rot90": lambda t: [(t(3, 4), k) for k in (1, 2, 3)],
    "roll": lambda t: [(t(3, 4), 2), (t(3, 4), [1, -1], [0, 1])],
    "repeat": lambda t: [(t(3, 4), [2, 1, 2])],
    "tile": lambda t: [(t(3, 4), [2]), (t(3, 4), [2, 1, 2])],
    "repeat_interleave": lambda t: [(t(3, 4), t.i(3, 3), 0), (t(3), t.i(3, 1))],
    "repeat_interleave.number": lambda t: [(t(3, 4), 2), (t(3, 4), 2, 1)],
    "repeat_interleave.counts": lambda t: [t.i(3, 4)],
    "diag_embed": lambda t: [(t(3, 4),), (t(3, 4), 1, 0, 2)],
    "diag": lambda t: [(t(4), 1), (t(3, 4),), (t(3, 4), -1)],
    "vander": lambda t: [(t(4),), (t(4), 3, True)],
    "trace": lambda t: [t(3, 4)],
    "tril_indices": lambda t: [(3, 4), (3, 4, 1)],
    "triu_indices": lambda t: [(3, 4), (3, 4, 1)],
    "select_scatter": lambda t: [(t(3, 4), t(4), 0, 1)],
    "slice_scatter": lambda t: [(t(3, 4), t(2, 4), 0, 1), (t(3, 4), t(3, 2), 1, 0, None, 2)],
    "diagonal_scatter": lambda t: [(t(3, 4), t(3)), (t(3, 4), t(2), -1)],
    "as_strided_scatter": lambda t: [(t(3, 4).contiguous().clone(), t(2, 2), [2, 2], [4, 1], 1)],
    "combinations": lambda t: [(t(4),), (t(4), 3), (t(3), 2, True)],
    # products, convolution
    "nn.functional.linear": lambda t: [(t(2, 3, 4), t(5, 4), t(5)), (t(4), t(5, 4)),
                                       (t(3, 4), t(4))],
    "convolution": lambda t: [(t(2, 4, 6), t(3, 4, 3), t(3), [1], [1], [1], False, [0], 1)],
    **{f"conv{n}d": _conv(n) for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": _conv_transpose(n) for n in (1, 2, 3)},
    # losses
    **{f"nn.functional.{n}": _loss for n in
       ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy_with_logits")},
    "nn.functional.binary_cross_entropy": _loss,
    "nn.functional.kl_div": lambda t: [*_loss(t), (t(3, 4), t(3, 4), {"log_target": True})],
    "nn.functional.nll_loss": _classes,
    "nn.functional.cross_entropy": lambda t: [*_classes(t), (t(5, 3), t(5, 3, low=0.1)),
                                              (t(5, 3), t.i(3, 5), {"label_smoothing": 0.1})],
    # order, statistics
    "sort": lambda t: [(t(3, 4),), (t(3, 4), 0, True)],
    "topk": lambda t: [(t(3, 5), 2), (t(3, 5), 2, 0, False)],
    "kthvalue": lambda t: [(t(3, 5), 2), (t(3, 5), 1, 0, True)],
    "searchsorted": lambda t: [(torch.sort(t(5))[0], t(2, 3)),
                               (torch.sort(t(5))[0], t(2, 3), {"right": True})],
    "bucketize": lambda t: [(t(2, 3), torch.sort(t(5))[0])],
    "bincount": lambda t: [(t(6),), (t(6), torch.ones(6, dtype=torch.float64), 8)],
    **dict.fromkeys(("quantile", "nanquantile"),
                    lambda t: [(t(3, 4), 0.3), (t(3, 4), t(2, low=0, high=1), 1),
                               (t(3, 4), 0.5, 0, True, {"interpolation": "nearest"})]),
    "mode": lambda t: [(t(3, 4),), (t(3, 4), 0, True)],
    "histc": lambda t: [(t(12), 4, -1, 1), (t(12), 3)],
    "histogram": lambda t: [(t(12), 4), (t(12), 3, {"range": (-1.0, 1.0), "density": True})],
    "histogram.edges": lambda t: [(t(12), torch.sort(t(4))[0])],
    "cov": lambda t: [(t(3, 5),), (t(5),), (t(3, 5), {"correction": 0})],
    "corrcoef": lambda t: [t(3, 5)],
    "diff": lambda t: [(t(3, 4),), (t(3, 4), 2, 0), (t(3, 4), 1, 1, t(3, 1), t(3, 2))],
    "gradient": lambda t: [(t(3, 4),), (t(5), {"spacing": 2.0}),
                           (t(3, 4), {"dim": 1, "edge_order": 2})],
    **dict.fromkeys(("trapezoid.dx", "cumulative_trapezoid.dx"),
                    lambda t: [(t(3, 4),), (t(3, 4), {"dx": 0.5, "dim": 0})]),
    "trapezoid": lambda t: [(t(3, 4), t(4))],
    "cumulative_trapezoid": lambda t: [(t(3, 4), t(4))],
    "isin": lambda t: [(t(3, 4), t(5)), (t(3, 4), t(5), {"invert": True})],
    "nonzero_static": lambda t: [(t(3, 4), {"size": 5}), (t(2), {"size": 5, "fill_value": 7})],
    # random
    "random_.from": lambda t: [(t(3, 4), 1, 5)],
    "random_.to": lambda t: [(t(3, 4), 5)],
    "geometric_": lambda t: [(t(3, 4), 0.5)],
    "bernoulli": lambda t: [t(3, 4)],
    "bernoulli_.Tensor": lambda t: [(t(3, 4), torch.full((3, 4), 0.5))],
    "bernoulli.p": lambda t: [(t(3, 4), 0.5)],
    "multinomial": lambda t: [(t(3, 4), 2), (t(4), 6, True)],
    "randint": lambda t: [(5, [2, 3], {"dtype": t.dtype})],
    "randint.low": lambda t: [(1, 5, [2, 3], {"dtype": t.dtype})],
    "randint_like": lambda t: [(t(3, 4), 5)],
    "randint_like.low": lambda t: [(t(3, 4), 1, 5)],
    "normal.sizes": lambda t: [(0.0, 1.0, [2, 3], {"dtype": t.dtype})],
    "normal": lambda t: [(t(3, 4), t(3, 4, low=0.1)), (t(3, 4), 1.0)],
    "rand": lambda t: [([2, 3], {"dtype": t.dtype})],
    "randn": lambda t: [([2, 3], {"dtype": t.dtype})],
}  # fmt: skip

# ---- derivatives --------------------------------------------------------------------------------

# Ops with no derivative, though their results are floating; or to be checked elsewhere: results
# that are determined up to a factor (tests/linalg), and those rounded to fewer digits.
NO_GRADIENT = dict.fromkeys((
    "zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full", "histc",
    "histogram", "heaviside", "bincount", "unique", "unique_consecutive",
    "to.other",
    "half", "chalf", "bfloat16", "float", "cfloat", "to.dtype", "view.dtype", "view_copy.dtype",
    "special.zeta",  # by its first argument there is none, as in PyTorch
), True)  # fmt: skip
# Where the samples for the values stand at a kink, or have constants among them.
GRADIENT_SAMPLES = {
    "to": lambda t: [t(3, 4)],
    "nn.functional.batch_norm": lambda t: [(t(4, 3), None, None, t(3), t(3), True)],
}  # fmt: skip
