"""A run on a terminal: the live table at any size."""

from __future__ import annotations

import io
import re
import time

import pytest
from rich.console import Console

from vep_dagger.console.live import BESIDE, LiveTable
from vep_dagger.jobs.events import Event

LONG = "[core.py:1] the server died [/while] " + "it was starting, " * 20 + "END"


class Screen:
    """A live table on a terminal of a given size."""

    def __init__(self, width: int = 80, height: int = 24, *, colour: bool = False) -> None:
        self.out = io.StringIO()
        self.console = Console(
            file=self.out, force_terminal=True, width=width, height=height, no_color=not colour, highlight=False
        )
        self.table = LiveTable(self.console)

    def take(self, *events: Event) -> None:
        for event in events:
            self.table.take(event)

    def lines(self) -> list[str]:
        """What is on the screen now, without colours."""
        with self.console.capture() as capture:
            self.console.print(self.table)
        return [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in capture.get().splitlines()]


def planned(count: int) -> list[Event]:
    return [Event("job-planned", f"c{number}", f"smoke:c{number}") for number in range(count)]


def test_all_jobs_are_there_from_the_start() -> None:
    screen = Screen()
    screen.take(Event("job-planned", "vllm0.32.0", "build:1a2b"), *planned(2))
    head, *rows, counts = screen.lines()
    assert head.split() == ["job", "state", "s"]
    assert [row.split() for row in rows] == [
        ["build:1a2b", "waiting", "vllm0.32.0"],
        ["smoke:c0", "waiting"],
        ["smoke:c1", "waiting"],
    ]
    assert counts == "0:00  3 waiting"


def test_a_row_follows_its_job() -> None:
    screen = Screen()
    screen.take(Event("job-planned", "own0.32.0", "build:1a2b"))
    for event, state, text in (
        (Event("job-started", "building own0.32.0", "build:1a2b"), "running", "building own0.32.0"),
        (Event("job-progress", "own0.32.0: installing", "build:1a2b"), "running", "own0.32.0: installing"),
        (Event("job-finished", "built", "build:1a2b", "passed", 61.2), "ok", "own0.32.0: built"),
    ):
        screen.take(event)
        assert re.fullmatch(rf"build:1a2b  {state} +\d+  {text}", screen.lines()[1])
    assert "    61  " in screen.lines()[1]


@pytest.mark.parametrize("colour", [True, False])
def test_states_are_words_and_not_colours_alone(colour: bool) -> None:
    screen = Screen(colour=colour)
    for number, verdict in enumerate(("passed", "failed", "fell-back", "not-run")):
        screen.take(Event("job-finished", "", f"smoke:c{number}", verdict, 1.0))
    screen.take(Event("job-started", "starting", "smoke:c4"), Event("job-planned", "c5", "smoke:c5"))
    states = [re.split(" {2,}", line)[1] for line in screen.lines()[1:-1]]
    assert states == ["ok", "FAILED", "FELL BACK", "not run", "running", "waiting"]
    assert screen.lines()[-1] == "0:00  1 ok, 1 FAILED, 1 FELL BACK, 1 not run, 1 running, 1 waiting"


@pytest.mark.parametrize("width", [40, 80, 200])
def test_long_reasons_and_names_are_cut_and_not_wrapped(width: int) -> None:
    screen = Screen(width)
    name = "smoke:" + "vllm0.32.0-pplx-dg1-" * 5
    screen.take(Event("job-finished", f"{LONG}\nand a second line", name, "fell-back", 3599.6))
    screen.take(Event("job-finished", LONG, "smoke:a", "failed", 1.0))
    lines = screen.lines()
    assert len(lines) == 4
    assert max(map(len, lines)) <= width
    assert "FELL BACK" in lines[1]
    assert "3600" in lines[1]
    assert "FAILED" in lines[2]
    assert all(line.endswith("…") for line in lines[1:3])


def test_a_wide_terminal_shows_a_whole_name_and_much_of_the_reason() -> None:
    screen = Screen(200)
    name = "smoke:" + "vllm0.32.0-pplx-dg1-" * 5
    screen.take(Event("job-finished", LONG, name, "failed", 1.0))
    assert name in screen.lines()[1]
    assert "[core.py:1] the server died [/while] it was" in screen.lines()[1], "brackets are text, not markup"


