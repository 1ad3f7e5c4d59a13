from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.report.example import FAILURE, NAIVE_10, NAIVE_11, NAIVE_12, PPLX_10, PPLX_11, PPLX_12, Run
from vep_dagger.evidence.record import Witness
from vep_dagger.report.images import different_layers, told
from vep_dagger.report.model import CellSummary, Summary


def cell(summary: Summary, slug: str) -> CellSummary:
    return next(one for one in summary.cells if one.slug == slug)


def test_each_verdict_is_counted_and_the_five_make_all_cells(summary: Summary) -> None:
    assert summary.counts == {"passed": 2, "failed": 1, "fell-back": 1, "impossible": 1, "not-run": 1}


def test_what_the_plan_rules_out_is_impossible_with_the_reason_and_no_command(summary: Summary) -> None:
    ruled_out = cell(summary, PPLX_12)
    assert ruled_out.verdict == "impossible"
    assert ruled_out.reason == "vLLM 0.12.0 has no pplx backend: its code was removed in 0.11.1"
    assert ruled_out.command is None


def test_a_cell_passes_when_every_job_of_it_passed(run: Run) -> None:
    assert cell(run.summary(), PPLX_10).verdict == "passed"
    del run.records[f"bench:{PPLX_10}:long"]
    partial = cell(run.summary(), PPLX_10)
    assert (partial.verdict, partial.reason) == ("not-run", "not reached: bench long")


def test_a_failed_build_fails_its_cells_even_where_older_measurements_lie(run: Run) -> None:
    run.change("build:img-0.10.1.1", verdict="failed", reason="layer nvshmem, step 3: exit code 2")
    for slug in (PPLX_10, NAIVE_10):
        failed = cell(run.summary(), slug)
        assert (failed.verdict, failed.reason) == ("failed", "build: layer nvshmem, step 3: exit code 2")


def test_what_waited_for_a_failed_job_says_for_which(run: Run) -> None:
    fallen = cell(run.summary(), PPLX_11)
    assert [job.reason for job in fallen.jobs[2:]] == ["smoke fell back, so not measured"] * 2
    del run.records[f"smoke:{PPLX_11}"]
    run.change("build:img-0.11.0", verdict="failed", reason="no space left on device")
    stopped = cell(run.summary(), PPLX_11)
    assert [job.reason for job in stopped.jobs[1:]] == [
        "build failed, so not started",
        "build failed, so not measured",
        "build failed, so not measured",
    ]


def test_a_fallback_is_shown_with_its_line(summary: Summary) -> None:
    fallen = cell(summary, PPLX_11)
    assert fallen.verdict == "fell-back"
    assert fallen.witness is not None
    assert (fallen.witness.file, fallen.witness.line) == (f"cells/{PPLX_11}/server-1.log", 187)


def test_a_void_measurement_fails_its_cell_and_gives_no_figure(summary: Summary) -> None:
    broken = cell(summary, NAIVE_11)
    assert broken.verdict == "failed"
    assert broken.reason == "the result of long is void: repeat 2 completed 988 of 1000 requests"
    void = broken.of("long")
    assert void is not None
    assert (void.state, dict(void.figures), len(void.repeats)) == ("void", {}, 3)
    assert broken.figure("short", "output_throughput") is not None, "the other workload was measured well"


def test_fewer_requests_than_asked_are_void_even_in_a_record_that_says_passed(run: Run) -> None:
    run.change(f"bench:{NAIVE_11}:long", verdict="passed", reason=None)
    broken = cell(run.summary(), NAIVE_11)
    assert broken.verdict == "failed"
    assert broken.reason == "the result of long is void: repeat 2 completed 988 of 1000 requests"


def test_a_record_without_repeats_is_void(run: Run) -> None:
    run.change(f"bench:{PPLX_10}:short", repeats=[])
    assert cell(run.summary(), PPLX_10).verdict == "failed"


def test_cells_of_one_server_share_its_records(run: Run) -> None:
    run.cell(NAIVE_10, deployment=f"d-{PPLX_10}")
    one = run.plan.deployments[0].model_copy(update={"cells": [PPLX_10, NAIVE_10]})
    run.plan = run.plan.model_copy(update={"deployments": [one, *run.plan.deployments[2:]]})
    summary = run.summary()
    first, second = cell(summary, PPLX_10), cell(summary, NAIVE_10)
    assert second.measured == first.measured
    assert (first.shared, second.shared) == ((NAIVE_10,), (PPLX_10,))


@pytest.mark.parametrize(
    ("gates", "held", "by"),
    [
        ({"p99_ttft_ms": 3000.0}, [True, False], [None, pytest.approx(872.2, abs=0.1)]),
        ({"output_throughput": 16000.0}, [True, False], [None, pytest.approx(789.0)]),
        ({"p99_ttft_ms": 4000.0}, [True, True], [None, None]),
    ],
)
def test_gates_hold_on_every_workload_or_say_by_how_much_they_do_not(
    run: Run, gates: dict[str, float], held: list[bool], by: list[float | None]
) -> None:
    run.plan = run.plan.model_copy(update={"gates": gates})
    checks = cell(run.summary(), PPLX_10).gates
    assert [check.workload for check in checks] == ["short", "long"]
    assert [check.held for check in checks] == held
    assert [check.by for check in checks] == by


