"""Several modules at once, each on its device and in a thread of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import taimatsu as torch

__all__ = ["get_a_var", "parallel_apply"]


def get_a_var(obj: Any) -> Any:
    """Some tensor in a nest of lists, tuples and dicts; None if there is none."""
    if isinstance(obj, torch.Tensor):
        return obj
    if isinstance(obj, dict):
        obj = list(obj.values())
    nested = obj if isinstance(obj, (list, tuple)) else ()
    return next((t for each in nested if (t := get_a_var(each)) is not None), None)


def parallel_apply(
    modules: Sequence[Any], inputs: Sequence[Any], kwargs_tup: Sequence[Any] | None = None,
    devices: Sequence[Any] | None = None,
) -> list:  # fmt: skip
    """``modules[i](*inputs[i], **kwargs_tup[i])`` of each, in threads of their own.

    ``devices``: the current GPU of each thread; by default that of its inputs. Grad mode, autocast
    and the current streams are the caller's. ValueError if there are not as many inputs as modules.
    """
    named: Sequence[dict] = kwargs_tup or ({},) * len(modules)
    given = [each if isinstance(each, (list, tuple)) else (each,) for each in inputs]
    places = list(devices or [None] * len(modules))
    if not len(modules) == len(given) == len(named) == len(places):
        raise ValueError(
            f"parallel_apply: needs one input for each module; got {len(modules)} modules, "
            f"{len(given)} inputs"
        )
    grad, autocast = torch.is_grad_enabled(), torch.is_autocast_enabled("cuda")
    gpus = torch.cuda.is_available()
    streams = [torch.cuda.current_stream(d) for d in range(torch.cuda.device_count())]

    def device_of(i: int) -> int:
        if places[i] is not None:
            return torch.cuda._driver.index_of(places[i])
        found = get_a_var((given[i], named[i]))
        return found.get_device() if found is not None else -1

    def run(i: int) -> Any:
        with contextlib.ExitStack() as stack:
            for s in streams:
                stack.enter_context(torch.cuda.stream(s))
            if gpus:
                stack.enter_context(torch.cuda.device(device_of(i)))
                stack.enter_context(torch.autocast("cuda", enabled=autocast))
            stack.enter_context(torch.set_grad_enabled(grad))
            return modules[i](*given[i], **named[i])

    with ThreadPoolExecutor(max_workers=max(1, len(modules))) as pool:
        return list(pool.map(run, range(len(modules))))
