"""What stands for a batch inside of `vmap`: PyTorch's private names for asking about it."""

from __future__ import annotations

from typing import Any

from taimatsu import Tensor
from taimatsu.func._batching import Batched, vmaps
from taimatsu.func._vmap import _add_batch_dim, _remove_batch_dim  # noqa: F401


def is_batchedtensor(tensor: Any) -> bool:
    """Whether `tensor` stands for a batch, of some `vmap`."""
    return isinstance(tensor, Batched)


is_functorch_wrapped_tensor = is_batchedtensor  # derivatives are taken on the tape, unwrapped


def is_legacy_batchedtensor(tensor: Any) -> bool:
    """False: there is one kind of batch."""
    return False


def is_gradtrackingtensor(tensor: Any) -> bool:
    """False: derivatives are taken on the tape."""
    return False


def get_unwrapped(tensor: Any) -> Tensor:
    """The value of a batch. RuntimeError for another tensor."""
    if not is_batchedtensor(tensor):
        raise RuntimeError("get_unwrapped: needs a tensor with a batch; got one without")
    return tensor.value


def unwrap_if_dead(tensor: Any) -> Any:
    """The tensor itself."""
    return tensor


def maybe_get_bdim(tensor: Any) -> int:
    """Which dim of its value is the batch: the first; -1 of a tensor without batch."""
    return 0 if is_batchedtensor(tensor) else -1


def maybe_get_level(tensor: Any) -> int:
    """How many maps are around the one it belongs to, and that one; -1 without batch."""
    if not is_batchedtensor(tensor):
        return -1
    maps = vmaps()
    return maps.index(tensor.owner) + 1 if tensor.owner in maps else -2
