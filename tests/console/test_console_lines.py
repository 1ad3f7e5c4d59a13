"""A run in a pipe: plain lines for people, JSON lines for programs."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable

import pytest

from vep_dagger.console.choose import shown
from vep_dagger.console.live import LiveTable
from vep_dagger.console.plain import JsonLines, PlainLines
from vep_dagger.jobs.events import Event

Lines = Callable[..., list[str]]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Lines:
    """What is printed of some events, one after the other, a minute apart."""

    def printed(*events: Event) -> list[str]:
        now = iter(range(1000))
        monkeypatch.setattr(time, "monotonic", lambda: 61.0 * next(now))
        out = io.StringIO()
        view = PlainLines(out)
        for event in events:
            view(event)
        return out.getvalue().splitlines()

    return printed


def test_every_line_has_the_time_since_the_start(lines: Lines) -> None:
    assert lines(Event("run-started", "runs/1"), Event("job-started", "starting a", "smoke:a")) == [
        "[  1:01] run directory runs/1",
        "[  2:02] smoke:a: starting a",
    ]


def test_a_run_reads_from_its_start_to_its_report(lines: Lines) -> None:
    told = lines(
        Event("job-kept", "done in an earlier run", "build:1", "passed"),
        Event("job-finished", "healthy after 1.0 s", "smoke:a", "passed", 1.04),
        Event("job-finished", "the server died", "smoke:b", "failed", 2.0),
        Event("job-finished", "uses naive", "smoke:c", "fell-back", 3.0),
        Event("job-skipped", "smoke:b did not pass", "bench:b:short", "not-run"),
        Event("run-finished", "runs/1/report/index.html", verdict="failed"),
    )
    assert [line[9:] for line in told] == [
        "build:1: kept (ok: done in an earlier run)",
        "smoke:a: ok (healthy after 1.0 s, 1.0 s)",
        "smoke:b: FAILED (the server died, 2.0 s)",
        "smoke:c: FELL BACK (uses naive, 3.0 s)",
        "bench:b:short: not run (smoke:b did not pass)",
        "report runs/1/report/index.html",
    ]


def test_a_phase_is_told_once_however_often_its_percentage_changes(lines: Lines) -> None:
    told = lines(
        *(Event("job-progress", text, "smoke:a") for text in ("weights 1%", "weights 58%", "weights", "compile"))
    )
    assert [line[9:] for line in told] == ["smoke:a: weights 1%", "smoke:a: compile"]


def test_a_step_that_lasts_is_told_again_only_when_it_prints_something_else(lines: Lines) -> None:
    said = ("nccl for 11 s", "nccl for 21 s", "nccl for 31 s: nvcc all_reduce.cu", "nccl for 41 s: nvcc all_reduce.cu")
    told = lines(*(Event("job-progress", text, "build:1") for text in said))
    assert [line[9:] for line in told] == ["build:1: nccl for 11 s", "build:1: nccl for 31 s: nvcc all_reduce.cu"]


def test_each_job_has_its_own_phases(lines: Lines) -> None:
    told = lines(Event("job-progress", "weights", "smoke:a"), Event("job-progress", "weights", "smoke:b"))
    assert len(told) == 2


def test_a_note_that_a_job_has_said_on_its_way_is_not_said_twice(lines: Lines) -> None:
    told = lines(
        Event("job-progress", "own: torch is the ordinary one", "build:1"),
        Event("note", "own: torch is the ordinary one", "build:1"),
        Event("note", "own: another", "build:1"),
    )
    assert [line[9:] for line in told] == ["build:1: own: torch is the ordinary one", "note: own: another"]


def test_what_is_planned_is_no_news_for_a_log(lines: Lines) -> None:
    assert lines(Event("job-planned", "a", "smoke:a")) == []


def layer(name: str, state: str, seconds: float = 0.0) -> Event:
    return Event("layer", f"{name} {state}", "build:1", None, seconds, None, name, state)


def test_a_layer_is_told_when_it_is_done_and_its_image_counts_them(lines: Lines) -> None:
    told = lines(
        layer("gdrcopy", "cached"),
        layer("nccl", "building"),
        layer("nccl", "building", 1.0),
        layer("nccl", "built", 2.04),
        layer("nvshmem", "taken", 3.0),
        layer("environment", "failed", 4.0),
        Event("job-finished", "built", "build:1", "passed", 9.0),
    )
    assert [line[9:] for line in told] == [
        "build:1: gdrcopy cached",
        "build:1: nccl built (2.0 s)",
        "build:1: nvshmem taken (3.0 s)",
        "build:1: environment failed (4.0 s)",
        "build:1: ok (4 layers: 1 built, 1 cached, 1 taken, 1 failed, 9.0 s)",
    ]


def test_layers_that_take_turns_at_saying_that_they_go_on_are_told_once_each() -> None:
    out = io.StringIO()
    view = PlainLines(out)
    view(layer("nccl", "building", 12.0))
    for seconds in range(11, 51, 10):
        for name in ("nccl", "efa"):
            view(Event("job-progress", f"{name} for {seconds} s", "build:1"))
    assert [line[9:] for line in out.getvalue().splitlines()] == ["build:1: nccl for 11 s", "build:1: efa for 11 s"]


def test_every_event_of_a_layer_is_there_for_programs() -> None:
    out = io.StringIO()
    view = JsonLines(out)
    view(layer("nccl", "building", 1.0))
    view(layer("nccl", "built", 2.0))
    told = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(line["job"], line["layer"], line["state"], line["seconds"]) for line in told] == [
        ("build:1", "nccl", "building", 1.0),
        ("build:1", "nccl", "built", 2.0),
    ]


def test_each_event_is_one_line_of_json_whatever_its_text() -> None:
    out = io.StringIO()
    view = JsonLines(out)
    view(Event("note", 'two\nlines, "quotes", \u2028 and ü'))
    view(Event("job-finished", "healthy", "smoke:a", "passed", 1.5, "cells/a/server.log"))
    first, second = (json.loads(line) for line in out.getvalue().split("\n")[:-1])
    assert first["text"] == 'two\nlines, "quotes", \u2028 and ü'
    assert first.keys() == {"t", "kind", "text"}
    assert {name: value for name, value in second.items() if name != "t"} == {
        "kind": "job-finished",
        "text": "healthy",
        "job": "smoke:a",
        "verdict": "passed",
        "seconds": 1.5,
        "file": "cells/a/server.log",
    }
    assert 0 <= first["t"] <= second["t"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("out", "as_json", "view"),
    [
        (io.StringIO(), False, PlainLines),
        (io.StringIO(), True, JsonLines),
        (Terminal(), True, JsonLines),
        (Terminal(), False, LiveTable),
    ],
)
def test_the_view_fits_where_it_goes(
    out: io.StringIO, as_json: bool, view: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    seen: list[Event] = []
    name, of = ("take", LiveTable) if view is LiveTable else ("__call__", view)
    monkeypatch.setattr(of, name, lambda _, event: seen.append(event))
    with shown(out, begun.append, as_json=as_json) as emit:
        emit(Event("run-started", "runs/1"))
        emit(Event("note", "x"))
    assert begun == ["runs/1"]
    assert [event.text for event in seen] == ["runs/1", "x"]
