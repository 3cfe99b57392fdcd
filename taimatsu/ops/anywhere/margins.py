"""Margins that are read from between them."""

from __future__ import annotations

import taimatsu as torch

from . import computes
from .indexing import index_select


@computes("_wrap_margins")
def _(self, ends, mode):
    out, first = self, self.dim() - len(ends) // 2
    for d, (before, after) in enumerate(zip(ends[::2], ends[1::2], strict=True), first):
        last = self.size(d) - 1
        i = torch.arange(-before, last + 1 + after, device=self.device)
        if mode == "reflect":
            i = last - (last - i.abs()).abs()
        out = index_select(out, d, i.clamp(0, last) if mode == "replicate" else i % (last + 1))
    return out
