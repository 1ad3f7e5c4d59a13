"""A whole run as its views hear it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.jobs.bed import Bed

CELLS = [f"vllm{release}-{seqs}" for release in ("0.27.0", "0.32.0") for seqs in ("seqs1", "seqs8")]


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bed:
    """A matrix in a folder of its own, run on fakes."""
    return Bed(tmp_path, monkeypatch)


def planned(bed: Bed) -> list[str]:
    """The jobs that were named beforehand; nothing may have begun by then."""
    kinds = [event.kind for event in bed.events if event.kind in ("job-planned", "job-started")]
    assert kinds == sorted(kinds), "planned before started"
    return bed.told("job-planned")


def test_every_job_is_named_before_the_first_begins(bed: Bed) -> None:
    bed.run()
    builds, others = planned(bed)[:2], planned(bed)[2:]
    assert all(job.startswith("build:") for job in builds)
    assert others == [job for cell in CELLS for job in (f"smoke:{cell}", f"bench:{cell}:short", f"bench:{cell}:long")]
    assert sorted(planned(bed)) == sorted(bed.told("job-started"))
    assert {event.text for event in bed.events if event.job == builds[0] and event.kind == "job-planned"} == {
        "vllm-cpu0.27.0"
    }


@pytest.mark.parametrize("stage", ["build", "smoke"])
def test_only_the_jobs_of_the_stage_are_named(bed: Bed, stage: str) -> None:
    bed.run(stage=stage)
    assert {job.split(":")[0] for job in planned(bed)} == ({"build"} if stage == "build" else {"build", "smoke"})


def test_a_resumed_run_names_what_is_left(bed: Bed) -> None:
    bed.run()
    bed.run(resume=True)
    assert planned(bed) == []
    (bed.folder / "run" / "cells" / CELLS[1] / "bench-long.json").unlink()
    bed.run(resume=True)
    assert [job for job in planned(bed) if not job.startswith("build:")] == [
        f"smoke:{CELLS[1]}",
        f"bench:{CELLS[1]}:long",
    ]
