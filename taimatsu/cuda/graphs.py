"""``cuda.graphs``: work that is recorded once and launched again as a whole."""

from __future__ import annotations

import gc
import threading
from contextlib import AbstractContextManager
from typing import Any

import taimatsu as torch

from ._driver import core, driver_or_none
from .streams import Stream, StreamContext, _here, default_stream

__all__ = [
    "CUDAGraph", "graph", "graph_pool_handle", "is_current_stream_capturing",
    "make_graphed_callables",
]  # fmt: skip

_MODES = {"global": 0, "thread_local": 1, "relaxed": 2}


def is_current_stream_capturing() -> bool:
    """Whether what is put on the current stream is recorded into a graph."""
    cuda = driver_or_none()
    return bool(cuda and cuda.capturing(-1))


def graph_pool_handle() -> tuple[int, int]:
    """A pool of memory that several graphs may share, where they are replayed one at a time."""
    return (0, core("graph_pool_handle").new_pool())


def _pool_number(pool: Any) -> int:
    return 0 if pool is None else int(getattr(pool, "id", pool)[1])


class _Recordings(threading.local):
    def __init__(self) -> None:
        self.draws: list[Draws] = []


_recordings = _Recordings()  # of this thread, the latest last


def recording() -> Draws | None:
    """What the graph draws into which the current stream's work is recorded."""
    return _recordings.draws[-1] if _recordings.draws and is_current_stream_capturing() else None


class _Counters:
    """The random numbers that a graph draws from a generator: their key and first counter are read
    from memory, and written there before each replay."""

    def __init__(self, device: Any):
        with StreamContext(default_stream(device)):  # not the graph's memory, which it writes to
            self.state = torch.empty([2], dtype=torch.int64, device=device)
        self.count = 0

    def renew(self, generator: Any) -> None:
        from taimatsu.ops.anywhere.random import signed

        self.state.record_stream(torch.cuda.current_stream(self.state.device))
        for word, n in zip(self.state, generator.take_counters(self.count), strict=True):
            word.fill_(signed(n))  # which the host doesn't wait for


