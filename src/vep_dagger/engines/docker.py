"""Docker: a client program that reaches a daemon and can build with BuildKit."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from vep_dagger.errors import MachineError

VARIABLE = "VEP_DOCKER"
"""Names the client program; without it, the first one on PATH that will do."""

PATIENCE_S = 60.0
"""Seconds for an answer of the daemon's about what is there; builds, pulls and pushes get a deadline of their own."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command ended with and printed."""

    code: int
    out: str
    err: str
    raw: bytes = b""
    """What it printed to its standard output, as it is, where that is no text."""

    @property
    def complaint(self) -> str:
        """The last line of what it says is wrong."""
        lines = [line.strip() for line in (self.err or self.out).splitlines() if line.strip()]
        return lines[-1] if lines else f"exit code {self.code}"


@dataclass(frozen=True, slots=True)
class Docker:
    """A client that works, and the daemon's version."""

    program: str
    version: str
    environ: Mapping[str, str] = field(repr=False)
    """The surroundings, secrets among them."""

    async def ask(
        self, *words: str, timeout_s: float = PATIENCE_S, stdin: bytes | None = None, text: bool = True
    ) -> Answer:
        """Run ``docker`` with these words. Raises MachineError when it does not answer in time."""
        return await _ask(self.program, words, self.environ, timeout_s, stdin, text=text)

    @property
    def knows_link(self) -> bool:
        """Whether the frontend inside the daemon knows ``COPY --link``: that of Docker 23 and newer (Dockerfile 1.4,
        docs.docker.com/build/buildkit/dockerfile-release-notes).
        """
        major = self.version.partition(".")[0]
        return major.isdigit() and int(major) >= 23

    @property
    def build_environment(self) -> dict[str, str]:
        """The variables of a ``docker build``: BuildKit, whatever the client's default is, and the daemon's own, since
        only that one sees local images and gives its own to the daemon; no attestations, so that an image is one.
        """
        return {
            **self.environ,
            "DOCKER_BUILDKIT": "1",
            "BUILDKIT_PROGRESS": "plain",
            "BUILDX_BUILDER": "default",
            "BUILDX_NO_DEFAULT_ATTESTATIONS": "1",
        }


async def find_docker(environ: Mapping[str, str]) -> Docker:
    """The first client on PATH that reaches a daemon and can build with BuildKit. Raises MachineError, which says what
    was tried.
    """
    tried: list[str] = []
    for program in client_programs(environ):
        version = await _ask(program, ("version", "--format", "{{.Server.Version}}"), environ, PATIENCE_S)
        if version.code != 0:
            tried.append(f"{program}: {version.complaint}")
            continue
        why = await _why_not_build(program, environ)
        if why is None:
            return Docker(program, version.out.strip(), environ)
        tried.append(f"{program}: {why}")
    looked = "".join(f"\n    tried {line}" for line in tried) or "\n    there is no program docker on PATH"
    raise MachineError(
        f"no Docker that can build: {looked.strip()}",
        hint="install Docker with BuildKit (Debian: docker.io; Docker's own packages: docker-ce and "
        f"docker-buildx-plugin) and start its daemon, or name the client in {VARIABLE}; "
        "recipes of Python packages alone build with --builder venv",
    )


async def _why_not_build(program: str, environ: Mapping[str, str]) -> str | None:
    """Clients before 23 have BuildKit's client inside; later ones need the plugin buildx."""
    client = await _ask(program, ("version", "--format", "{{.Client.Version}}"), environ, PATIENCE_S)
    major = client.out.strip().partition(".")[0]
    if major.isdigit() and int(major) < 23:
        return None
    buildx = await _ask(program, ("buildx", "version"), environ, PATIENCE_S)
    return (
        None if buildx.code == 0 else f"client {client.out.strip()} has no plugin buildx, without which it cannot build"
    )


def client_programs(environ: Mapping[str, str]) -> list[str]:
    """The programs that may be Docker's client, the first choice first."""
    if named := environ.get(VARIABLE):
        # Whole, since it is started from other directories too.
        return [shutil.which(named, path=environ.get("PATH", os.defpath)) or named]
    directories = environ.get("PATH", os.defpath).split(os.pathsep)
    files = [Path(directory) / "docker" for directory in dict.fromkeys(filter(None, directories))]
    return [str(file) for file in files if os.access(file, os.X_OK)]


async def _ask(
    program: str,
    words: Sequence[str],
    environ: Mapping[str, str],
    timeout_s: float,
    stdin: bytes | None = None,
    *,
    text: bool = True,
) -> Answer:
    try:
        with anyio.fail_after(timeout_s):
            done = await anyio.run_process(
                [program, *words],
                input=stdin,
                env=dict(environ),
                check=False,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
    except TimeoutError:
        raise MachineError(
            f"docker {' '.join(words[:2])} did not answer within {timeout_s:g} s",
            where=program,
            hint="look whether the daemon is alive: docker info",
        ) from None
    except OSError as error:
        return Answer(127, "", f"{program}: {error.strerror or error}")
    complaint = done.stderr.decode("utf-8", "replace")
    if not text:
        return Answer(done.returncode, "", complaint, done.stdout)
    return Answer(done.returncode, done.stdout.decode("utf-8", "replace"), complaint)
