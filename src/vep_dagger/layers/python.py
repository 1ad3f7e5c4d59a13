"""Python from a pinned archive, so that neither the distribution's interpreter nor one that a tool downloads decides.

Source: https://github.com/astral-sh/python-build-standalone (``install_only_stripped`` archives: an interpreter that
finds itself wherever it lies, with headers and without debugging symbols; glibc 2.17 or newer).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import field_validator

from vep_dagger.dsl import Build, LayerPins, Sha256, SpellingError, http, layer, spelled
from vep_dagger.layers import cuda

PREFIX = "/opt/python"

ENVIRONMENT = "/venv"
"""Where images, and builds against them, have their Python environment. Its interpreter is a link into
:data:`PREFIX`."""

PATH = f"{PREFIX}/bin:{cuda.PATH}"

ARCHIVES = "https://github.com/astral-sh/python-build-standalone/releases/download"


class Pins(LayerPins):
    """The interpreter's release, the day of upstream's build, and the archive's sha256 (or the lock knows it)."""

    version: str = "3.12.11"
    build: Annotated[str, spelled(r"20[0-9]{6}", "is no day of upstream's builds, such as 20251007")] = "20251007"
    sha256: Sha256 | None = None

    @field_validator("version")
    @classmethod
    def _whole(cls, value: str) -> str:
        parts = value.split(".")
        if len(parts) != 3 or parts[0] != "3" or not all(part.isdigit() for part in parts):
            raise SpellingError(
                f"{value!r} is no release of Python such as 3.12.11: an archive holds one; "
                "python-build-standalone's releases list those of each build"
            )
        return value

    @property
    def minor(self) -> str:
        """``3.12`` of ``3.12.11``: what paths and compiled modules are named after."""
        return self.version.rpartition(".")[0]


def unpack(build: Build, pins: Pins) -> Build:
    """The interpreter at :data:`PREFIX`, as steps: for the layer, and for an image's own chain, which cannot see
    layers.
    """
    archive = f"cpython-{pins.version}%2B{pins.build}-{build.machine}-unknown-linux-gnu-install_only_stripped.tar.gz"
    source = http(f"{ARCHIVES}/{pins.build}/{archive}", pins.sha256, unpack=True)
    # The archive holds one directory, python.
    return build.copy(source, "/opt").program(f"{PREFIX}/bin")


def environment(build: Build, version: str) -> Build:
    """An environment at :data:`ENVIRONMENT` of exactly this interpreter, which must be at :data:`PREFIX`."""
    return build.env(PATH=PATH).python(version, ENVIRONMENT)


def site(minor: str) -> str:
    """Where the environment keeps its packages."""
    return f"{ENVIRONMENT}/lib/python{minor}/site-packages"


@layer(prefix=PREFIX, needs=[cuda.devel])
def python(build: Build, pins: Pins) -> Build:
    """The interpreter that kernels are built for. An image unpacks it in its own chain."""
    return unpack(build, pins)
