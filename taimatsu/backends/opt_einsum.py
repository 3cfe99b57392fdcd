"""``backends.opt_einsum``: in which order `einsum` contracts three operands or more.

``enabled``: by cost, else from left to right. ``strategy``: "auto" and "greedy" take the pair next
whose product is smallest for what it replaces; "optimal" the order of fewest multiplications.
"""

from __future__ import annotations

__all__ = ["enabled", "is_available", "strategy"]

enabled = True
strategy = "auto"


def is_available() -> bool:
    """Whether an order by cost can be had: always, nothing has to be installed for it."""
    return True


def get_opt_einsum() -> None:
    """The package of this name, which isn't used: None."""
    return None
