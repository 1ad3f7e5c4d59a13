"""Builders by the name that ``--builder`` takes."""

from __future__ import annotations

from vep_dagger.builders.base import Builder
from vep_dagger.errors import UsageError, did_you_mean

NAMES = ("venv",)


def find_builder(name: str) -> Builder:
    """The builder of that name. Raises UsageError."""
    if name == "venv":
        from vep_dagger.builders.venv import VenvBuilder

        return VenvBuilder()
    raise UsageError(f"there is no builder {name!r}", where="--builder", hint=did_you_mean(name, NAMES))