@pytest.mark.parametrize("height", [12, 24])
@pytest.mark.parametrize("done", [0, 1, 50, 99])
def test_more_jobs_than_rows_leave_the_running_one_and_its_neighbours(height: int, done: int) -> None:
    screen = Screen(height=height)
    screen.take(*planned(100))
    screen.take(*(Event("job-finished", "", f"smoke:c{number}", "passed", 1.0) for number in range(done)))
    screen.take(Event("job-started", "starting", f"smoke:c{done}"))
    lines = screen.lines()
    assert len(lines) == height - BESIDE + 2
    shown = [line.split()[0] for line in lines[1:-1]]
    assert f"smoke:c{done}" in shown
    assert done == 99 or f"smoke:c{done + 1}" in shown, "the next"
    assert done == 0 or f"smoke:c{done - 1}" in shown, "the last"
    assert lines[-1].endswith(f"; {100 - (height - BESIDE)} of them not shown")
    assert shown == sorted(shown, key=lambda name: int(name.removeprefix("smoke:c"))), "in the plan's order"


def test_a_failure_stays_when_rows_are_scarce() -> None:
    screen = Screen(height=12)
    screen.take(*planned(100))
    screen.take(Event("job-finished", "dead", "smoke:c0", "failed", 1.0))
    screen.take(*(Event("job-finished", "", f"smoke:c{number}", "passed", 1.0) for number in range(1, 99)))
    assert any("FAILED" in line for line in screen.lines()[1:-1])


def test_a_job_that_is_kept_says_so_and_is_waiting_when_it_is_done_again() -> None:
    screen = Screen()
    screen.take(Event("job-kept", "done in an earlier run", "smoke:a", "passed"))
    assert screen.lines()[1].split(maxsplit=2) == ["smoke:a", "ok", "kept: done in an earlier run"]
    screen.take(Event("job-planned", "a", "smoke:a"))
    assert screen.lines()[1].split()[1] == "waiting"


def test_notes_and_the_run_directory_stand_above_unbroken_and_the_table_stays() -> None:
    screen = Screen(60)
    place = "runs/" + "long-" * 20 + "name"
    with screen.table.shown() as emit:
        emit(Event("run-started", place))
        emit(Event("note", f"[/x] {LONG}"))
        emit(Event("job-started", "starting a", "smoke:a"))
        emit(Event("job-finished", "healthy", "smoke:a", "passed", 1.0))
    said = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.out.getvalue())
    assert f"run directory {place}\n" in said
    assert f"note: [/x] {LONG}\n" in said
    assert re.search(r"smoke:a +ok +1  healthy\s+0:00  1 ok\s*$", said)


def test_a_note_about_a_job_stands_above_and_leaves_the_reason_of_its_verdict() -> None:
    screen = Screen()
    with screen.table.shown() as emit:
        emit(Event("job-finished", "it died", "smoke:a", "failed", 1.0))
        emit(Event("note", "a: a process outlived it", "smoke:a"))
    assert "note: a: a process outlived it\n" in screen.out.getvalue()
    assert screen.lines()[1].endswith("it died")


