"""What Docker says when a container does not start, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vep_dagger.errors import LaunchError, MachineError, VepError

OWN_CODES = (125, 126, 127)
"""``docker run``: the daemon could not; the program cannot be run; there is no such program (docker's documentation of
``docker run``, exit status)."""

LOST = 125

TOOLKIT = (
    "install the NVIDIA driver and the NVIDIA Container Toolkit, then `nvidia-ctk runtime configure --runtime=docker` "
    "and restart Docker; `docker run --rm --gpus all ubuntu nvidia-smi` must list the GPUs"
)

DAEMON = "look whether Docker's daemon is alive (docker info) and start it (systemctl start docker); then --resume"

HINTS = (
    (r"could not select device driver|nvidia-container-cli|unknown or invalid runtime|CDI|GPU vendor", TOOLKIT),
    (r"Cannot connect to the Docker daemon|unexpected EOF|connection refused|error during connect", DAEMON),
    (r"No such image|Unable to find image", "the image was removed since it was built: build it again"),
    (
        r"address already in use|port is already allocated",
        "choose another port, or take a free one (leave port out; vep serve: --port 0)",
    ),
    (r"no space left on device", "the disk of Docker's data is full: see docker system df"),
    (r"permission denied while trying to connect", "join the group docker, or run as root"),
    (r"network .* not found", "name a network of `docker network ls` with --network, or leave it out"),
)

_MACHINE = re.compile("|".join(pattern for pattern, hint in HINTS if hint in (TOOLKIT, DAEMON)))


def said(lines: Sequence[str]) -> str | None:
    """What Docker, or the init process of a container, gave as its reason; None if it gave none."""
    for line in lines:
        if found := re.match(r"(?:docker: )?(?:Error response from daemon: |\[FATAL tini \(\d+\)\] )(.+)", line):
            return found[1].strip().rstrip(".")
        if line.startswith(("docker: ", "Cannot connect to the Docker daemon", "error during connect")):
            return line.removeprefix("docker: ").strip().rstrip(".")
    return None


def not_started(reason: str, name: str, image: str, program: str) -> VepError:
    """The error of a container that did not start: MachineError where the machine lacks something."""
    if re.search(r"executable file not found|exec .* failed: No such file|no such file or directory: unknown", reason):
        return LaunchError(f"the program {program!r} is not in the image {image}", where=name, hint=reason)
    hint = next((hint for pattern, hint in HINTS if re.search(pattern, reason)), None)
    kind = MachineError if _MACHINE.search(reason) else LaunchError
    return kind(f"docker did not start the container: {reason}", where=name, hint=hint)


def lost(name: str, reason: str | None) -> LaunchError:
    """The error of a container that Docker lost sight of."""
    return LaunchError(
        "docker lost the container while it ran" + (f": {reason}" if reason else ""), where=name, hint=DAEMON
    )
