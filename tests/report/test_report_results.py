from __future__ import annotations

import csv
import io

import pytest
from inline_snapshot import snapshot

from tests.report.example import NAIVE_11, NAIVE_12, PPLX_10, PPLX_11, Run
from vep_dagger.report.model import Summary
from vep_dagger.report.results import harmless, results_csv


def rows(summary: Summary) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(results_csv(summary))))


def test_the_first_rows(summary: Summary) -> None:
    assert results_csv(summary).splitlines()[:3] == snapshot(
        [
            "cell,verdict,vllm,all2all,workload,repeat,completed,num_prompts,duration_s,request_throughput,output_throughput,total_token_throughput,mean_ttft_ms,median_ttft_ms,p99_ttft_ms,mean_tpot_ms,median_tpot_ms,p99_tpot_ms,mean_itl_ms,median_itl_ms,p99_itl_ms,ready_s,warm,reason",
            "vllm0.10.1.1-pplx,passed,0.10.1.1,pplx,short,1,1000,1000,6.5186,153.407,19636.13,39291.9,2485.21,2525.96,2999.57,29.242,29.537,40.762,30.128,28.947,70.89,226.8,,",
            "vllm0.10.1.1-pplx,passed,0.10.1.1,pplx,short,2,1000,1000,6.4314,155.488,19902.4,39824.7,2451.97,2492.16,2959.44,28.851,29.142,40.216,29.725,28.559,69.941,226.8,,",
        ]
    )


def test_one_row_for_each_cell_workload_and_repeat(summary: Summary) -> None:
    mine = [(row["workload"], row["repeat"]) for row in rows(summary) if row["cell"] == PPLX_10]
    assert mine == [(load, number) for load in ("short", "long") for number in "123"]


def test_a_void_repeat_has_its_counts_and_no_figure(summary: Summary) -> None:
    void = [row for row in rows(summary) if row["cell"] == NAIVE_11 and row["workload"] == "long"]
    assert [(row["completed"], row["num_prompts"]) for row in void] == [
        ("1000", "1000"),
        ("988", "1000"),
        ("1000", "1000"),
    ]
    assert {row["output_throughput"] for row in void} == {""}


def test_every_row_says_how_the_server_started(run: Run) -> None:
    run.warm(PPLX_10, True)
    run.warm(NAIVE_11, False)
    starts = {row["cell"]: (row["ready_s"], row["warm"]) for row in rows(run.summary())}
    assert starts[PPLX_10] == ("226.8", "true")
    assert starts[NAIVE_11] == ("226.8", "false")
    assert starts[PPLX_11] == ("226.8", ""), "nothing is kept between its starts"
    assert starts[NAIVE_12] == ("", ""), "it was never started"


@pytest.mark.parametrize("slug", [PPLX_11, NAIVE_12])
def test_a_cell_without_measurements_has_one_row_with_its_reason(summary: Summary, slug: str) -> None:
    (row,) = [row for row in rows(summary) if row["cell"] == slug]
    assert (row["workload"], row["completed"], row["output_throughput"]) == ("", "", "")
    assert row["reason"]


def test_figures_are_written_whole(summary: Summary) -> None:
    assert rows(summary)[0]["output_throughput"] == "19636.13"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("-x", "'-x"),
        (" =x", "' =x"),
        ("-1", "-1"),
        ("+2.5", "+2.5"),
        ("a=b", "a=b"),
    ],
)
def test_no_text_becomes_a_formula(text: str, written: str) -> None:
    assert harmless(text) == written


def test_an_axis_with_the_name_of_a_column_keeps_both(run: Run) -> None:
    cells = [cell.model_copy(update={"choices": {"workload": "=1", **cell.choices}}) for cell in run.plan.cells]
    run.plan = run.plan.model_copy(update={"cells": cells, "axes": {"workload": ["=1"], **run.plan.axes}})
    row = rows(run.summary())[0]
    assert (row["axis_workload"], row["workload"]) == ("'=1", "short")
