"""Runs GPU kernels without a GPU: their LLVM IR on this CPU, with a GPU's registers emulated.

What is NVIDIA's in the text (special registers, shuffles, barriers) becomes calls into Python. The
threads of a block are operating-system threads where they talk to each other, else one after the
other. It is the rendered loops, shares and merges that are tested so; `ptxas` tests the rest.
"""

from __future__ import annotations

import ctypes
import itertools
import re
import threading
from functools import cache

import llvmlite.binding as binding
import numpy as np

from taimatsu.codegen import engine
from taimatsu.codegen.grid import Grid
from taimatsu.codegen.ptx import Launch
from taimatsu.codegen.team import WARP

here = threading.local()  # registers, warp and block of the running thread


class Meeting:
    """Where the threads of a warp or a block wait for each other and exchange words."""

    def __init__(self, members: int) -> None:
        self.barrier = threading.Barrier(members, timeout=60)
        self.words = [0] * members


def _shuffle(value: int, source: int) -> int:
    lane = here.registers["tid.x"] % WARP
    here.warp.words[lane] = value
    here.warp.barrier.wait()
    result = here.warp.words[source if source < WARP else lane]
    here.warp.barrier.wait()
    return result


def _down(mask: int, value: int, distance: int, clamp: int) -> int:
    return _shuffle(value, here.registers["tid.x"] % WARP + distance)


def _up(mask: int, value: int, distance: int, clamp: int) -> int:
    lane = here.registers["tid.x"] % WARP
    return _shuffle(value, lane - distance if lane >= distance else lane)


def _index(mask: int, value: int, lane: int, clamp: int) -> int:
    return _shuffle(value, lane)


def _meet(which: int) -> None:
    here.block.barrier.wait()


REGISTERS = [f"{r}.{d}" for r in ("tid", "ctaid", "ntid", "nctaid") for d in "xyz"]
WORD = ctypes.c_int32


@cache
def callbacks() -> dict[str, object]:
    shuffle, barrier = ctypes.CFUNCTYPE(WORD, *[WORD] * 4), ctypes.CFUNCTYPE(None, WORD)
    register = ctypes.CFUNCTYPE(WORD)
    table = {
        f"read.ptx.sreg.{name}": register(lambda name=name: here.registers[name])
        for name in REGISTERS
    }
    table["shfl.sync.down.i32"], table["shfl.sync.idx.i32"] = shuffle(_down), shuffle(_index)
    table["shfl.sync.up.i32"] = shuffle(_up)
    table["barrier.cta.sync.aligned.all"] = barrier(_meet)
    for name, f in table.items():
        binding.add_symbol(f"simt.{name}", ctypes.cast(f, ctypes.c_void_p).value)
    return table


def functions(launch: Launch):
    """The kernel for this CPU, and its finish function if there is one."""
    callbacks()
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    host = engine.host()
    text = launch.llvm.replace("@llvm.nvvm.", "@simt.").replace("define ptx_kernel", "define")
    text = text.replace("nvptx64-nvidia-cuda", host.triple)
    text = re.sub(r'target datalayout = ".*?"\n', "", text)
    text = re.sub(r"byval\(.*?\) ", "", text)  # arrays by reference here
    jit = binding.create_mcjit_compiler(engine.parse(text), engine.machine(host))
    jit.finalize_object()
    signature = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 5, ctypes.c_int64)
    names = filter(None, (launch.name, launch.finish))
    return jit, [signature(jit.get_function_address(name)) for name in names]


def run(
    launch: Launch, operands: list[np.ndarray], geometry: list[int], scalars: np.ndarray, grid: Grid
) -> int:
    """Launches the kernel; returns the flags."""
    jit, calls = functions(launch)
    pointers = np.array([a.ctypes.data for a in operands])
    sizes = np.array(geometry, np.int64)
    assert (len(pointers), len(sizes)) == launch.arguments[:2]
    flags, scratch = np.zeros(1, np.int32), np.full(grid.scratch + 8, 255, np.uint8)
    arguments = [a.ctypes.data for a in (pointers, sizes, scalars, flags, scratch)]
    together = "shfl" in launch.llvm or "barrier" in launch.llvm
    _blocks(lambda: calls[0](*arguments, grid.sections), grid.blocks, grid.threads, together)
    if grid.sections > 1:
        finish = (*grid.finish_blocks, 1), grid.finish_threads
        _blocks(lambda: calls[1](*arguments, grid.sections), *finish, together)
    del jit
    return int(flags[0])


def _blocks(call, blocks: tuple[int, int, int], size: tuple[int, int], together: bool) -> None:
    """Runs the blocks one after the other, their threads together if they wait for each other."""
    failures = []

    def thread(registers: dict[str, int], warp: Meeting | None, whole: Meeting | None) -> None:
        here.registers, here.warp, here.block = registers, warp, whole
        try:
            call()
        except Exception as error:
            failures.append(error)

    n = size[0] * size[1]
    for z, y, x in itertools.product(*(range(k) for k in reversed(blocks))):
        whole = Meeting(n)
        warps = [Meeting(WARP) for _ in range(-(-n // WARP))]
        threads = []
        for i in range(n):
            at = (i % size[0], i // size[0], 0, x, y, z, *size, 1, *blocks)
            registers = dict(zip(REGISTERS, at, strict=True))
            arguments = (registers, warps[i // WARP], whole)
            if together:
                threads.append(threading.Thread(target=thread, args=arguments))
            else:
                thread(*arguments)
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    assert not failures, failures[0]
