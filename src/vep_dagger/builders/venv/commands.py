"""The commands of one build: uv, and the programs of the environment, with their output in the log and secrets out of
it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vep_dagger.builders.base import Say, translate
from vep_dagger.builders.cache import Places
from vep_dagger.builders.failures import no_space, out_of_space
from vep_dagger.builders.mirrors import rewrite
from vep_dagger.builders.surroundings import for_commands, for_uv
from vep_dagger.builders.uv_words import PLAIN_OUTPUT, QUESTION_TIMEOUT_S, QUICK, with_links
from vep_dagger.errors import BuildError, LaunchError
from vep_dagger.processes.run import run_logged

_PROGRESS = re.compile(r"(Resolved|Prepared|Installed|Built) \d")


@dataclass(slots=True)
class Commands:
    """Runs the commands of one build. ``bin`` holds the environment's programs, ``work`` is the build's directory."""

    uv: Path
    bin: Path
    work: Path
    environ: Mapping[str, str]
    places: Places
    log: Path
    tag: str
    say: Say
    mirrors: Mapping[str, str] = field(default_factory=dict)
    """Of further places to find packages."""
    variables: dict[str, str] = field(default_factory=dict)
    """What the recipe has set so far."""
    secrets: dict[str, str] = field(default_factory=dict)
    """What the recipe's commands may know and nobody else; checks do not get them."""
    paths: dict[str, str] = field(default_factory=dict)
    """The recipe's paths that are elsewhere during the build."""

    async def run_program(self, argv: Sequence[str], *, secrets: bool) -> tuple[int, list[str]]:
        """Run a program of the environment; its exit code and the lines that it printed."""
        env = for_commands(self.environ)
        env |= {"PATH": f"{self.bin}:{env.get('PATH', os.defpath)}", "PYTHONNOUSERSITE": "1"}
        command = [translate(argument, self.paths) for argument in argv]
        known = self.secrets if secrets else {}
        return await self._run(command, env | self._translated() | known, self._nowhere())

    async def run_uv(self, *command: str, links: Sequence[str] = ()) -> tuple[int, list[str]]:
        """Let uv do something, with further places to find packages; its exit code and the lines that it printed."""
        # In the root directory uv finds nobody's project, and no uv.toml but the user's and the system's.
        return await self._run([str(self.uv), *command], self._for_uv(links), Path("/"), listen=True)

    async def ask_uv(self, *command: str, links: Sequence[str] = ()) -> tuple[int, list[str]]:
        """Ask uv something, without much patience. Raises BuildError if it does not answer at all."""
        env = self._for_uv(links) | QUICK
        return await self._run([str(self.uv), *command], env, Path("/"), QUESTION_TIMEOUT_S)

    def write_log(self, text: str) -> None:
        """Put something of our own between the outputs."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a", encoding="utf-8") as file:
            file.write(text)

    def _for_uv(self, links: Sequence[str]) -> dict[str, str]:
        env = for_uv(self.environ) | self._translated()
        env |= PLAIN_OUTPUT
        if links:
            env["UV_FIND_LINKS"] = with_links(
                env.get("UV_FIND_LINKS", ""), [rewrite(place, self.mirrors) for place in links]
            )
        return env | self.secrets

    def _translated(self) -> dict[str, str]:
        return {name: translate(value, self.paths) for name, value in self.variables.items()}

    def _nowhere(self) -> Path:
        directory = self.work / "nowhere"
        directory.mkdir(exist_ok=True)
        return directory

    async def _run(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        timeout_s: float | None = None,
        *,
        listen: bool = False,
    ) -> tuple[int, list[str]]:
        # With secrets about, the output comes into the log when the command has ended, without them.
        log = (self.work / "guarded.log" if self.secrets else self.log).absolute()
        begin = _size(log)
        on_line = self._progress if listen else None
        try:
            code = await run_logged(argv, env=env, cwd=cwd, log=log, timeout_s=timeout_s, on_line=on_line)
        except LaunchError as error:
            raise BuildError(f"{argv[0]}: {error.what}", where=self.tag, hint=error.hint) from error
        finally:
            text = _from(log, begin)
            if self.secrets:
                text = self._without_secrets(text)
                self.write_log(text)
                log.unlink(missing_ok=True)
        lines = text.splitlines()
        if code and out_of_space(lines):
            raise no_space(self.places.root, also=_uv_cache(env))
        return code, lines

    def _without_secrets(self, text: str) -> str:
        for name, value in self.secrets.items():
            text = text.replace(value, f"<{name}>") if value else text
        return text

    def _progress(self, line: str) -> None:
        if _PROGRESS.match(line):
            self.say(f"{self.tag}: {line[0].lower()}{line[1:]}")


def _uv_cache(env: Mapping[str, str]) -> Path | None:
    if "UV_CACHE_DIR" in env:
        return Path(env["UV_CACHE_DIR"])
    home = env.get("XDG_CACHE_HOME") or (f"{env['HOME']}/.cache" if "HOME" in env else None)
    return Path(home) / "uv" if home else None


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _from(log: Path, begin: int) -> str:
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(begin)
        return file.read().decode(errors="replace")