def test_a_gated_figure_that_was_not_measured_breaks_the_gate(run: Run) -> None:
    run.plan = run.plan.model_copy(update={"gates": {"p99_e2el_ms": 1.0}})
    assert not cell(run.summary(), PPLX_10).eligible


def test_the_command_repeats_the_cell_and_survives_a_shell(run: Run) -> None:
    assert cell(run.summary(), PPLX_10).command == (
        "vep bench examples/ep/matrix.toml -k vllm0.10.1.1-pplx --builder venv --launcher process"
    )
    run.facts = replace(run.facts, builder="docker", launcher="docker", options=("--network", "host"))
    assert cell(run.summary(), PPLX_10).command == (
        "vep bench examples/ep/matrix.toml -k vllm0.10.1.1-pplx --builder docker --launcher docker --network host"
    )
    run.cell(PPLX_10, slug="a b;rm -rf")
    assert "-k 'a b;rm -rf'" in (run.summary().cells[0].command or "")


def test_the_command_of_a_slug_within_another_leaves_the_other_out(run: Run) -> None:
    run.cell(NAIVE_10, slug=f"{PPLX_10}-dg1")
    first, second, *_ = run.summary().cells
    assert f" -k '{PPLX_10} and not {PPLX_10}-dg1' " in (first.command or "")
    assert f" -k {PPLX_10}-dg1 " in (second.command or "")


def test_colours_and_control_characters_of_logs_do_not_reach_the_summary(run: Run) -> None:
    witness = Witness(file="x.log", line=1, text="\x1b[31mred\x1b[0m\x00")
    run.change(f"smoke:{PPLX_11}", reason="\x1b[31mbad\x1b[0m", witness=witness)
    fallen = cell(run.summary(), PPLX_11)
    assert fallen.reason == "bad"
    assert fallen.witness is not None
    assert fallen.witness.text == "red\ufffd"


def test_evidence_is_named_by_its_place_in_the_run_directory(summary: Summary) -> None:
    links = {link.label: link.path for link in cell(summary, PPLX_10).evidence}
    assert links["server log"] == f"cells/{PPLX_10}/server-1.log"
    assert links["short 2, raw result"] == f"cells/{PPLX_10}/short-2.json"
    assert links["smoke, record"] == f"cells/{PPLX_10}/smoke-{PPLX_10}.json"


def test_images_say_whether_they_were_built_or_found(summary: Summary) -> None:
    assert [(image.release, image.state, image.tally) for image in summary.images] == [
        ("0.10.1.1", "built", "3 layers: 2 built, 1 cached, 0 taken"),
        ("0.11.0", "cached", "2 layers: 0 built, 1 cached, 1 taken"),
        ("0.12.0", "not-run", ""),
    ]


def test_a_layer_says_which_other_images_had_it(summary: Summary) -> None:
    built, found, _ = summary.images
    assert {layer.name: layer.shared for layer in built.layers} == {
        "nccl": ("vep/img-0.11.0",),
        "nvshmem": ("vep/img-0.11.0",),
        "environment": (),
    }
    assert {layer.shared for layer in found.layers} == {("vep/img-0.10.1.1",)}


def test_each_different_layer_is_there_once_with_the_most_that_was_done_for_it(summary: Summary) -> None:
    assert [(layer.name, layer.state, tags) for layer, tags in different_layers(summary)] == [
        ("nccl", "cached", ("vep/img-0.10.1.1", "vep/img-0.11.0")),
        ("nvshmem", "built", ("vep/img-0.10.1.1", "vep/img-0.11.0")),
        ("environment", "built", ("vep/img-0.10.1.1",)),
    ]


def test_a_failed_build_says_which_step_and_what_it_printed_last(run: Run) -> None:
    run.change("build:img-0.10.1.1", **FAILURE)
    failed = run.summary().images[0]
    assert failed.failed_step is not None
    assert told(failed.failed_step) == [
        "layer nvshmem",
        "$ make -j4 install",
        "exit code 2",
        "src/init.cu:12: error: no such thing",
        "make: *** [install] Error 1",
    ]
    assert failed.tally == "2 layers: 0 built, 1 cached, 0 taken, 1 failed"


@pytest.mark.parametrize("warm", [True, False, None])
def test_a_server_says_whether_its_start_was_warm(run: Run, warm: bool | None) -> None:
    run.warm(PPLX_10, warm)
    server = cell(run.summary(), PPLX_10).server
    assert server is not None
    assert server.warm is warm


def test_the_baseline_is_marked(summary: Summary) -> None:
    assert [one.slug for one in summary.cells if one.baseline] == [NAIVE_10, NAIVE_11, NAIVE_12]


def test_equal_summaries_have_equal_text_in_every_process(summary: Summary) -> None:
    assert json.loads(summary.canonical())["facts"]["run"] == "20261124-100000-7f3a"
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from tests.report.example import example\n"
        "sys.stdout.write(example().summary().canonical())"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", code, str(Path(__file__).parents[2])],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert texts == {summary.canonical()}
