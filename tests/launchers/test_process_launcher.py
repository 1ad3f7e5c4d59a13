"""The process launcher's own: environment, programs, failures, and what its guard's death means."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from vep_dagger.builders.base import BuiltImage
from vep_dagger.errors import LaunchError
from vep_dagger.launchers.base import ServerSpec
from vep_dagger.launchers.process import ProcessLauncher, ProcessServer
from vep_dagger.processes.leftovers import find

pytestmark = pytest.mark.anyio

STANDIN = str(Path(__file__).with_name("standin.py"))
LAUNCHER = ProcessLauncher(grace_s=0.5)
MakeImage = Callable[..., BuiltImage]


def command(*options: str) -> tuple[str, ...]:
    return (sys.executable, STANDIN, "--host", "{host}", "--port", "{port}", *options)


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


async def until(true: Callable[[], Any]) -> None:
    with anyio.fail_after(10):
        while not true():  # noqa: ASYNC110 (what is waited for is another process')
            await anyio.sleep(0.02)


def of_proc(pid: int, file: str) -> bytes:
    return Path(f"/proc/{pid}/{file}").read_bytes()


def environment(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody's shell, with things in it that change a measurement."""
    for name, value in {
        "VLLM_ATTENTION_BACKEND": "TRITON",
        "NCCL_DEBUG": "INFO",
        "PYTHONPATH": "/somewhere",
        "LD_LIBRARY_PATH": "/elsewhere",
        "OMP_NUM_THREADS": "1",
        "HF_TOKEN": "hf_secret",
        "HF_HOME": "/models",
        "https_proxy": "http://proxy:3128",
    }.items():
        monkeypatch.setenv(name, value)


async def test_a_server_gets_the_declared_environment_and_nothing_else_of_the_shell(
    shell: None, spec: ServerSpec, make_image: MakeImage
) -> None:
    spec = replace(spec, argv=command("--env"), env={"VLLM_ALL2ALL_BACKEND": "pplx"}, unset=("HF_HOME", "VLLM_USE_V1"))
    image = make_image(env={"VLLM_USE_V1": "1", "NCCL_HOME": "/opt/nccl"})
    async with LAUNCHER.start(image, spec) as server:
        await until(lambda: "serving" in spec.log.read_text())
        marker = server.guarded.marker
    seen = environment(spec.log.read_text())
    assert seen["VLLM_ALL2ALL_BACKEND"] == "pplx"
    assert seen["NCCL_HOME"] == "/opt/nccl"
    assert (seen["HF_TOKEN"], seen["https_proxy"]) == ("hf_secret", "http://proxy:3128")
    assert seen["VEP_PROCESS"] == marker
    missing = ["VLLM_ATTENTION_BACKEND", "NCCL_DEBUG", "PYTHONPATH", "LD_LIBRARY_PATH", "OMP_NUM_THREADS"]
    assert [name for name in [*missing, "HF_HOME", "VLLM_USE_V1"] if name in seen] == []


async def test_a_client_gets_its_own_environment_and_not_the_servers(
    shell: None, spec: ServerSpec, make_image: MakeImage, tmp_path: Path
) -> None:
    spec = replace(spec, argv=command(), env={"VLLM_ALL2ALL_BACKEND": "pplx"}, unset=("HF_HOME",))
    async with LAUNCHER.start(make_image(), spec) as server:
        log = tmp_path / "client.log"
        assert await server.run((sys.executable, STANDIN, "--env", "--last", "0"), log, {"CLIENT": "1"}) == 0
    seen = environment(log.read_text())
    assert seen["CLIENT"] == "1"
    assert [name for name in ("VLLM_ALL2ALL_BACKEND", "NCCL_DEBUG", "HF_HOME") if name in seen] == []


async def test_a_secret_is_in_no_command_line_no_repr_and_no_log(
    shell: None, spec: ServerSpec, make_image: MakeImage
) -> None:
    spec = replace(spec, argv=command("--workers", "1"), env={"API_KEY": "sk_secret"})
    async with LAUNCHER.start(make_image(), spec) as server:
        await until(lambda: len(find(server.guarded.marker)) == 3)
        lines = [of_proc(pid, "cmdline") for pid in find(server.guarded.marker)]
        shown = repr(server.guarded) + repr(server.command) + spec.log.read_text()
    assert [line for line in lines if b"_secret" in line] == []
    assert "_secret" not in shown
    # The guard has no use for them.
    assert any(b"guard.py" in line for line in lines)


async def test_the_guard_does_not_hold_the_servers_secrets(
    shell: None, spec: ServerSpec, make_image: MakeImage
) -> None:
    async with LAUNCHER.start(make_image(), replace(spec, argv=command())) as server:
        held = of_proc(server.guarded.guard_pid, "environ")
    assert b"hf_secret" not in held


