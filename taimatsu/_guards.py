"""Which mode of fake tensors code runs in, by the names that PyTorch's compiler has for it."""

from __future__ import annotations

from typing import Any


def active_fake_mode() -> Any:
    """The innermost `FakeTensorMode` that is on; None without one."""
    from taimatsu._subclasses.fake_tensor import FakeTensorMode
    from taimatsu.utils._python_dispatch import _get_current_dispatch_mode_stack

    modes = reversed(_get_current_dispatch_mode_stack())
    return next((mode for mode in modes if isinstance(mode, FakeTensorMode)), None)


def detect_fake_mode(inputs: Any = None) -> Any:
    """The mode of the fakes among ``inputs``, else the one that is on; None without any.

    >>> from taimatsu._subclasses.fake_tensor import FakeTensorMode
    >>> with FakeTensorMode() as mode:
    ...     fake = torch.ones(2)
    >>> detect_fake_mode([fake]) is mode
    True
    """
    from taimatsu._subclasses.fake_tensor import FakeTensor
    from taimatsu.utils._pytree import tree_leaves

    fakes = (leaf for leaf in tree_leaves(inputs) if isinstance(leaf, FakeTensor))
    return next((fake.fake_mode for fake in fakes), active_fake_mode())
