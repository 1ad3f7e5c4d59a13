# ruff: noqa: E501 - a snapshot has the lines of what it shows
from __future__ import annotations

import json

from inline_snapshot import snapshot

from tests.report.example import NAIVE_10, NAIVE_11, PPLX_10, Run, bench
from vep_dagger.report.model import Summary
from vep_dagger.report.pick import decide, pick_document, ranked


def slugs(run: Run) -> tuple[list[str], list[str]]:
    decision = decide(run.summary())
    return [entry.cell.slug for entry in decision.best], [entry.cell.slug for entry in decision.runners_up]


def test_the_best_median_of_the_cells_that_passed_wins(run: Run) -> None:
    assert slugs(run) == ([PPLX_10], [NAIVE_10])


def test_a_better_figure_of_a_cell_that_did_not_pass_wins_nothing(run: Run) -> None:
    run.records[f"bench:{NAIVE_11}:short"] = bench(NAIVE_11, "short", (99_000.0, 99_001.0, 99_002.0))
    assert slugs(run) == ([PPLX_10], [NAIVE_10])


def test_a_better_figure_of_a_cell_that_breaks_a_gate_wins_nothing(run: Run) -> None:
    run.plan = run.plan.model_copy(update={"gates": {"p99_ttft_ms": 3800.0}})
    decision = decide(run.summary())
    assert [entry.cell.slug for entry in decision.best] == [NAIVE_10]
    left_out = {cell.slug: because for cell, because in decision.left_out}
    assert left_out[PPLX_10] == "long: p99 TTFT 3,872 ms is 72.20 ms (1.9%) over the limit of 3,800 ms"


def test_lower_is_better_where_the_file_says_so(run: Run) -> None:
    pick = run.plan.pick.model_copy(update={"metric": "median_ttft_ms", "better": "lower", "workload": "long"})
    run.plan = run.plan.model_copy(update={"pick": pick})
    assert slugs(run) == ([NAIVE_10], [PPLX_10])


def test_equal_medians_are_a_tie_and_not_the_order_of_the_file(run: Run) -> None:
    run.records[f"bench:{NAIVE_10}:short"] = bench(NAIVE_10, "short", (19636.13, 19000.0, 20000.0))
    document = pick_document(run.summary())
    assert (document["outcome"], document["winner"]) == ("tie", None)
    tied = document["tied"]
    assert isinstance(tied, list)
    assert [entry["cell"] for entry in tied] == [PPLX_10, NAIVE_10]


def test_cells_of_one_server_do_not_tie_with_each_other(run: Run) -> None:
    run.cell(NAIVE_10, deployment=f"d-{PPLX_10}")
    one = run.plan.deployments[0].model_copy(update={"cells": [PPLX_10, NAIVE_10]})
    run.plan = run.plan.model_copy(update={"deployments": [one, *run.plan.deployments[2:]]})
    document = pick_document(run.summary())
    assert document["outcome"] == "winner"
    winner = document["winner"]
    assert isinstance(winner, dict)
    assert (winner["cell"], winner["same_server"]) == (PPLX_10, [NAIVE_10])


def test_no_pick_says_why(run: Run) -> None:
    run.plan = run.plan.model_copy(update={"gates": {"output_throughput": 1e6}})
    assert decide(run.summary()).reason == "none of the 2 cells that passed holds the gates"
    run.records = {job: record for job, record in run.records.items() if record.kind == "build"}
    assert decide(run.summary()).reason == "no cell passed"
    run.plan = run.plan.model_copy(update={"workloads": []})
    assert decide(run.summary()).reason == "the matrix has no [[bench]], so nothing was measured"


def test_a_median_of_few_repeats_says_of_how_many(run: Run) -> None:
    assert decide(run.summary()).basis == "median of 3 repeats, no interval yet"
    run.records[f"bench:{NAIVE_10}:short"] = bench(NAIVE_10, "short", (17000.0,))
    assert decide(run.summary()).basis == "median of 1 to 3 repeats, no interval yet"


def test_a_table_puts_what_may_be_picked_first(summary: Summary) -> None:
    assert [cell.slug for cell in ranked(summary, "short")] == [PPLX_10, NAIVE_10, NAIVE_11]
    assert [cell.slug for cell in ranked(summary, "long")] == [NAIVE_10, PPLX_10]


def test_the_document_is_what_its_description_says(summary: Summary) -> None:
    document = json.loads(json.dumps(pick_document(summary)))
    for entry in (document["winner"], *document["runners_up"]):
        assert set(entry.pop("figures")) == {"short", "long"}
    assert document == snapshot(
        {
            "format": 1,
            "run": "20261124-100000-7f3a",
            "matrix": "examples/ep/matrix.toml",
            "vep": "0.1.0",
            "lock": None,
            "rule": {
                "metric": "output_throughput",
                "unit": "tok/s",
                "better": "higher",
                "workload": "short",
                "gates": {"p99_ttft_ms": 4000.0},
            },
            "basis": "median of 3 repeats, no interval yet",
            "outcome": "winner",
            "reason": None,
            "winner": {
                "cell": "vllm0.10.1.1-pplx",
                "choices": {"vllm": "0.10.1.1", "all2all": "pplx"},
                "same_server": [],
                "decisive": {"median": 19636.13, "low": 19588.77, "high": 19902.4, "n": 3, "range": "min-max"},
                "behind": 0.0,
                "image": {
                    "key": "img-0.10.1.1",
                    "tag": "vep/img-0.10.1.1",
                    "location": "/cache/vep/img-0.10.1.1",
                    "digest": None,
                    "published": None,
                },
                "command": "vep bench examples/ep/matrix.toml -k vllm0.10.1.1-pplx --builder venv --launcher process",
            },
            "tied": [],
            "runners_up": [
                {
                    "cell": "vllm0.10.1.1-naive",
                    "choices": {"vllm": "0.10.1.1", "all2all": "naive"},
                    "same_server": [],
                    "decisive": {"median": 17120.5, "low": 16904.22, "high": 17333.08, "n": 3, "range": "min-max"},
                    "behind": 0.12811231133629697,
                    "image": {
                        "key": "img-0.10.1.1",
                        "tag": "vep/img-0.10.1.1",
                        "location": "/cache/vep/img-0.10.1.1",
                        "digest": None,
                        "published": None,
                    },
                    "command": "vep bench examples/ep/matrix.toml -k vllm0.10.1.1-naive --builder venv --launcher process",
                }
            ],
            "left_out": [
                {
                    "cell": "vllm0.11.0-pplx",
                    "verdict": "fell-back",
                    "reason": "pplx was asked for, and the server uses naive",
                },
                {
                    "cell": "vllm0.11.0-naive",
                    "verdict": "failed",
                    "reason": "the result of long is void: repeat 2 completed 988 of 1000 requests",
                },
                {
                    "cell": "vllm0.12.0-pplx",
                    "verdict": "impossible",
                    "reason": "vLLM 0.12.0 has no pplx backend: its code was removed in 0.11.1",
                },
                {
                    "cell": "vllm0.12.0-naive",
                    "verdict": "not-run",
                    "reason": "not reached: build, smoke, bench short, bench long",
                },
            ],
        }
    )
