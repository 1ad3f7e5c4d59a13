"""However `vep` ends, the container of its server does too, or a later `vep` removes it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from vep_dagger.engines.docker import Docker
from vep_dagger.errors import MachineError
from vep_dagger.processes.leftovers import reap, reap_containers

DRIVER = Path(__file__).with_name("docker_driver.py")


@dataclass(frozen=True)
class Run:
    docker: Docker
    vep: subprocess.Popen[bytes]
    name: str
    guard: int
    directory: Path

    def there(self) -> bool:
        words = [self.docker.program, "container", "inspect", self.name]
        return subprocess.run(words, capture_output=True, check=False).returncode == 0

    def gone_within(self, limit_s: float) -> bool:
        end = time.monotonic() + limit_s
        while self.there() or self.marks():
            if time.monotonic() > end:
                return False
            time.sleep(0.1)
        return True

    def marks(self) -> list[Path]:
        return list(self.directory.glob(".vep-*"))

    @property
    def log(self) -> str:
        return (self.directory / "server.log").read_text()


@pytest.fixture
def run(docker: Docker, pulled_base: str, tmp_path: Path) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start(*options: str) -> Run:
        command = [sys.executable, str(DRIVER), str(tmp_path), pulled_base, *options]
        vep = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert vep.stdout is not None
        started = Run(docker, vep, **json.loads(vep.stdout.readline()), directory=tmp_path)
        runs.append(started)
        end = time.monotonic() + 10
        while "serving" not in started.log and time.monotonic() < end:
            time.sleep(0.05)
        assert started.there()
        return started

    yield start
    for each in runs:
        each.vep.kill()
        each.vep.wait()
        assert each.vep.stdout is not None
        each.vep.stdout.close()
        subprocess.run([docker.program, "rm", "--force", each.name], capture_output=True, check=False)
    volume = f"vep-compiled-{'f' * 12}-cpu"
    subprocess.run([docker.program, "volume", "rm", "--force", volume], capture_output=True, check=False)


def test_ctrl_c_removes_the_container_once_the_server_has_ended(run: Callable[..., Run]) -> None:
    server = run()
    server.vep.send_signal(signal.SIGINT)
    assert server.vep.wait(15) != 0
    assert not server.there()
    assert server.marks() == []
    assert "asked to stop" in server.log


def test_sigkill_of_vep_asks_the_server_to_end_and_removes_the_container(run: Callable[..., Run]) -> None:
    server = run("--workers", "2")
    server.vep.kill()
    assert server.gone_within(15)
    assert "asked to stop" in server.log


def test_sigkill_of_vep_forces_a_server_that_does_not_end(run: Callable[..., Run]) -> None:
    server = run("--ignore-term", "--workers", "2")
    server.vep.kill()
    assert server.gone_within(20)


def test_what_outlives_vep_and_its_guard_is_removed_by_a_later_vep(run: Callable[..., Run]) -> None:
    server = run()
    os.kill(server.vep.pid, signal.SIGSTOP)
    os.kill(server.guard, signal.SIGKILL)
    server.vep.kill()
    server.vep.wait()
    reap(server.directory)
    assert server.there()
    assert reap_containers(server.directory, [server.docker.program], os.environ) == [server.name]
    assert not server.there()
    assert server.marks() == []
    assert reap_containers(server.directory, [server.docker.program], os.environ) == []


def test_the_guards_death_alone_is_seen_by_vep_which_removes_the_container(run: Callable[..., Run]) -> None:
    server = run()
    os.kill(server.guard, signal.SIGKILL)
    server.vep.send_signal(signal.SIGINT)
    assert server.vep.wait(20) != 0
    assert not server.there()
    assert server.marks() == []


def test_a_container_that_is_gone_already_needs_no_removal(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / ".vep-container-vep-cell-1-00000000").touch()
    assert reap_containers(tmp_path, [docker.program], os.environ) == ["vep-cell-1-00000000"]
    assert list(tmp_path.iterdir()) == []


def test_without_docker_a_container_that_may_be_left_is_named_and_stays_noted(tmp_path: Path) -> None:
    mark = tmp_path / ".vep-container-vep-cell-1-00000000"
    mark.touch()
    with pytest.raises(MachineError, match="vep-cell-1-00000000 was left") as caught:
        reap_containers(tmp_path, ["/bin/false"], {})
    assert "docker rm --force vep-cell-1-00000000" in (caught.value.hint or "")
    assert mark.exists()


def test_a_file_of_another_name_is_no_container(tmp_path: Path) -> None:
    (tmp_path / ".vep-container---volumes").touch()
    assert reap_containers(tmp_path, ["/bin/false"], {}) == []
