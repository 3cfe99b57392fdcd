"""``compile`` and ``compiler``: functions whose op calls are put off, and fused.

Inside a compiled function Python runs as ever, on every call. Its op calls infer their results'
sizes and dtypes, and are carried out together: at the function's end, or when a value is needed
(`item`, printing, NumPy). When the same calls come again they are fused into fewer kernels. So
nothing is guarded or captured, there are no graph breaks, any Python goes, and results are those of
eager execution bit for bit. The backward pass of what a compiled function computed is put off too.

A backend of the user's is given graphs instead: see `compile`.

What steers PyTorch's compiler beyond that is accepted, and has no effect.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from . import config

if TYPE_CHECKING:
    from ._artifacts import CacheInfo
    from ._explain import Explanation

__all__ = [
    "allow_in_graph",
    "assume_constant_result",
    "compile",
    "config",
    "cudagraph_mark_step_begin",
    "disable",
    "explain",
    "get_default_backend",
    "is_compiling",
    "is_dynamo_compiling",
    "is_exporting",
    "keep_portable_guards_unsafe",
    "keep_tensor_guards_unsafe",
    "list_backends",
    "load_cache_artifacts",
    "nested_compile_region",
    "reset",
    "save_cache_artifacts",
    "set_default_backend",
    "set_enable_guard_collectives",
    "set_stance",
    "skip_all_guards_unsafe",
    "skip_guard_on_all_nn_modules_unsafe",
    "skip_guard_on_globals_unsafe",
    "skip_guard_on_inbuilt_nn_modules_unsafe",
    "substitute_in_graph",
    "wrap_numpy",
]  # fmt: skip

_AS_IT_IS = ("eager", "aot_eager")
_BACKENDS = ("inductor", *_AS_IT_IS, "cudagraphs")
_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
_default = "inductor"


def compile(
    model: Callable | None = None, *, fullgraph: bool = False, dynamic: bool | None = None,
    backend: Any = None, mode: str | None = None, options: dict | None = None,
    disable: bool = False, **others: Any,
) -> Any:  # fmt: skip
    """A function or module whose op calls are fused when they repeat; also a decorator.

    On a GPU, what comes again is launched as a CUDA graph with ``mode="reduce-overhead"`` or
    "max-autotune", ``backend="cudagraphs"``, or ``options={"triton.cudagraphs": True}``.

    ``backend="eager"`` and "aot_eager" run it as it is. A module is wrapped, with its state under
    ``_orig_mod``, as in PyTorch.

    A ``backend`` of one's own is a function: it is given the graph of a call, a
    `taimatsu.fx.GraphModule`, and the tensors that are its arguments, and returns a function of
    them that returns the results as a tuple or list; ``mode`` and ``options`` are handed on to it,
    where they are given. It is asked once for each kind of arguments
    (sizes, dtypes, constants). Calls that look at elements can't be graphs and run as they are;
    with ``fullgraph`` they raise `_dynamo.exc.Unsupported`.

    RuntimeError for unknown names, or for both ``mode`` and ``options``.

    >>> @torch.compile
    ... def f(x):
    ...     return x.sin() + 1
    """
    if mode is not None and options is not None:
        raise RuntimeError(
            "Either mode or options can be specified, but both can't be specified at the same time."
        )
    backend = _default if backend is None else backend
    if not callable(backend) and backend not in _BACKENDS:
        known = ", ".join(_BACKENDS)
        raise RuntimeError(f"compile: unknown backend {backend!r}; there are {known}")
    if mode is not None and mode not in _MODES:
        raise RuntimeError(f"compile: unrecognized mode={mode!r}; there are {', '.join(_MODES)}")

    own = backend if callable(backend) else None
    given = {k: v for k, v in (("mode", mode), ("options", options)) if v is not None}
    if own and given:
        own = functools.partial(own, **given)

    graphs = _wants_graphs(backend, mode, options)

    def checked(function: Callable) -> Callable:
        if not callable(function):
            raise RuntimeError(f"compile: expected a callable; got {type(function).__name__}")
        if disable:
            return function
        run: Callable | None = None  # by putting calls off
        if own is not None:
            from ._captured import Captured

            run = Captured(function, own, fullgraph)
        elif backend in _AS_IT_IS:
            run = function
        if not isinstance(function, Module):
            return run or _deferring(function, graphs)
        from taimatsu._dynamo import OptimizedModule

        again = functools.partial(
            compile, fullgraph=fullgraph, dynamic=dynamic, backend=backend, mode=mode,
            options=options,
        )  # fmt: skip
        return OptimizedModule(function, run, again, graphs)

    from taimatsu.nn import Module

    return checked if model is None else checked(model)


def _deferring(function: Callable, graphs: bool) -> Callable:
    from taimatsu import _core

    @functools.wraps(function)
    def deferred(*args: Any, **kwargs: Any) -> Any:
        return _core._deferred(function, args, kwargs, graphs)

    return deferred


def _wants_graphs(backend: Any, mode: str | None, options: dict | None) -> bool:
    """Whether what comes again is to be launched as CUDA graphs."""
    from taimatsu._inductor.config import triton

    by_mode = backend == "cudagraphs" or mode in ("reduce-overhead", "max-autotune")
    return bool((options or {}).get("triton.cudagraphs", by_mode or triton.cudagraphs))


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """A decorator of functions that are not to be compiled; also a context manager.

    Their calls are put off like others where a compiled function calls them.
    """
    return _Nothing() if fn is None else fn


class _Nothing:
    """A decorator and a context manager that change nothing."""

    def __call__(self, fn: Callable) -> Callable:
        return fn

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        pass


def set_stance(stance: str = "default", **options: Any) -> _Nothing:
    """How compiled functions are called: a function, context manager or decorator."""
    return _Nothing()


def nested_compile_region(fn: Callable | None = None, **options: Any) -> Any:
    """A decorator of a function that is compiled once and called often."""
    return _Nothing() if fn is None else fn


def allow_in_graph(fn: Any) -> Any:
    """Functions that a graph calls without looking inside: ``fn`` itself."""
    return fn


def assume_constant_result(fn: Callable) -> Callable:
    """A function whose result is a constant of the graph: ``fn`` itself."""
    return fn


def substitute_in_graph(original_fn: Callable, **options: Any) -> Callable:
    """A decorator of a function to be used for another one in graphs."""
    return lambda fn: fn


def is_compiling() -> bool:
    """Whether a graph is being made of the caller: False."""
    return False


is_dynamo_compiling = is_exporting = is_compiling


def wrap_numpy(fn: Callable) -> Callable:
    """A function of tensors, of one of NumPy's arrays. Its results have no history.

    >>> @torch.compiler.wrap_numpy
    ... def f(a):
    ...     return np.flip(a)
    """
    import taimatsu as torch
    from taimatsu.utils._pytree import tree_map

    def array(x: Any) -> Any:
        return x.detach().numpy() if isinstance(x, torch.Tensor) else x

    def tensor(x: Any) -> Any:
        import numpy as np

        return torch.as_tensor(np.ascontiguousarray(x)) if isinstance(x, np.ndarray) else x

    @functools.wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return tree_map(tensor, fn(*tree_map(array, args), **tree_map(array, kwargs)))

    return wrapped


def reset() -> None:
    """Forgets what was planned for compiled functions; memory of their CUDA graphs can be freed."""
    from taimatsu import _core

    _core._forget_plans()


def cudagraph_mark_step_begin() -> None:
    """The beginning of a step whose graph may be replayed: nothing."""


def set_enable_guard_collectives(enabled: bool) -> bool:
    """Whether processes agree on recompiling; what was set before."""
    return False


def list_backends(exclude_tags: Any = ("debug", "experimental")) -> list[str]:
    """The names that `compile` takes."""
    return ["inductor"] if exclude_tags else list(_BACKENDS)


def get_default_backend() -> Any:
    """The backend where none is given."""
    return _default


def set_default_backend(backend: str | None) -> None:
    """Sets the backend where none is given; None: "inductor"."""
    global _default
    compile(disable, backend=backend or "inductor")  # its checks
    _default = backend or "inductor"


# ---- compiled kernels, from one machine to another ----------------------------------------------


def explain(function: Callable) -> Callable[..., Explanation]:
    """What `compile` makes of a function: which of its calls go into one kernel, and where the
    program asks for values, so that the calls before have to be made.

    The function that is returned calls ``function`` three times with its arguments, and tells. What
    was planned before for functions in this process is forgotten, and planned again when it comes.

    >>> print(torch.compiler.explain(lambda x: (x * 2 + 1).relu().sum())(torch.ones(3)))
    4 calls in 1 kernels, 1 segments
    segment 1, made at ...
      mul, add, relu, sum
    """
    from ._explain import explanation

    return lambda *args, **kwargs: explanation(function, args, kwargs)


def save_cache_artifacts() -> tuple[bytes, CacheInfo] | None:
    """The kernels in the cache on disk, as bytes, and their names; None if there are none.

    Bring them to a machine of the same kind by `load_cache_artifacts`.
    """
    from ._artifacts import packed

    return packed()


def load_cache_artifacts(serialized_artifacts: bytes) -> CacheInfo | None:
    """Puts kernels into the cache on disk; their names. None for bytes that hold none."""
    from ._artifacts import unpacked

    return unpacked(serialized_artifacts)


# ---- which guards to keep -----------------------------------------------------------------------
# For a ``guard_filter_fn`` in the options of `compile`, which nothing calls: there are no guards.


def skip_all_guards_unsafe(guard_entries: Sequence[Any]) -> list[bool]:
    """Of guards, none."""
    return [False for _ in guard_entries]


def keep_tensor_guards_unsafe(
    guard_entries: Sequence[Any], keep_parameters: bool = False
) -> list[bool]:
    """Of guards, those on tensors, with or without parameters."""
    from taimatsu.nn import Parameter

    return [
        entry.guard_type == "TENSOR_MATCH"
        and (keep_parameters or not isinstance(entry.value, Parameter))
        for entry in guard_entries
    ]


def keep_portable_guards_unsafe(guard_entries: Sequence[Any]) -> list[bool]:
    """Of guards, those that need no Python: on tensors, sizes and modes."""
    portable = ("TENSOR_MATCH", "SHAPE_ENV", "GRAD_MODE", "DEFAULT_DEVICE", "GLOBAL_STATE")
    return [entry.guard_type in portable for entry in guard_entries]


def skip_guard_on_globals_unsafe(guard_entries: Sequence[Any]) -> list[bool]:
    """Of guards, those that aren't on globals."""
    return [not entry.is_global for entry in guard_entries]


def skip_guard_on_all_nn_modules_unsafe(guard_entries: Sequence[Any]) -> list[bool]:
    """Of guards, those that aren't on modules."""
    return [not entry.orig_guard.source.is_unspecialized_nn_module() for entry in guard_entries]


def skip_guard_on_inbuilt_nn_modules_unsafe(guard_entries: Sequence[Any]) -> list[bool]:
    """Of guards, those that aren't on modules of `nn`."""
    return [
        not entry.orig_guard.source.is_unspecialized_builtin_nn_module() for entry in guard_entries
    ]
