"""``cuda.sparse``: the old types of sparse tensors on GPUs, ``torch.cuda.sparse.FloatTensor``."""

from taimatsu._tensor_types import sparse_types

globals().update(sparse_types("cuda"))
