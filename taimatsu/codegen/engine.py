"""Machine code in this process: compile, keep on disk, load.

    address, finish, parallel, scratch_bytes, state_bytes = kernel(nest, classes)

One JIT (LLJIT) holds every kernel as an object file, compiled or from the cache directory
(`TAIMATSU_CACHE`, default ~/.cache/taimatsu). The key of a cached kernel is the nest's structure,
the layout, the CPU and the versions of LLVM and of this package's sources, so that a warm start
renders nothing. `TAIMATSU_DEBUG=1` prints each kernel; `TAIMATSU_DEBUG=asm` its machine code too.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import sys
import tempfile
import threading
import time
import typing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from .ir import Axis, Buffer, Expr, Monoid, Nest, Param, topological
from .kernel import Kernel
from .llvm import Target
from .schedule import Schedule, initial, merge_formula


class Loaded(typing.NamedTuple):
    """What the core is told about a kernel; see docs/layout.md."""

    address: int
    finish_address: int
    parallel: tuple[int, ...]
    scratch_bytes_per_row_element: int
    state_bytes: int


@dataclass
class Statistics:
    """Counts since the process began. `compile_ms` is rendering and LLVM, without cache hits."""

    kernels: int = 0
    compiled: int = 0
    cache_hits: int = 0
    compile_ms: float = 0.0


_lock = threading.RLock()
_statistics = Statistics()


def statistics() -> Statistics:
    """A copy of the counts.

    >>> statistics().kernels >= 0
    True
    """
    with _lock:
        return Statistics(**vars(_statistics))


def kernel(
    nest: Nest, classes: tuple[str, ...], blocked: bool = False, short: bool = False
) -> Loaded:
    """Machine code for a nest and the layout classes of its operands.

    `blocked` asks for a kernel whose rows can be split; state_bytes is 0 if the nest can't be.
    Raises NotImplementedError if an expression has no code; never fails because of the cache.
    """
    with _lock:
        return _engine().kernel(nest, tuple(classes), bool(blocked), bool(short))


# The identity of a kernel


def fingerprint(nest: Nest) -> bytes:
    """The structure of a nest as bytes: equal for nests that mean the same, in any process."""
    numbers: dict[Any, int] = {}

    def number(x: object) -> int:
        return numbers.setdefault(x, len(numbers))

    def described(x: object) -> object:
        if isinstance(x, Axis):
            return ("axis", number(x), x.role, x.extent)
        if isinstance(x, Buffer):
            return ("buffer", number(x), x.dtype.name, x.rank, x.index, x.role)
        if isinstance(x, Param):
            return ("param", x.dtype.name, x.slot)
        if isinstance(x, tuple):
            return tuple(map(described, x))
        if isinstance(x, Monoid):
            return "monoid"
        return (type(x).__name__, repr(x))

    out: list[object] = [described(nest.axes), described(nest.reduced), described(nest.operands)]
    ids: dict[Expr, int] = {}

    def add(root: Expr) -> int:
        for e in topological([root]):
            if e in ids:
                continue
            ids[e] = len(ids)
            out.append((e.op, [ids[s] for s in e.src], described(e.arg), e.dtype.name))
            if e.op in ("reduce", "scan"):
                out.append(("merge", [add(m) for m in merge_formula(e)], repr(initial(e))))
        return ids[root]

    for s in nest.stores:
        parts = [add(e) for e in (s.value, *s.index)]
        guard = None if s.guard is None else add(s.guard)
        combine = None
        if s.combine is not None:
            combine = [
                add(m)
                for m in merge_formula(Expr("reduce", (s.value,), (s.combine, ()), s.value.dtype))
            ]
        out.append(("store", described(s.buffer), parts, guard, combine))
    return repr(out).encode()


@lru_cache(maxsize=1)
def _sources() -> bytes:
    """A digest of this package: what it makes of a nest may change with any of its files."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.digest()


# The cache on disk. A file is a digest of the rest, the length of the description, the
# description (JSON) and the object file. Whatever is wrong with it, it is made again.


class Cache:
    def __init__(self, directory: Path | None) -> None:
        self.directory = directory

    @staticmethod
    def default() -> Cache:
        """Where `TAIMATSU_CACHE` says; empty switches the cache off."""
        place = os.environ.get("TAIMATSU_CACHE")
        if place == "":
            return Cache(None)
        try:
            return Cache(Path(place) if place else Path.home() / ".cache" / "taimatsu")
        except RuntimeError:  # there is no home
            return Cache(None)

    def path(self, key: str) -> Path:
        assert self.directory is not None
        return self.directory / key[:2] / key

    def get(self, key: str) -> tuple[dict, bytes] | None:
        if self.directory is None:
            return None
        try:
            data = self.path(key).read_bytes()
            digest, body = data[:32], data[32:]
            if hashlib.sha256(body).digest() != digest:
                return None
            (n,) = struct.unpack("<I", body[:4])
            return json.loads(body[4 : 4 + n]), body[4 + n :]
        except (OSError, ValueError, struct.error):
            return None

    def put(self, key: str, description: dict, code: bytes) -> None:
        """Written beside its place and renamed: another process sees all of it or nothing."""
        if self.directory is None:
            return
        text = json.dumps(description).encode()
        body = struct.pack("<I", len(text)) + text + code
        path = self.path(key)
        temporary = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent)
            with os.fdopen(handle, "wb") as f:
                f.write(hashlib.sha256(body).digest() + body)
            os.replace(temporary, path)
        except OSError:
            if temporary is not None:
                Path(temporary).unlink(missing_ok=True)


