"""Images that were published, taken as they are: for machines that run what others have built."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vep_dagger.builders.base import BuiltImage, BuiltLayer, OnLayer, Say, ignore_layer
from vep_dagger.builders.checks import sized
from vep_dagger.builders.docker.bases import inspect, transfer
from vep_dagger.builders.docker.look import environment_of, platform_of, text_of
from vep_dagger.builders.lowering import lower
from vep_dagger.builders.manifest import BaseEntry, ContainerManifest, read_container_manifest
from vep_dagger.builders.mirrors import rewrite_image
from vep_dagger.builders.names import IMAGE_LABEL, KEY_LABEL
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.builders.stages import ENVIRONMENT, IMAGE, MANIFEST
from vep_dagger.dsl import Image, short
from vep_dagger.engines.docker import Docker
from vep_dagger.errors import BuildError, MachineError


class RegistryBuilder:
    """Pulls images from the repository that they were published to. It builds nothing."""

    name = "registry"

    def __init__(self, settings: BuildSettings, docker: Docker | None) -> None:
        self._settings = settings
        self._docker = docker

    def refuse(self, image: Image) -> None:
        """Raise BuildError if nobody said where images were published to. Touches nothing."""
        if not self._settings.published:
            raise BuildError(
                "the builder registry has no repository to take images from",
                where=image.tag,
                hint="name it: --from ghcr.io/me/vllm-ep",
            )

    async def ready(self, image: Image) -> None:
        """Raise MachineError if there is no daemon, or if it is of another platform."""
        platform = await platform_of(self._engine())
        if platform != image.platform:
            raise MachineError(f"{image.tag} is for {image.platform}, and this Docker daemon runs {platform}")

    async def build(self, image: Image, log: Path, say: Say, on_layer: OnLayer = ignore_layer) -> BuiltImage:
        """The image as it was published: under its tag, or under that with its short key where several have the tag.

        Raises BuildError if it is not there, or if what is there was made of something else.
        """
        self.refuse(image)
        docker = self._engine()
        begin = time.monotonic()
        ref, config = await self._get(docker, image, log, say)
        labels = _labels(config)
        text = await text_of(docker, str(config["Id"]), MANIFEST)
        manifest = read_container_manifest(text) if text else None
        layers = (*_held(image, manifest), BuiltLayer(IMAGE, labels.get(KEY_LABEL, ""), "taken", 0.0))
        for layer in layers:
            on_layer(layer)
        repository = ref.rpartition(":")[0]
        digests = [known for known in config.get("RepoDigests") or () if known.startswith(f"{repository}@")]
        digest = digests[0].partition("@")[2] if digests else str(config["Id"])
        return BuiltImage(
            key=image.key,
            builder=self.name,
            location=str(config["Id"]),
            layers=layers,
            seconds=time.monotonic() - begin,
            cached=True,
            env=environment_of(config),
            notes=tuple(manifest.notes) if manifest else (),
            packages=manifest.packages if manifest else {},
            size_bytes=config.get("Size"),
            digest=digest,
            published=f"{ref}@{digest}",
        )

    def _engine(self) -> Docker:
        if self._docker is None:
            raise MachineError(
                "the builder registry has no engine", hint="open one with vep_dagger.engines.open_engines"
            )
        return self._docker

    async def _get(self, docker: Docker, image: Image, log: Path, say: Say) -> tuple[str, Mapping[str, Any]]:
        repository = rewrite_image(self._settings.published or "", self._settings.mirrors)
        said: list[str] = []
        for tag in (image.tag, f"{image.tag}-{short(image.key)}"):
            ref = f"{repository}:{tag}"
            say(f"{image.tag}: pulling {ref}")
            # A tag may have been moved since it was last pulled.
            code, lines = await transfer(docker, ["pull", ref], log)
            config = await inspect(docker, ref) if code == 0 else None
            if config is None:
                said.append(f"{ref}: {lines[-1] if lines else f'docker pull ended with {code}'}")
            elif _labels(config).get(IMAGE_LABEL) == image.key:
                return ref, config
            else:
                other = _labels(config).get(IMAGE_LABEL)
                what = f"was made of something else (key {short(other)})" if other else "is no image of vep's"
                said.append(f"{ref}: {what}, and the matrix says {short(image.key)}")
        raise BuildError(
            f"{image.tag} is not published in {repository}:" + "".join(f"\n    {line}" for line in said),
            where=str(log),
            hint=f"publish it: vep build --builder docker --publish {repository}; "
            f"`docker login {repository.partition('/')[0]}` if the registry asks who you are",
        )


def _held(image: Image, manifest: ContainerManifest | None) -> tuple[BuiltLayer, ...]:
    """The layers and the Python environment of an image, as far as it says what it holds."""
    if manifest is None:
        return ()
    bases = (manifest.base, *(layer.base for layer in manifest.layers))
    plain = next((base.digest for base in bases if isinstance(base, BaseEntry) and base.plain), None)
    environment = lower(image, plain or "").stage(ENVIRONMENT)
    keys = [(layer.name, layer.key) for layer in manifest.layers]
    if environment.operations:
        keys.append((environment.name, environment.key))
    layers = (BuiltLayer(name, key, "taken", 0.0) for name, key in keys)
    return tuple(sized(layer, manifest.sizes, manifest.environment_parts) for layer in layers)


def _labels(config: Mapping[str, Any]) -> Mapping[str, str]:
    return (config.get("Config") or {}).get("Labels") or {}
