"""Settings of graph capture, kept for programs that set them."""

from taimatsu._settings import patching

verbose = suppress_errors = capture_scalar_outputs = capture_dynamic_output_shape_ops = False
assume_static_by_default = automatic_dynamic_shapes = True
cache_size_limit = recompile_limit = 8
accumulated_cache_size_limit = accumulated_recompile_limit = 256
optimize_ddp = inline_inbuilt_nn_modules = True
skip_fwd_side_effects_in_bwd_under_checkpoint = allow_unspec_int_on_nn_module = False

patch = patching(globals())
