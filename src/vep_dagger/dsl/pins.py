"""Pins: typed versions of what goes into a layer or a recipe.

A subclass lists its pins as fields. In the matrix file a text stands for the first field (``nccl = "v2.27.7-1"``), a
table for several (``nccl = { version = "v2.27.7-1", gencode = ["90a"] }``).
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, model_validator

from vep_dagger.dsl.key import Canonical

Version = Annotated[str, StringConstraints(pattern=r"^v?[0-9][0-9A-Za-z.+_-]*$")]
"""A release as upstream writes it, with or without its ``v``."""


def _whole_commit(value: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{40}", value):
        short = re.fullmatch(r"[0-9a-f]{4,39}", value)
        raise ValueError(
            f"{value!r} is a short commit, and may stand for another one tomorrow: write all 40 characters, which "
            f"`git rev-parse {value}` says in a clone"
            if short
            else f"{value!r} is no commit: write all 40 characters, which `git rev-parse NAME` says of a tag or branch "
            "in a clone"
        )
    return value


Commit = Annotated[str, AfterValidator(_whole_commit)]
"""A full git commit."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""The hash of a file."""


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
