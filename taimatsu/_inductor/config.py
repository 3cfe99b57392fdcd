"""Settings of the compiler, kept for programs that set them."""

from types import SimpleNamespace

from taimatsu._settings import patching

debug = False
fx_graph_cache = True
force_disable_caches = False
emulate_precision_casts = False
max_autotune = coordinate_descent_tuning = coordinate_descent_check_all_directions = False
epilogue_fusion = True
triton = SimpleNamespace(unique_kernel_names=False, cudagraphs=False, cudagraph_trees=True)
cpp = SimpleNamespace(threads=-1, simdlen=None)

patch = patching(globals())
