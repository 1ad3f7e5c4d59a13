"""Pins: typed versions of what goes into a layer or a recipe.

A subclass lists its pins as fields. In the matrix file a text stands for the first field (``nccl = "v2.27.7-1"``), a
table for several (``nccl = { version = "v2.27.7-1", gencode = ["90a"] }``).
"""

from __future__ import annotations

import re
from calendar import monthrange
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

from vep_dagger.dsl.key import Canonical


class SpellingError(ValueError):
    """A text that is no value of its kind of pin: the message says what such a value looks like."""


def spelled(pattern: str, words: str) -> AfterValidator:
    """For ``Annotated[str, …]``: a text that ``pattern`` matches as a whole. ``words`` go on after any other one in
    quotes: what it is not, and what to write.
    """

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise SpellingError(f"{value!r} {words}")
        return value

    return AfterValidator(check)


Version = Annotated[
    str,
    spelled(
        r"v?[0-9][0-9A-Za-z.+_-]*",
        "is no release: a branch moves, so write a release or its tag, as upstream does (1.43.2, v2.5.1)",
    ),
]
"""A release as upstream writes it, with or without its ``v``."""


def _whole_commit(value: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{40}", value):
        if re.fullmatch(r"[0-9A-Fa-f]{40}", value):
            raise SpellingError(f"{value!r} is no commit as git writes it: write {value.lower()!r}")
        short = re.fullmatch(r"[0-9a-f]{4,39}", value)
        raise SpellingError(
            f"{value!r} is a short commit, and may stand for another one tomorrow: write all 40 characters, which "
            f"`git rev-parse {value}` says in a clone"
            if short
            else f"{value!r} is no commit: write all 40 characters, which `git rev-parse NAME` says of a tag or branch "
            "in a clone"
        )
    return value


Commit = Annotated[str, AfterValidator(_whole_commit)]
"""A full git commit."""

Sha256 = Annotated[
    str, spelled(r"[0-9a-f]{64}", "is no sha256: write its 64 characters (0-9, a-f), which `sha256sum FILE` says")
]
"""The hash of a file."""


def instant(value: str) -> str:
    """The value, if it is an instant in UTC. Raises SpellingError, with the nearest one that there is."""
    found = re.fullmatch(r"(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2}):(\d{2})(?:\.\d+)?(?:Z|\+00:00)?)?", value)
    if not found:
        raise SpellingError(f"{value!r} is no instant in UTC, such as 2025-09-01T00:00:00Z")
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups())
    year, month = max(1, year), min(max(1, month), 12)
    day = min(max(1, day), monthrange(year, month)[1])
    time = f"{min(hour, 23):02}:{min(minute, 59):02}:{min(second, 59):02}"
    near = f"{year:04}-{month:02}-{day:02}T{time}Z"
    if near != value:
        raise SpellingError(f"{value!r} is no instant in UTC: write {near}")
    return value


Instant = Annotated[str, AfterValidator(instant)]
"""An instant in UTC, such as ``2025-09-01T00:00:00Z`` (RFC 3339). A day alone would end at another moment in another
time zone."""


class Pins(BaseModel):
    """Base of every table of pins: strict, frozen, no unknown names."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _text_is_the_first_field(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {next(iter(cls.model_fields)): value}
        if isinstance(value, dict):
            # TOML has lists only; a pin that holds several values is a tuple, so that it can be hashed.
            return {name: tuple(item) if isinstance(item, list) else item for name, item in value.items()}
        return value

    def canonical(self) -> Canonical:
        """Every pin by name, for manifests and reports; a layer's key holds what its steps made of them."""
        dumped: Canonical = self.model_dump(mode="json")
        return dumped
