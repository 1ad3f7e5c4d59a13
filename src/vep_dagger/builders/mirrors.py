"""Mirrors: addresses that are rewritten before anything is fetched, for sites without the internet. Never part of a
key.

``install.py`` takes this file along into containers: only the standard library, and nothing newer than Python 3.8.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

ARCHIVE = "oci-archive:"
"""What a reference to an archive of this machine begins with."""

VARIABLE = "VEP_MIRRORS"
"""What tells ``install.py`` of mirrors: a JSON object, among the surroundings of a container."""

_DEFAULT_REGISTRY = "docker.io"
_CREDENTIALS = re.compile(r"(\w+://)[^/@\s]+@")


def rewrite(url: str, mirrors: Mapping[str, str]) -> str:
    """``url`` with the longest prefix that ``mirrors`` has replaced; as it is if none fits."""
    fitting = [prefix for prefix in mirrors if url.startswith(prefix)]
    if not fitting:
        return url
    longest = max(fitting, key=len)
    return mirrors[longest] + url[len(longest) :]


def rewrite_image(ref: str, mirrors: Mapping[str, str]) -> str:
    """The same for an image reference, whose full name counts: ``debian:12`` is ``docker.io/library/debian:12``.
    Archives have no mirrors.
    """
    if ref.startswith(ARCHIVE):
        return ref
    full = full_name(ref)
    changed = rewrite(full, mirrors)
    return ref if changed == full else changed


def full_name(ref: str) -> str:
    """An image reference with its registry: ``nvidia/cuda:12.8.1`` is ``docker.io/nvidia/cuda:12.8.1``."""
    first, slash, _ = ref.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return ref
    return f"{_DEFAULT_REGISTRY}/{ref}" if slash else f"{_DEFAULT_REGISTRY}/library/{ref}"


def shown(url: str) -> str:
    """``url`` as it may be shown: without the name and password that it may carry."""
    return _CREDENTIALS.sub(r"\1", url)
