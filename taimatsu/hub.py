"""``hub``: models from a repository with a ``hubconf.py``, and files from the network.

Each function of a repository's ``hubconf.py`` whose name has no leading underscore is an entry
point. Repositories and files are kept in ``~/.cache/torch/hub`` (`get_dir`, `set_dir`).
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import sys
import tempfile
import urllib.request
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlparse

import taimatsu as torch

__all__ = [
    "download_url_to_file", "get_dir", "help", "list", "load", "load_state_dict_from_url",
    "set_dir",
]  # fmt: skip

HASH_REGEX = re.compile(r"-([a-f0-9]*)\.")  # of a file's name: the beginning of its SHA-256
_dir: str | None = None
_CHUNK = 1 << 20


def _get_torch_home() -> str:
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return os.path.expanduser(os.environ.get("TORCH_HOME", os.path.join(cache, "torch")))


def get_dir() -> str:
    """The folder of repositories and files: what `set_dir` set, else ``$TORCH_HOME/hub``."""
    return _dir or os.path.join(_get_torch_home(), "hub")


def set_dir(d: str | os.PathLike) -> None:
    """Sets the folder of repositories and files."""
    global _dir
    _dir = os.path.expanduser(os.fspath(d))


# ---- Files ------------------------------------------------------------------------------------
def download_url_to_file(
    url: str, dst: str, hash_prefix: str | None = None, progress: bool = True
) -> None:
    """Downloads to a path; the file appears there when it is complete.

    RuntimeError if its SHA-256 doesn't begin with ``hash_prefix``.
    """
    dst = os.path.expanduser(dst)
    request = urllib.request.Request(url, headers={"User-Agent": "torch.hub"})
    digest = hashlib.sha256()
    folder = os.path.dirname(dst) or "."
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".partial", delete=False) as part:
        try:
            with urllib.request.urlopen(request) as source, _progress(source, progress) as bar:
                while chunk := source.read(_CHUNK):
                    part.write(chunk)
                    digest.update(chunk)
                    bar.update(len(chunk))
            if hash_prefix and not digest.hexdigest().startswith(hash_prefix):
                raise RuntimeError(
                    f'invalid hash value (expected "{hash_prefix}", got "{digest.hexdigest()}")'
                )
            part.close()
            shutil.move(part.name, dst)
        finally:
            Path(part.name).unlink(missing_ok=True)


class _NoProgress:
    def __enter__(self) -> _NoProgress:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def update(self, n: int) -> None:
        pass


def __getattr__(name: str) -> Any:
    if name == "tqdm":
        from tqdm import tqdm

        return tqdm
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _progress(source: Any, wanted: bool) -> Any:
    try:
        from tqdm import tqdm
    except ImportError:
        return _NoProgress()
    size = source.headers.get("Content-Length")
    total = int(size) if size else None
    return tqdm(total=total, disable=not wanted, unit="B", unit_scale=True, unit_divisor=1024)


def load_state_dict_from_url(
    url: str, model_dir: str | None = None, map_location: Any = None, progress: bool = True,
    check_hash: bool = False, file_name: str | None = None, weights_only: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """`load` of a file from the network, or of the copy in ``model_dir`` (``<hub>/checkpoints``).

    ``check_hash``: the file's name has to be ``name-<beginning of its SHA-256>.ext``.
    """
    model_dir = model_dir or os.path.join(get_dir(), "checkpoints")
    os.makedirs(model_dir, exist_ok=True)
    name = file_name or os.path.basename(urlparse(url).path)
    path = os.path.join(model_dir, name)
    if not os.path.exists(path):
        sys.stderr.write(f'Downloading: "{url}" to {path}\n')
        match = HASH_REGEX.search(name) if check_hash else None
        download_url_to_file(url, path, match[1] if match else None, progress)
    return torch.load(path, map_location=map_location, weights_only=weights_only)


# ---- Repositories -----------------------------------------------------------------------------
def _ask_to_trust(repo: str, trust: Any) -> None:
    """A repository's code is run, so a user has to agree to that once. Raises Exception else."""
    trusted = Path(get_dir()) / "trusted_list"
    name = "_".join(repo.partition(":")[0].split("/"))
    known = trusted.read_text().split("\n") if trusted.exists() else []
    if trust is True or (trust == "check" and name in known):
        return
    if trust != "check" and trust is not False and trust is not None:
        raise ValueError(f"hub: trust_repo must be True, False or 'check'; got {trust!r}")
    if name not in known:
        answer = input(
            f"The repository {repo} does not belong to the list of trusted repositories; its code "
            "will be run. Do you trust it (y/N)? "
        )
        if answer.lower() not in ("y", "yes"):
            raise Exception("Untrusted repository.")
        trusted.parent.mkdir(parents=True, exist_ok=True)
        trusted.write_text("\n".join([*known, name]))


