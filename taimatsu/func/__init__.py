"""Transforms of functions: derivatives, batches, and modules as functions of their parameters.

>>> from taimatsu.func import grad, vmap
>>> per_example = vmap(grad(lambda w, x: (w * x).sum() ** 2), in_dims=(None, 0))
>>> per_example(torch.ones(2), torch.tensor([[1., 2.], [3., 4.]]))
tensor([[ 6., 12.],
        [42., 56.]])

They nest in any order. Derivatives are taken on the one tape (`_tape`); batches are carried by an
interpreter of ops (`_batching`).
"""

from ._batching import Batched as _Batched
from ._modules import functional_call, replace_all_batch_norm_modules_, stack_module_state
from ._rearrange import rearrange
from ._transforms import grad, grad_and_value, hessian, jacfwd, jacrev, jvp, linearize, vjp
from ._vmap import vmap

__all__ = [
    "debug_unwrap",
    "functional_call",
    "grad",
    "grad_and_value",
    "hessian",
    "jacfwd",
    "jacrev",
    "jvp",
    "linearize",
    "rearrange",
    "replace_all_batch_norm_modules_",
    "stack_module_state",
    "vjp",
    "vmap",
]


def debug_unwrap(tensor, *, recurse: bool = True):
    """The tensor that a tensor inside `vmap` stands for, with the batch in front; for looking at.

    ``recurse``: through all maps, else through the innermost.
    """
    while isinstance(tensor, _Batched):
        tensor = tensor.value
        if not recurse:
            break
    return tensor
