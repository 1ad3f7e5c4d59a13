"""What ``docker build`` of a real daemon (20.10) printed, read back: ``buildkit_logs/`` holds the recordings."""

from __future__ import annotations

from pathlib import Path

import pytest

from vep_dagger.builders.docker import buildkit_log
from vep_dagger.builders.docker.buildkit_log import BuildLog, StageProgress, last_output

LOGS = Path(__file__).with_name("buildkit_logs")


def read(name: str) -> tuple[BuildLog, list[StageProgress]]:
    told: list[StageProgress] = []
    log = BuildLog(told.append)
    for line in (LOGS / f"{name}.log").read_text().splitlines():
        log.feed(line)
    return log, told


def test_a_stage_is_told_when_it_begins_and_when_it_has_ended() -> None:
    log, told = read("built")
    of_lib = [(stage.ran, stage.ended) for stage in told if stage.name == "greet_lib"]
    assert of_lib == [(True, False), (True, True)]
    assert log.failed is None
    assert log.running == ()


def test_the_seconds_of_a_stage_are_those_of_its_steps() -> None:
    log, _ = read("built")
    stage = log.stage("greet_lib")
    assert stage.ended
    assert 1.0 < stage.seconds < 5.0  # it sleeps for a second


def test_a_stage_whose_steps_were_all_cached_has_not_run() -> None:
    log, told = read("cached")
    assert {stage.name for stage in told} >= {"greet_lib", "bad", "image"}
    assert not any(log.stage(name).ran for name in ("greet_lib", "bad", "image"))
    assert all(log.stage(name).ended and log.stage(name).seconds == 0.0 for name in ("greet_lib", "bad", "image"))


def test_a_step_that_failed_has_its_stage_number_exit_code_and_output() -> None:
    log, told = read("failed")
    failed = log.failed
    assert failed is not None
    assert (failed.stage, failed.number, failed.total, failed.code) == ("bad", 7, 7, 7)
    assert list(failed.lines) == ["the reason"]
    assert not log.stage("bad").ended
    assert not any(stage.name == "bad" and stage.ended for stage in told)
    assert log.complaint.endswith("exit code: 7")


def test_a_step_that_prints_nothing_is_at_work_when_it_is_not_cached_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[StageProgress] = []
    log = BuildLog(told.append)
    log.feed("#5 [nccl 2/3] RUN make")
    log.look()
    assert told == []
    monkeypatch.setattr(buildkit_log, "SETTLED_S", -1.0)
    log.look()
    assert [(stage.name, stage.ran, stage.ended) for stage in told] == [("nccl", True, False)]


def test_where_a_stage_begins_is_no_work() -> None:
    told: list[StageProgress] = []
    log = BuildLog(told.append)
    log.feed("#4 [nccl 1/3] FROM registry.example/base@sha256:00")
    log.feed("#4 DONE 30.0s")
    assert told == []
    assert log.stage("nccl").seconds == 0.0


def test_output_that_looks_like_a_verdict_is_output() -> None:
    log = BuildLog()
    for line in ("#5 [nccl 2/3] RUN make", "#5 0.1 DONE 3.0s", "#5 0.2 ERROR: no", "#5 0.3 CACHED"):
        log.feed(line)
    assert [vertex.state for vertex in log.running] == ["running"]
    assert last_output(log.running) == "CACHED"


def test_a_platform_before_the_stage_is_passed_over() -> None:
    log = BuildLog()
    log.feed("#5 [linux/amd64 nccl  2/10] RUN make")
    vertex = log.vertices[5]
    assert (vertex.stage, vertex.number, vertex.total, vertex.name) == ("nccl", 2, 10, "RUN make")


def test_only_the_last_lines_of_a_long_output_are_kept() -> None:
    log = BuildLog()
    log.feed("#5 [nccl 2/3] RUN make")
    for number in range(1000):
        log.feed(f"#5 0.1 line {number}")
    assert len(log.vertices[5].lines) == buildkit_log.KEPT_LINES
    assert log.vertices[5].lines[-1] == "line 999"
