"""Docker and Dagger: which client, which daemon, which releases, and whether what is built would be kept."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.doctor.lab import Lab
from vep_dagger.doctor import Disk, Finding, Machine, blocked_by, diagnose
from vep_dagger.doctor.probes import dagger, engines
from vep_dagger.doctor.ways import WAYS

if TYPE_CHECKING:
    from vep_dagger.engines.dagger import DaggerSession
    from vep_dagger.engines.docker import Docker

GIB = 2**30
BIG = Disk(252 * GIB, 43 * GIB)


def told(free: int, used: int = 0, version: str = "v0.21.8") -> dict[str, Any]:
    """What an engine says of itself."""
    return {"version": version, "engine": {"localCache": {"minFreeSpace": free, "maxUsedSpace": used}}}


def dagger_program(lab: Lab, answer: object = None, version: str = "v0.21.8", query: str | None = None) -> None:
    asked = query or f"echo '{json.dumps(answer)}'"
    lab.program("dagger", f"case $1 in query) {asked};; *) echo 'dagger {version} x y';; esac")


@contextmanager
def listening(lab: Lab, path: str = "/run/dagger/engine.sock") -> Iterator[None]:
    """An engine's socket, named in the variable; short, since such a path may have about a hundred characters."""
    place = lab.root / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    before = Path.cwd()
    os.chdir(place.parent)
    with socket.socket(socket.AF_UNIX) as server:
        try:
            server.bind(place.name)
        finally:
            os.chdir(before)
        assert stat.S_ISSOCK(place.stat().st_mode)
        lab.environ["_EXPERIMENTAL_DAGGER_RUNNER_HOST"] = f"unix://{path}"
        yield


def limited(finding: Finding, what: str, hint: str) -> bool:
    assert finding.state == "limited"
    assert what in finding.what
    assert hint in (finding.hint or "")
    return True


def test_the_docker_that_builds_would_take_is_named(whole: Lab) -> None:
    finding = whole.find(engines.probe_docker)
    assert (finding.state, finding.what) == ("ok", f"daemon 28.2.2, client {whole.directory}/bin/docker")


def test_a_docker_without_its_daemon_is_limited(lab: Lab) -> None:
    lab.program("docker", "echo 'Cannot connect to the daemon' >&2; exit 1")
    assert limited(lab.find(engines.probe_docker), "Cannot connect to the daemon", "systemctl start docker")


def test_a_docker_that_this_user_may_not_use_says_how_to(lab: Lab) -> None:
    lab.program("docker", "echo 'permission denied while trying to connect' >&2; exit 1")
    assert limited(lab.find(engines.probe_docker), "permission denied", "usermod -aG docker")


def test_a_docker_that_cannot_build_is_limited(lab: Lab) -> None:
    lab.program("docker", "case $1 in buildx) echo 'no such command' >&2; exit 1;; *) echo 28.2.2;; esac")
    assert limited(lab.find(engines.probe_docker), "no plugin buildx", "docker-buildx-plugin")


def test_a_docker_that_hangs_is_told_in_time(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "COMMAND_TIMEOUT_S", 0.5)
    lab.program("docker", "exec /bin/sleep 60")
    started = time.monotonic()
    assert limited(lab.find(engines.probe_docker), "does not answer within 0.5 s", "docker")
    assert time.monotonic() - started < 20


def test_no_engine_is_started_to_look_at_it(whole: Lab) -> None:
    dagger_program(whole, query=f"touch {whole.directory}/asked")
    finding = whole.find(dagger.probe_dagger, "dagger")
    assert (finding.state, finding.what) == ("ok", "dagger v0.21.8, engine started by docker")
    whole.environ["_EXPERIMENTAL_DAGGER_RUNNER_HOST"] = "kube-pod://dagger-engine"
    assert whole.find(dagger.probe_dagger, "dagger").state == "ok"
    assert not (whole.directory / "asked").exists()


def test_an_engine_is_asked_for_its_version_and_its_rule(lab: Lab) -> None:
    lab.folder("/var/lib/dagger")
    lab.disks["dagger"] = BIG
    dagger_program(lab, told(4 * GIB, 60 * GIB))
    with listening(lab):
        engine, cache = dagger.probe_dagger(lab.machine)
    assert engine.state == "ok"
    assert engine.what == "dagger v0.21.8, engine v0.21.8 at unix:///run/dagger/engine.sock"
    assert (cache.state, cache.what) == ("ok", "43 GiB of 252 GiB free, and the engine's rule keeps 4 GiB free")


@pytest.mark.parametrize(("cli", "engine"), [("v0.20.1", "v0.21.8"), ("v0.21.8", "v0.19.0"), ("v1.0.0", "v1.0.0")])
def test_releases_that_differ_are_told(lab: Lab, cli: str, engine: str) -> None:
    dagger_program(lab, told(0, version=engine), version=cli)
    with listening(lab):
        assert limited(lab.find(dagger.probe_dagger, "dagger"), engine, "take Dagger 0.21 for all of them")


