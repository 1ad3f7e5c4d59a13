"""Container engines: is the program there, and does it answer."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

from vep_dagger.doctor.finding import Finding
from vep_dagger.doctor.machine import Machine


def probe_docker(machine: Machine) -> Iterator[Finding]:
    """Docker's client and its daemon."""
    enables = "images by docker build, servers by docker run"
    program = machine.which("docker")
    if program is None:
        yield Finding("docker", "missing", "no docker on PATH", enables, "https://docs.docker.com/engine/install/")
        return
    answer = machine.run([program, "version", "--format", "{{json .}}"])
    try:
        server = (json.loads(answer.out) or {}).get("Server") or {}
    except ValueError:
        server = {}
    if version := server.get("Version"):
        yield Finding("docker", "ok", f"daemon {version}", enables)
        return
    hint = "start its daemon (systemctl start docker), or point DOCKER_HOST at one"
    if "permission denied" in answer.err.lower():
        hint = "let this user use the daemon: usermod -aG docker $USER, then log in again"
    yield Finding("docker", "limited", f"the client alone: {answer.complaint}", enables, hint)


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


def probe_dagger(machine: Machine) -> Iterator[Finding]:
    """Dagger's command line, and an engine that it could use: a session, one that is named, or one started by Docker.

    The names of the variables are those of Dagger's SDKs (dagger-io 0.21).
    """
    enables = "image builds that share every layer"
    if machine.environ.get("DAGGER_SESSION_PORT"):
        yield Finding("dagger", "ok", "inside a session (dagger run)", enables)
        return
    named = machine.environ.get("_EXPERIMENTAL_DAGGER_CLI_BIN")
    program = machine.which(named or "dagger")
    if program is None:
        what = f"no program {named}" if named else "no dagger on PATH"
        hint = "https://docs.dagger.io/install; or name it in _EXPERIMENTAL_DAGGER_CLI_BIN"
        yield Finding("dagger", "missing", what, enables, hint)
        return
    answer = machine.run([program, "version"])
    if not answer.ok:
        yield Finding("dagger", "limited", answer.complaint, enables, "dagger version must work")
        return
    version = " ".join(answer.out.split()[:2])
    engine = machine.environ.get("_EXPERIMENTAL_DAGGER_RUNNER_HOST", "")
    if engine:
        trouble = _unreachable(machine, engine)
        hint = "start the engine, or correct _EXPERIMENTAL_DAGGER_RUNNER_HOST"
    else:
        engine, hint = "started by docker", "docker must work for it (see docker), or name an engine"
        hint += " in _EXPERIMENTAL_DAGGER_RUNNER_HOST"
        docker = next(probe_docker(machine))
        trouble = None if docker.state == "ok" else "docker does not work"
    if trouble:
        yield Finding("dagger", "limited", f"{version}, no engine: {trouble}", enables, hint)
    else:
        yield Finding("dagger", "ok", f"{version}, engine {engine}", enables)


def _unreachable(machine: Machine, address: str) -> str | None:
    """Why an engine's address does not answer, or None; what others resolve (images, pods, ssh) is taken as it is."""
    parts = urlsplit(address)
    if parts.scheme == "unix" and not machine.path(parts.path).is_socket():
        return f"{parts.path} is no socket"
    if parts.scheme == "tcp":
        try:
            socket.create_connection((parts.hostname or "", parts.port or 0), timeout=2).close()
        except (OSError, ValueError) as error:
            return f"{address}: {error}"
    return None
