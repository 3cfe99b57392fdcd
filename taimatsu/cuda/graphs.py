"""``cuda.graphs``: see `taimatsu.cuda`."""
# ruff: noqa: F401

from taimatsu.cuda import (
    CUDAGraph,
    graph,
    graph_pool_handle,
    is_current_stream_capturing,
    make_graphed_callables,
)
