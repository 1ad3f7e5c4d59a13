"""What a person asks for on the command line, or a pipeline in Python."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from vep_dagger.builders.names import publish_tags
from vep_dagger.builders.settings import PLAIN_BASE, PLAIN_BASE_VARIABLE, BuildSettings
from vep_dagger.jobs.run import Stage
from vep_dagger.launchers.registry import OF_BUILDER
from vep_dagger.plan import Plan


@dataclass(frozen=True)
class Options:
    """What a person asked for on the command line, or a pipeline in Python."""

    matrix: Path
    stage: Stage = "bench"
    only: str | None = None
    builder: str = "venv"
    launcher: str | None = None
    """Where servers run; by default where the builder's images can."""
    out: Path | None = None
    resume: bool = False
    retry_failed: bool = False
    """With ``resume``: run again what did not pass."""
    compat: Path | None = None
    """A file that overlays the compatibility data."""
    network: str | None = None
    """Docker: the network of build steps and servers."""
    keep: str | None = None
    """A directory or a registry's repository where finished layers are put aside and taken back from."""
    publish: str | None = None
    """The repository that images are pushed to."""
    published: str | None = None
    """The repository that the builder ``registry`` takes images from."""
    export: Path | None = None
    """The directory that images are exported to as OCI archives."""
    locked: bool = False
    """Refuse whatever the lock does not hold, and write no lock."""

    @property
    def place(self) -> str:
        """The launcher's name."""
        return self.launcher or OF_BUILDER.get(self.builder, "process")

    @property
    def repeated(self) -> list[str]:
        """The words of a command line that repeats a cell of the run, besides matrix, builder and launcher."""
        given = {"--network": self.network, "--from": self.published, "--compat": self.compat}
        words = [word for flag, value in given.items() if value for word in (flag, str(value))]
        return [*words, "--locked"] if self.locked else words

    def settings(self, full: Plan) -> BuildSettings:
        """What builders need to know of it. ``full`` is the plan of all cells."""
        return BuildSettings(
            plain_base=os.environ.get(PLAIN_BASE_VARIABLE) or PLAIN_BASE,
            mirrors=full.matrix.file.mirrors,
            tags=publish_tags(full.images),
            directory=self.matrix.parent,
            network=self.network,
            keep=self.keep,
            publish=self.publish,
            published=self.published,
            export=self.export,
            environ=dict(os.environ),
        )
