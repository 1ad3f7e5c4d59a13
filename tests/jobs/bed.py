"""A run on fakes: every fault on demand, in seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

import vep_dagger.workflow as workflow
from vep_dagger.builders.fake import FakeBuilder
from vep_dagger.evidence import AnyRecord, RunDirectory
from vep_dagger.jobs.events import Event
from vep_dagger.launchers.fake import FakeLauncher, Script
from vep_dagger.workflow import Options, Outcome

MATRIX = """
recipe = "vllm-cpu"
[axes]
vllm = ["0.27.0", "0.32.0"]
[axes.batching]
seqs1 = { args = { max-num-seqs = 1 } }
seqs8 = { args = { max-num-seqs = 8 } }
[serve]
model = "./model"
served_model_name = "tiny"
[[bench]]
name = "short"
input_len = 16
output_len = 16
num_prompts = 5
repeats = 3
[[bench]]
name = "long"
input_len = 64
output_len = 64
num_prompts = 5
repeats = 3
"""


class Bed:
    """A matrix file in a folder of its own, and runs of it on fakes."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.matrix = folder / "matrix.toml"
        self.matrix.write_text(MATRIX)
        (folder / "model").mkdir()
        (folder / "model" / "config.json").write_text("{}")
        self.events: list[Event] = []
        self.launcher = FakeLauncher(Script())
        self.builder = FakeBuilder()
        self.script: Callable[[str], Script] = lambda name: Script(version=name[4:10])
        monkeypatch.setattr(workflow, "find_builder", lambda *_: self.builder)
        monkeypatch.setattr(workflow, "find_launcher", lambda *_: self.launcher)

    def run(self, script: Callable[[str], Script] | None = None, **options: Any) -> Outcome:
        """Run the matrix; ``script`` gives each cell's behaviour by its name."""
        self.launcher = FakeLauncher(lambda spec: (script or self.script)(spec.name))
        self.events.clear()
        settings: dict[str, Any] = {"out": self.folder / "run", **options}
        return anyio.run(workflow.run, Options(self.matrix, **settings), self.events.append)

    def records(self) -> dict[str, AnyRecord]:
        """Every valid record of the run."""
        run = RunDirectory.open(self.folder / "run")
        return dict(run.standing(run.plan()).records)

    def verdicts(self) -> dict[str, str]:
        """Job and verdict of every valid record."""
        return {job: record.verdict for job, record in self.records().items()}

    def told(self, kind: str) -> list[str]:
        """The jobs that events of a kind were about, or their texts."""
        return [event.job or event.text for event in self.events if event.kind == kind]