def test_an_engine_that_does_not_answer_is_told(lab: Lab) -> None:
    dagger_program(lab, query="echo 'WARN of no matter' >&2; echo 'incompatible engine' >&2; exit 1")
    with listening(lab):
        assert limited(lab.find(dagger.probe_dagger), "no engine: incompatible engine", "_RUNNER_HOST")
    lab.environ["_EXPERIMENTAL_DAGGER_RUNNER_HOST"] = "unix:///run/elsewhere.sock"
    assert limited(lab.find(dagger.probe_dagger), "/run/elsewhere.sock is no socket", "start the engine")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    lab.environ["_EXPERIMENTAL_DAGGER_RUNNER_HOST"] = f"tcp://127.0.0.1:{port}"
    assert limited(lab.find(dagger.probe_dagger), "refused", "start the engine")
    del lab.environ["_EXPERIMENTAL_DAGGER_RUNNER_HOST"]
    assert limited(lab.find(dagger.probe_dagger), "docker does not work", "name an engine in")


def test_dagger_is_taken_where_its_variable_says(whole: Lab) -> None:
    whole.environ["_EXPERIMENTAL_DAGGER_CLI_BIN"] = str(whole.directory / "elsewhere")
    finding = whole.find(dagger.probe_dagger)
    assert (finding.state, finding.what) == ("missing", f"no program {whole.directory}/elsewhere")


def test_inside_a_session_the_session_is_asked(lab: Lab) -> None:
    class Session(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            good = self.headers["Authorization"] == "Basic c2VjcmV0Og=="
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200 if good else 401)
            self.end_headers()
            self.wfile.write(json.dumps({"data": told(0)}).encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Session) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        lab.environ |= {"DAGGER_SESSION_PORT": str(server.server_port), "DAGGER_SESSION_TOKEN": "secret"}
        finding = lab.find(dagger.probe_dagger)
        server.shutdown()
        thread.join()
    assert (finding.state, finding.what) == ("ok", "inside a session (dagger run), engine v0.21.8")
    assert limited(lab.find(dagger.probe_dagger), "the session does not answer", "engine")


def cache_of(lab: Lab) -> Finding:
    return lab.find(dagger.probe_dagger, "dagger-cache")


def test_an_engine_that_would_throw_results_away_is_told_before_it_does(whole: Lab) -> None:
    """By default 20 % of the disk stay free, and nothing is kept that is not in use where less is."""
    whole.disks["docker"] = BIG
    what = "43 GiB of 252 GiB free, and the engine's rule keeps 47 GiB free: what is built is thrown away"
    assert limited(cache_of(whole), what, "--keep DIR")
    whole.disks["docker"] = Disk(252 * GIB, 52 * GIB)
    assert limited(cache_of(whole), "after 5 GiB more", "--keep DIR")
    whole.disks["docker"] = Disk(252 * GIB, 80 * GIB)
    assert cache_of(whole).state == "ok"


@pytest.mark.parametrize(
    ("rule", "state", "what"),
    [
        ({"minFreeSpace": "4GB"}, "ok", "keeps 4 GiB free"),
        ({"minFreeSpace": "30%"}, "limited", "keeps 71 GiB free"),
        ({"maxUsedSpace": "5GB"}, "limited", "keeps no more than 5 GiB of what is built"),
        ({"reservedSpace": "60GB"}, "ok", "keeps 0 GiB free"),
        ({}, "limited", "keeps 47 GiB free"),
    ],
)
def test_the_users_own_rule_counts_for_an_engine_that_docker_starts(
    whole: Lab, rule: dict[str, str], state: str, what: str
) -> None:
    whole.disks["docker"] = BIG
    whole.file("/home/.config/dagger/engine.json", json.dumps({"gc": rule}))
    finding = cache_of(whole)
    assert finding.state == state
    assert what in finding.what


@pytest.mark.parametrize("text", ["", "[]", '{"gc": 3}', '{"gc": {"minFreeSpace": []}}', '{"gc": null}'])
def test_a_rule_that_cannot_be_read_is_the_default(whole: Lab, text: str) -> None:
    whole.disks["docker"] = BIG
    whole.file("/home/.config/dagger/engine.json", text)
    assert cache_of(whole).state == "limited"


def test_nothing_is_said_of_a_disk_that_cannot_be_seen(lab: Lab) -> None:
    dagger_program(lab, told(4 * GIB))
    with socket.create_server(("127.0.0.1", 0)) as server:
        lab.environ["_EXPERIMENTAL_DAGGER_RUNNER_HOST"] = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        assert [finding.name for finding in dagger.probe_dagger(lab.machine)] == ["dagger"]


def test_each_engine_that_works_is_a_way_by_itself(whole: Lab) -> None:
    for name in ("uv", "libnuma.so.1"):
        for path in whole.directory.rglob(name):
            path.unlink()
    lacking = {way.builder: blocked_by(way, diagnose(whole.machine)) for way in WAYS}
    assert lacking == {"venv": ["uv", "libnuma"], "dagger": [], "docker": []}
    whole.program("docker", "exit 1")
    lacking = {way.builder: blocked_by(way, diagnose(whole.machine)) for way in WAYS}
    assert lacking == {"venv": ["uv", "libnuma"], "dagger": ["dagger"], "docker": ["docker"]}


def test_this_machines_docker_is_found(docker: Docker) -> None:
    (finding,) = engines.probe_docker(Machine.here())
    assert (finding.state, finding.what) == ("ok", f"daemon {docker.version}, client {docker.program}")


def test_this_machines_engine_is_found(dagger_session: DaggerSession) -> None:
    assert dagger_session is not None
    finding = next(iter(dagger.probe_dagger(Machine.here())))
    assert finding.name == "dagger"
    assert finding.state == "ok", finding.what
