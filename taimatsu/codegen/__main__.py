"""Looking at what code generation makes, and making it ahead of time.

    python -m taimatsu.codegen show gelu                       all that the entry gives rise to
    python -m taimatsu.codegen show softmax --only nest ptx
    python -m taimatsu.codegen show gelu --target avx512 --set approximate=tanh
    python -m taimatsu.codegen warm                            compiles common kernels to the cache
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from . import cache, show
from .ir import DTYPES
from .trace import Variant


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m taimatsu.codegen", description=__doc__.partition("\n")[0]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("show", help="print all that is derived from an op's entry")
    one.add_argument("op")
    one.add_argument("--dtype", default="f32", choices=DTYPES)
    one.add_argument("--target", default="host", choices=show.TARGETS)
    one.add_argument("--gpu", default="sm_80", choices=show.GPUS)
    one.add_argument("--only", nargs="+", default=show.SECTIONS, choices=show.SECTIONS)
    one.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", dest="statics",
                     help="attributes that select a kernel")  # fmt: skip
    ahead = commands.add_parser("warm", help="compile common kernels into the cache")
    ahead.add_argument("--dtypes", nargs="+", default=["f32"], choices=DTYPES)
    ahead.add_argument("--ops", nargs="+", default=None, help="only these")
    options = parser.parse_args(arguments)
    if options.command == "warm":
        return warm(options.dtypes, options.ops)
    try:
        statics = dict(map(_setting, options.statics))
        print(show.show(options.op, options.dtype, options.target, options.gpu, options.only,
                        statics))  # fmt: skip
    except (KeyError, ValueError) as error:
        print(error.args[0], file=sys.stderr)
        return 2
    return 0


def _setting(text: str) -> tuple[str, Any]:
    """name=value; the value a Python literal, or else a string"""
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"show: --set takes NAME=VALUE, got {text!r}")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def variants(dtypes: Iterable[str], names: Iterable[str] | None) -> Iterator[tuple[str, Variant]]:
    """Every formula of the table, forward and derivative, in these dtypes."""
    import taimatsu.ops  # noqa: F401  (fills the table)
    from taimatsu.ops.table import ENTRIES

    wanted = set(names) if names is not None else None
    for op in [e for e in ENTRIES if e.is_formula and (wanted is None or e.name in wanted)]:
        for dtype in dtypes:
            entry = show.Entry(op, dtype, {}, "host", "sm_80")
            try:
                yield op.name, entry.variant()
                mask = sum(1 << i for i, p in enumerate(op.parsed.params) if op.takes_gradient(p))
                steps = op.plan(mask, entry.statics).steps if mask else []
            except (TypeError, RuntimeError, NotImplementedError):
                continue  # not defined for the dtype, or not differentiable
            for callee, sources, _ in steps:
                found = entry.step_variant(callee, sources)
                if found is not None:
                    yield f"{op.name} backward", found


def warm(dtypes: Iterable[str], names: Iterable[str] | None = None) -> int:
    """Compiles the kernels of contiguous tensors into the cache on disk, with a progress bar."""
    work = list(variants(dtypes, names))
    failed = []
    for name, v in _progress(work):
        try:
            v.kernel(show.contiguous(v.nest))
        except (NotImplementedError, RuntimeError) as error:
            failed.append(f"{name}: {error}")
    done = cache.statistics()
    print(f"{done.kernels} kernels, {done.compiled} compiled in {done.compile_ms / 1000:.1f} s, "
          f"{done.cache_hits} were there already")  # fmt: skip
    for line in failed:
        print(f"not compiled: {line}", file=sys.stderr)
    return 1 if failed else 0


def _progress(work: list[tuple[str, Variant]]) -> Iterable[tuple[str, Variant]]:
    try:
        from tqdm import tqdm
    except ImportError:
        return work
    return tqdm(work, unit="kernel", desc="compiling", leave=False)


if __name__ == "__main__":
    sys.exit(main())
