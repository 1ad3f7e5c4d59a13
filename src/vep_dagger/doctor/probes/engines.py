"""Container engines: is the program there, and does it answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import anyio

from vep_dagger.doctor.finding import Finding
from vep_dagger.doctor.machine import COMMAND_TIMEOUT_S, Machine
from vep_dagger.engines.docker import VARIABLE, Docker, find_docker
from vep_dagger.errors import MachineError


def probe_docker(machine: Machine) -> Iterator[Finding]:
    """A client of Docker that reaches a daemon and can build with BuildKit: the one that builds would take."""
    enables = "images by docker build, servers by docker run"
    if machine.which("docker") is None and VARIABLE not in machine.environ:
        yield Finding("docker", "missing", "no docker on PATH", enables, "https://docs.docker.com/engine/install/")
        return
    try:
        docker = anyio.run(_found, machine.environ)
    except TimeoutError:
        what = f"it does not answer within {COMMAND_TIMEOUT_S:g} s"
    except MachineError as error:
        what = " ".join(error.what.split())
    else:
        yield Finding("docker", "ok", f"daemon {docker.version}, client {docker.program}", enables)
        return
    hint = "start its daemon (systemctl start docker), or point DOCKER_HOST at one"
    if "permission denied" in what.lower():
        hint = "let this user use the daemon: usermod -aG docker $USER, then log in again"
    elif "buildx" in what:
        hint = "install the package docker-buildx-plugin, or name another client in VEP_DOCKER"
    yield Finding("docker", "limited", what, enables, hint)


async def _found(environ: Mapping[str, str]) -> Docker:
    with anyio.fail_after(COMMAND_TIMEOUT_S):
        return await find_docker(environ)


def probe_podman(machine: Machine) -> Iterator[Finding]:
    """Podman, which needs no daemon, but the right to make containers."""
    enables = "what docker enables, without a daemon and without root"
    program = machine.which("podman")
    if program is None:
        yield Finding("podman", "missing", "no podman on PATH", enables, "apt install podman, dnf install podman")
        return
    answer = machine.run([program, "info", "--format", "{{.Version.Version}}"])
    if answer.ok:
        yield Finding("podman", "ok", answer.out.strip(), enables)
    else:
        hint = "podman info must work; without root it needs entries in /etc/subuid and /etc/subgid"
        yield Finding("podman", "limited", answer.complaint, enables, hint)
