"""The file that a SquashFS is to become, and what may be there already."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vep_dagger.builders.names import IMAGE_LABEL
from vep_dagger.dsl import Image, short
from vep_dagger.errors import UsageError
from vep_dagger.squash.choice import Program
from vep_dagger.squash.enroot_form import ID_LABEL, SCHEME, label_in, provenance_in

_LOOK_S = 60


@dataclass(frozen=True, slots=True)
class Standing:
    """A file that is there: what its ``/etc/rc`` says of the image that it was made of, if it says anything."""

    key: str | None
    digest: str | None
    """Of the image's manifest: files of enroot's own do not say it."""
    id: str | None
    """Of the image's configuration (:data:`.ID_LABEL`)."""
    program: Program

    def __str__(self) -> str:
        return self.digest or self.id or "something else"

    def is_of(self, image: Image, *, id: str, digest: str | None = None) -> bool:  # noqa: A002 - the image's own word
        """Whether it was made of this very image."""
        same = id == self.id or (digest is not None and digest == self.digest)
        return self.key == image.key and same


def standing(target: Path, environ: Mapping[str, str]) -> Standing | None:
    """What is at ``target``, or None. Blocks."""
    if not target.exists():
        return None
    rc = _rc(target, environ)
    source = provenance_in(rc) or ""
    ours = source.startswith(SCHEME)
    digest = source.rpartition("@")[2] if ours else None
    return Standing(
        label_in(rc, IMAGE_LABEL), digest or None, label_in(rc, ID_LABEL), "mksquashfs" if ours else "enroot"
    )


def refuse_other(target: Path, found: Standing | None, image: Image) -> None:
    """Raise UsageError if what is there was not made of this image."""
    if found is None or found.key == image.key:
        return
    what = f"holds another image (key {short(found.key)})" if found.key else "is there, and no SquashFS of vep's"
    raise UsageError(
        f"{target} {what}; {image.tag} has the key {short(image.key)}",
        where="-o",
        hint="name another file, delete this one, or replace it with --force",
    )


def _rc(target: Path, environ: Mapping[str, str]) -> str:
    words = ["unsquashfs", "-cat", str(target), "etc/rc"]
    try:
        done = subprocess.run(
            words, env=dict(environ), stdin=subprocess.DEVNULL, capture_output=True, timeout=_LOOK_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""
