"""Builds images with Docker: a Containerfile of several stages, built by BuildKit.

First the stage with the checks is built, which needs the whole image, and what the checks have written comes out of it;
then the image with its manifest, and only now it has a name: ``vep/<recipe>:<tag>-<short key>``. An image of that name
with the right key is found, and nothing is built.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from vep_dagger.builders.base import BuiltImage, BuiltLayer, LayerState, OnLayer, Say, ignore_layer
from vep_dagger.builders.checks import CHECKS, Proven, check_commands, judge, sized
from vep_dagger.builders.docker.bases import held_digest, inspect, resolve
from vep_dagger.builders.docker.build_context import FILE_NAME, lay_out
from vep_dagger.builders.docker.buildkit_log import StageProgress
from vep_dagger.builders.docker.containerfile import FINAL_STAGE, MANIFEST_PLACE, RESULT_STAGE, Containerfile
from vep_dagger.builders.docker.deliver import Delivery
from vep_dagger.builders.docker.failure import build_failed, no_space
from vep_dagger.builders.docker.keep import Keeper
from vep_dagger.builders.docker.look import environment_of, platform_of, space_of, text_of
from vep_dagger.builders.docker.render import render
from vep_dagger.builders.docker.run import BuildRun, secret_files
from vep_dagger.builders.lowering import lower
from vep_dagger.builders.manifest import ContainerManifest, container_manifest, read_container_manifest
from vep_dagger.builders.names import KEY_LABEL, labels
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.builders.stages import ENVIRONMENT, MANIFEST, Lowered, Stage, images_of
from vep_dagger.builders.unresolved import refuse_unresolved_of
from vep_dagger.dsl import Image, ImageSource, PlainBase, short
from vep_dagger.engines.docker import Docker
from vep_dagger.errors import BuildError, MachineError, VepError

MIN_FREE_BYTES = 3_000_000_000
"""Less free space than this for Docker's data, and a build is not begun."""


