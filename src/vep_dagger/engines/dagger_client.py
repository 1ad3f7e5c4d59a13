"""Where a Dagger session listens: ``dagger run`` says it in variables, else Dagger's CLI opens one and prints it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import anyio
import anyio.to_thread
from anyio.abc import Process

from vep_dagger.errors import MachineError

PORT_VARIABLE, TOKEN_VARIABLE = "DAGGER_SESSION_PORT", "DAGGER_SESSION_TOKEN"
CLI_VARIABLE = "_EXPERIMENTAL_DAGGER_CLI_BIN"
RUNNER_VARIABLE = "_EXPERIMENTAL_DAGGER_RUNNER_HOST"
START_VARIABLE = "VEP_DAGGER_START_S"

START_S = 300.0
"""For the CLI to open a session: the first time it pulls the engine's image."""
CLOSE_S = 30.0
"""For the session to end: the engine is asked to drop what it holds for it."""
DOWNLOAD_S = 300.0
KNOCK_S = 10.0
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Address:
    """A session's port of this machine and its token; ``process`` if we have started it."""

    port: int
    token: str
    process: Process | None = None

    @property
    def url(self) -> str:
        """Of the session, without a path."""
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def in_environment(self) -> Iterator[None]:
        """Set the variables by which the library finds a session, for as long as it looks."""
        names = {PORT_VARIABLE: str(self.port), TOKEN_VARIABLE: self.token}
        before = {name: os.environ.get(name) for name in names}
        os.environ.update(names)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


@asynccontextmanager
async def session_of(environ: Mapping[str, str], how_to_get_one: str) -> AsyncIterator[tuple[Address, Path | None]]:
    """A session's address, and the file that it prints into: that of ``dagger run``, or a new one, which is closed
    again. Raises MachineError.
    """
    if environ.get(PORT_VARIABLE):
        yield _given(environ), None
        return
    program = await _program(environ, how_to_get_one)
    await _refuse_silent(environ.get(RUNNER_VARIABLE, ""), how_to_get_one)
    directory = Path(tempfile.mkdtemp(prefix="vep-dagger-"))
    log = directory / "session.log"
    try:
        address = await _start(program, environ, log, how_to_get_one)
        assert address.process is not None
        try:
            yield address, log
        finally:
            with anyio.CancelScope(shield=True):
                await _end(address.process)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _given(environ: Mapping[str, str]) -> Address:
    port, token = environ[PORT_VARIABLE], environ.get(TOKEN_VARIABLE)
    if not port.isdecimal() or not token:
        raise MachineError(
            f"{PORT_VARIABLE} is {port!r}, and {TOKEN_VARIABLE} is {'set' if token else 'not set'}: that is no session",
            hint="`dagger run` sets both; unset them to open a session of our own",
        )
    return Address(int(port), token)


async def _program(environ: Mapping[str, str], how_to_get_one: str) -> str:
    """Dagger's CLI: the one named, the one on PATH, else what the library downloads and checks."""
    named = environ.get(CLI_VARIABLE)
    if named:
        found = shutil.which(named, path=environ.get("PATH"))
        if found is None:
            raise MachineError(f"{CLI_VARIABLE} names {named}, which is no program", hint=how_to_get_one)
        return found
    found = shutil.which("dagger", path=environ.get("PATH"))
    if found is not None:
        return found
    from dagger import DownloadError
    from dagger.provisioning._download import Downloader

    try:
        with anyio.fail_after(DOWNLOAD_S):
            return await anyio.to_thread.run_sync(Downloader().get_sync, abandon_on_cancel=True)
    except TimeoutError:
        why = f"it took longer than {DOWNLOAD_S:g} s"
    except (DownloadError, OSError) as error:
        why = str(error)
    raise MachineError(
        f"there is no program dagger on PATH, none is named in {CLI_VARIABLE}, and downloading one failed: {why}",
        hint=how_to_get_one,
    )


async def _refuse_silent(runner: str, how_to_get_one: str) -> None:
    """An engine that is named and does not listen is told of at once: the CLI would go on trying."""
    kind, _, place = runner.partition("://")
    host, colon, port = place.rpartition(":")
    try:
        with anyio.fail_after(KNOCK_S):
            if kind == "unix":
                await (await anyio.connect_unix(place)).aclose()
            elif kind == "tcp" and colon and port.isdecimal():
                await (await anyio.connect_tcp(host.strip("[]"), int(port))).aclose()
    except (OSError, TimeoutError) as error:
        why = str(error) or f"nothing answers within {KNOCK_S:g} s"
        raise MachineError(
            f"no Dagger engine: {RUNNER_VARIABLE} names {runner}, and nobody listens there: {why}", hint=how_to_get_one
        ) from None


async def _start(program: str, environ: Mapping[str, str], log: Path, how_to_get_one: str) -> Address:
    patience = float(environ.get(START_VARIABLE) or START_S)
    labels = ["dagger.io/sdk.name:python", f"dagger.io/sdk.version:{version('dagger-io')}"]
    words = [program, "session", *(word for label in labels for word in ("--label", label))]
    with log.open("wb") as output:
        try:
            process = await anyio.open_process(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env={**environ, "NO_COLOR": "1"},
                start_new_session=True,
            )
        except OSError as error:
            raise MachineError(f"{program} cannot be started: {error.strerror or error}", hint=how_to_get_one) from None
    said = b""
    try:
        with anyio.fail_after(patience):
            assert process.stdout is not None
            while not said.endswith(b"\n"):
                said += await process.stdout.receive()
        address = json.loads(said)
        return Address(int(address["port"]), str(address["session_token"]), process)
    except BaseException as error:
        with anyio.CancelScope(shield=True):
            await _end(process, patience_s=1)
        if isinstance(error, TimeoutError):
            raise _no_session(program, environ, log, f"none within {patience:g} s", how_to_get_one) from None
        if isinstance(error, (anyio.EndOfStream, ValueError, KeyError, TypeError)):
            why = f"it ended with {process.returncode}"
            raise _no_session(program, environ, log, why, how_to_get_one) from None
        raise


def _no_session(program: str, environ: Mapping[str, str], log: Path, why: str, how_to_get_one: str) -> MachineError:
    text = _COLOUR.sub("", log.read_text("utf-8", "replace"))
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    printed = "".join(f"\n    {line[:300]}" for line in lines[-8:])
    engine = environ.get(RUNNER_VARIABLE) or "the engine's image, started through Docker"
    return MachineError(
        f"no Dagger engine: `{program} session` gave no session ({why}); it looked for {engine}{printed and ':'}"
        f"{printed}",
        hint=how_to_get_one,
    )


async def _end(process: Process, patience_s: float = CLOSE_S) -> None:
    """The CLI ends when its input does; one that does not is ended."""
    if process.stdin is not None:
        await process.stdin.aclose()
    if await _ended(process, patience_s):
        await process.aclose()
        return
    if process.returncode is None:
        process.terminate()
        if not await _ended(process, 2):
            process.kill()
    await process.wait()
    await process.aclose()


async def _ended(process: Process, patience_s: float) -> bool:
    with anyio.move_on_after(patience_s):
        await process.wait()
        return True
    return False
