"""``special``: special functions, those of the table and other names for some of the top level."""

# ruff: noqa: F822  (the names of the table enter by globals().update)

from __future__ import annotations

import taimatsu as torch

from .ops import namespaces

globals().update(namespaces["special"])
globals().update({
    name: getattr(torch, name)
    for name in (
        "digamma", "erf", "erfc", "erfinv", "exp2", "expm1", "i0", "log1p", "log_softmax", "logit",
        "logsumexp", "polygamma", "round", "sinc", "softmax", "xlogy",
    )
})  # fmt: skip

expit = torch.sigmoid
gammainc = torch.igamma
gammaincc = torch.igammac
gammaln = torch.lgamma
multigammaln = torch.mvlgamma
psi = torch.digamma

__all__ = [
    "digamma", "erf", "erfc", "erfinv", "exp2", "expit", "expm1", "gammainc", "gammaincc",
    "gammaln", "i0", "log1p", "log_softmax", "logit", "logsumexp", "multigammaln", "polygamma",
    "psi", "round", "sinc",
    "softmax", "xlogy", *namespaces["special"],
]  # fmt: skip
