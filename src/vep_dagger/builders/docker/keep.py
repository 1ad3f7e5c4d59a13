"""Finished layers, put aside as images of their prefixes alone: they outlive BuildKit's cache, and others take them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection
from pathlib import Path

import anyio.to_thread

from vep_dagger.builders.archive import docker_save_to_oci
from vep_dagger.builders.docker.bases import inspect, transfer
from vep_dagger.builders.docker.containerfile import Containerfile, kept_layer
from vep_dagger.builders.docker.deliver import push
from vep_dagger.builders.docker.run import BuildRun
from vep_dagger.builders.keep import KeepDirectory, KeepRepository, layer_tag, parse_keep
from vep_dagger.builders.names import KEY_LABEL
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.builders.stages import IMAGE, Lowered, Stage
from vep_dagger.dsl.layer import ROOT
from vep_dagger.engines.docker import Docker
from vep_dagger.errors import BuildError

KEPT_STAGE = "kept"


class Keeper:
    """Takes layers from where they are kept, and puts them there. Does nothing where nobody said a place."""

    def __init__(self, settings: BuildSettings, docker: Docker, log: Path) -> None:
        self._keep = parse_keep(settings.keep) if settings.keep else None
        self._docker = docker
        self._log = log

    async def take(self, lowered: Lowered, say: Callable[[str], None]) -> dict[str, str]:
        """The references of the images that hold the prefix of a layer, by the layer's name.

        Only what the image needs is asked for: not what was needed to build a layer that is there.
        """
        if self._keep is None:
            return {}
        taken: dict[str, str] = {}
        asked: set[str] = set()
        waiting = [IMAGE]
        while waiting:
            name = waiting.pop()
            if name in asked:
                continue
            asked.add(name)
            stage = lowered.stage(name)
            if stage.layer is not None and stage.prefix != ROOT:
                ref = await self._there(stage)
                if ref is not None:
                    say(f"layer {name} taken from {ref}")
                    taken[name] = ref
                    continue
            waiting += [*([stage.base] if isinstance(stage.base, str) else []), *(each.stage for each in stage.taken)]
        return taken

    async def put(self, lowered: Lowered, file: Containerfile, run: BuildRun, done: Collection[str]) -> None:
        """Put the layers with these names aside, if they are not there. Raises BuildError where that is refused."""
        if self._keep is None:
            return
        names = {stage.stage.name: stage.name for stage in file.stages if stage.stage}
        for stage in lowered.layers:
            if stage.name in done and stage.prefix != ROOT and await self._there(stage) is None:
                await self._put(stage, names[stage.name], file, run)

    async def _put(self, stage: Stage, name: str, file: Containerfile, run: BuildRun) -> None:
        local = _local(stage.key)
        kept = run.context / "Containerfile.kept"
        kept.write_text(kept_layer(file, name, stage.prefix), encoding="utf-8")
        code, heard = await run.build(kept, KEPT_STAGE, "--tag", local, "--label", f"{KEY_LABEL}={stage.key}")
        if code != 0:
            raise BuildError(
                f"layer {stage.name!r} could not be put aside: {heard.complaint}",
                where=str(self._log),
                layer=stage.name,
            )
        if isinstance(self._keep, KeepRepository):
            await push(self._docker, local, self._keep.layer(stage.key), self._log)
        elif isinstance(self._keep, KeepDirectory):
            await self._save(local, self._keep.layer(stage.key))

    async def _save(self, local: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".vep-keep-", dir=target.parent) as aside:
            saved = Path(aside) / "saved.tar"
            code, lines = await transfer(self._docker, ["save", "--output", str(saved), local], self._log)
            if code != 0:
                raise BuildError(f"docker save: {lines[-1] if lines else code}", where=str(target))
            await anyio.to_thread.run_sync(docker_save_to_oci, saved, target, local)

    async def _there(self, stage: Stage) -> str | None:
        """The reference of a layer that is kept: known to the daemon already, or brought there."""
        keep = self._keep
        if isinstance(keep, KeepRepository):
            ref = keep.layer(stage.key)
            if not await self._is(ref, stage):
                await transfer(self._docker, ["pull", "--quiet", ref], self._log)
            return ref if await self._is(ref, stage) else None
        if isinstance(keep, KeepDirectory) and keep.layer(stage.key).is_file():
            ref = _local(stage.key)
            if not await self._is(ref, stage):
                await transfer(self._docker, ["load", "--input", str(keep.layer(stage.key))], self._log)
            return ref if await self._is(ref, stage) else None
        return None

    async def _is(self, ref: str, stage: Stage) -> bool:
        """Whether the daemon has the image, and it is of this layer."""
        found = await inspect(self._docker, ref)
        return found is not None and ((found.get("Config") or {}).get("Labels") or {}).get(KEY_LABEL) == stage.key


def _local(key: str) -> str:
    return f"vep/kept:{layer_tag(key)}"
