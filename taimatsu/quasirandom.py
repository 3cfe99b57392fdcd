"""``quasirandom``: points that fill the unit cube more evenly than random ones."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import taimatsu as torch

__all__ = ["SobolEngine"]

BITS = 30


@cache
def _tables() -> tuple[Any, Any]:
    """Joe and Kuo's primitive polynomials and first direction numbers, as SciPy has them."""
    from importlib.util import find_spec

    import numpy as np

    found = find_spec("scipy")
    if found is None or not found.submodule_search_locations:
        raise RuntimeError(
            "SobolEngine: the direction numbers are taken from SciPy, which isn't installed; "
            "pip install scipy"
        )
    path = Path(found.submodule_search_locations[0]) / "stats" / "_sobol_direction_numbers.npz"
    with np.load(path) as tables:
        return tables["poly"], tables["vinit"]


def _directions(dimension: int) -> Any:
    """(dimension, bits) direction numbers, the most significant bit first."""
    polynomials, first = _tables()
    rows = [[1] * BITS]
    for poly, start in zip(polynomials[1:dimension], first[1:dimension], strict=True):
        poly, degree = int(poly), int(poly).bit_length() - 1
        v = [int(n) for n in start[:degree]]
        for j in range(degree, BITS):
            new = v[j - degree]
            for k in range(degree):
                if poly >> (degree - 1 - k) & 1:
                    new ^= v[j - k - 1] << (k + 1)
            v.append(new)
        rows.append(v)
    return torch.tensor(rows[:dimension]) << torch.arange(BITS - 1, -1, -1)


class SobolEngine:
    """A Sobol sequence in up to 21201 dims, one draw after another.

    ``scramble``: shifted and mixed at random, by ``seed`` or the default generator, as PyTorch
    does it. ValueError for other dims, RuntimeError without SciPy, whose table it reads.

    >>> torch.quasirandom.SobolEngine(2).draw(3)
    tensor([[0.0000, 0.0000],
            [0.5000, 0.5000],
            [0.7500, 0.2500]])
    """

    MAXBIT, MAXDIM = BITS, 21201

    def __init__(self, dimension: int, scramble: bool = False, seed: int | None = None):
        if not 1 <= dimension <= self.MAXDIM:
            raise ValueError(
                "Supported range of dimensionality for SobolEngine is "
                f"[1, {self.MAXDIM}]; got {dimension}"
            )
        self.dimension, self.scramble, self.seed = dimension, scramble, seed
        self.sobolstate = _directions(dimension)
        self.shift = torch.zeros(dimension, dtype=torch.int64)
        if scramble:
            self._scramble()
        self.reset()

    def _scramble(self) -> None:
        generator = None if self.seed is None else torch.Generator().manual_seed(self.seed)
        powers = torch.ones(BITS, dtype=torch.int64) << torch.arange(BITS)
        flips = torch.randint(2, (self.dimension, BITS), generator=generator)
        self.shift = (flips * powers).sum(-1)
        mixing = torch.randint(2, (self.dimension, BITS, BITS), generator=generator).tril()
        mixing = mixing | torch.eye(BITS, dtype=torch.int64)
        # Each number's bits, the most significant first, times a triangular matrix modulo 2.
        bits = self.sobolstate[:, :, None] >> torch.arange(BITS - 1, -1, -1) & 1
        mixed = (bits @ mixing.mT) % 2
        self.sobolstate = (mixed * powers.flip(0)).sum(-1)

    def reset(self) -> SobolEngine:
        """Begins again."""
        self.quasi = self.shift.clone()
        self.num_generated = 0
        return self

    def fast_forward(self, n: int) -> SobolEngine:
        """Leaves out ``n`` points."""
        if n > 0:
            self._next(n)
        return self

    def _next(self, n: int) -> Any:
        """The next n points as integers."""
        rows = []
        for i in range(self.num_generated, self.num_generated + n):
            rows.append(self.quasi)
            lowest_zero = (~i & (i + 1)).bit_length() - 1
            self.quasi = self.quasi ^ self.sobolstate[:, lowest_zero]
        self.num_generated += n
        return torch.stack(rows) if rows else self.quasi.new_empty((0, self.dimension))

    def draw(self, n: int = 1, out: Any = None, dtype: Any = None) -> Any:
        """The next n points: (n, dimension), in [0, 1)."""
        dtype = dtype or torch.get_default_dtype()
        points = (self._next(n).double() * 2.0**-BITS).to(dtype)
        if out is None:
            return points
        return out.resize_(points.shape).copy_(points)

    def draw_base2(self, m: int, out: Any = None, dtype: Any = None) -> Any:
        """The next 2**m points. ValueError where as many before don't make it a balanced set."""
        n = 2**m
        total = self.num_generated + n
        if total & (total - 1):
            raise ValueError(
                "The balance properties of Sobol' points require n to be a power of 2. "
                f"{self.num_generated} points have been previously generated, then: "
                f"n={self.num_generated}+2**{m}={total}. If you still want to do this, the "
                "function 'draw()' can be used"
            )
        return self.draw(n, out, dtype)

    def __repr__(self) -> str:
        shown = f"dimension={self.dimension}"
        if self.scramble:
            shown += ", scramble=True"
        if self.seed is not None:
            shown += f", seed={self.seed}"
        return f"SobolEngine({shown})"
