"""PyTorch's place of `replace_pattern`."""

from .subgraph import Match, replace_pattern

__all__ = ["Match", "replace_pattern"]