def _fetch(repo: str, force_reload: bool, trust: Any, verbose: bool) -> str:
    """The folder of a repository ``owner/name[:ref]`` of GitHub."""
    owner_name, _, ref = repo.partition(":")
    if owner_name.count("/") != 1:
        raise ValueError(f"hub: expected owner/name[:ref]; got {repo!r}")
    _ask_to_trust(repo, trust)
    os.makedirs(get_dir(), exist_ok=True)
    ref = ref or "HEAD"
    folder = os.path.join(get_dir(), "_".join([*owner_name.split("/"), ref.replace("/", "_")]))
    if force_reload or not os.path.exists(folder):
        url = f"https://github.com/{owner_name}/zipball/{ref}"
        if verbose:
            sys.stderr.write(f'Downloading: "{url}" to {folder}\n')
        with tempfile.TemporaryDirectory(dir=get_dir()) as temporary:
            archive = os.path.join(temporary, "repository.zip")
            download_url_to_file(url, archive, progress=False)
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(temporary)
            shutil.rmtree(folder, ignore_errors=True)
            (unpacked,) = (p for p in Path(temporary).iterdir() if p.is_dir())
            shutil.move(unpacked, folder)
    elif verbose:
        sys.stderr.write(f"Using cache found in {folder}\n")
    return folder


def _hubconf(
    repo_or_dir: str, source: str, trust_repo: Any, force_reload: bool, verbose: bool
) -> ModuleType:
    if source not in ("github", "local"):
        raise ValueError(
            f'Unknown source: "{source}". Allowed values: "github" | "local".'
        )
    if source == "github":
        repo_or_dir = _fetch(repo_or_dir, force_reload, trust_repo, verbose)
    path = os.path.join(repo_or_dir, "hubconf.py")
    sys.path.insert(0, repo_or_dir)  # hubconf imports its repository
    try:
        spec = importlib.util.spec_from_file_location("hubconf", path)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(repo_or_dir)
    missing = [m for m in getattr(module, "dependencies", ()) if not importlib.util.find_spec(m)]
    if missing:
        raise RuntimeError(f"Missing dependencies: {', '.join(missing)}")
    return module


def _entry(module: ModuleType, name: str) -> Any:
    if not isinstance(name, str):
        raise ValueError("Invalid input: model should be a string of function name")
    found = getattr(module, name, None)
    if not callable(found):
        raise RuntimeError(f"Cannot find callable {name} in hubconf")
    return found


def load(
    repo_or_dir: str, model: str, *args: Any, source: str = "github", trust_repo: Any = "check",
    force_reload: bool = False, verbose: bool = True, skip_validation: bool = False,
    **kwargs: Any,
) -> Any:  # fmt: skip
    """What a repository's entry point ``model`` returns for these arguments.

    ``source``: "github" (``owner/name[:ref]``) or "local" (a folder). RuntimeError if there is no
    such entry point, or a package that it needs isn't installed.

    >>> from pathlib import Path
    >>> _ = Path("hubconf.py").write_text("def double(x): return 2 * x")
    >>> torch.hub.load(".", "double", 3, source="local")
    6
    """
    module = _hubconf(repo_or_dir, source, trust_repo, force_reload, verbose)
    return _entry(module, model)(*args, **kwargs)


def list(
    github: str, force_reload: bool = False, skip_validation: bool = False,
    trust_repo: Any = "check", verbose: bool = True,
) -> Any:  # fmt: skip
    """The names of a repository's entry points."""
    module = _hubconf(github, "github", trust_repo, force_reload, verbose)
    return [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]


def help(
    github: str, model: str, force_reload: bool = False, skip_validation: bool = False,
    trust_repo: Any = "check",
) -> str | None:  # fmt: skip
    """The documentation of an entry point."""
    return _entry(_hubconf(github, "github", trust_repo, force_reload, True), model).__doc__
