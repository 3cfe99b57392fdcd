"""Schemas of ATen's that the op table has otherwise, or not at all, in its notation."""
# ruff: noqa: E501  (a schema is a line)

from __future__ import annotations

__all__ = ["NAMES", "SCHEMAS"]

SCHEMAS = """
size(Tensor self) -> int[]
size.int(Tensor self, int dim) -> int
stride(Tensor self) -> int[]
stride.int(Tensor self, int dim) -> int
dim(Tensor self) -> int
numel(Tensor self) -> int
nelement(Tensor self) -> int
element_size(Tensor self) -> int
storage_offset(Tensor self) -> int
get_device(Tensor self) -> int
item(Tensor self) -> Number
len(Tensor self) -> int
is_contiguous(Tensor self) -> bool
is_contiguous.memory_format(Tensor self, MemoryFormat memory_format) -> bool
is_floating_point(Tensor self) -> bool
is_complex(Tensor self) -> bool
is_signed(Tensor self) -> bool
is_nonzero(Tensor self) -> bool
is_same_size(Tensor self, Tensor other) -> bool
is_grad_enabled() -> bool
one_hot(Tensor self, int num_classes=-1) -> Tensor
set_grad_enabled(bool val) -> ()
equal(Tensor self, Tensor other) -> bool
allclose(Tensor self, Tensor other, float rtol=1e-05, float atol=1e-08, bool equal_nan=False) -> bool
detach(Tensor self) -> Tensor
detach_(Tensor self) -> Tensor
requires_grad_(Tensor self, bool requires_grad=True) -> Tensor
retain_grad(Tensor self) -> ()
backward(Tensor self, Tensor? gradient=None, bool? retain_graph=None, bool create_graph=False) -> ()
numpy_T(Tensor self) -> Tensor
cpu(Tensor self) -> Tensor
cuda(Tensor self) -> Tensor
ndimension(Tensor self) -> int
resize_(Tensor self, int[] size) -> Tensor
resize_as_(Tensor self, Tensor the_template) -> Tensor
as_strided_(Tensor self, int[] size, int[] stride, int? storage_offset=None) -> Tensor
squeeze_(Tensor self) -> Tensor
squeeze_.dim(Tensor self, int dim) -> Tensor
unsqueeze_(Tensor self, int dim) -> Tensor
t_(Tensor self) -> Tensor
transpose_(Tensor self, int dim0, int dim1) -> Tensor
swapaxes_(Tensor self, int axis0, int axis1) -> Tensor
swapdims_(Tensor self, int dim0, int dim1) -> Tensor
fill_diagonal_(Tensor self, Number fill_value, bool wrap=False) -> Tensor
is_pinned(Tensor self, Device? device=None) -> bool
repeat(Tensor self, int[] repeats) -> Tensor
reshape_as(Tensor self, Tensor other) -> Tensor
tensor(Any data, *, ScalarType? dtype=None, Device? device=None, bool requires_grad=False) -> Tensor
as_tensor(Any data, *, ScalarType? dtype=None, Device? device=None) -> Tensor
scalar_tensor(Number s, *, ScalarType? dtype=None, Device? device=None) -> Tensor
einsum(str equation, Tensor[] operands) -> Tensor
meshgrid(Tensor[] tensors) -> Tensor[]
meshgrid.indexing(Tensor[] tensors, *, str indexing) -> Tensor[]
broadcast_tensors(Tensor[] tensors) -> Tensor[]
softmax(Tensor self, int dim, ScalarType? dtype=None) -> Tensor
log_softmax(Tensor self, int dim, ScalarType? dtype=None) -> Tensor
norm(Tensor self, Number p=2) -> Tensor
norm.dim(Tensor self, Number? p, int[1] dim, bool keepdim=False) -> Tensor
manual_seed(int seed) -> ()
wait(Any self) -> Any
sort(Tensor self, int dim=-1, bool descending=False) -> (Tensor values, Tensor indices)
sort.stable(Tensor self, *, bool stable, int dim=-1, bool descending=False) -> (Tensor values, Tensor indices)
argsort(Tensor self, int dim=-1, bool descending=False) -> Tensor
argsort.stable(Tensor self, *, bool stable, int dim=-1, bool descending=False) -> Tensor
tensordot(Tensor self, Tensor other, int[] dims_self, int[] dims_other) -> Tensor
conv1d(Tensor input, Tensor weight, Tensor? bias=None, int[1] stride=1, int[1] padding=0, int[1] dilation=1, int groups=1) -> Tensor
conv1d.padding(Tensor input, Tensor weight, Tensor? bias=None, int[1] stride=1, str padding='valid', int[1] dilation=1, int groups=1) -> Tensor
conv2d(Tensor input, Tensor weight, Tensor? bias=None, int[2] stride=1, int[2] padding=0, int[2] dilation=1, int groups=1) -> Tensor
conv2d.padding(Tensor input, Tensor weight, Tensor? bias=None, int[2] stride=1, str padding='valid', int[2] dilation=1, int groups=1) -> Tensor
conv3d(Tensor input, Tensor weight, Tensor? bias=None, int[3] stride=1, int[3] padding=0, int[3] dilation=1, int groups=1) -> Tensor
conv3d.padding(Tensor input, Tensor weight, Tensor? bias=None, int[3] stride=1, str padding='valid', int[3] dilation=1, int groups=1) -> Tensor
adaptive_avg_pool1d(Tensor self, int[1] output_size) -> Tensor
adaptive_avg_pool2d(Tensor self, int[2] output_size) -> Tensor
adaptive_avg_pool3d(Tensor self, int[3] output_size) -> Tensor
upsample_nearest1d(Tensor input, int[]? output_size, float[]? scale_factors) -> Tensor
upsample_nearest2d(Tensor input, int[]? output_size, float[]? scale_factors) -> Tensor
upsample_nearest3d(Tensor input, int[]? output_size, float[]? scale_factors) -> Tensor
upsample_linear1d(Tensor input, int[]? output_size, bool align_corners, float[]? scale_factors) -> Tensor
upsample_bilinear2d(Tensor input, int[]? output_size, bool align_corners, float[]? scale_factors) -> Tensor
upsample_bicubic2d(Tensor input, int[]? output_size, bool align_corners, float[]? scale_factors) -> Tensor
upsample_trilinear3d(Tensor input, int[]? output_size, bool align_corners, float[]? scale_factors) -> Tensor
batch_norm(Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean, Tensor? running_var, bool training, float momentum, float eps, bool cudnn_enabled) -> Tensor
instance_norm(Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean, Tensor? running_var, bool use_input_stats, float momentum, float eps, bool cudnn_enabled) -> Tensor
layer_norm(Tensor input, int[] normalized_shape, Tensor? weight=None, Tensor? bias=None, float eps=1e-05, bool cudnn_enable=True) -> Tensor
group_norm(Tensor input, int num_groups, Tensor? weight=None, Tensor? bias=None, float eps=1e-05, bool cudnn_enabled=True) -> Tensor
dropout(Tensor input, float p, bool train) -> Tensor
dropout_(Tensor input, float p, bool train) -> Tensor
feature_dropout(Tensor input, float p, bool train) -> Tensor
alpha_dropout(Tensor input, float p, bool train) -> Tensor
feature_alpha_dropout(Tensor input, float p, bool train) -> Tensor
cross_entropy_loss(Tensor self, Tensor target, Tensor? weight=None, int reduction=1, int ignore_index=-100, float label_smoothing=0.0) -> Tensor
nll_loss_nd(Tensor self, Tensor target, Tensor? weight=None, int reduction=1, int ignore_index=-100) -> Tensor
mse_loss(Tensor self, Tensor target, int reduction=1) -> Tensor
l1_loss(Tensor self, Tensor target, int reduction=1) -> Tensor
smooth_l1_loss(Tensor self, Tensor target, int reduction=1, float beta=1.0) -> Tensor
huber_loss(Tensor self, Tensor target, int reduction=1, float delta=1.0) -> Tensor
binary_cross_entropy(Tensor self, Tensor target, Tensor? weight=None, int reduction=1) -> Tensor
binary_cross_entropy_with_logits(Tensor self, Tensor target, Tensor? weight=None, Tensor? pos_weight=None, int reduction=1) -> Tensor
kl_div(Tensor self, Tensor target, int reduction=1, *, bool log_target=False) -> Tensor
soft_margin_loss(Tensor self, Tensor target, int reduction=1) -> Tensor
cosine_embedding_loss(Tensor input1, Tensor input2, Tensor target, float margin=0.0, int reduction=1) -> Tensor
margin_ranking_loss(Tensor input1, Tensor input2, Tensor target, float margin=0.0, int reduction=1) -> Tensor
hinge_embedding_loss(Tensor self, Tensor target, float margin=1.0, int reduction=1) -> Tensor
multi_margin_loss(Tensor self, Tensor target, Number p=1, Number margin=1, Tensor? weight=None, int reduction=1) -> Tensor
multilabel_margin_loss(Tensor self, Tensor target, int reduction=1) -> Tensor
triplet_margin_loss(Tensor anchor, Tensor positive, Tensor negative, float margin=1.0, float p=2, float eps=1e-06, bool swap=False, int reduction=1) -> Tensor
poisson_nll_loss(Tensor input, Tensor target, bool log_input, bool full, float eps, int reduction) -> Tensor
adaptive_max_pool1d(Tensor self, int[1] output_size) -> (Tensor, Tensor)
adaptive_max_pool2d(Tensor self, int[2] output_size) -> (Tensor, Tensor)
adaptive_max_pool3d(Tensor self, int[3] output_size) -> (Tensor, Tensor)
max_pool1d(Tensor self, int[1] kernel_size, int[1] stride=[], int[1] padding=0, int[1] dilation=1, bool ceil_mode=False) -> Tensor
max_pool2d(Tensor self, int[2] kernel_size, int[2] stride=[], int[2] padding=0, int[2] dilation=1, bool ceil_mode=False) -> Tensor
max_pool3d(Tensor self, int[3] kernel_size, int[3] stride=[], int[3] padding=0, int[3] dilation=1, bool ceil_mode=False) -> Tensor
max_pool1d_with_indices(Tensor self, int[1] kernel_size, int[1] stride=[], int[1] padding=0, int[1] dilation=1, bool ceil_mode=False) -> (Tensor, Tensor)
max_pool2d_with_indices(Tensor self, int[2] kernel_size, int[2] stride=[], int[2] padding=0, int[2] dilation=1, bool ceil_mode=False) -> (Tensor, Tensor)
max_pool3d_with_indices(Tensor self, int[3] kernel_size, int[3] stride=[], int[3] padding=0, int[3] dilation=1, bool ceil_mode=False) -> (Tensor, Tensor)
avg_pool1d(Tensor self, int[1] kernel_size, int[1] stride=[], int[1] padding=0, bool ceil_mode=False, bool count_include_pad=True) -> Tensor
avg_pool2d(Tensor self, int[2] kernel_size, int[2] stride=[], int[2] padding=0, bool ceil_mode=False, bool count_include_pad=True, int? divisor_override=None) -> Tensor
avg_pool3d(Tensor self, int[3] kernel_size, int[3] stride=[], int[3] padding=0, bool ceil_mode=False, bool count_include_pad=True, int? divisor_override=None) -> Tensor
to.device(Tensor self, Device device, ScalarType dtype, bool non_blocking=False, bool copy=False, *, MemoryFormat? memory_format=None) -> Tensor
to.dtype(Tensor self, ScalarType dtype, bool non_blocking=False, bool copy=False, *, MemoryFormat? memory_format=None) -> Tensor
to.other(Tensor self, Tensor other, bool non_blocking=False, bool copy=False, *, MemoryFormat? memory_format=None) -> Tensor
to.prim_Device(Tensor self, Device? device, ScalarType? dtype=None, bool non_blocking=False, bool copy=False) -> Tensor
index_put(Tensor self, Tensor?[] indices, Tensor values, bool accumulate=False) -> Tensor
index_put_(Tensor self, Tensor?[] indices, Tensor values, bool accumulate=False) -> Tensor
col2im(Tensor self, int[2] output_size, int[2] kernel_size, int[2] dilation, int[2] padding, int[2] stride) -> Tensor
im2col(Tensor self, int[2] kernel_size, int[2] dilation, int[2] padding, int[2] stride) -> Tensor
grid_sampler(Tensor input, Tensor grid, int interpolation_mode, int padding_mode, bool align_corners) -> Tensor
"""

NAMES = frozenset(s.partition("(")[0].partition(".")[0] for s in SCHEMAS.split("\n"))
