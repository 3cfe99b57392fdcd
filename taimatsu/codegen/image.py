"""Machine code as one block that runs wherever it lies, and putting it into memory.

LLVM's linker takes 0.3 ms for a kernel, several times what else there is to a warm start. Kernels
refer to nothing outside of themselves but, rarely, a function of libm; so their sections are laid
side by side once, with the distances between them filled in, and loading is a copy.
"""

from __future__ import annotations

import mmap
import struct
import typing
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

_X86_64, _RELOCATABLE = 62, 1
_CODE_OR_DATA, _SYMBOLS, _RELOCATIONS, _UNWINDING = 1, 2, 4, 0x70000001  # types of sections
_WRITABLE, _IN_MEMORY = 1, 2  # flags of sections
_DISTANCES = (2, 4)  # relocations that say how far a place is from another one


class Section(typing.NamedTuple):
    name: int
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    item: int


def flatten(code: bytes, names: Sequence[str]) -> tuple[bytes, list[int]] | None:
    """The block of an object file, and where in it the functions are.

    None for what isn't ELF for x86-64, or refers to other things than its own code and constants.
    """
    if code[:6] != b"\x7fELF\x02\x01" or struct.unpack_from("<HH", code, 16) != (
        _RELOCATABLE, _X86_64,
    ):  # fmt: skip
        return None
    (table,) = struct.unpack_from("<Q", code, 40)
    count = struct.unpack_from("<H", code, 60)[0]
    sections = [Section(*struct.unpack_from("<IIQQQQIIQQ", code, table + 64 * i))
                for i in range(count)]  # fmt: skip
    block, starts = bytearray(), {}
    for i, s in enumerate(sections):
        if not s.flags & _IN_MEMORY or s.type == _UNWINDING or not s.size:
            continue
        if s.type != _CODE_OR_DATA or s.flags & _WRITABLE:
            return None
        block += bytes(-len(block) % max(s.align, 1))
        starts[i] = len(block)
        block += code[s.offset : s.offset + s.size]
    symbols = next(s for s in sections if s.type == _SYMBOLS)
    places: list[int | None] = []  # of the symbols
    found: dict[str, int] = {}
    text = sections[symbols.link].offset
    for i in range(symbols.size // 24):
        name, _, _, section, value, _ = struct.unpack_from("<IBBHQQ", code, symbols.offset + 24 * i)
        start = starts.get(section)
        places.append(None if start is None else start + value)
        if places[i] is not None:
            found[code[text + name : code.index(0, text + name)].decode()] = places[i]
    for s in sections:
        if s.type != _RELOCATIONS or s.info not in starts:
            continue
        for i in range(s.size // 24):
            offset, info, addend = struct.unpack_from("<QQq", code, s.offset + 24 * i)
            target, place = places[info >> 32], starts[s.info] + offset
            if info & 0xFFFFFFFF not in _DISTANCES or target is None:
                return None
            struct.pack_into("<i", block, place, target + addend - place)
    return bytes(block), [found[name] for name in names]


def keep(owner: object) -> None:
    """Lets machine code stay in memory, past the interpreter's end: daemon threads may be in it."""
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(owner))


@lru_cache(maxsize=1)
def _system() -> tuple[Any, Callable[[int, int, int], int]]:
    """ctypes, which is imported late, and mprotect(address, size, protection)."""
    import ctypes

    protect = ctypes.CDLL(None).mprotect
    protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return ctypes, protect


def load(block: bytes) -> int | None:
    """The address of a copy that can be run; None where the system refuses one."""
    try:
        ctypes, protect = _system()
        memory = mmap.mmap(-1, len(block), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS,
                           mmap.PROT_READ | mmap.PROT_WRITE)  # fmt: skip
    except (AttributeError, OSError, ValueError):
        return None
    memory.write(block)
    first = ctypes.c_char.from_buffer(memory)
    address = ctypes.addressof(first)
    if protect(address, len(block), mmap.PROT_READ | mmap.PROT_EXEC):
        return None
    keep(first)
    return address
