"""The project's environment: made once, and trusted only when it is whole.

It carries a stamp of what it was made from, written last, so that one whose making failed or was killed is never used:
the next call makes it again. With a good stamp nothing is installed, asked or downloaded.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Callable, Mapping, NamedTuple, Sequence

from bootstrap import SetupError, pip_config, say
from bootstrap.pythons import Python

STAMP = "vep-stamp.json"
LOG = "vep-setup.log"
# With these set pip installs elsewhere, or Python takes modules from elsewhere.
MISLEADING = ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIREMENT", "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV")
OUT_OF_REACH = """\
  Set-up downloads from the package index. Where that is out of reach: PIP_INDEX_URL=<a mirror>, or
  PIP_FIND_LINKS=<a directory of wheels>, PIP_CERT=<certificates>, HTTPS_PROXY=<proxy>; then make again."""

Run = Callable[[Sequence[str], Mapping[str, str], Path], int]
"""Runs a command with an environment, adds its output to a log, and gives its exit code."""


def run_logged(command: Sequence[str], environ: Mapping[str, str], log: Path) -> int:
    """See :data:`Run`."""
    with log.open("ab") as output:
        output.write("$ {}\n".format(" ".join(command)).encode())
        output.flush()
        done = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    return done.returncode


class Stamp(NamedTuple):
    """What an environment was made from (:meth:`Environment.inputs`), its dependency groups, and its Python."""

    inputs: dict[str, str]
    groups: list[str]
    python: str


NOTHING = Stamp({}, [], "")


class Environment:
    """The environment in ``directory`` for the project in ``root``."""

    def __init__(self, root: Path, directory: Path, environ: Mapping[str, str], run: Run = run_logged) -> None:
        self.root = root
        self.directory = directory
        self.environ = {name: value for name, value in environ.items() if name not in MISLEADING}
        self.run = run

    @property
    def name(self) -> str:
        """The directory as people know it."""
        return os.path.relpath(str(self.directory), str(self.root))

    def program(self, name: str) -> str:
        """The path of one of its programs."""
        return str(self.directory / "bin" / name)

    def inputs(self) -> dict[str, str]:
        """All that decides what is in it; the place too, since the programs' first lines hold it."""
        digest = hashlib.sha256((self.root / "pyproject.toml").read_bytes()).hexdigest()
        return {"pyproject": digest, "root": str(self.root), "directory": str(self.directory)}

    def stamp(self) -> Stamp:
        """What it was made from; :data:`NOTHING` if it is not whole: no stamp was written, or its Python is gone."""
        try:
            stamp = Stamp(**json.loads((self.directory / STAMP).read_text()))
        except (OSError, ValueError, TypeError):
            return NOTHING
        return stamp if Path(self.program("python")).exists() else NOTHING

    def prepare(self, groups: Sequence[str], choose: Callable[[], Python]) -> None:
        """Make it, or bring it up to date, with the project and the dependency groups ``groups``.

        There is nothing to do if its stamp says so. ``choose`` is called when a Python is needed. Raises SetupError.
        """
        inputs, stamp = self.inputs(), self.stamp()
        if stamp.inputs == inputs and set(groups) <= set(stamp.groups):
            say(f"{self.name} is up to date (Python {stamp.python})")
            return
        started = time.monotonic()
        if stamp.inputs == inputs:
            say(f"{self.name} is there, without {' and '.join(group for group in groups if group not in stamp.groups)}")
        elif {**stamp.inputs, "pyproject": ""} == {**inputs, "pyproject": ""}:
            say(f"{self.name} is out of date: pyproject.toml has changed")
        else:
            stamp = NOTHING
        every = sorted({*stamp.groups, *groups})
        if stamp is NOTHING:
            version = self.create(choose)
        else:
            version = stamp.python
            (self.directory / STAMP).unlink()
        self.install(every)
        written = self.directory / f"{STAMP}.new"
        written.write_text(json.dumps(Stamp(inputs, every, version)._asdict()))
        written.replace(self.directory / STAMP)
        say(f"{self.name} is ready ({time.monotonic() - started:.0f} s)")

    def create(self, choose: Callable[[], Python]) -> str:
        """A new environment with uv in it, and its Python's version; a half-made one of ours goes first."""
        log = self.directory / LOG
        if self.directory.exists() and any(self.directory.iterdir()):
            if not log.exists():
                raise SetupError(
                    f"{self.name} was not made by make: move it away, or set VEP_VENV to another directory."
                )
            say(f"removing {self.name}: it is not whole, or was made for another place")
            shutil.rmtree(str(self.directory))
        python = choose()
        self.directory.mkdir(parents=True, exist_ok=True)
        log.write_bytes(b"")  # marks the directory as ours before anything else is in it
        self.step(f"making {self.name} with {python}", [python.path, "-m", "venv", str(self.directory)])
        pip = [self.program("python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        self.step("installing uv, which installs the rest", [*pip, "uv"], hint=OUT_OF_REACH)
        return python.number

    def install(self, groups: Sequence[str]) -> None:
        """Install the project, editable, with its dependencies and ``groups``; if need be from uv's cache alone."""
        command = [self.program("uv"), "pip", "install", "--python", self.program("python")]
        command += ["--editable", str(self.root)]
        for group in groups:
            command += ["--group", f"{self.root / 'pyproject.toml'}:{group}"]
        environ = {**self.environ, **pip_config.translate(self.pip_settings(), self.environ)}
        what = "installing the project and its dependencies" + (f", {' and '.join(groups)} too" if groups else "")
        try:
            self.step(what, command, environ, OUT_OF_REACH)
        except SetupError as error:
            say("trying again with what uv has in its cache")
            try:
                self.step(what, [*command, "--offline"], environ)
            except SetupError:
                raise error from None

    def pip_settings(self) -> dict[str, str]:
        """What pip is configured to use, by files and environment. Never printed: addresses may hold passwords."""
        command = [self.program("python"), "-m", "pip", "config", "list"]
        listed = subprocess.run(command, env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return pip_config.parse(listed.stdout.decode())

    def step(
        self, what: str, command: Sequence[str], environ: Mapping[str, str] | None = None, hint: str | None = None
    ) -> None:
        """Run one command of the set-up, saying what it is for and how long it took.

        SetupError has the end of its output.
        """
        log = self.directory / LOG
        before = log.stat().st_size
        started = time.monotonic()
        say(f"{what} … ", end="")
        code = self.run(command, environ or self.environ, log)
        print(f"{'' if code == 0 else 'failed after '}{time.monotonic() - started:.1f} s", flush=True)
        if code:
            output = log.read_bytes()[before:].decode(errors="replace").splitlines()[1:]
            told = [f"{what}: exit code {code}. The end of its output (all of it: {self.name}/{LOG}):"]
            told += [f"  | {line[:200]}" for line in output[-12:]]
            raise SetupError("\n".join([*told, *([hint] if hint else [])]))
