"""Dagger: its command line, an engine, and whether the engine would keep what it builds.

The names of the variables are those of Dagger's SDKs (dagger-io 0.21); the rule of what is kept is that of the engine's
garbage collection (v0.21.8, ``internal/buildkit/cmd/buildkitd/config/gcpolicy.go`` and ``dagql/cache_prune.go``).
"""

from __future__ import annotations

import base64
import json
import re
import socket
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vep_dagger.doctor.finding import Finding
from vep_dagger.doctor.machine import COMMAND_TIMEOUT_S, Disk, Machine
from vep_dagger.doctor.probes.engines import probe_docker

QUERY = "{version engine{localCache{minFreeSpace maxUsedSpace}}}"
STATE = "/var/lib/dagger"
"""Where an engine keeps what it builds (v0.21.8, ``engine/distconsts/consts.go``)."""
KEPT_FREE = "20%"
"""Of the disk's size, what the engine's rule keeps free unless it is told otherwise."""
ROOM_BYTES = 10 * 2**30
"""The GPU stack's image with its compilers is about as big."""

ENABLES = "builds that share every layer, servers beside them"
ENABLES_CACHE = "finished layers stay in the engine, and the next build takes them from there"


@dataclass(frozen=True, slots=True)
class Engine:
    """What an engine says of itself, and the disk that it works on where that is known."""

    version: str | None
    min_free: int | None
    max_used: int | None


def probe_dagger(machine: Machine) -> Iterator[Finding]:
    """Dagger's command line with an engine of the same release, and what that engine's rule would throw away.

    No engine is started for it: one that Docker would start is judged by the rule that it would have.
    """
    if "DAGGER_SESSION_PORT" in machine.environ:
        engine: Engine | str = _ask_session(machine.environ)
        cli = "inside a session (dagger run)"
    else:
        named = machine.environ.get("_EXPERIMENTAL_DAGGER_CLI_BIN")
        program = machine.which(named or "dagger")
        if program is None:
            what = f"no program {named}" if named else "no dagger on PATH"
            hint = "https://docs.dagger.io/install; or name it in _EXPERIMENTAL_DAGGER_CLI_BIN"
            yield Finding("dagger", "missing", what, ENABLES, hint)
            return
        answer = machine.run([program, "version"])
        if not answer.ok:
            yield Finding("dagger", "limited", answer.complaint, ENABLES, "dagger version must work")
            return
        cli = " ".join(answer.out.split()[:2])
        engine = _ask(machine, program)
    address = machine.environ.get("_EXPERIMENTAL_DAGGER_RUNNER_HOST", "")
    if isinstance(engine, str):
        hint = "start the engine, or correct _EXPERIMENTAL_DAGGER_RUNNER_HOST"
        if not address:
            hint = "docker must work for it (see docker), or name an engine in _EXPERIMENTAL_DAGGER_RUNNER_HOST"
        yield Finding("dagger", "limited", f"{cli}, no engine: {engine}", ENABLES, hint)
        return
    yield _agreement(cli, engine, address)
    yield from _cache(machine, engine, address)


def _agreement(cli: str, engine: Engine, address: str) -> Finding:
    """Command line, engine and client library must be of one release: 0.21 for instance."""
    client = version("dagger-io")
    where = address or "started by docker"
    what = f"{cli}, engine {engine.version or where}" + (f" at {where}" if engine.version and address else "")
    spoken = {_release(text) for text in (cli, engine.version or "", client)} - {None}
    if len(spoken) > 1:
        what += f", client library {client}"
        return Finding("dagger", "limited", what, ENABLES, f"take Dagger {_release(client)} for all of them")
    return Finding("dagger", "ok", what, ENABLES)


def _release(text: str) -> str | None:
    found = re.search(r"\bv?(\d+\.\d+)\.\d+", text)
    return found.group(1) if found else None


def _ask(machine: Machine, program: str) -> Engine | str:
    """What the engine says, or why there is none."""
    address = machine.environ.get("_EXPERIMENTAL_DAGGER_RUNNER_HOST", "")
    if not address:
        docker = next(probe_docker(machine))
        return Engine(None, None, None) if docker.state == "ok" else "docker does not work"
    trouble = _unreachable(machine, address)
    if trouble:
        return trouble
    if urlsplit(address).scheme not in ("unix", "tcp"):
        # Images and pods are started for whoever asks, and that takes minutes.
        return Engine(None, None, None)
    answer = machine.run([program, "query", "--silent", "-M"], stdin=QUERY)
    # The last line, since warnings come first.
    lines = [line.strip() for line in answer.err.splitlines() if line.strip()]
    return _engine(answer.out) or (lines[-1] if lines and answer.code is not None else answer.complaint)