class DockerBuilder:
    """Lowers images onto a Docker daemon."""

    name = "docker"

    def __init__(self, settings: BuildSettings, docker: Docker | None, *, min_free_bytes: int = MIN_FREE_BYTES) -> None:
        self._settings = settings
        self._docker = docker
        self._min_free_bytes = min_free_bytes
        self._delivery = Delivery(settings)
        # One run builds on one image, also when a tag is moved meanwhile.
        self._bases: dict[ImageSource, tuple[str, str]] = {}
        self._resolving = anyio.Lock()

    def refuse(self, image: Image) -> None:
        """Raise BuildError for an image with a source or base of which nobody knows what it holds, or with a variable
        that a Containerfile cannot say. Touches nothing.
        """
        refuse_unresolved_of(lower(image, ""))
        for name, value in image.env.items():
            if "\n" in value:
                raise BuildError(
                    f"{image.tag}: the variable {name} has several lines, which no Containerfile can set",
                    hint="write the text to a file and export its path, or choose another builder: dagger",
                )

    async def ready(self, image: Image) -> None:
        """Raise MachineError if there is no daemon, if it is of another platform, or if its disk is full and the image
        is not there already.
        """
        docker = self._engine()
        platform = await platform_of(docker)
        if platform != image.platform:
            raise MachineError(
                f"{image.tag} is for {image.platform}, and this Docker daemon builds for {platform}",
                hint=f"name a daemon of {image.platform} in DOCKER_HOST, or a context in DOCKER_CONTEXT",
            )
        free = await space_of(docker)
        if free is not None and free < self._min_free_bytes and not await self._is_there(image, docker):
            raise no_space(f"{free / 1e9:.1f} GB free")

    async def build(self, image: Image, log: Path, say: Say, on_layer: OnLayer = ignore_layer) -> BuiltImage:
        """The image: found under its name, or built from what BuildKit has of its steps. Then it is published and
        exported, if that was asked for.

        Raises BuildError (the step that failed, a check, a registry that refuses) and MachineError (no daemon, no base,
        no space). What it leaves when it fails are finished steps in BuildKit's cache, and the build context of a step
        that failed, for a look at it.
        """
        self.refuse(image)
        docker = self._engine()
        begin = time.monotonic()
        bases = await self._resolve(image, docker, log, say)
        plain = next((digest for source, (_, digest) in bases.items() if isinstance(source, PlainBase)), None)
        lowered = lower(image, plain or "")
        found = await _found(docker, lowered)
        states = {stage.name: BuiltLayer(stage.name, stage.key, "cached", 0.0) for stage in _shown(lowered)}
        if found is None:
            refs = {source: ref for source, (ref, _) in bases.items()}
            work = _Work(self._settings, docker, lowered, plain, log, say, on_layer, states)
            await work.carry_out(refs)
            found = await _found(docker, lowered)
            if found is None:
                raise MachineError(f"docker has no image {name_of(lowered)} after it was built", where=str(log))
        else:
            say(f"{image.tag}: found as {name_of(lowered)}")
            for layer in states.values():
                on_layer(layer)
        manifest, config = found
        layers = tuple(sized(layer, manifest.sizes, manifest.environment_parts) for layer in states.values())
        for note in manifest.notes:
            say(f"{image.tag}: {note}")
        built = BuiltImage(
            key=image.key,
            builder=self.name,
            location=str(config["Id"]),
            layers=layers,
            seconds=time.monotonic() - begin,
            cached=all(layer.state in ("cached", "taken") for layer in layers),
            env=environment_of(config),
            notes=tuple(manifest.notes),
            packages=manifest.packages,
            size_bytes=config.get("Size"),
            digest=str(config["Id"]),
        )
        built = await self._delivery.carry_out(docker, image, built, log, say)
        return replace(built, seconds=time.monotonic() - begin)

    async def _is_there(self, image: Image, docker: Docker) -> bool:
        """Whether a build would find the image, as far as the daemon alone can tell: nothing is pulled."""
        plain = ""
        for source in images_of(lower(image, "")):
            if isinstance(source, PlainBase):
                plain = await held_digest(source, docker, self._settings) or ""
        return await _found(docker, lower(image, plain)) is not None

    def _engine(self) -> Docker:
        if self._docker is None:
            raise MachineError("the builder docker has no engine", hint="open one with vep_dagger.engines.open_engines")
        return self._docker

    async def _resolve(self, image: Image, docker: Docker, log: Path, say: Say) -> dict[ImageSource, tuple[str, str]]:
        """What FROM says of each image that the build starts from, and its digest."""
        async with self._resolving:
            for source in images_of(lower(image, "")):
                if source not in self._bases:
                    found = await resolve(source, docker, self._settings, image.platform, log, say)
                    self._bases[source] = (found.ref, found.digest)
        return {source: self._bases[source] for source in images_of(lower(image, ""))}


