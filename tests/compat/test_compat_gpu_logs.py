"""Rules against the logs of real servers: vLLM 0.26.0, two H100s, data parallel 2, expert parallel."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vep_dagger.compat import Compat, LineRule, Selection

RELEASE, AG_RS = "0.26.0", "allgather_reducescatter"

PPLX_IS_REAL = """
[[backend]]
name = "pplx"
since = "0.26.0"
state = "real"
line = "Using PPLXAll2AllManager all2all manager."
ranks = "zero"
"""


def ask(compat: Compat, all2all: str, deep_gemm: bool) -> Selection:
    return compat.select(
        RELEASE,
        all2all=all2all,
        deep_gemm=deep_gemm,
        data_parallel=2,
        expert_parallel=True,
        device="cuda",
        tensor_parallel=1,
    )


def lines_with(rule: LineRule, log: list[str]) -> list[str]:
    return [line for line in log if re.search(rule.pattern, line)]


def broken(selection: Selection, log: list[str]) -> dict[str, str]:
    """The rules that a log breaks, with their violations."""
    assert selection.impossible is None
    missing = [rule for rule in selection.demanded if not lines_with(rule, log)]
    shown = [rule for rule in selection.forbidden if lines_with(rule, log)]
    return {rule.name: rule.violation for rule in (*missing, *shown)}


def test_a_server_that_did_what_was_asked_breaks_no_rule(compat: Compat, gpu_logs: dict[str, list[str]]) -> None:
    selection = ask(compat, AG_RS, deep_gemm=False)
    assert len(selection.demanded) == 2
    assert len(selection.forbidden) >= 4
    assert broken(selection, gpu_logs["b_agrs_dg0"]) == {}


def test_a_start_that_was_cut_off_had_already_shown_its_backend(compat: Compat, gpu_logs: dict[str, list[str]]) -> None:
    assert broken(ask(compat, AG_RS, deep_gemm=True), gpu_logs["w_dg1_nowarm"]) == {}


def test_triton_where_deep_gemm_was_asked_for_is_a_fallback(compat: Compat, gpu_logs: dict[str, list[str]]) -> None:
    assert set(broken(ask(compat, AG_RS, deep_gemm=True), gpu_logs["b_agrs_dg0"]).values()) == {"fell-back"}


def test_deep_gemm_where_it_was_switched_off_is_a_fallback(compat: Compat, gpu_logs: dict[str, list[str]]) -> None:
    assert broken(ask(compat, AG_RS, deep_gemm=False), gpu_logs["w_dg1_nowarm"]) == {
        "DeepGEMM for the FP8 experts": "fell-back",
        "DeepGEMM for linear layers": "fell-back",
    }


def test_the_pplx_cell_is_known_to_be_impossible_before_anything_runs(compat: Compat) -> None:
    assert "0.16.0 was the last release" in (ask(compat, "pplx", deep_gemm=True).impossible or "")


def test_a_healthy_server_on_another_backend_is_found_out_by_its_log(
    compat: Compat, gpu_logs: dict[str, list[str]], tmp_path: Path
) -> None:
    log = gpu_logs["c_pplx_dg1"]
    removed = LineRule("all2all backend removed", r"has been removed\. Falling back", "fell-back")
    # As an overlay that takes pplx for real would ask, and as a plain cell would.
    overlay = tmp_path / "overlay.toml"
    overlay.write_text(PPLX_IS_REAL)
    believed = broken(ask(Compat.load(overlay), "pplx", deep_gemm=True), log)
    assert believed == {
        "all2all manager of pplx": "failed",
        "another all2all manager": "fell-back",
        "all2all backend removed": "fell-back",
    }
    assert broken(ask(compat, AG_RS, deep_gemm=True), log) == {"all2all backend removed": "fell-back"}
    assert len(lines_with(removed, log)) == 3


def first_seen(compat: Compat, log: list[str]) -> dict[str, int]:
    """By phase: the first message that shows it."""
    found: dict[str, int] = {}
    for number, line in enumerate(log):
        for rule in compat.phases(RELEASE):
            if any(re.search(pattern, line) for pattern in rule.patterns):
                found.setdefault(rule.phase, number)
    return found


@pytest.mark.parametrize("cell", ["b_agrs_dg0", "c_pplx_dg1"])
def test_a_whole_start_goes_through_the_phases_in_their_order(
    compat: Compat, gpu_logs: dict[str, list[str]], cell: str
) -> None:
    seen = first_seen(compat, gpu_logs[cell])
    order = [rule.phase for rule in compat.phases(RELEASE)]
    assert order == ["weights", "compile", "warmup", "capture", "ready"]
    assert sorted(seen, key=lambda phase: seen[phase]) == order


def test_the_start_that_was_cut_off_was_capturing_graphs(compat: Compat, gpu_logs: dict[str, list[str]]) -> None:
    log = gpu_logs["w_dg1_nowarm"]
    assert list(first_seen(compat, log)) == ["weights", "compile", "warmup", "capture"]
    capture = next(rule for rule in compat.phases(RELEASE) if rule.phase == "capture")
    assert capture.progress is not None
    percents = [int(match["percent"]) for line in log if (match := re.search(capture.progress, line))]
    assert percents == sorted(percents)
    assert (percents[0], percents[-1]) == (0, 86)


def test_no_message_of_the_logs_keeps_a_prefix_or_a_neighbour(gpu_logs: dict[str, list[str]]) -> None:
    for log in gpu_logs.values():
        assert not [line for line in log if re.search(r"\(\w+ pid=\d+\)|\r|\x1b", line)]
        assert not [line for line in log if re.search(r".\b(INFO|WARNING) \d\d-\d\d \d\d:\d\d:\d\d \[", line)]
    interrupting = [
        line for line in gpu_logs["w_dg1_nowarm"] if line.startswith("INFO") and "No available shared memory" in line
    ]
    assert len(interrupting) == 4
