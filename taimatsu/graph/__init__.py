"""Graphs of op calls: what calls that were put off become (`fuse`)."""
