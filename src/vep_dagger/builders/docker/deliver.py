"""Where finished images of a Docker daemon go: to a registry, and into archives."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import anyio.to_thread

from vep_dagger.builders.archive import docker_save_to_oci
from vep_dagger.builders.base import BuiltImage, Say
from vep_dagger.builders.docker.bases import transfer
from vep_dagger.builders.docker.look import digest_in
from vep_dagger.builders.failures import last_lines, out_of_space, push_refused
from vep_dagger.builders.names import tag_of
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.dsl import Image
from vep_dagger.engines.docker import Docker
from vep_dagger.errors import BuildError, MachineError


class Delivery:
    """Publishes and exports what was asked for."""

    def __init__(self, settings: BuildSettings) -> None:
        self._settings = settings

    async def carry_out(self, docker: Docker, image: Image, built: BuiltImage, log: Path, say: Say) -> BuiltImage:
        """The image with what is known of it now. Raises BuildError where the registry refuses it."""
        if self._settings.publish:
            built = await self._publish(docker, image, built, log, say)
        if self._settings.export:
            built = await self._export(docker, image, built, log, say)
        return built

    async def _publish(self, docker: Docker, image: Image, built: BuiltImage, log: Path, say: Say) -> BuiltImage:
        repository = self._settings.publish or ""
        ref = f"{repository}:{tag_of(image, self._settings.tags)}"
        say(f"{image.tag}: pushing {ref}")
        digest = await push(docker, built.location, ref, log)
        say(f"{image.tag}: published as {ref}@{digest}")
        return replace(built, digest=digest, published=f"{ref}@{digest}")

    async def _export(self, docker: Docker, image: Image, built: BuiltImage, log: Path, say: Say) -> BuiltImage:
        assert self._settings.export is not None
        # The client runs in a directory of its own, where a relative path is another one.
        directory = Path.cwd() / self._settings.export
        tag = tag_of(image, self._settings.tags)
        target = directory / f"{tag}.tar"
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".vep-export-", dir=directory) as aside:
            saved = Path(aside) / "saved.tar"
            code, lines = await transfer(docker, ["save", "--output", str(saved), built.location], log)
            if code != 0:
                raise MachineError(
                    f"docker save ended with {code}:{last_lines(lines)}",
                    where=str(target),
                    hint="look at the free space of that directory" if out_of_space(lines) else None,
                )
            digest = await anyio.to_thread.run_sync(docker_save_to_oci, saved, target, f"{image.recipe}:{tag}")
        exported = str(self._settings.export / target.name)
        say(f"{image.tag}: exported to {exported}")
        return replace(built, exported=exported, digest=built.digest if built.published else digest)


async def push(docker: Docker, image: str, ref: str, log: Path) -> str:
    """Push a local image under a name; the digest that the registry has it by. Raises BuildError if it refuses."""
    answer = await docker.ask("tag", image, ref)
    if answer.code != 0:
        raise BuildError(f"{ref} is no name for an image: {answer.complaint}", where="--publish")
    code, lines = await transfer(docker, ["push", ref], log)
    digest = digest_in(lines)
    if code != 0 or digest is None:
        said = lines[-1] if lines else f"docker push ended with {code}"
        raise push_refused(ref, said, lines, log=log, code=code)
    return digest