def _ask_session(environ: Mapping[str, str]) -> Engine | str:
    """The same of the session that we are in."""
    credentials = base64.b64encode(f"{environ.get('DAGGER_SESSION_TOKEN', '')}:".encode()).decode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{environ['DAGGER_SESSION_PORT']}/query",
        json.dumps({"query": QUERY}).encode(),
        {"Authorization": f"Basic {credentials}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=COMMAND_TIMEOUT_S) as answer:  # noqa: S310
            return _engine(answer.read().decode()) or "the session gives no answer that can be read"
    except (OSError, ValueError) as error:
        return f"the session does not answer: {error}"


def _engine(text: str) -> Engine | None:
    try:
        told: Any = json.loads(text)
        told = told.get("data", told)
        cache = told["engine"]["localCache"]
        return Engine(told["version"], int(cache["minFreeSpace"]), int(cache["maxUsedSpace"]))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


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


def _cache(machine: Machine, engine: Engine, address: str) -> Iterator[Finding]:
    """Whether the engine's rule leaves room for what is built; nothing where its disk or its rule cannot be seen."""
    place = _disk_of(machine, address)
    if place is None or not place.is_dir():
        return
    disk = machine.disk(place)
    min_free, max_used = engine.min_free, engine.max_used
    if min_free is None:
        min_free, max_used = _own_rule(machine, disk)
    room = disk.free - min_free
    what = f"{_gib(disk.free)} of {_gib(disk.total)} free, and the engine's rule keeps {_gib(min_free)} free"
    if room >= ROOM_BYTES and not 0 < (max_used or 0) < ROOM_BYTES:
        yield Finding("dagger-cache", "ok", what, ENABLES_CACHE)
        return
    if room < 0:
        what += ": what is built is thrown away soon after its session has ended"
    elif room < ROOM_BYTES:
        what += f": after {_gib(room)} more, what is built is thrown away soon after its session has ended"
    else:
        what = f"the engine's rule keeps no more than {_gib(max_used or 0)} of what is built"
    hint = (
        "put finished layers aside with --keep DIR or --keep REPO; or free the disk; or set gc.minFreeSpace and "
        "gc.maxUsedSpace in the engine's engine.json (https://docs.dagger.io/reference/configuration/engine)"
    )
    yield Finding("dagger-cache", "limited", what, ENABLES_CACHE, hint)


def _disk_of(machine: Machine, address: str) -> Path | None:
    """A directory of the disk that the engine works on: its own where it is of this machine, else Docker's."""
    if address:
        return machine.path(STATE) if urlsplit(address).scheme == "unix" else None
    program = machine.which("docker")
    answer = machine.run([program, "info", "--format", "{{.DockerRootDir}}"]) if program else None
    return machine.path(answer.out.strip()) if answer and answer.ok and answer.out.startswith("/") else None


def _own_rule(machine: Machine, disk: Disk) -> tuple[int, int | None]:
    """What an engine that Docker starts will keep free, and the most that it will use: as the user's ``engine.json``
    says, which it is given (v0.21.8, ``engine/client/drivers/container.go``), else the default."""
    home = machine.environ.get("XDG_CONFIG_HOME")
    file = (Path(home) if home else machine.home(".config")) / "dagger" / "engine.json"
    try:
        rule = json.loads(file.read_text(encoding="utf-8"))["gc"]
        least, most = (_size(rule.get(name), disk) for name in ("minFreeSpace", "maxUsedSpace"))
        set_at_all = any(rule.get(name) for name in ("minFreeSpace", "maxUsedSpace", "reservedSpace"))
        return (least if set_at_all else _size(KEPT_FREE, disk)) or 0, most
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return _size(KEPT_FREE, disk) or 0, None


def _size(text: object, disk: Disk) -> int | None:
    """Bytes: ``4GB``, ``20%`` of the disk, or a number; units are powers of 1024, as Docker's are."""
    found = re.fullmatch(r"\s*([\d.]+)\s*(%|[kmgtp]?i?b?)\s*", str(text), re.IGNORECASE) if text else None
    if found is None:
        return None
    number, unit = float(found.group(1)), found.group(2).lower()
    if unit == "%":
        # Rounded as the engine does it.
        return (int(disk.total * number / 100) // 2**30 + 1) * 10**9
    return int(number * 1024 ** ("kmgtp".find(unit[0]) + 1 if unit else 0)) if unit != "b" else int(number)


def _gib(size: int) -> str:
    return f"{size / 2**30:.0f} GiB"
