"""The manifest of an environment: what it holds and how it came to be. Written last, so that its presence says that all
is there.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

FORMAT = 1
NAME = "vep-manifest.json"


class Part(BaseModel):
    """Base of everything in a manifest: strict, frozen, no unknown keys."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class StepEntry(Part):
    """One content step: what it did, the key of its canonical form, and the seconds it took."""

    name: str
    key: str
    seconds: float


class CheckEntry(Part):
    """One check that passed, with what it printed."""

    name: str
    argv: list[str] = Field(description="As the recipe wrote it, with the image's own paths.")
    output: str


class Interpreter(Part):
    """The Python that the environment is of."""

    implementation: str
    version: str
    path: str


class Manifest(Part):
    """What an environment holds and how it came to be."""

    format: int = FORMAT
    key: str = Field(description="The environment's: the image's key with the interpreter and the platform.")
    image: str = Field(description="The image's key.")
    recipe: str
    tag: str
    release: str
    prefix: str = Field(description="Where the image has the environment.")
    platform: str
    interpreter: Interpreter
    pins: dict[str, object]
    env: dict[str, str] = Field(description="The variables of whoever uses it, with the image's own paths.")
    steps: list[StepEntry]
    checks: list[CheckEntry]
    alternatives: list[str] = Field(
        description="For each installation, the requirements of the alternative that was taken."
    )
    notes: list[str]
    packages: dict[str, str]
    size_bytes: int
    built: str = Field(description="UTC, ISO 8601.")
    seconds: float


def read_manifest(environment: Path) -> Manifest | None:
    """The manifest of an environment; None if there is none, or one that this version does not understand."""
    try:
        return Manifest.model_validate_json((environment / NAME).read_bytes())
    except (OSError, ValidationError):
        return None


def write_manifest(environment: Path, manifest: Manifest) -> None:
    """Write it; the environment is not in its place yet, so that nobody can read a half of it."""
    (environment / NAME).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
