"""Questions to a Docker daemon about itself and about what an image holds; and what its answers say."""

from __future__ import annotations

import io
import re
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from vep_dagger.engines.docker import Docker
from vep_dagger.errors import MachineError


def environment_of(config: Mapping[str, Any]) -> dict[str, str]:
    """The variables that an image sets for whoever runs it."""
    pairs = (config.get("Config") or {}).get("Env") or ()
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


async def platform_of(docker: Docker) -> str:
    """The platform that the daemon builds for (``linux/amd64``). Raises MachineError if it does not say."""
    answer = await docker.ask("version", "--format", "{{.Server.Os}}/{{.Server.Arch}}")
    if answer.code != 0:
        raise MachineError(
            f"the Docker daemon does not answer: {answer.complaint}",
            where=docker.program,
            hint="look whether it is alive: docker info",
        )
    return answer.out.strip()


async def space_of(docker: Docker) -> int | None:
    """The free bytes where the daemon keeps its data; None where that is not on this machine, or nobody may look."""
    answer = await docker.ask("info", "--format", "{{.DockerRootDir}}")
    root = Path(answer.out.strip() or "/nowhere")
    try:
        return (await anyio.to_thread.run_sync(shutil.disk_usage, root)).free if answer.code == 0 else None
    except OSError:
        return None


async def text_of(docker: Docker, image: str, path: str) -> str | None:
    """The text of a small file of an image, or None. Nothing is run for it: a container is made and removed."""
    made = await docker.ask("create", "--network", "none", image, "/nothing")
    if made.code != 0:
        return None
    container = made.out.strip().splitlines()[-1]
    try:
        copied = await docker.ask("cp", f"{container}:{path}", "-", text=False)
    finally:
        with anyio.CancelScope(shield=True):
            await docker.ask("rm", "--force", container)
    if copied.code != 0:
        return None
    with tarfile.open(fileobj=io.BytesIO(copied.raw)) as archive:
        for member in archive:
            if (file := archive.extractfile(member)) is not None:
                return file.read().decode("utf-8", "replace")
    return None


def digest_in(lines: list[str]) -> str | None:
    """The digest that ``docker push`` or ``docker pull`` has printed."""
    for line in reversed(lines):
        if found := re.search(r"digest: (sha256:[0-9a-f]{64})", line, re.IGNORECASE):
            return found.group(1)
    return None
