"""``distributed.algorithms``: hooks of communication."""
