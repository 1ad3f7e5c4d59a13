"""Which program makes a SquashFS: enroot itself where it can be handed the image, else ``mksquashfs``, fed by us.

``enroot import`` takes images from registries, and from Docker's daemon (``runtime::import`` in ``src/runtime.sh`` of
NVIDIA/enroot v4.1.2). It is never sent to a registry: that would need HTTPS there and credentials of its own
(``docker::_authenticate`` in ``src/docker.sh``), and what the builder ``registry`` has pulled, with Docker's
credentials, is in the daemon anyway.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import Literal, TypeAlias

from vep_dagger.errors import MachineError, UsageError

Program: TypeAlias = Literal["enroot", "mksquashfs"]

IN_A_DAEMON = ("docker", "registry")
"""The builders whose images are in a Docker daemon."""


def find_enroot(asked: Program | None, builder: str, environ: Mapping[str, str]) -> str | None:
    """The program ``enroot`` if it is to make the file, else None. ``asked`` is what a person chose, if anything.

    Raises UsageError where enroot was chosen and cannot be handed the image, and MachineError where it was chosen and
    is not there.
    """
    if asked == "mksquashfs" or (asked is None and builder not in IN_A_DAEMON):
        return None
    if builder not in IN_A_DAEMON:
        raise UsageError(
            f"the builder {builder} gives an archive, and enroot takes images from a Docker daemon or a registry alone",
            where="--with",
            hint=f"use --builder {' or '.join(IN_A_DAEMON)}; or --with mksquashfs, which makes a file for enroot too",
        )
    # Whole, since it is started in another directory.
    program = shutil.which("enroot", path=environ.get("PATH", os.defpath))
    if program is None and asked is not None:
        raise MachineError(
            "there is no enroot on PATH",
            hint="get it from https://github.com/NVIDIA/enroot/releases; or use --with mksquashfs",
        )
    return program and os.path.abspath(program)  # noqa: PTH100 - a link's own name stays
