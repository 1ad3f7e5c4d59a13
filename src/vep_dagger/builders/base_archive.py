"""Bases that are files: ``oci-archive:PATH``."""

from __future__ import annotations

from pathlib import Path

import anyio.to_thread

from vep_dagger.builders.archive import manifest_digest
from vep_dagger.builders.failures import base_missing
from vep_dagger.errors import BuildError

ARCHIVE = "oci-archive:"
"""How the reference of such a base begins."""


def sha256(digest: str) -> str:
    """A digest with its algorithm, which people may leave out."""
    return f"sha256:{digest.removeprefix('sha256:')}"


async def held_base(ref: str, digest: str | None, directory: Path) -> tuple[Path, str]:
    """The archive that a base names, relative to ``directory``, and the digest of the image in it. Raises MachineError
    where there is no such file, and BuildError where it holds another image than ``digest``.
    """
    path = (directory / ref.removeprefix(ARCHIVE)).absolute()
    if not path.is_file():
        raise base_missing(ref, "there is no such file", where=str(path))
    held = await anyio.to_thread.run_sync(manifest_digest, path)
    if digest and sha256(digest) != held:
        raise BuildError(
            f"the base {ref} is {held}, and the recipe says {sha256(digest)}",
            where=str(path),
            hint="take the archive that is meant, or write down the digest that was seen",
        )
    return path, held