class _Work:
    """One build that has to be done."""

    def __init__(
        self,
        settings: BuildSettings,
        docker: Docker,
        lowered: Lowered,
        plain: str | None,
        log: Path,
        say: Say,
        on_layer: OnLayer,
        states: dict[str, BuiltLayer],
    ) -> None:
        self._settings = settings
        self._docker = docker
        self._lowered = lowered
        self._plain = plain
        self._log = log
        self._tell = say
        self._on_layer = on_layer
        self._states = states
        self._context = log.absolute().with_name(f"{log.stem}-context")
        self._keeper = Keeper(settings, docker, log)

    async def carry_out(self, refs: Mapping[ImageSource, str]) -> None:
        """Build it; ``states`` has what became of each layer."""
        image = self._lowered.image
        taken = await self._keeper.take(self._lowered, self._say)
        for name in taken:
            self._put(replace(self._states[name], state="taken"))
        link = self._docker.knows_link
        file = render(self._lowered, refs, labels(self._lowered), check_commands(image), CHECKS, taken, link=link)
        with secret_files(file.secrets, self._settings) as secrets:
            kept = False
            try:
                empty = container_manifest(self._lowered, self._plain, Proven(), DockerBuilder.name)
                await lay_out(file, self._context, self._settings, image.platform, empty, self._say)
                run = BuildRun(self._docker, self._settings, self._context, self._log, secrets, self._say)
                run.on_stage = lambda progress: self._progress(file, progress)
                kept = await self._build(file, run, taken)
            except BuildError as error:
                # For the commands that its hint has.
                kept = error.hint is not None and str(self._context) in error.hint
                raise
            finally:
                if not kept:
                    with anyio.CancelScope(shield=True):
                        await anyio.to_thread.run_sync(shutil.rmtree, self._context, True)

    async def _build(self, file: Containerfile, run: BuildRun, taken: Mapping[str, str]) -> bool:
        """Both builds. False: the context is of no more use."""
        image = self._lowered.image
        path = self._context / FILE_NAME
        with tempfile.TemporaryDirectory(prefix="vep-checks-") as results:
            code, heard = await run.build(path, RESULT_STAGE, "--output", f"type=local,dest={results}")
            ended = {
                stage.stage.name
                for stage in file.stages
                if stage.stage and (code == 0 or heard.stage(stage.name).ended)
            }
            if code != 0:
                error = build_failed(self._lowered, file, code, heard, run)
                if isinstance(error, BuildError) and error.layer in self._states:
                    seconds = self._states[error.layer].seconds
                    self._put(replace(self._states[error.layer], state="failed", seconds=seconds))
                try:
                    await self._keeper.put(self._lowered, file, run, ended - set(taken))
                except VepError as refused:
                    # Why the build failed is what matters.
                    self._say(refused.what)
                raise error
            files = _texts(Path(results))
        proven = judge(image, files, self._log, run.secrets.redact)
        text = container_manifest(self._lowered, self._plain, proven, DockerBuilder.name)
        (self._context / MANIFEST_PLACE).write_text(text, encoding="utf-8")
        run.on_stage = lambda _: None
        code, heard = await run.build(path, FINAL_STAGE, "--tag", name_of(self._lowered))
        if code != 0:
            raise build_failed(self._lowered, file, code, heard, run)
        await self._keeper.put(self._lowered, file, run, ended - set(taken))
        return False

    def _progress(self, file: Containerfile, progress: StageProgress) -> None:
        stage = file.stage(progress.name)
        if stage is None or stage.stage is None or stage.stage.name not in self._states:
            return
        known = self._states[stage.stage.name]
        ended: LayerState = "built" if progress.ran else "cached"
        state: LayerState = ended if progress.ended else "building"
        self._put(replace(known, state=state, seconds=progress.seconds if progress.ran else 0.0))

    def _put(self, layer: BuiltLayer) -> None:
        self._states[layer.name] = layer
        self._on_layer(layer)

    def _say(self, text: str) -> None:
        self._tell(f"{self._lowered.image.tag}: {text}")


def _texts(directory: Path) -> dict[str, str]:
    return {entry.name: entry.read_text("utf-8", "replace") for entry in directory.iterdir()}


def name_of(lowered: Lowered) -> str:
    """The name of an image in the daemon."""
    recipe = re.sub(r"[^a-z0-9]+", "-", lowered.image.recipe.lower()).strip("-") or "image"
    tag = re.sub(r"[^A-Za-z0-9_.-]", "_", lowered.image.tag).lstrip(".-")[:100]
    return f"vep/{recipe}:{tag}-{short(lowered.key)}"


def _shown(lowered: Lowered) -> tuple[Stage, ...]:
    """The stages that are told of: all in which something happens."""
    return tuple(stage for stage in lowered.stages if stage.name != ENVIRONMENT or stage.operations)


async def _found(docker: Docker, lowered: Lowered) -> tuple[ContainerManifest, Mapping[str, Any]] | None:
    """The image as it stands under its name, if it is whole and of this key."""
    config = await inspect(docker, name_of(lowered))
    if config is None or ((config.get("Config") or {}).get("Labels") or {}).get(KEY_LABEL) != lowered.key:
        return None
    text = await text_of(docker, str(config["Id"]), MANIFEST)
    manifest = read_container_manifest(text) if text else None
    return None if manifest is None else (manifest, config)
