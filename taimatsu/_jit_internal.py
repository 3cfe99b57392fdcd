"""Names of TorchScript's that programs import from here; see `taimatsu.jit`."""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any

from taimatsu.jit import Final, _overload, _overload_method, export, ignore, is_scripting, unused
from taimatsu.jit.annotations import BroadcastingList1, BroadcastingList2, BroadcastingList3

Dict, List, Optional, Tuple, Union = (  # the names that annotations use
    typing.Dict, typing.List, typing.Optional, typing.Tuple, typing.Union,  # noqa: UP006
)  # fmt: skip

__all__ = [
    "BroadcastingList1", "BroadcastingList2", "BroadcastingList3", "Final", "_overload",
    "_overload_method", "boolean_dispatch", "export", "ignore", "is_scripting", "unused",
]  # fmt: skip


def boolean_dispatch(
    arg_name: str, arg_index: int, default: bool, if_true: Callable, if_false: Callable,
    module_name: str, func_name: str,
) -> Callable:  # fmt: skip
    """The function that calls ``if_true`` or ``if_false``, by the value of one argument."""

    def fn(*args: Any, **kwargs: Any) -> Any:
        given = args[arg_index] if arg_index < len(args) else kwargs.get(arg_name, default)
        return (if_true if given else if_false)(*args, **kwargs)

    fn.__name__, fn.__doc__ = func_name, if_true.__doc__ or if_false.__doc__
    return fn


def _copy_to_script_wrapper(fn: Callable) -> Callable:
    return fn
