"""Slugs: a cell's name in words that a person, a file system and a shell can read."""

from __future__ import annotations

import hashlib
import re

LIMIT = 120
"""Characters of a slug; file systems allow 255 bytes for a name, and suffixes such as ``.json`` must fit too."""
NO_AXES = "default"
"""The slug of the only cell of a matrix without axes."""

_DIGEST = 8
_UNFIT = re.compile(r"[^A-Za-z0-9._-]")


def list_slug(axis: str, value: bool | int | float | str, label: str) -> str:
    """The part of a choice of a list axis: ``vllm0.10.1.1``, ``pplx``, ``dg1``, ``tensor_parallel8``."""
    if axis == "deep_gemm" and isinstance(value, bool):
        return f"dg{int(value)}"
    part = _UNFIT.sub("-", label)
    # A backend's name says it all, unless it could not begin a slug: no slug is hidden, a parent directory, or a flag.
    return part if axis == "all2all" and part[:1].isalnum() else f"{axis}{part}"


def cut(slug: str) -> str:
    """The slug within :data:`LIMIT`: a longer one ends with a hash of the whole, and so stays stable and unique."""
    if len(slug) <= LIMIT:
        return slug
    digest = hashlib.sha256(slug.encode()).hexdigest()[:_DIGEST]
    return f"{slug[: LIMIT - _DIGEST - 1]}-{digest}"
