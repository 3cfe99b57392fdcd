"""Prints `include directory;library` of a library that Python packages carry (for CMake).

locate.py PACKAGE HEADER RUNTIME STEM: `PACKAGE` has the header, `RUNTIME` a file STEM.so* or
STEM.dylib. Of several names for one library the one that it is loaded by (its SONAME) is given.
"""

import re
import sys
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path


def locate(package: str, header: str, runtime: str, stem: str) -> tuple[Path, Path]:
    """The include directory and the library; LookupError if either is missing."""
    try:
        headers = [f for f in files(package) or () if f.as_posix().endswith(f"include/{header}")]
        library = re.compile(rf"(^|/){stem}(\.so(\.\d+)*|(\.\d+)*\.dylib)$")
        libraries = [f for f in files(runtime) or () if library.search(f.as_posix())]
    except PackageNotFoundError as e:
        raise LookupError(f"{e} is not installed") from None
    if not headers or not libraries:
        raise LookupError(f"{package} has no {header}, or {runtime} no {stem}")
    include = Path(str(headers[0].locate())).resolve().parents[header.count("/")]
    paths = {f.name: Path(str(f.locate())).resolve() for f in libraries}
    # libx.so, libx.so.3, libx.so.3.2: wheels have no links, so each is a copy; the loader asks
    # for the one with the major version alone.
    name = min(paths, key=lambda n: (abs(len(re.findall(r"\d+", n.removeprefix(stem))) - 1), n))
    return include, paths[name].parent / name


if __name__ == "__main__":
    try:
        print(*locate(*sys.argv[1:5]), sep=";")
    except LookupError as e:
        sys.exit(f"locate.py: {e}")
