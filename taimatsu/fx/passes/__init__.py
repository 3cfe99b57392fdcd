"""Passes over graphs: what sizes values have, parts of a graph as modules of their own."""