async def test_a_program_of_the_image_is_found_in_its_environment(
    spec: ServerSpec, make_image: MakeImage, tmp_path: Path
) -> None:
    vllm = program(tmp_path / "cache" / "bin" / "vllm", '#!/bin/sh\necho "$VIRTUAL_ENV" "$@"; exec sleep 60\n')
    image = make_image(paths={"/venv": str(tmp_path / "cache")})
    async with LAUNCHER.start(image, replace(spec, argv=("vllm", "serve", "/venv/model", "{host}"))) as server:
        await until(lambda: "serve" in spec.log.read_text())
        assert server.command == (str(vllm), "serve", f"{tmp_path}/cache/model", "127.0.0.1")
    assert spec.log.read_text() == f"{tmp_path}/cache serve {tmp_path}/cache/model 127.0.0.1\n"


async def test_json_in_an_argument_keeps_its_braces(spec: ServerSpec, make_image: MakeImage) -> None:
    argv = ("sh", "-c", "sleep 60", '{"port": {"a": 1}}')
    async with LAUNCHER.start(make_image(), replace(spec, argv=argv)) as server:
        assert server.command[3] == '{"port": {"a": 1}}'


async def fails(image: BuiltImage, spec: ServerSpec) -> LaunchError:
    with pytest.raises(LaunchError) as caught:
        async with LAUNCHER.start(image, spec):
            pass
    assert list(spec.directory.rglob(".vep-process-*")) == []
    return caught.value


async def test_a_missing_program_is_named_with_the_image(spec: ServerSpec, make_image: MakeImage) -> None:
    error = await fails(make_image(), replace(spec, argv=("vllm-not-here", "serve")))
    assert error.what == "the program 'vllm-not-here' is not in the image an image"
    assert os.environ["PATH"] in (error.hint or "")


async def test_a_program_that_cannot_be_run_says_why(spec: ServerSpec, make_image: MakeImage, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("no program")
    error = await fails(make_image(), replace(spec, argv=(str(plain),)))
    assert error.what == "the program cannot be run: Permission denied"
    assert error.where == str(plain)
    assert "permissions" in (error.hint or "")
    plain.chmod(0o755)
    assert "`#!` line" in ((await fails(make_image(), replace(spec, argv=(str(plain),)))).hint or "")
    moved = program(tmp_path / "moved", "#!/nowhere/bin/python\n")
    assert "first line does not exist" in (await fails(make_image(), replace(spec, argv=(str(moved),)))).what


async def test_a_missing_directory_is_named(spec: ServerSpec, make_image: MakeImage, tmp_path: Path) -> None:
    error = await fails(make_image(), replace(spec, argv=command(), directory=tmp_path / "gone"))
    assert error.what == "the directory of 'cell-1' cannot be used: No such file or directory"
    assert error.where == str(tmp_path / "gone")


async def test_a_log_that_cannot_be_written_is_named(spec: ServerSpec, make_image: MakeImage, tmp_path: Path) -> None:
    error = await fails(make_image(), replace(spec, argv=command(), log=tmp_path))
    assert error.what == "the log cannot be written: Is a directory"


async def test_a_server_on_a_full_disk_runs_all_the_same(spec: ServerSpec, make_image: MakeImage) -> None:
    async with LAUNCHER.start(make_image(), replace(spec, argv=("sleep", "60"), log=Path("/dev/full"))) as server:
        assert server.exited() is None


async def test_a_variable_both_set_and_unset_is_an_error(spec: ServerSpec, make_image: MakeImage) -> None:
    error = await fails(make_image(), replace(spec, argv=command(), env={"A": "1"}, unset=("A",)))
    assert error.what == "A is both set and unset for this server"


async def test_a_server_that_closes_its_output_and_renames_itself_is_found_all_the_same(
    spec: ServerSpec, make_image: MakeImage
) -> None:
    async with LAUNCHER.start(make_image(), replace(spec, argv=command("--rename"))) as server:
        mark = server.guarded.marker.encode()
        await until(lambda: mark not in of_proc(server.guarded.pid, "environ"))
        assert server.guarded.pid in find(server.guarded.marker)
        assert server.guarded.pids() == [server.guarded.pid]


async def killed_guard(server: ProcessServer) -> None:
    await until(lambda: len(find(server.guarded.marker)) == 6)
    os.kill(server.guarded.guard_pid, signal.SIGKILL)


GUARDLESS = command("--workers", "3", "--daemon")


async def test_the_guards_death_is_the_servers_and_the_rest_is_killed_by_whoever_waits(
    spec: ServerSpec, make_image: MakeImage
) -> None:
    async with LAUNCHER.start(make_image(), replace(spec, argv=GUARDLESS)) as server:
        await killed_guard(server)
        with anyio.fail_after(5):
            assert await server.wait() == -signal.SIGKILL
        assert find(server.guarded.marker) == []


async def test_the_guards_death_is_seen_without_waiting_and_the_rest_is_killed_at_the_stop(
    spec: ServerSpec, make_image: MakeImage
) -> None:
    async with LAUNCHER.start(make_image(), replace(spec, argv=GUARDLESS)) as server:
        await killed_guard(server)
        await until(lambda: server.exited() == -signal.SIGKILL)
        stopped = await server.stop(1)
        assert (stopped.exit_code, stopped.clean, stopped.killed) == (None, False, 4)
    assert find(server.guarded.marker) == []
