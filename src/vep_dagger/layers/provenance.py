"""Proofs that a layer was built from the commit that is pinned."""

from __future__ import annotations

from pathlib import Path

from vep_dagger.dsl import Build
from vep_dagger.dsl.source import COMMIT_FILE
from vep_dagger.layers import source_record

PLACE = "/src"
"""Where layers have their source."""


def recorded(build: Build, prefix: str, *, says: str = "") -> Build:
    """The build, which first hashes the git tree at :data:`PLACE` and leaves in ``prefix`` which commit that is. It
    fails where the tree is not the one of the commit that it came with.

    Submodules are held against it in the same way, whether they were fetched with it or mounted in it. ``says`` is a
    file of the tree and a pattern, ``FILE:PATTERN``, for the version that the tree itself says.
    """
    return build.run("python3", "-c", _script(), "record", PLACE, prefix, COMMIT_FILE, says)


def proven(build: Build, name: str, prefix: str, commit: str | None, *, version: str = "", least: int = 0) -> Build:
    """The build with the check that what :func:`recorded` has left is the pinned ``commit`` (None where only the lock
    has one) and ``version``, and that installed files which the source holds are as they are there, ``least`` of them.
    """
    return build.check(
        f"{name} is of the pinned commit" if commit else f"{name} is of a known commit",
        "python3", "-c", _script(), "check", prefix, commit or "", version, str(least),
        expect=f"commit {commit or ''}",
    )  # fmt: skip


def _script() -> str:
    return Path(source_record.__file__).read_text(encoding="utf-8")
