"""The old place of `taimatsu.library`'s functions."""

from taimatsu.library import get_ctx, impl, impl_abstract

__all__ = ["get_ctx", "impl", "impl_abstract"]
