"""Machine code in this process: compile, keep on disk, load.

    address, finish, parallel, scratch_bytes, state_bytes = kernel(nest, classes)

What is compiled is kept in the cache directory (`TAIMATSU_CACHE`, default ~/.cache/taimatsu). The
key of a kernel is the nest's structure, the layout, the CPU and the versions of LLVM and of this
package's sources, so that a warm start renders nothing. `TAIMATSU_DEBUG=1` prints each kernel;
`TAIMATSU_DEBUG=asm` its machine code too.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from functools import cached_property, lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from taimatsu import _forks

from . import image
from .cache import Loaded, cache, counts, hardware, lock
from .cache import kernel as load
from .ir import Axis, Buffer, Expr, Loop, Monoid, Nest, Param, topological
from .kernel import Kernel
from .llvm import Target
from .schedule import Rows, Schedule, initial, merge_formula


def kernel(nest: Nest, classes: tuple[str, ...], rows: Rows = "whole") -> Loaded:
    """Machine code for a nest and the layout classes of its operands.

    If `rows` are "blocked", state_bytes is 0 where the nest's can't be.
    Raises NotImplementedError if an expression has no code; never fails because of the cache.
    """
    with lock:
        return _engine().kernel(nest, tuple(classes), rows)


def key(nest: Nest, classes: tuple[str, ...], rows: Rows = "whole") -> str:
    """What the kernel is called in the cache."""
    with lock:
        return _engine().key(nest, tuple(classes), rows)


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
        if isinstance(x, Loop):
            return ("loop", x.limit, add(x.going), [add(f) for f in x.following])
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
    _forks.guard(_LibraryLock(binding))
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
    """The process' kernels. All methods are called under the lock."""

    def __init__(self) -> None:
        self.loaded: dict[str, Loaded] = {}
        about = hardware() or repr((self.target, llvm().llvm_version_info)).encode()
        self.base = about + _sources()
        self.debug = os.environ.get("TAIMATSU_DEBUG", "")

    @cached_property
    def target(self) -> Target:
        return host()

    @cached_property
    def emitter(self) -> Any:
        return machine(self.target)

    @cached_property
    def jit(self) -> Any:
        # JITLink allocates all sections of an object together. MCJIT doesn't: sections refer to
        # each other by 32-bit distances, and it aborts where the program's memory lies in between.
        return llvm().create_lljit_compiler(machine(self.target), use_jit_link=True)

    def key(self, nest: Nest, classes: tuple[str, ...], rows: Rows) -> str:
        digest = hashlib.sha256(self.base)
        digest.update(repr((classes, rows)).encode())
        digest.update(fingerprint(nest))
        return digest.hexdigest()

    def kernel(self, nest: Nest, classes: tuple[str, ...], rows: Rows) -> Loaded:
        key = self.key(nest, classes, rows)
        found = self.loaded.get(key)
        if found is None:
            found = self.loaded[key] = self._load(key, nest, classes, rows)
        return found

    def _load(self, key: str, nest: Nest, classes: tuple[str, ...], rows: Rows) -> Loaded:
        name = f"k{key[:24]}"
        cached = None if self.debug else cache().get(key)
        if cached is None:
            began = time.perf_counter()
            schedule = Schedule(nest, classes, rows)
            text = render(schedule, self.target, name)
            code = self.emitter.emit_object(parse(text))
            description: dict[str, Any] = {
                "finish": schedule.blocked,
                "parallel": schedule.parallel,
                "scratch": schedule.scratch_bytes,
                "state": schedule.state_bytes if schedule.blocked else 0,
            }
            names = [name, name + "_finish"] if schedule.blocked else [name]
            flat = image.flatten(code, names)
            if flat is not None:
                code, description["entries"] = flat
            ms = 1000 * (time.perf_counter() - began)
            cache().put(key, description, code)
            counts.compiled += 1
            counts.compile_ms += ms
            self._show(nest, schedule, text, ms)
        else:
            description, code = cached
            counts.cache_hits += 1
        counts.kernels += 1
        return load(description, code) or self._link(name, description, code)

    def _link(self, name: str, description: dict, code: bytes) -> Loaded:
        """For code that calls functions from elsewhere."""
        library = llvm().JITLibraryBuilder().add_object_img(code).add_current_process()
        library.export_symbol(name)
        if description["finish"]:
            library.export_symbol(name + "_finish")
        linked = library.link(self.jit, name)
        image.keep(linked)
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
    return Engine()


class _LibraryLock:
    """llvmlite's own, which is a context; ours is taken before it, here as everywhere."""

    def __init__(self, binding: ModuleType) -> None:
        self._lock = binding.ffi.lib._lock

    def acquire(self) -> None:
        self._lock.__enter__()

    def release(self) -> None:
        self._lock.__exit__(None, None, None)
