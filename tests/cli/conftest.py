"""The command line as a person meets it: run in this process, with all that its ``main`` does about errors."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from vep_dagger import cli

MATRIX = """\
recipe = "vllm-cpu"
[axes]
vllm = ["0.27.0", "0.32.0"]
[serve]
model = "./model"
[[bench]]
name = "short"
input_len = 16
output_len = 16
num_prompts = 5
"""


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


class CommandLine:
    """A working directory with a good matrix file, a cache beside it, and ``vep``."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder / "work"
        self.cache = folder / "cache"
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        (self.folder / "model").mkdir(parents=True)
        (self.folder / "model" / "config.json").write_text("{}")
        self.cache.mkdir()
        self.matrix = self.folder / "matrix.toml"
        self.matrix.write_text(MATRIX)
        monkeypatch.chdir(self.folder)
        monkeypatch.setenv("VEP_CACHE_DIR", str(self.cache))

    def edit(self, before: str, after: str) -> None:
        """Change the matrix file in one place."""
        text = self.matrix.read_text()
        assert before in text
        self.matrix.write_text(text.replace(before, after, 1))

    def __call__(self, *args: str) -> Said:
        """Run ``vep`` to its end."""
        self._monkeypatch.setattr(sys, "argv", ["vep", *args])
        code: object = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        assert isinstance(code, int)
        said = self._capsys.readouterr()
        return Said(code, said.out, said.err)

    def there(self) -> dict[str, bytes | None]:
        """Every file with its content, and every directory, of the working directory and the cache."""
        places = sorted([*self.folder.rglob("*"), *self.cache.rglob("*")])
        return {str(place): place.read_bytes() if place.is_file() else None for place in places}


@pytest.fixture
def vep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[CommandLine]:
    """The command line in a directory of its own."""
    before = signal.getsignal(signal.SIGTERM)
    yield CommandLine(tmp_path, monkeypatch, capsys)
    signal.signal(signal.SIGTERM, before)
