"""The images that a build in Docker starts from: found or pulled, and known by their digests."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio.to_thread

from vep_dagger.builders.archive import make_loadable, manifest_digest
from vep_dagger.builders.base import Say
from vep_dagger.builders.base_archive import ARCHIVE, held_base, sha256
from vep_dagger.builders.failures import base_missing
from vep_dagger.builders.mirrors import rewrite_image
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.dsl import ImageSource, PlainBase
from vep_dagger.engines.docker import Docker
from vep_dagger.errors import LaunchError, MachineError
from vep_dagger.processes.run import run_logged

TRANSFER_S = 4 * 3600.0
"""For one image to come from a registry or an archive, or to go there: the largest ones have ten gigabytes."""


@dataclass(frozen=True, slots=True)
class Found:
    """An image that is there now: what FROM calls it, and what is known of its content."""

    ref: str
    digest: str


async def resolve(
    source: ImageSource, docker: Docker, settings: BuildSettings, platform: str, log: Path, say: Say
) -> Found:
    """The image of a base. Raises BuildError for one with another content than the recipe says, and MachineError where
    it cannot be had.
    """
    ref = settings.plain_base if isinstance(source, PlainBase) else source.ref
    digest = None if isinstance(source, PlainBase) else source.digest
    if ref.startswith(ARCHIVE):
        return await _loaded(ref, digest, docker, settings, log)
    name, _, own = ref.partition("@")
    digest = digest or own or None
    asked = rewrite_image(name, settings.mirrors)
    wanted = f"{asked}@{sha256(digest)}" if digest else asked
    found = await inspect(docker, wanted)
    if found is None:
        say(f"pulling {wanted}")
        code, lines = await transfer(docker, ["pull", "--platform", platform, wanted], log)
        found = await inspect(docker, wanted) if code == 0 else None
        if found is None:
            said = lines[-1] if lines else f"docker pull exited with {code}"
            raise base_missing(name if not digest else f"{name}@{sha256(digest)}", said, where=str(log), tried=wanted)
    if digest:
        return Found(wanted, sha256(digest))
    return await _by_tag(asked, found, docker, say)


async def held_digest(source: ImageSource, docker: Docker, settings: BuildSettings) -> str | None:
    """The digest of a base, where neither a registry nor a pull is needed to tell it."""
    ref = settings.plain_base if isinstance(source, PlainBase) else source.ref
    if ref.startswith(ARCHIVE):
        path = settings.directory / ref.removeprefix(ARCHIVE)
        return await anyio.to_thread.run_sync(manifest_digest, path) if path.is_file() else None
    name, _, own = ref.partition("@")
    if digest := source.digest or own:
        return sha256(digest)
    asked = rewrite_image(name, settings.mirrors)
    found = await inspect(docker, asked)
    return None if found is None else (await _by_tag(asked, found, docker, lambda _: None)).digest


def archive_name(digest: str) -> str:
    """What an image without a registry is called in the daemon."""
    return f"vep/base:{digest.removeprefix('sha256:')[:24]}"


async def inspect(docker: Docker, ref: str) -> Mapping[str, Any] | None:
    """What Docker knows of an image of its own, or None if it has none of that name."""
    answer = await docker.ask("image", "inspect", ref)
    if answer.code != 0:
        return None
    images = json.loads(answer.out)
    return images[0] if images else None


async def transfer(
    docker: Docker, words: Sequence[str], log: Path, on_line: Callable[[str], None] | None = None
) -> tuple[int, list[str]]:
    """Let docker move an image; its exit code and the lines that it printed, which are in the log too. Raises
    MachineError if it takes too long.
    """
    lines: list[str] = []

    def heard(line: str) -> None:
        if line.strip():
            lines.append(line.strip())
        if on_line:
            on_line(line)

    try:
        code = await run_logged(
            [docker.program, *words],
            env=docker.environ,
            cwd=Path("/"),
            log=log,
            on_line=heard,
            timeout_s=TRANSFER_S,
            label=f"docker {words[0]}",
        )
    except LaunchError as error:
        raise MachineError(error.what, where=str(log), hint=error.hint) from error
    return code, lines


async def _by_tag(asked: str, found: Mapping[str, Any], docker: Docker, say: Say) -> Found:
    """A tag as what it stands for now."""
    repository = asked.rpartition(":")[0] if ":" in asked.rpartition("/")[2] else asked
    known = [ref.partition("@")[2] for ref in found.get("RepoDigests") or () if "@" in ref]
    if known:
        say(f"the base {asked} is {known[0]}")
        return Found(f"{repository}@{known[0]}", known[0])
    # An image of this daemon alone: its configuration says what it holds, and a name of our own keeps it in place.
    identity = str(found["Id"])
    name = archive_name(identity)
    answer = await docker.ask("tag", identity, name)
    if answer.code != 0:
        raise MachineError(f"docker tag: {answer.complaint}", where=asked)
    say(f"the base {asked} is the local image {identity}")
    return Found(name, identity)


async def _loaded(ref: str, digest: str | None, docker: Docker, settings: BuildSettings, log: Path) -> Found:
    """An archive, loaded once."""
    path, held = await held_base(ref, digest, settings.directory)
    name = archive_name(held)
    if await inspect(docker, name) is None:
        with tempfile.TemporaryDirectory(prefix="vep-base-") as directory:
            copy = Path(directory) / "base.tar"
            await anyio.to_thread.run_sync(shutil.copyfile, path, copy)
            await anyio.to_thread.run_sync(make_loadable, copy, name)
            code, lines = await transfer(docker, ["load", "-i", str(copy)], log)
        if code != 0 or await inspect(docker, name) is None:
            raise base_missing(ref, lines[-1] if lines else f"docker load exited with {code}", where=str(log))
    return Found(name, held)
