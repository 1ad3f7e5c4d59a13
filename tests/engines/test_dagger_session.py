"""Sessions with a Dagger engine: how one is found, what is said where there is none, and what it tells of its work."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from vep_dagger.engines.dagger import DaggerSession, _refuse_version, open_dagger
from vep_dagger.engines.dagger_trace import Trace, Watch
from vep_dagger.errors import MachineError

RUNNER = "_EXPERIMENTAL_DAGGER_RUNNER_HOST"


def refused(environ: dict[str, str]) -> MachineError:
    async def opened() -> None:
        async with open_dagger(environ):
            raise AssertionError("there is no engine, and a session was given")

    with pytest.raises(MachineError) as caught:
        anyio.run(opened)
    return caught.value


def cli(directory: Path, script: str) -> dict[str, str]:
    """Surroundings with a program dagger that behaves like this."""
    program = directory / "dagger"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return {"PATH": f"{directory}:/usr/bin:/bin", "HOME": str(directory)}


def test_an_engine_that_is_named_and_does_not_listen_is_told_of_at_once(tmp_path: Path) -> None:
    environ = cli(tmp_path, "sleep 100") | {RUNNER: f"unix://{tmp_path}/no.sock"}
    error = refused(environ)
    assert f"{tmp_path}/no.sock" in error.what
    assert error.hint is not None
    assert all(way in error.hint for way in ("install.sh", "dagger-for-github", RUNNER, "--builder docker", "venv"))
    assert error.exit_code == 3


def test_what_the_cli_says_is_in_the_message(tmp_path: Path) -> None:
    error = refused(cli(tmp_path, "echo 'incompatible engine version v0.18.1' >&2; exit 1"))
    assert "incompatible engine version v0.18.1" in error.what
    assert "it ended with 1" in error.what


def test_a_cli_that_never_opens_a_session_is_ended(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    environ = cli(tmp_path, f"echo $$ > {mark}; trap '' TERM; while :; do sleep 0.1; done") | {
        "VEP_DAGGER_START_S": "1"
    }
    assert "none within 1 s" in refused(environ).what
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


def test_a_cli_that_is_named_and_is_not_there_is_told_of(tmp_path: Path) -> None:
    environ = {"PATH": str(tmp_path), "_EXPERIMENTAL_DAGGER_CLI_BIN": str(tmp_path / "nothing")}
    assert str(tmp_path / "nothing") in refused(environ).what


def test_half_of_a_session_is_none() -> None:
    error = refused({"DAGGER_SESSION_PORT": "1234"})
    assert "DAGGER_SESSION_TOKEN is not set" in error.what


def test_an_engine_of_another_version_is_refused_with_both_versions() -> None:
    _refuse_version("v0.21.3")
    with pytest.raises(MachineError, match=r"v0\.20\.1.*dagger-io 0\.21.*0\.21"):
        _refuse_version("v0.20.1")


@pytest.mark.engine
def test_the_session_tells_what_ran_and_what_it_printed(
    dagger_session: DaggerSession, dagger_portal: Any, plain_base: str
) -> None:
    fresh = str(time.time_ns())

    async def twice() -> list[tuple[int, list[str]]]:
        found = []
        base = dagger_session.client.container().from_(plain_base)
        for _ in range(2):
            lines: list[str] = []
            with dagger_session.trace.watch("probe", lines.append) as watch:
                command = ["sh", "-c", f"echo {fresh}; printf unended"]
                await dagger_session.ask(base.with_exec(command).sync)
            assert await dagger_session.trace.settled(watch, dagger_session.client.version, 20)
            found.append((len(watch.ran), lines))
        return found

    assert dagger_portal.call(twice) == [(1, [fresh, "unended"]), (0, [])]


@pytest.mark.engine
def test_the_library_finds_the_session_and_our_own_variables_do_not_stay(dagger_session: DaggerSession) -> None:
    assert dagger_session.version.startswith("v0.21")
    if not dagger_session.under_run:
        assert "DAGGER_SESSION_PORT" not in os.environ
        assert dagger_session.log is not None
        assert dagger_session.log.is_file()


def encoded(name: str) -> str:
    return base64.b64encode(bytes.fromhex(name)).decode()


def span(name: str, span_id: str, parent: str, end: int = 0, **more: Any) -> dict[str, Any]:
    record = {
        "name": name,
        "spanId": encoded(span_id),
        "parentSpanId": encoded(parent),
        "startTimeUnixNano": "1000000000",
    }
    return {"resourceSpans": [{"scopeSpans": [{"spans": [record | {"endTimeUnixNano": str(end)} | more]}]}]}


def said(span_id: str, text: str, **attributes: Any) -> dict[str, Any]:
    given = [{"key": "stdio.stream", "value": {"intValue": "1"}}]
    given += [{"key": name.replace("_", "."), "value": value} for name, value in attributes.items()]
    record = {"spanId": encoded(span_id), "body": {"stringValue": text}, "attributes": given}
    return {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}


def test_lines_are_put_together_and_belong_to_whom_their_query_belongs() -> None:
    lines: list[str] = []
    trace, watch = Trace("", ""), Watch("x", lines.append, "aa" * 8)
    trace._watches[watch.span] = watch
    trace._take_logs(said("cc" * 8, "ear"))  # its span is not known yet
    trace._take_spans(span("POST /query", "bb" * 8, "aa" * 8))
    trace._take_spans(span("Container.withExec", "cc" * 8, "bb" * 8))
    trace._take_spans(span("Container.withExec", "dd" * 8, "ee" * 8))
    trace._take_logs(said("cc" * 8, "ly\nla"))
    trace._take_logs(said("dd" * 8, "of another\n"))
    trace._take_logs(said("cc" * 8, "", stdio_eof={"boolValue": True}))
    assert lines == ["early", "la"]


def test_seconds_are_from_the_first_command_to_the_last() -> None:
    trace, watch = Trace("", ""), Watch("x", span="aa" * 8)
    trace._watches[watch.span] = watch
    links = [{"spanId": encoded("cc" * 8)}]
    bad = {"code": "STATUS_CODE_ERROR"}
    trace._take_spans(span("resume withExec", "b1" * 8, "aa" * 8, 3_000_000_000, links=links))
    trace._take_spans(span("resume withExec", "b2" * 8, "aa" * 8, 4_500_000_000, links=links, status=bad))
    trace._take_spans(span("resume from", "b3" * 8, "aa" * 8, 9_000_000_000))
    assert watch.seconds == 3.5
    assert watch.failed == "cc" * 8


@pytest.mark.engine
def test_an_engine_that_goes_away_ends_the_wait_and_says_how_to_go_on(
    dagger_session: DaggerSession, plain_base: str
) -> None:
    script = textwrap.dedent(
        f"""
        import anyio, os
        from vep_dagger.engines.dagger import open_dagger
        from vep_dagger.errors import MachineError

        async def main():
            async with open_dagger(dict(os.environ)) as session, anyio.create_task_group() as group:
                async def kill():
                    await anyio.sleep(2)
                    session.address.process.kill()
                group.start_soon(kill)
                container = session.client.container().from_({plain_base!r})
                try:
                    await session.ask(container.with_exec(["sleep", "600"]).sync)
                except MachineError as error:
                    print(error.render())

        anyio.run(main)
        """
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith("DAGGER_SESSION")}
    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, timeout=300)
    assert "the Dagger engine has gone" in done.stdout, done.stdout + done.stderr
    assert "--resume" in done.stdout
