"""The handle that every ``register_*_hook`` returns."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import MutableMapping
from typing import Any

__all__ = ["RemovableHandle", "unserializable_hook", "warn_if_has_hooks"]


class RemovableHandle:
    """Removes one hook from the dicts that hold it; as a context manager, on leaving the block.

    ``hooks_dict`` maps the handle's ``id`` to the hook; ``extra_dict`` (one dict or several) holds
    the hook's options under the same id. The dicts are held weakly: a handle never keeps a module
    or a tensor alive.

    >>> handle = model.register_forward_hook(lambda module, args, y: print(tuple(y.shape)))
    >>> _ = model(x)
    (4, 2)
    >>> handle.remove()
    """

    _ids = itertools.count()

    def __init__(self, hooks_dict: MutableMapping, *, extra_dict: Any = None):
        self.id = next(RemovableHandle._ids)
        extras = () if extra_dict is None else extra_dict
        extras = extras if isinstance(extras, (list, tuple)) else (extras,)
        self._refs = tuple(weakref.ref(d) for d in (hooks_dict, *extras))

    def remove(self) -> None:
        """Remove the hook; a second call does nothing."""
        for ref in self._refs:
            hooks = ref()
            if hooks is not None:
                hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()

    def __getstate__(self) -> tuple:
        return self.id, tuple(ref() for ref in self._refs)

    def __setstate__(self, state: tuple) -> None:
        self.id, hooks = state
        self._refs = tuple(weakref.ref(d) for d in hooks if d is not None)


def unserializable_hook(f: Any) -> Any:
    """A decorator of hooks that are lost when their tensor is saved: `warn_if_has_hooks` tells."""
    f.__torch_unserializable__ = True
    return f


def warn_if_has_hooks(tensor: Any) -> None:
    """Warns if a tensor has hooks that are lost when it is saved, unless they are marked so."""
    import warnings

    for hook in (getattr(tensor, "_backward_hooks", None) or {}).values():
        if not hasattr(hook, "__torch_unserializable__"):
            warnings.warn(
                f"backward hook {hook!r} on tensor will not be serialized. If this is expected, "
                "you can decorate the function with @torch.utils.hooks.unserializable_hook to "
                "suppress this warning",
                stacklevel=2,
            )
