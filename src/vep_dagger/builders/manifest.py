"""Manifests: what a result holds and how it came to be. An environment's is written last, so that its presence says
that all is there; a container's is a file of the image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vep_dagger.builders.stages import ENVIRONMENT, Lowered, Stage
from vep_dagger.dsl import GitSource, HttpSource, ImageSource, Layer, PlainBase, Source

if TYPE_CHECKING:
    from vep_dagger.builders.checks import Proven

FORMAT = 1
NAME = "vep-manifest.json"
_LATER = ("environment_parts", "system_packages", "system_digest")
"""What manifests of older versions do not have."""


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


class _Whole(Part):
    """What every manifest says."""

    format: int = FORMAT
    key: str
    image: str = Field(description="The image's key.")
    recipe: str
    tag: str
    release: str
    platform: str
    pins: dict[str, object]
    env: dict[str, str] = Field(description="The variables of whoever uses it, with the image's own paths.")
    checks: list[CheckEntry]
    alternatives: list[str] = Field(
        description="For each installation, the requirements of the alternative that was taken."
    )
    notes: list[str]
    packages: dict[str, str]


class Manifest(_Whole):
    """What an environment holds and how it came to be. Its key is the image's key with the interpreter and the
    platform.
    """

    prefix: str = Field(description="Where the image has the environment.")
    interpreter: Interpreter
    steps: list[StepEntry]
    size_bytes: int
    built: str = Field(description="UTC, ISO 8601.")
    seconds: float


class SourceEntry(Part):
    """A source with what it holds: the commit of git, the sha256 of http, the digest of an image."""

    kind: Literal["git", "http", "image"]
    where: str = Field(description="The address or reference that the recipe has, whatever mirror it came from.")
    ref: str | None = Field(None, description="The tag or branch that a person wrote.")
    content: str


class BaseEntry(Part):
    """The image that something stands on."""

    ref: str
    digest: str | None
    plain: bool = Field(description="Whether it only stands for any plain Linux.")


class LayerEntry(Part):
    """One layer: what it was made of and what is kept of it."""

    name: str
    key: str = Field(description="As it was built: with the plain base, where it is built on that.")
    layer: str = Field(description="The layer's own key.")
    prefix: str
    base: str | BaseEntry = Field(description="The name of the layer that it is built in, or an image.")
    needs: list[str]
    pins: dict[str, object]
    sources: list[SourceEntry]
    size_bytes: int | None = Field(None, description="Of what it left, in the image; of the image's own layers alone.")


class ContainerManifest(_Whole):
    """What a container image holds and how it came to be; no times, so that the same build gives the same text. Its key
    is the image's key with the plain base, where it is built on that.
    """

    builder: str
    base: str | BaseEntry
    layers: list[LayerEntry] = Field(description="Bases and layers, each after those that it needs.")
    sources: list[SourceEntry] = Field(description="Those of the image's own steps.")
    programs: list[str]
    libraries: list[str]
    environment_bytes: int | None = Field(None, description="The size of the Python environment.")
    environment_parts: dict[str, int] = Field(
        default_factory=dict, description="Of these bytes, those of each part of the installation: all, or none."
    )
    system_packages: dict[str, str] = Field(
        default_factory=dict,
        description="The distribution's packages, as dpkg has them: the base's, and what steps have installed.",
    )
    system_digest: str | None = Field(
        None, description="sha256 over the lines name=version of these, sorted: of one key, it tells two images apart."
    )

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes by the names of stages, as far as they are known."""
        found = {layer.name: layer.size_bytes for layer in self.layers} | {ENVIRONMENT: self.environment_bytes}
        return {name: size for name, size in found.items() if size is not None}


def read_manifest(environment: Path) -> Manifest | None:
    """The manifest of an environment; None if there is none, or one that this version does not understand."""
    try:
        return Manifest.model_validate_json((environment / NAME).read_bytes())
    except (OSError, ValidationError):
        return None


def write_manifest(environment: Path, manifest: Manifest) -> None:
    """Write it; the environment is not in its place yet, so that nobody can read a half of it."""
    (environment / NAME).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")


def container_manifest(lowered: Lowered, plain: str | None, proven: Proven, builder: str) -> str:
    """The text for :data:`.lowering.MANIFEST`. ``plain`` is what stood for the plain base: its digest,
    with or without its name before that."""
    image = lowered.image
    manifest = ContainerManifest(
        key=lowered.key,
        image=image.key,
        recipe=image.recipe,
        tag=image.tag,
        release=image.release,
        platform=image.platform,
        pins=image.pins.model_dump(mode="json") if image.pins else {},
        env=dict(lowered.env),
        checks=[CheckEntry(name=check.name, argv=list(check.argv), output=output) for check, output in proven.checks],
        alternatives=list(proven.alternatives),
        notes=list(proven.notes),
        packages=dict(proven.packages or {}),
        builder=builder,
        base=_base(image.base, plain),
        layers=[
            _layer(stage, stage.layer, plain, proven.sizes.get(stage.name)) for stage in lowered.layers if stage.layer
        ],
        sources=_sources(image.build.sources),
        programs=list(image.programs),
        libraries=list(image.libraries),
        environment_bytes=proven.sizes.get(ENVIRONMENT),
        environment_parts=dict(proven.parts),
        system_packages=dict(proven.system),
        system_digest=_digest(proven.system) if proven.system else None,
    )
    # Where it says nothing it is left out, so that such an image is the same as one of an older version.
    unsaid = {name for name in _LATER if not getattr(manifest, name)}
    return manifest.model_dump_json(indent=2, exclude=unsaid) + "\n"


def _digest(packages: Mapping[str, str]) -> str:
    lines = sorted(f"{name}={version}\n" for name, version in packages.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def read_container_manifest(text: str) -> ContainerManifest | None:
    """The manifest of an image from its text; None for one that this version does not understand."""
    try:
        return ContainerManifest.model_validate_json(text)
    except ValidationError:
        return None


def _layer(stage: Stage, layer: Layer, plain: str | None, size: int | None) -> LayerEntry:
    return LayerEntry(
        name=layer.name,
        key=stage.key,
        layer=layer.key,
        prefix=layer.prefix,
        base=_base(layer.base, plain),
        needs=[need.name for need in layer.needs],
        pins=layer.pins.model_dump(mode="json") if layer.pins else {},
        sources=_sources(layer.build.sources),
        size_bytes=size,
    )


def _base(base: Layer | ImageSource, plain: str | None) -> str | BaseEntry:
    if isinstance(base, Layer):
        return base.name
    if isinstance(base, PlainBase):
        ref, _, digest = (plain or "").rpartition("@")
        return BaseEntry(ref=ref or base.ref, digest=digest or None, plain=True)
    return BaseEntry(ref=base.ref, digest=base.digest, plain=False)


def _sources(sources: tuple[Source, ...]) -> list[SourceEntry]:
    entries = []
    for source in sources:
        match source:
            case GitSource(url, commit, ref):
                entries.append(SourceEntry(kind="git", where=url, ref=ref, content=commit or ""))
            case HttpSource(url, sha256):
                entries.append(SourceEntry(kind="http", where=url, ref=None, content=sha256 or ""))
            case ImageSource(ref, digest):
                entries.append(SourceEntry(kind="image", where=ref, ref=None, content=digest or ""))
    return entries
