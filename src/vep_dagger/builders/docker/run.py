"""One ``docker build``: started, heard, and what became of it; with the secrets of a build, which nobody else sees."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from vep_dagger.builders.docker.buildkit_log import BuildLog, StageProgress, last_output
from vep_dagger.builders.docker.containerfile import CERTIFICATES_ID, SURROUNDINGS_ID
from vep_dagger.builders.redaction import hidden_values, redacted, refuse_missing
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.builders.surroundings import certificates, container_surroundings
from vep_dagger.engines.docker import Docker
from vep_dagger.errors import LaunchError, MachineError
from vep_dagger.processes.run import run_logged

LOOK_S = 1.0
SAY_S = 10.0
"""Between two words about a step that takes long."""


@dataclass(frozen=True)
class Secrets:
    """The files of a build's secrets, by id, and what must not be seen in any output."""

    directory: Path
    files: Mapping[str, Path]
    hidden: Mapping[str, str]

    def redact(self, line: str) -> str:
        """The line with the secrets' names for their values."""
        return redacted(line, self.hidden)


@contextmanager
def secret_files(names: tuple[str, ...], settings: BuildSettings) -> Iterator[Secrets]:
    """The secrets of a build in a directory of this user's alone, for as long as the build takes. Raises MachineError
    for a secret of the recipe's that is not in the environment.
    """
    refuse_missing(names, settings.environ)
    directory = Path(tempfile.mkdtemp(prefix="vep-secrets-"))
    try:
        surroundings = container_surroundings(settings.environ, settings.mirrors)
        texts = {SURROUNDINGS_ID: surroundings} | {name: settings.environ[name] for name in names}
        files = {}
        for name, text in texts.items():
            files[name] = directory / name
            files[name].write_text(text, encoding="utf-8")
        if bundle := certificates(settings.environ):
            files[CERTIFICATES_ID] = bundle.absolute()
        yield Secrets(directory, files, hidden_values(names, settings.environ, surroundings))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


_MOUNTS = re.compile(r"--mount=\S+ +")
"""What stands before each command, and tells nobody what it does."""


@dataclass
class BuildRun:
    """Runs builds of one context. ``say`` hears of steps that take long, ``on_stage`` of stages."""

    docker: Docker
    settings: BuildSettings
    context: Path
    log: Path
    secrets: Secrets
    say: Callable[[str], None]
    on_stage: Callable[[StageProgress], None] = field(default=lambda _: None)

    def command(self, file: Path, target: str, *more: str) -> list[str]:
        """The words of a build, without its secrets."""
        words = [self.docker.program, "build", "--progress=plain", "--file", str(file), "--target", target]
        if self.settings.network:
            words += ["--network", self.settings.network]
        return [*words, *more]

    async def build(self, file: Path, target: str, *more: str) -> tuple[int, BuildLog]:
        """Build one target; the client's exit code, and what it said.

        It may take as long as it takes: what it waits for is the work of the recipe, and it ends with the daemon.
        Raises MachineError if there is no client.
        """
        heard = BuildLog(self.on_stage)
        words = self.command(file, target, *more)
        for name, path in self.secrets.files.items():
            words += ["--secret", f"id={name},src={path}"]
        # With secrets about, what the client prints goes to the log line by line, without them.
        aside = self.secrets.directory / f"{target}.log" if self.secrets.hidden else None

        def on_line(line: str) -> None:
            line = self.secrets.redact(line)
            if aside is not None:
                with self.log.open("a", encoding="utf-8") as file:
                    file.write(line + "\n")
            heard.feed(line)

        self.log.parent.mkdir(parents=True, exist_ok=True)
        code = 0
        failed: Exception | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(self._watch, heard)
            try:
                code = await run_logged(
                    [*words, str(self.context)],
                    env=self.docker.build_environment,
                    cwd=Path("/"),
                    log=aside or self.log,
                    on_line=on_line,
                    label="docker build",
                )
            except Exception as error:
                # Raised below, where it is one error and not a group of them.
                failed = error
            group.cancel_scope.cancel()
        if isinstance(failed, LaunchError):
            raise MachineError(failed.what, where=str(self.log), hint=failed.hint) from failed
        if failed is not None:
            raise failed
        return code, heard

    async def _watch(self, heard: BuildLog) -> None:
        """Look at a build that prints nothing, and tell of steps that take long."""
        since = anyio.current_time()
        while True:
            await anyio.sleep(LOOK_S)
            heard.look()
            running = heard.running
            if not running or anyio.current_time() - since < SAY_S:
                continue
            since = anyio.current_time()
            for vertex in running:
                line = last_output([vertex])
                self.say(f"{vertex.stage} {vertex.number}/{vertex.total}: {line or _MOUNTS.sub('', vertex.name)}")
