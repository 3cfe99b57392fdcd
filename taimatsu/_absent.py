"""What the module of a device says where there is no driver of it.

Programs ask ``torch.xpu.is_available()`` first. In a build without the device, PyTorch answers
questions about what is there with nothing (no devices, no memory in use), and raises where the
device itself is needed; so do these modules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


class Absent:
    """A device that isn't there.

    ``namespace`` is its module's; the functions and types made here are put there and named by
    `names`. ``error`` is what PyTorch raises for the device.
    """

    def __init__(
        self, namespace: dict[str, Any], device: str, error: type[Exception] = AssertionError,
        why: Callable[[], str] = lambda: "this build has no driver for it",
    ):  # fmt: skip
        self.namespace, self.device, self.error, self.why = namespace, device, error, why
        self.names: list[str] = []

    def refusal(self, name: str = "") -> Exception:
        """The error, for raising."""
        what = f"{self.namespace['__name__'].partition('.')[2]}.{name}: " if name else ""
        device = self.device
        return self.error(
            f"{what}Torch not compiled with {device} enabled; {self.why()}. "
            f"Ask torch.{device.lower()}.is_available() first, or use device='cpu'"
        )

    def _define(self, name: str, value: Any) -> None:
        value.__name__ = value.__qualname__ = name
        value.__module__ = self.namespace["__name__"]
        self.namespace[name] = value
        self.names.append(name)

    def answer(self, empty: Callable[[], Any], names: str, doc: str) -> None:
        """Functions that answer with nothing of their type: False, 0, an empty list ..."""
        for name in names.split():

            def function(*args: Any, **kwargs: Any) -> Any:
                return empty()

            function.__doc__ = doc
            self._define(name, function)

    def refuse(self, names: str) -> None:
        """Functions that need the device."""
        for name in names.split():

            def function(*args: Any, _name: str = name, **kwargs: Any) -> Any:
                raise self.refusal(_name)

            function.__doc__ = f"Needs {self.device}: raises {self.error.__name__} without."
            self._define(name, function)

    def types(self, names: Iterable[str] | str, error: type[Exception] = RuntimeError) -> None:
        """Classes for annotations and `isinstance`, of which there are no instances."""
        for name in names.split() if isinstance(names, str) else names:

            def new(cls: type, *args: Any, _name: str = name, **kwargs: Any) -> Any:
                raise error(str(self.refusal(_name)))

            doc = f"Of {self.device}: raises {error.__name__} without."
            self._define(name, type(name, (), {"__new__": new, "__doc__": doc}))


class Selected:
    """A context in which a device is the current one. Without devices: only for a negative index.

    Programs write ``with torch.cuda.device(x.device)`` with tensors of the CPU too.
    """

    absent: Absent  # set by subclasses

    def __init__(self, device: Any):
        index = getattr(device, "index", device)
        if isinstance(index, str):
            index = int(index.rpartition(":")[2]) if ":" in index else 0
        self.idx = -1 if index is None else index

    def __enter__(self) -> None:
        if self.idx >= 0:
            raise self.absent.refusal(type(self).__name__)

    def __exit__(self, *exc: object) -> None:
        pass


class StreamContext:
    """A context in which a stream is the current one; of the stream None, nothing."""

    absent: Absent

    def __init__(self, stream: Any):
        self.stream = stream

    def __enter__(self) -> None:
        if self.stream is not None:
            raise self.absent.refusal("stream")

    def __exit__(self, *exc: object) -> None:
        pass
