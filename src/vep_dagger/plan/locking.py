"""Images and their lock: what a lock must hold for them, and the same images with all that it knows put in. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from vep_dagger.dsl import (
    Build,
    GitSource,
    HttpSource,
    Image,
    ImageSource,
    Layer,
    LockedPackage,
    PlainBase,
    Source,
    key_of,
)
from vep_dagger.dsl.step import Copy, Install, MakePython, Mount, Step
from vep_dagger.matrix.lock import AnyEntry, ArchiveEntry, GitEntry, ImageEntry, Lock, PythonEntry
from vep_dagger.plan.plan import with_needs

ENVIRONMENT = "environment"
"""What an image's own chain of steps is called where the users of a source are named."""


@dataclass(frozen=True, slots=True)
class PythonRequest:
    """A Python environment that is to be resolved: the step that asks for it, and what it is for."""

    step: Install
    python: str
    """The interpreter: a release such as ``3.12``, or a PEP 440 specifier."""
    platform: str

    @property
    def identity(self) -> str:
        """sha256 over all that decides the resolution. Where packages are looked for is a place, and not in it."""
        return key_of("python", {"ask": self.step.request(), "python": self.python, "platform": self.platform})

    def entry(self, used_by: str) -> PythonEntry:
        """What the lock must have for it."""
        return PythonEntry(
            request=self.identity,
            python=self.python,
            platform=self.platform,
            requirements=list(self.step.alternatives[0].requirements),
            before=self.step.before,
            used_by=[used_by],
        )


def wanted(images: Iterable[Image]) -> Lock:
    """What a lock must hold for these images, as their recipes made them: entries without a content where the recipe
    knows none.
    """
    entries: list[AnyEntry] = []
    for image in images:
        for name, build, bases, platform in _parts(image):
            sources: tuple[Source, ...] = (*bases, *build.sources)
            entries += [entry for source in sources if (entry := _entry(source, name)) is not None]
            entries += [request.entry(name) for request in python_requests(build, platform)]
    return Lock.made(entries)


def requests(images: Iterable[Image]) -> dict[str, PythonRequest]:
    """The Python environments of these images, by the identity of each."""
    parts = (part for image in images for part in _parts(image))
    return {each.identity: each for _, build, _, platform in parts for each in python_requests(build, platform)}


def locked(image: Image, lock: Lock) -> Image:
    """The image with every commit, hash, digest and package that the lock has for it. What it does not have stays
    unresolved.
    """
    if isinstance(image.base, Layer):
        base: Layer | ImageSource = _locked_layer(image.base, lock)
    else:
        base = _locked_image(image.base, lock)
    return replace(
        image,
        base=base,
        build=_locked_build(image.build, image.platform, lock),
        layers=tuple(_locked_layer(layer, lock) for layer in image.layers),
    )


def supposed(image: Image) -> Image:
    """The image as if every source of it was known: to ask what else would stop it."""
    zeros: dict[str, dict[str, object]] = {
        GitEntry.table: {"commit": "0" * 40},
        ArchiveEntry.table: {"sha256": "0" * 64},
        ImageEntry.table: {"digest": f"sha256:{'0' * 64}"},
        PythonEntry.table: {"packages": []},
    }
    return locked(image, Lock.made(entry.model_copy(update=zeros[entry.table]) for entry in wanted([image])))


def _locked_layer(layer: Layer, lock: Lock) -> Layer:
    return replace(
        layer,
        base=_locked_layer(layer.base, lock) if isinstance(layer.base, Layer) else _locked_image(layer.base, lock),
        needs=tuple(_locked_layer(need, lock) for need in layer.needs),
        build=_locked_build(layer.build, layer.platform, lock),
    )


def _locked_build(build: Build, platform: str, lock: Lock) -> Build:
    steps = []
    for step, python in _with_pythons(build):
        match step:
            case Install():
                step = replace(step, locked=_packages(step, python, platform, lock))
            case Copy() | Mount():
                step = replace(step, source=_locked_source(step.source, lock))
        steps.append(step)
    return replace(build, steps=tuple(steps))


def _packages(step: Install, python: str, platform: str, lock: Lock) -> tuple[LockedPackage, ...] | None:
    if step.locked is not None:
        return step.locked
    entry = lock.find((PythonEntry.table, PythonRequest(step, python, platform).identity))
    if not isinstance(entry, PythonEntry) or entry.packages is None:
        return None
    packages = (_package(line, entry.build or {}) for line in entry.packages)
    return tuple(package for package in packages if step.part is None or step.part.fits(package.name))


def _package(line: str, build: Mapping[str, list[str]]) -> LockedPackage:
    requirement, *hashes = line.split(" ")
    name, _, version = requirement.partition("==")
    tools = tuple(_package(each, {}) for each in build[name]) if name in build else None
    return LockedPackage(name, version, tuple(hashes), tools)


def _locked_source(source: Source, lock: Lock) -> Source:
    match source:
        case GitSource(commit=None):
            entry = lock.find((GitEntry.table, source.url, source.ref or ""))
            return replace(source, commit=entry.content) if entry else source
        case HttpSource(sha256=None):
            entry = lock.find((ArchiveEntry.table, source.url))
            return replace(source, sha256=entry.content) if entry else source
        case ImageSource():
            return _locked_image(source, lock)
        case _:
            return source


def _locked_image(source: ImageSource, lock: Lock) -> ImageSource:
    if source.resolved:
        return source
    entry = lock.find((ImageEntry.table, source.ref))
    return replace(source, digest=entry.content) if entry else source


def _entry(source: Source, used_by: str) -> AnyEntry | None:
    match source:
        case PlainBase():
            return None
        case GitSource():
            return GitEntry(url=source.url, ref=source.ref, commit=source.commit, used_by=[used_by])
        case HttpSource():
            return ArchiveEntry(url=source.url, sha256=source.sha256, used_by=[used_by])
        case ImageSource():
            return ImageEntry(ref=source.ref, digest=source.digest, used_by=[used_by])


def python_requests(build: Build, platform: str) -> Iterator[PythonRequest]:
    """The Python environments that a chain of steps asks for. Steps that install parts of one resolution make the same
    request, each.
    """
    for step, python in _with_pythons(build):
        if isinstance(step, Install):
            yield PythonRequest(step, python, platform)


def _with_pythons(build: Build) -> Iterator[tuple[Step, str]]:
    """The steps in order, each installation with the interpreter of its environment."""
    pythons: dict[str, str] = {}
    for step in build.steps:
        if isinstance(step, MakePython):
            pythons[step.prefix] = step.version
        yield step, pythons.get(step.prefix, "") if isinstance(step, Install) else ""


def _parts(image: Image) -> Iterator[tuple[str, Build, tuple[ImageSource, ...], str]]:
    """Every chain of steps of an image, with its name, the image that it starts from, and its platform: of all layers
    that it needs, and its own.
    """
    parts: tuple[Layer | Image, ...] = (*with_needs(image), image)
    for part in parts:
        bases = () if isinstance(part.base, Layer) else (part.base,)
        yield part.name if isinstance(part, Layer) else ENVIRONMENT, part.build, bases, part.platform