class Draws:
    """The random numbers that a graph draws, by generator."""

    def __init__(self) -> None:
        self.counters: dict[Any, _Counters] = {}

    def draw(self, generator: Any, device: Any, count: int) -> tuple:
        """What `cuda.random.take_counters` gives while the graph is recorded."""
        if generator not in self.counters:
            self.counters[generator] = _Counters(device)
        drawn = self.counters[generator]
        first, drawn.count = drawn.count, drawn.count + -(-count // 4) * 4
        return drawn.state[0], drawn.state[1] + first

    def renew(self) -> None:
        """The next replay draws new ones."""
        for generator, drawn in self.counters.items():
            drawn.renew(generator)


def begin_draws() -> Draws:
    """For what this thread records from now on."""
    _recordings.draws.append(Draws())
    return _recordings.draws[-1]


def end_draws(draws: Draws) -> Draws | None:
    """Those of a recording that has ended; None if there were none."""
    if draws in _recordings.draws:
        _recordings.draws.remove(draws)
    return draws if draws.counters else None


class CUDAGraph:
    """A recording of work, replayed at the cost of one launch.

    What it reads and writes keeps its addresses: new inputs are copied into the tensors that were
    there when it was recorded. Its memory comes from a pool of its own, or from ``pool``.

    >>> g = torch.cuda.CUDAGraph()
    >>> with torch.cuda.graph(g):
    ...     y = model(x)
    >>> x.copy_(batch); g.replay()
    """

    def __init__(self, keep_graph: bool = False):
        self._core = _here("CUDAGraph")
        self._graph = self._core.new_graph(bool(keep_graph))
        self._draws = Draws()

    def capture_begin(self, pool: Any = None, capture_error_mode: str = "global") -> None:
        """Starts to record what is put on the current stream, which must not be the default one."""
        if capture_error_mode not in _MODES:
            raise RuntimeError(
                "Unknown capture error mode. Expected `global`, `thread_local`, or `relaxed`, "
                f"got {capture_error_mode}"
            )
        self._core.graph_begin(self._graph, _pool_number(pool), _MODES[capture_error_mode])
        self._draws = begin_draws()

    def capture_end(self) -> None:
        """Stops recording. RuntimeError if something was called that can't be recorded."""
        end_draws(self._draws)
        self._core.graph_end(self._graph)

    def register_generator_state(self, generator: Any) -> None:
        """Kept for programs that call it: every generator is known when it is first drawn from."""

    def instantiate(self) -> None:
        """Makes what is launched, of a graph made with ``keep_graph=True``."""
        self._core.graph_instantiate(self._graph)

    def replay(self) -> None:
        """Launches all of it on the current stream; its random numbers are new ones each time."""
        self._draws.renew()
        self._core.graph_replay(self._graph)

    def reset(self) -> None:
        """Deletes the recording; its memory can be given back when its tensors are gone."""
        self._draws = Draws()
        self._core.graph_reset(self._graph)

    def pool(self) -> tuple[int, int]:
        """Its pool, to be given to other captures."""
        return (0, self._core.graph_pool(self._graph))

    def enable_debug_mode(self) -> None:
        """Kept for programs that call it: make the graph with ``keep_graph=True`` instead."""

    def debug_dump(self, debug_path: str) -> None:
        """Writes the graph as a DOT file, of one made with ``keep_graph=True``."""
        self._core.graph_dump(self._graph, str(debug_path))

    def raw_cuda_graph(self) -> int:
        """The driver's handle, of a graph made with ``keep_graph=True``."""
        handle = self._core.graph_handle(self._graph)
        if not handle:
            raise RuntimeError("raw_cuda_graph: the graph is not kept; use keep_graph=True")
        return handle


class graph(AbstractContextManager):
    """A context whose work is recorded into ``cuda_graph``, on a stream of its own.

    ``pool``: of `graph_pool_handle` or another graph's `pool`. ``stream``: to record on.
    ``capture_error_mode``: which calls of other threads spoil it: "global", "thread_local",
    "relaxed".
    """

    default_capture_stream: Stream | None = None

    def __init__(
        self, cuda_graph: CUDAGraph, pool: Any = None, stream: Stream | None = None,
        capture_error_mode: str = "global", **kwargs: Any,
    ):  # fmt: skip
        _here("graph")
        if stream is None:
            if graph.default_capture_stream is None:
                graph.default_capture_stream = Stream()
            stream = graph.default_capture_stream
        self.cuda_graph, self.pool, self.capture_error_mode = cuda_graph, pool, capture_error_mode
        self.capture_stream = stream
        self._context = StreamContext(stream)

    def __enter__(self) -> None:
        core().synchronize(-1)
        gc.collect()  # nothing that was there before may be freed during the capture
        core().empty_cache()
        self._context.__enter__()
        try:
            self.cuda_graph.capture_begin(self.pool, self.capture_error_mode)
        except BaseException:
            self._context.__exit__()
            raise

    def __exit__(self, *exc: object) -> None:
        try:
            self.cuda_graph.capture_end()
        finally:
            self._context.__exit__(*exc)


def make_graphed_callables(
    callables: Any, sample_args: Any, num_warmup_iters: int = 3, allow_unused_input: bool = False,
    pool: Any = None,
) -> Any:  # fmt: skip
    """Callables whose forward and backward are graphs: modules keep their type, functions don't.

    ``sample_args``: for each callable a tuple of tensors with the sizes, dtypes and
    ``requires_grad`` that later arguments have. ``num_warmup_iters``: runs before recording.
    ``allow_unused_input``: inputs that get no gradient are no error.

    RuntimeError for a module with hooks or with parameters that are no leaves of the tape.
    """
    core("make_graphed_callables")
    from ._graphed import graphed

    single = not isinstance(callables, tuple)
    if single:
        callables, sample_args = (callables,), (sample_args,)
    made = graphed(callables, sample_args, num_warmup_iters, allow_unused_input, pool)
    torch.cuda.synchronize()
    return made[0] if single else tuple(made)
