"""``state_dict`` and ``load_state_dict``: a module's tensors by their paths."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import taimatsu as torch
from taimatsu import Tensor

from .parameter import Parameter, is_lazy

__all__ = ["IncompatibleKeys", "StateDict"]

EXTRA_STATE = "_extra_state"


class IncompatibleKeys(namedtuple("_IncompatibleKeys", ["missing_keys", "unexpected_keys"])):
    """What ``load_state_dict`` gives: the keys that lacked, and those that had no place."""

    __slots__ = ()

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"_{super().__repr__()}"

    __str__ = __repr__


class StateDict:
    """What a `Module` does to save and load its tensors."""

    if TYPE_CHECKING:  # parameters, buffers, modules and hooks: what there is, shows at run time

        def __getattr__(self, name: str) -> Any: ...

    def get_extra_state(self) -> Any:
        """State besides parameters and buffers, for ``state_dict``; to be overridden."""
        raise RuntimeError(
            "get_extra_state: reached without an override; define it with set_extra_state"
        )

    def set_extra_state(self, state: Any) -> None:
        """Take back what `get_extra_state` gave; to be overridden."""
        raise RuntimeError(
            "set_extra_state: reached without an override; define it with get_extra_state"
        )

    def state_dict(self, *args, destination=None, prefix: str = "", keep_vars: bool = False):
        """An ordered dict from paths to the parameters and persistent buffers, sharing memory.

        ``keep_vars`` gives the tensors themselves, else detached ones.
        """
        for name, value in zip(("destination", "prefix", "keep_vars"), args, strict=False):
            destination = value if name == "destination" else destination
            prefix = value if name == "prefix" else prefix
            keep_vars = value if name == "keep_vars" else keep_vars
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = metadata
        for hook in self._state_dict_pre_hooks.values():
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(
                    destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars
                )
        for hook in self._state_dict_hooks.values():
            result = hook(self, destination, prefix, metadata)
            destination = destination if result is None else result
        return destination

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        """Put this module's own tensors into ``destination``; overridden to save otherwise."""
        for name, tensor in self._own_state():
            destination[prefix + name] = (
                tensor if keep_vars or is_lazy(tensor) else tensor.detach()
            )
        if type(self).get_extra_state is not StateDict.get_extra_state:
            destination[prefix + EXTRA_STATE] = self.get_extra_state()

    def _own_state(self) -> Iterator[tuple[str, Tensor]]:
        for name, param in self._parameters.items():
            if param is not None:
                yield name, param
        for name, buffer in self._buffers.items():
            if buffer is not None and name not in self._non_persistent_buffers_set:
                yield name, buffer

    def _load_from_state_dict(
        self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
    ) -> None:
        """Copy this module's own tensors from ``state_dict``; overridden to migrate old names.

        Appends to ``missing_keys``, ``unexpected_keys`` and ``error_msgs``.
        """
        for hook in self._load_state_dict_pre_hooks.values():
            args = (local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
            hook(state_dict, prefix, *args)
        assign = local_metadata.get("assign_to_params_buffers", False)
        own = dict(self._own_state())
        for name, tensor in own.items():
            key = prefix + name
            if key not in state_dict:
                if strict:
                    missing_keys.append(key)
                continue
            error = self._load_tensor(name, tensor, state_dict[key], assign)
            if error:
                error_msgs.append(error.replace("{key}", key))
        extra = prefix + EXTRA_STATE
        if type(self).set_extra_state is not StateDict.set_extra_state:
            if extra in state_dict:
                self.set_extra_state(state_dict[extra])
            elif strict:
                missing_keys.append(extra)
        elif strict and extra in state_dict:
            unexpected_keys.append(extra)
        if strict:
            for key in state_dict:
                name, _, rest = key[len(prefix) :].partition(".")
                known = name in self._modules if rest else name in own
                if key.startswith(prefix) and key != extra and not known:
                    unexpected_keys.append(key)

    def _load_tensor(self, name: str, tensor: Tensor, given: Any, assign: bool) -> str | None:
        """Copy or assign ``given`` to the entry ``name``; gives a message if it can't be."""
        if not isinstance(given, Tensor):
            return (
                "While copying the parameter named \"{key}\", expected torch.Tensor or "
                f"Tensor-like object from checkpoint but received {type(given)}"
            )
        if not is_lazy(tensor):
            if tensor.dim() == 0 and given.dim() == 1 and len(given) == 1:
                given = given[0]  # scalars were once saved with one dimension
            if given.shape != tensor.shape:
                return (
                    "size mismatch for {key}: copying a param with shape "
                    f"{given.shape} from checkpoint, the shape in current model is {tensor.shape}."
                )
        elif is_lazy(given):
            return None
        try:
            with torch.no_grad():
                if assign:
                    kind = "_parameters" if name in self._parameters else "_buffers"
                    if kind == "_parameters" and not isinstance(given, Parameter):
                        given = Parameter(given, requires_grad=tensor.requires_grad)
                    self._registry(kind)[name] = given.requires_grad_(tensor.requires_grad)
                else:
                    if is_lazy(tensor):
                        tensor.materialize(given.shape)  # type: ignore[attr-defined]
                    tensor.copy_(given)
        except Exception as error:
            return (
                'While copying the parameter named "{key}", whose dimensions in the model are '
                f"{tensor.size()} and whose dimensions in the checkpoint are {given.size()}, an "
                f"exception occurred : {error.args}."
            )
        return None

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copy parameters and buffers from ``state_dict`` into this module and those below.

        ``strict``: the keys must be exactly those of ``self.state_dict()``. ``assign``: take the
        given tensors themselves, dtype and device with them, instead of copying.
        Raises RuntimeError listing missing and unexpected keys and mismatched sizes.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        missing: list[str] = []
        unexpected: list[str] = []
        errors: list[str] = []
        metadata = getattr(state_dict, "_metadata", None)
        state_dict = OrderedDict(state_dict)
        if metadata is not None:
            state_dict._metadata = metadata  # type: ignore[attr-defined]

        def load(module: StateDict, part: dict, prefix: str) -> None:
            local = {} if metadata is None else metadata.get(prefix[:-1], {})
            if assign:
                local["assign_to_params_buffers"] = True
            module._load_from_state_dict(part, prefix, local, True, missing, unexpected, errors)
            for name, child in module._modules.items():
                if child is not None:
                    child_prefix = f"{prefix}{name}."
                    below = {k: v for k, v in part.items() if k.startswith(child_prefix)}
                    load(child, below, child_prefix)
            keys = IncompatibleKeys(missing, unexpected)
            for hook in module._load_state_dict_post_hooks.values():
                if hook(module, keys) is not None:
                    raise AssertionError(
                        "load_state_dict post-hook: must change the lists and return None"
                    )

        load(self, state_dict, "")
        if strict:
            for keys, title in ((unexpected, "Unexpected"), (missing, "Missing")):
                if keys:
                    quoted = ", ".join(f'"{k}"' for k in keys)
                    errors.insert(0, f"{title} key(s) in state_dict: {quoted}. ")
        if errors:
            lines = "\n\t".join(errors)
            title = f"Error(s) in loading state_dict for {type(self).__name__}:"
            raise RuntimeError(f"{title}\n\t{lines}")
        return IncompatibleKeys(missing, unexpected)
