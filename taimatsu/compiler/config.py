"""Settings of compilation, kept for programs that set them."""

from __future__ import annotations

from taimatsu._settings import patching

job_id: str | None = None
cache_key_tag = ""
force_disable_caches = False
dynamic_sources = ""

patch = patching(globals())
