"""One laboratory a builder: how the conformance suite makes it, asks it, and looks into its results."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import anyio

from vep_dagger.builders.base import Builder, BuiltImage
from vep_dagger.builders.manifest import read_manifest
from vep_dagger.builders.venv import VenvBuilder
from vep_dagger.dsl import Image


class Lab(Protocol):
    outside: Path
    """A directory that the commands of a build can reach under its own name, and that is none of its content."""
    log: Path
    said: list[str]
    environ: dict[str, str]
    """The variables of the machine that builders made from now on believe to be on."""

    def builder(self) -> Builder: ...
    def build(self, image: Image) -> BuiltImage: ...
    def output(self, built: BuiltImage, *argv: str) -> str:
        """What a program of the result prints, with the result's own environment."""

    def mode(self, built: BuiltImage, path: str) -> int: ...
    def manifest(self, built: BuiltImage) -> dict[str, Any]: ...
    def in_place(self) -> int:
        """How many results there are."""

    def half_made(self) -> int:
        """How many unfinished ones there are."""

    def process(self, image: Image, log: Path) -> subprocess.Popen[str]:
        """The same build in a process of its own; it prints what the builder says, and last whether it was cached."""

    def close(self) -> None: ...


class VenvLab:
    def __init__(self, directory: Path, environ: dict[str, str]) -> None:
        self.cache = directory / "cache"
        self.outside = directory / "outside"
        self.outside.mkdir()
        self.log = directory / "build.log"
        self.said: list[str] = []
        self.environ = environ
        self._builders: list[VenvBuilder] = []
        self._processes: list[subprocess.Popen[str]] = []

    def builder(self) -> VenvBuilder:
        made = VenvBuilder(self.cache, environ=self.environ, min_free_bytes=0)
        self._builders.append(made)
        return made

    def build(self, image: Image) -> BuiltImage:
        return anyio.run(self.builder().build, image, self.log, self.said.append)

    def output(self, built: BuiltImage, *argv: str) -> str:
        command = [built.translate(argument) for argument in argv]
        env = {"PATH": os.environ["PATH"], **built.env}
        return subprocess.run(command, env=env, cwd="/", capture_output=True, text=True, check=True).stdout.strip()

    def mode(self, built: BuiltImage, path: str) -> int:
        return Path(built.translate(path)).stat().st_mode & 0o7777

    def manifest(self, built: BuiltImage) -> dict[str, Any]:
        manifest = read_manifest(Path(built.location))
        assert manifest is not None
        return manifest.model_dump()

    def in_place(self) -> int:
        environments = self.cache / "venv"
        return len([path for path in environments.glob("*") if len(path.name) == 64]) if environments.is_dir() else 0

    def half_made(self) -> int:
        return sum(len(list((self.cache / "venv" / name).glob("*"))) for name in ("building", "trash"))

    def process(self, image: Image, log: Path) -> subprocess.Popen[str]:
        order = self.outside / f"{log.name}.order"
        order.write_bytes(pickle.dumps((self.cache, self.environ, image, log)))
        started = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("build_in_process.py")), str(order)],
            stdout=subprocess.PIPE,
            text=True,
        )
        self._processes.append(started)
        return started

    def close(self) -> None:
        for builder in self._builders:
            builder.close()
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


LABS: dict[str, Callable[[Path, dict[str, str]], Lab]] = {"venv": VenvLab}
"""A new builder is one line here."""
