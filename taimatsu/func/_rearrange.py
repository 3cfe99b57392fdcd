"""Reshaping, transposing and stacking by a pattern of names: "b (h w) c -> b c h w"."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import taimatsu as torch
from taimatsu import Tensor

__all__ = ["rearrange"]

_TOKEN = re.compile(r"\s*(\.\.\.|[()]|\w+)")
ELLIPSIS = "..."


def _parse(side: str, pattern: str) -> list[list[str]]:
    """The groups of one side, a list of names each; "1" is a group of none."""
    groups: list[list[str]] = []
    inside, at = False, 0
    side = side.strip()
    while at < len(side):
        m = _TOKEN.match(side, at)
        if not m:
            raise ValueError(f"rearrange: can't read {side[at:]!r} of the pattern {pattern!r}")
        token, at = m[1], m.end()
        if token == "(":
            if inside:
                raise ValueError(f"rearrange: parentheses can't be nested; got {pattern!r}")
            groups.append([])
            inside = True
        elif token == ")":
            if not inside:
                raise ValueError(f"rearrange: a parenthesis isn't opened in {pattern!r}")
            inside = False
        elif token.isdigit() and token != "1":
            raise ValueError(f"rearrange: only 1 may stand for a size; got {token} in {pattern!r}")
        else:
            names = [] if token == "1" else [token]
            if inside:
                groups[-1] += names
            else:
                groups.append(names)
    if inside:
        raise ValueError(f"rearrange: a parenthesis isn't closed in {pattern!r}")
    names = [n for g in groups for n in g]
    if len(set(names)) < len(names):
        raise ValueError(f"rearrange: a name stands twice on one side of {pattern!r}")
    return groups


def rearrange(tensor: Tensor | Sequence[Tensor], pattern: str, **axes_lengths: int) -> Tensor:
    """The tensor with its dims ordered, split and joined as the pattern says.

    Names left of the arrow are dims, in parentheses parts of one, of which ``axes_lengths`` gives
    all sizes but one; ``...`` stands for any dims. A list of tensors is stacked first. ValueError
    if the pattern can't be read or doesn't fit.

    >>> torch.func.rearrange(torch.zeros(2, 3, 4, 5), "b c h w -> b (h w) c").shape
    torch.Size([2, 20, 3])
    """
    if not isinstance(tensor, Tensor):
        tensor = torch.stack(list(tensor))
    left, arrow, right = pattern.partition("->")
    if not arrow:
        raise ValueError(f"rearrange: the pattern needs an arrow; got {pattern!r}")
    source, target = _parse(left, pattern), _parse(right, pattern)
    rest = tensor.dim() - len(source) + ([ELLIPSIS] in source)
    if ([ELLIPSIS] not in source and rest != 0) or rest < 0:
        raise ValueError(f"rearrange: {pattern!r} doesn't fit {tensor.dim()} dims")
    hidden = [f"... {i}" for i in range(rest)]  # the names of the dims behind the ellipsis
    source = [g for group in source for g in ([[n] for n in hidden] if group == [ELLIPSIS]
                                              else [group])]  # fmt: skip
    target = [g for group in target for g in ([[n] for n in hidden] if group == [ELLIPSIS]
                                              else [group])]  # fmt: skip
    target = [[m for n in g for m in (hidden if n == ELLIPSIS else [n])] for g in target]

    names = [n for g in source for n in g]
    if set(names) != {n for g in target for n in g}:
        raise ValueError(f"rearrange: both sides of {pattern!r} must have the same names")
    unknown = axes_lengths.keys() - set(names)
    if unknown:
        raise ValueError(f"rearrange: {sorted(unknown)} is not in the pattern {pattern!r}")
    sizes = dict(axes_lengths)
    for group, n in zip(source, tensor.shape, strict=True):
        missing = [name for name in group if name not in sizes]
        known = math.prod(sizes[name] for name in group if name in sizes)
        if len(missing) > 1:
            raise ValueError(f"rearrange: can't tell the sizes of {missing}; give all but one")
        if known == 0 or n % known or (not missing and n != known):
            raise ValueError(f"rearrange: a dim of size {n} can't be split into {group} of {sizes}")
        sizes.update(dict.fromkeys(missing, n // known))
    parts = tensor.reshape([sizes[n] for n in names])
    ordered = parts.permute([names.index(n) for g in target for n in g])
    return ordered.reshape([math.prod(sizes[n] for n in g) for g in target])
