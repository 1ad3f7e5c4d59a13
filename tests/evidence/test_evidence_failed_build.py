"""What a build that failed leaves behind, however much it has printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.jobs.bed import Bed
from vep_dagger.builders.fake import FakeBuild, FakeBuilder
from vep_dagger.errors import BuildError
from vep_dagger.evidence import BuildRecord


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bed:
    return Bed(tmp_path, monkeypatch)


def record_of(bed: Bed, error: BuildError) -> BuildRecord:
    """The record of the first image, which fails with ``error``."""
    bed.builder = FakeBuilder({"vllm-cpu0.27.0": FakeBuild(error=error)})
    bed.run(stage="build")
    records = [json.loads(file.read_text()) for file in (bed.folder / "run" / "images").glob("*/build.json")]
    return BuildRecord.model_validate(next(record for record in records if record["verdict"] == "failed"))


def test_its_record_has_the_step_and_only_the_end_of_its_output(bed: Bed) -> None:
    lines = tuple(f"line {number}" for number in range(1000))
    what = "layer 'nccl': `make` exited with 2:\n    line 998\n    line 999"
    record = record_of(bed, BuildError(what, layer="nccl", command="make", code=2, output=lines, hint="a shell: …"))
    assert record.failed_step is not None
    assert (record.failed_step.layer, record.failed_step.command, record.failed_step.code) == ("nccl", "make", 2)
    assert record.failed_step.output == [f"line {number}" for number in range(960, 1000)]
    assert record.reason == "layer 'nccl': `make` exited with 2"
    assert record.witness is not None
    assert record.witness.text == "a shell: …"


def test_without_a_step_there_is_none_and_the_reason_is_whole(bed: Bed) -> None:
    record = record_of(bed, BuildError("the registry refused it:\n    denied", where="example.org/x"))
    assert record.failed_step is None
    assert record.reason == "example.org/x: the registry refused it:\n    denied"