# LLVM


@lru_cache(maxsize=1)
def llvm() -> ModuleType:
    """llvmlite's binding, imported and set up on first use."""
    import llvmlite.binding as binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    # Loop strength reduction takes half of the time of a compile and finds nothing: addresses are
    # hoisted already. LLVM has this switch for the whole process only, and wants it once.
    binding.set_option("taimatsu", "-disable-lsr")
    return binding


def host() -> Target:
    """The CPU of this machine."""
    binding = llvm()
    try:
        features = binding.get_host_cpu_features().flatten()
    except RuntimeError:  # not known on every platform
        features = ""
    return Target(binding.get_process_triple(), binding.get_host_cpu_name(), features)


def machine(target: Target) -> Any:
    """A TargetMachine; one belongs to one engine only, and to one emission at a time."""
    binding = llvm()
    return binding.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=1, reloc="pic", codemodel="default",
        jit=True,
    )  # fmt: skip


def render(schedule: Schedule, target: Target, name: str = "kernel") -> str:
    """The LLVM IR of a schedule."""
    return Kernel(schedule, target, name).render()


def parse(text: str) -> Any:
    """A verified module, in a context of its own."""
    binding = llvm()
    module = binding.parse_assembly(text, context=binding.create_context())
    module.verify()
    return module


def emit(text: str, target: Target, assembly: bool = False) -> bytes | str:
    """The object file, or the assembly, of a module for any target."""
    binding = llvm()
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    m = machine(target)
    return m.emit_assembly(parse(text)) if assembly else m.emit_object(parse(text))


class Engine:
    """The process' kernels. All methods are called under the module's lock."""

    def __init__(self) -> None:
        binding = llvm()
        self.target = host()
        self.emitter = machine(self.target)
        # JITLink allocates all sections of an object together. MCJIT doesn't: sections refer to
        # each other by 32-bit distances, and it aborts where the program's memory lies in between.
        self.jit = binding.create_lljit_compiler(machine(self.target), use_jit_link=True)
        self.libraries: list[Any] = []  # each keeps its code in memory
        self.cache = Cache.default()
        self.loaded: dict[str, Loaded] = {}
        self.base = repr((self.target, binding.llvm_version_info)).encode() + _sources()
        self.debug = os.environ.get("TAIMATSU_DEBUG", "")

    def kernel(self, nest: Nest, classes: tuple[str, ...], blocked: bool, short: bool) -> Loaded:
        digest = hashlib.sha256(self.base)
        digest.update(repr((classes, blocked, short)).encode())
        digest.update(fingerprint(nest))
        key = digest.hexdigest()
        found = self.loaded.get(key)
        if found is None:
            found = self.loaded[key] = self._load(key, nest, classes, blocked, short)
        return found

    def _load(
        self, key: str, nest: Nest, classes: tuple[str, ...], blocked: bool, short: bool
    ) -> Loaded:
        name = f"k{key[:24]}"
        cached = None if self.debug else self.cache.get(key)
        if cached is None:
            began = time.perf_counter()
            schedule = Schedule(nest, classes, blocked, short)
            text = render(schedule, self.target, name)
            code = self.emitter.emit_object(parse(text))
            description: dict[str, Any] = {
                "finish": schedule.blocked,
                "parallel": schedule.parallel,
                "scratch": schedule.scratch_bytes,
                "state": schedule.state_bytes if schedule.blocked else 0,
            }
            ms = 1000 * (time.perf_counter() - began)
            self.cache.put(key, description, code)
            _statistics.compiled += 1
            _statistics.compile_ms += ms
            self._show(nest, schedule, text, ms)
        else:
            description, code = cached
            _statistics.cache_hits += 1
        _statistics.kernels += 1
        library = llvm().JITLibraryBuilder().add_object_img(code).add_current_process()
        library.export_symbol(name)
        if description["finish"]:
            library.export_symbol(name + "_finish")
        linked = library.link(self.jit, name)
        self.libraries.append(linked)
        return Loaded(
            linked[name],
            linked[name + "_finish"] if description["finish"] else 0,
            tuple(description["parallel"]),
            description["scratch"],
            description["state"],
        )

    def _show(self, nest: Nest, schedule: Schedule, text: str, ms: float) -> None:
        if not self.debug:
            return
        print(f"; {nest.name}{list(schedule.classes.values())}: {ms:.1f} ms, "
              f"vector {schedule.vector} lanes {schedule.lanes}", file=sys.stderr)  # fmt: skip
        print(text, file=sys.stderr)
        if self.debug == "asm":
            print(self.emitter.emit_assembly(parse(text)), file=sys.stderr)


@lru_cache(maxsize=1)
def _engine() -> Engine:
    _guard_fork(llvm())
    return Engine()


def _guard_fork(binding: ModuleType) -> None:
    """A child forked while another thread is inside LLVM would wait for its lock forever.

    So a fork waits for both locks, ours before llvmlite's as everywhere, and both sides let go.
    """
    lock = binding.ffi.lib._lock

    def acquire() -> None:
        _lock.acquire()
        lock.__enter__()

    def release() -> None:
        lock.__exit__(None, None, None)
        _lock.release()

    os.register_at_fork(before=acquire, after_in_parent=release, after_in_child=release)