def test_what_ran_when_a_run_was_interrupted_is_not_called_running_any_more() -> None:
    screen = Screen()

    def interrupted() -> None:
        with screen.table.shown() as emit:
            emit(Event("job-started", "starting a", "smoke:a"))
            emit(Event("job-planned", "b", "smoke:b"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [line.split()[1] for line in screen.lines()[1:-1]] == ["stopped", "waiting"]
    assert re.search(r"smoke:a +stopped", screen.out.getvalue()), "the table that stays"


LAYERS = ["cuda_devel", "gdrcopy", "nccl", "nvshmem", "environment", *(f"part{number}" for number in range(15))]
BUILD = "build:1a2b3c4d5e6f"


def layer(name: str, state: str, seconds: float = 0.0) -> Event:
    return Event("layer", f"{name} {state}", BUILD, None, seconds, None, name, state)


def building() -> Screen:
    screen = Screen()
    screen.take(Event("job-planned", "vllm0.32.0", BUILD), Event("job-started", "building vllm0.32.0", BUILD))
    return screen


def test_an_image_that_is_built_has_its_layers_below_it() -> None:
    screen = building()
    screen.take(layer("gdrcopy", "cached"), layer("nccl", "built", 121.4), layer("nvshmem", "building", 7.0))
    assert [line.split()[:3] for line in screen.lines()[2:-1]] == [
        ["gdrcopy", "cached", "0"],
        ["nccl", "built", "121"],
        ["nvshmem", "building", "7"],
    ]
    assert all(line.startswith("  ") for line in screen.lines()[2:-1])


def test_the_seconds_of_a_layer_that_is_built_go_on_between_its_events(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = building()
    screen.take(layer("nccl", "built", 3.0), layer("nvshmem", "building", 7.0))
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 60.0)
    assert [line.split()[2] for line in screen.lines()[2:-1]] == ["3", "67"]


@pytest.mark.parametrize(
    "text", ["vllm0.32.0: nccl 3/5: all_reduce.cu", "nccl: 3/5: all_reduce.cu", "nccl for 31 s: 3/5: all_reduce.cu"]
)
def test_progress_of_a_layer_stands_beside_it(text: str) -> None:
    screen = building()
    screen.take(layer("nccl", "building"), layer("nccl_tests", "building"), Event("job-progress", text, BUILD))
    screen.take(layer("nccl", "building", 2.0))
    assert screen.lines()[2].endswith("3/5: all_reduce.cu")
    assert screen.lines()[1].endswith("building vllm0.32.0"), "the image's own text stays"
    screen.take(layer("nccl", "built", 2.0))
    assert screen.lines()[2].split() == ["nccl", "built", "2"]


def test_a_finished_image_is_one_line_that_counts_its_layers() -> None:
    screen = building()
    screen.take(
        *(layer(name, "cached") for name in LAYERS[:12]), *(layer(name, "built", 9.0) for name in LAYERS[12:16])
    )
    screen.take(Event("job-finished", "built", BUILD, "passed", 36.0))
    assert len(screen.lines()) == 3
    assert screen.lines()[1].split(maxsplit=3)[3].startswith("16 layers: 4 built, 12 cached, 0 taken")


def test_a_failed_image_keeps_the_layer_that_failed_and_says_why_first() -> None:
    screen = building()
    screen.take(layer("gdrcopy", "cached"), layer("nccl", "failed", 4.0))
    screen.take(Event("job-finished", "vllm0.32.0, layer 'nccl': `make` exited with 2", BUILD, "failed", 5.0))
    _head, row, failed, _ = screen.lines()
    assert row.endswith("layer 'nccl': `make` exited with 2")
    assert failed.split() == ["nccl", "failed", "4"]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 12), (100, 40), (60, 24)])
def test_many_layers_leave_room_for_what_goes_on_and_for_other_jobs(width: int, height: int) -> None:
    screen = Screen(width, height)
    screen.take(Event("job-planned", "vllm0.32.0", BUILD), *planned(4))
    screen.take(Event("job-started", "building vllm0.32.0", BUILD))
    screen.take(
        *(layer(name, "cached") for name in LAYERS[:10]), *(layer(name, "built", 9.0) for name in LAYERS[10:18])
    )
    screen.take(layer("part13", "building"), layer("part14", "failed", 1.0))
    lines = screen.lines()
    assert len(lines) <= height - BESIDE + 2
    assert max(map(len, lines)) <= width
    shown = "\n".join(lines)
    assert BUILD in shown
    assert "smoke:c0" in shown
    assert re.search("part13 +building", shown)
    assert re.search("part14 +failed", shown)
    assert height == 40 or re.search(r"…  .*\d+ more: ", shown), "the others are counted"


def test_layers_of_an_interrupted_build_are_not_called_building_any_more() -> None:
    screen = building()

    def interrupted() -> None:
        with screen.table.shown():
            screen.take(layer("gdrcopy", "built", 1.0), layer("nccl", "building", 3.0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not any("building " in line.split("vllm")[0].removeprefix(BUILD) for line in screen.lines()[2:-1])
    assert [line.split()[:2] for line in screen.lines()[2:-1]] == [["gdrcopy", "built"]]
