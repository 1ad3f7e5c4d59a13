"""What a run leaves on disk, and what of it a later run may use."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from vep_dagger.errors import EvidenceError, MachineError
from vep_dagger.evidence import BuildRecord, RunDirectory, RunFile, SmokeRecord
from vep_dagger.evidence.record import ServerFacts
from vep_dagger.evidence.rundir import record_place
from vep_dagger.plan.document import JobDoc, PickDoc, PlanDoc

HEAD = RunFile(
    vep="0.1.0",
    started="2026-11-24T00:00:00+00:00",
    matrix="matrix.toml",
    builder="venv",
    launcher="process",
    machine={},
)


def plan_of(**keys: str) -> PlanDoc:
    jobs = [
        JobDoc(id=f"smoke:{slug}", kind="smoke", key=key, needs=[], image="i", deployment="d")
        for slug, key in keys.items()
    ]
    return PlanDoc(
        matrix="matrix.toml",
        recipe="r",
        only=None,
        axes={},
        cells=[],
        layers=[],
        images=[],
        deployments=[],
        workloads=[],
        jobs=jobs,
        gates={},
        pick=PickDoc(metric="output_throughput", better="higher", workload=None, baseline={}),
        warnings=[],
    )


def smoke_record(slug: str, key: str) -> SmokeRecord:
    return SmokeRecord(
        job=f"smoke:{slug}",
        key=key,
        verdict="passed",
        started="2026-11-24T00:00:00+00:00",
        seconds=1.0,
        deployment="d",
        server=ServerFacts(number=1, launcher="process", log=f"cells/{slug}/servers/1/server.log", command=[]),
    )


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path / "run", HEAD, plan_of(a="key-a", b="key-b"))


def test_a_record_is_found_again_by_its_job(run: RunDirectory) -> None:
    run.write(smoke_record("a", "key-a"))
    assert run.standing(run.plan()).records["smoke:a"].verdict == "passed"


def test_a_record_of_another_key_is_not_used(run: RunDirectory) -> None:
    run.write(smoke_record("a", "an older key"))
    standing = run.standing(run.plan())
    assert (standing.records, standing.invalid) == ({}, ("smoke:a",))


def test_superseded_evidence_is_set_aside_and_not_deleted(run: RunDirectory) -> None:
    place = run.write(smoke_record("a", "an older key"))
    aside = run.supersede(("smoke:a",))
    assert aside is not None
    assert not place.exists()
    assert json.loads((aside / "cells" / "a" / "smoke.json").read_text())["key"] == "an older key"


def test_a_directory_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(EvidenceError, match="not empty") as caught:
        RunDirectory.create(tmp_path, HEAD, plan_of())
    assert caught.value.exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_run_of_an_older_format_is_refused_with_its_version(run: RunDirectory) -> None:
    (run.path / "run.json").write_text(json.dumps({"format": 0, "vep": "0.0.1"}))
    with pytest.raises(EvidenceError, match=r"format 0, made by vep 0\.0\.1"):
        RunDirectory.open(run.path)


def test_a_directory_without_run_json_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="not a run directory"):
        RunDirectory.open(tmp_path)


def test_a_damaged_record_is_named(run: RunDirectory) -> None:
    place = run.write(smoke_record("a", "key-a"))
    place.write_text("{")
    with pytest.raises(EvidenceError, match=r"smoke\.json is damaged"):
        run.standing(run.plan())


def test_two_processes_cannot_have_one_run(run: RunDirectory) -> None:
    with run.locked(), multiprocessing.get_context("spawn").Pool(1) as pool:
        message = pool.apply(_try_to_lock, (run.path,))
    assert "in use by another run" in message
    assert f"process {os.getpid()}" in message


def _try_to_lock(path: Path) -> str:
    try:
        with RunDirectory(path).locked():
            return "locked"
    except EvidenceError as error:
        return str(error)


def test_a_lock_dies_with_its_process(run: RunDirectory) -> None:
    context = multiprocessing.get_context("spawn")
    child = context.Process(target=_hold, args=(run.path,))
    child.start()
    end = time.monotonic() + 20
    while not (run.path / "held").exists() and time.monotonic() < end:
        time.sleep(0.02)
    os.kill(child.pid or 0, signal.SIGKILL)
    child.join()
    with run.locked():
        pass


def _hold(path: Path) -> None:
    with RunDirectory(path).locked():
        (path / "held").touch()
        time.sleep(60)


def test_a_record_is_whole_or_absent_at_every_moment(run: RunDirectory) -> None:
    """A process is killed again and again while it writes; every record that is found can be read."""
    context = multiprocessing.get_context("spawn")
    child = context.Process(target=_write_for_ever, args=(run.path,))
    child.start()
    end = time.monotonic() + 20
    while not list(run.path.glob("cells/*/smoke.json")) and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.3)
    os.kill(child.pid or 0, signal.SIGKILL)
    child.join()
    assert run.standing(run.plan()).records
    assert not [path for path in run.path.glob("cells/*/*.json") if path.name.startswith(".")]


def _write_for_ever(path: Path) -> None:
    run = RunDirectory(path)
    while True:
        run.write(smoke_record("a", "key-a"))


def test_a_full_disk_is_the_machines_error(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MachineError, match="No space left on device") as caught:
        run.write(smoke_record("a", "key-a"))
    assert caught.value.exit_code == 3
    assert "--resume" in (caught.value.hint or "")
    assert not list((run.path / "cells" / "a").iterdir())


def test_records_can_be_read_by_others_as_the_umask_has_it(run: RunDirectory) -> None:
    before = os.umask(0o027)
    try:
        place = run.write(smoke_record("a", "key-a"))
    finally:
        os.umask(before)
    assert place.stat().st_mode & 0o777 == 0o640


def test_each_start_of_a_server_has_a_directory_of_its_own(run: RunDirectory) -> None:
    assert [run.new_server_directory("a")[0] for _ in range(3)] == [1, 2, 3]


def test_what_a_killed_bench_left_counts_for_nothing(run: RunDirectory) -> None:
    (run.fresh_bench_directory("a", "short") / "repeat-1.json").write_text("{}")
    assert list(run.fresh_bench_directory("a", "short").iterdir()) == []


@pytest.mark.parametrize(
    ("job", "place"),
    [
        ("build:0123456789ab", "images/0123456789ab/build.json"),
        ("smoke:vllm0.32.0-seqs1", "cells/vllm0.32.0-seqs1/smoke.json"),
        ("bench:vllm0.32.0-seqs1:short.v2", "cells/vllm0.32.0-seqs1/bench-short.v2.json"),
    ],
)
def test_a_job_has_one_place(job: str, place: str) -> None:
    assert record_place(job).as_posix() == place


def test_a_build_record_keeps_its_place(run: RunDirectory) -> None:
    record = BuildRecord(
        job="build:abc",
        key="k",
        verdict="passed",
        started="",
        seconds=1.0,
        image="k",
        builder="venv",
        cached=False,
        location="/x",
        layers=[],
    )
    assert run.write(record) == run.path / "images" / "abc" / "build.json"


def test_a_run_that_was_killed_as_it_began_is_in_nobodys_way(run: RunDirectory) -> None:
    (run.path / "run.json").rename(run.path / ".run.json.x1y2z3")
    again = RunDirectory.create(run.path, HEAD, plan_of(a="key-a"))
    assert [job.id for job in again.plan().jobs] == ["smoke:a"]


def test_a_plan_of_somebody_elses_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text('{"my": "plan"}')
    with pytest.raises(EvidenceError, match="not empty"):
        RunDirectory.create(tmp_path, HEAD, plan_of())
    assert (tmp_path / "plan.json").read_text() == '{"my": "plan"}'


def test_a_disk_that_refuses_directories_is_the_machines_error(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.write(smoke_record("a", "key-a"))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    for attempt in (
        lambda: run.new_server_directory("a"),
        lambda: run.fresh_bench_directory("a", "short"),
        lambda: run.supersede(("smoke:a",)),
        lambda: run.write_plan(plan_of()),
    ):
        with pytest.raises(MachineError, match="No space left on device"):
            attempt()
