"""``backends``: what the libraries and devices behind the ops can do, and switches for them."""

from __future__ import annotations

from . import opt_einsum

__all__ = ["opt_einsum"]
