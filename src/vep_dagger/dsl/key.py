"""Keys: sha256 over all that decides a result's content, and nothing else.

The canonical form is JSON with sorted keys, no spaces and plain ASCII, so that the same value gives the same key in
every process, Python version and directory. Only JSON's own types may enter it: a set, a float or a Path would make a
key depend on how it happens to print, and is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TypeAlias

Canonical: TypeAlias = "bool | int | str | Sequence[Canonical] | Mapping[str, Canonical] | None"

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, check_circular=False)


def canonical(value: Canonical) -> str:
    """The canonical text of ``value``. Raises TypeError for anything that is not plain JSON, floats included."""
    _refuse_unstable(value)
    return _ENCODER.encode(value)


def key_of(kind: str, value: Canonical) -> str:
    """The key of ``value``: 64 hex characters. ``kind`` keeps things of different kinds with equal content apart."""
    return hashlib.sha256(f"vep:{kind}:1\n{canonical(value)}".encode("ascii")).hexdigest()


def short(key: str) -> str:
    """The first 12 characters of a key: what people and paths use."""
    return key[:12]


def _refuse_unstable(value: Canonical) -> None:
    if value is None or isinstance(value, (bool, int, str)):
        return
    if isinstance(value, Mapping):
        for name, item in value.items():
            if not isinstance(name, str):
                raise TypeError(f"a key's mapping has the name {name!r}; only text is stable")
            _refuse_unstable(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _refuse_unstable(item)
    else:
        raise TypeError(f"{type(value).__name__} {value!r} cannot be part of a key: it has no single spelling")
