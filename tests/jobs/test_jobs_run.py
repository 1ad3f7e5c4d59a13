"""Runs on fakes: what each fault of a server, a client or a build comes to, and what a resumed run does again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.jobs.bed import Bed
from vep_dagger.builders.fake import FakeBuild, FakeBuilder
from vep_dagger.errors import BuildError, EvidenceError, LaunchError, MachineError, UsageError, VepError
from vep_dagger.evidence import BenchRecord, SmokeRecord
from vep_dagger.launchers.base import Stopped
from vep_dagger.launchers.fake import FakeServer, Script

CELLS = ("vllm0.27.0-seqs1", "vllm0.27.0-seqs8", "vllm0.32.0-seqs1", "vllm0.32.0-seqs8")
BROKEN = "vllm0.32.0-seqs1"


def broken(**fault: Any) -> Callable[[str], Script]:
    """One cell has a fault, the others are as they should be."""

    def script(name: str) -> Script:
        version = name[4:10]
        return Script(**{"version": version, **fault}) if name == BROKEN else Script(version=version)

    return script


def test_every_job_of_a_healthy_matrix_passes_and_has_its_record(bed: Bed) -> None:
    outcome = bed.run()
    assert outcome.passed
    assert {cell.slug: cell.verdict for cell in outcome.summary.cells} == dict.fromkeys(CELLS, "passed")
    verdicts = bed.verdicts()
    assert set(verdicts.values()) == {"passed"}
    assert len(verdicts) == 2 + 4 + 8


def test_one_server_answers_the_smoke_test_and_all_workloads_and_repeats(bed: Bed) -> None:
    bed.run()
    assert len(bed.launcher.servers) == len(CELLS)
    record = bed.records()[f"bench:{BROKEN}:long"]
    assert isinstance(record, BenchRecord)
    assert (len(record.repeats), record.server) == (3, 1)
    assert record.warmup is not None


def test_no_two_repeats_send_the_same_prompts_and_cells_send_equal_ones(bed: Bed) -> None:
    bed.run()
    seeds = {}
    for cell in CELLS:
        spec = json.loads((bed.folder / "run" / "cells" / cell / "bench-short" / "client.json").read_text())
        seeds[cell] = [item["argv"][item["argv"].index("--seed") + 1] for item in spec["items"]]
    assert len(set(seeds[CELLS[0]])) == 4
    assert len({tuple(value) for value in seeds.values()}) == 1


def test_the_servers_own_count_of_requests_is_kept(bed: Bed) -> None:
    bed.run()
    record = bed.records()[f"bench:{BROKEN}:short"]
    assert isinstance(record, BenchRecord)
    assert record.server_requests == {"length": 15.0}


def smoke(bed: Bed) -> SmokeRecord:
    record = bed.records()[f"smoke:{BROKEN}"]
    assert isinstance(record, SmokeRecord)
    return record


def test_a_server_that_dies_on_its_way_fails_at_once_with_the_line_that_says_why(bed: Bed) -> None:
    lines = (
        "ERROR 11-24 00:00:00 [core.py:1] Traceback (most recent call last):",
        "ValueError: no kernel for this GPU",
    )
    outcome = bed.run(broken(healthy_after_s=None, die_after_s=0.1, last_lines=lines, exit_code=3))
    assert not outcome.passed
    record = smoke(bed)
    assert record.reason == "the server exited with code 3 during launch"
    assert record.witness is not None
    assert record.witness.text == "ValueError: no kernel for this GPU"
    assert record.witness.line == 2
    assert record.seconds < 5


def test_a_server_that_looks_healthy_and_dies_at_the_first_request_fails(bed: Bed) -> None:
    bed.run(broken(die_at_request=1, last_lines=("NotImplementedError",)))
    record = smoke(bed)
    assert record.verdict == "failed"
    assert (record.reason or "").startswith("healthy, but request 1 failed")
    assert record.witness is not None
    assert record.witness.text == "NotImplementedError"


def test_what_depends_on_a_failed_smoke_job_is_not_run_and_all_else_is(bed: Bed) -> None:
    outcome = bed.run(broken(die_at_request=1))
    verdicts = bed.verdicts()
    assert f"bench:{BROKEN}:short" not in verdicts
    assert sum(verdict == "passed" for verdict in verdicts.values()) == 2 + 3 + 6
    assert bed.told("job-skipped") == [f"bench:{BROKEN}:short", f"bench:{BROKEN}:long"]
    assert {cell.slug: cell.verdict for cell in outcome.summary.cells}[BROKEN] == "failed"


def test_a_silent_fallback_is_no_pass(bed: Bed) -> None:
    bed.matrix.write_text(
        bed.matrix.read_text().replace("[[bench]]", "[smoke]\nforbid = ['Falling back']\n[[bench]]", 1)
    )
    line = "\x1b[33m(Worker pid=1)\x1b[0m WARNING 11-24 00:00:00 [parallel.py:449] Falling back to 'naive'."
    bed.run(broken(lines=(line,)))
    record = smoke(bed)
    assert record.verdict == "failed"
    assert record.witness is not None
    assert record.witness.text == "WARNING 11-24 00:00:00 [parallel.py:449] Falling back to 'naive'."


def test_a_backend_that_gives_way_while_it_is_measured_voids_the_result(bed: Bed) -> None:
    bed.matrix.write_text(
        bed.matrix.read_text().replace("[[bench]]", "[smoke]\nforbid = ['Falling back']\n[[bench]]", 1)
    )
    bed.run(broken(lines=((1.5, "WARNING Falling back to 'naive'."),), bench_seconds=0.6), only=BROKEN)
    assert smoke(bed).verdict == "passed"
    record = bed.records()[f"bench:{BROKEN}:short"]
    assert (record.verdict, record.reason) == ("failed", "the log shows text 'Falling back'")


def test_a_demanded_line_that_is_not_there_is_no_pass(bed: Bed) -> None:
    bed.matrix.write_text(bed.matrix.read_text().replace("[[bench]]", "[smoke]\ndemand = ['engine v9']\n[[bench]]", 1))
    bed.run(lambda name: Script(version=name[4:10], lines=() if name == BROKEN else ("INFO engine v9",)))
    assert bed.verdicts()[f"smoke:{BROKEN}"] == "failed"
    assert bed.verdicts()[f"smoke:{CELLS[0]}"] == "passed"


def test_another_release_than_the_pinned_one_is_no_pass(bed: Bed) -> None:
    bed.run(broken(version="0.31.0"))
    assert smoke(bed).reason == "/version answers 0.31.0, and the cell pins 0.32.0"


def test_the_local_part_of_a_version_does_not_matter(bed: Bed) -> None:
    bed.run(broken(version="0.32.0+cpu"))
    assert smoke(bed).verdict == "passed"


def test_a_phase_that_takes_too_long_is_named_with_its_deadline(bed: Bed) -> None:
    bed.matrix.write_text(bed.matrix.read_text().replace("[[bench]]", "[smoke.deadlines]\ncompile = 0.5\n[[bench]]", 1))
    bed.run(broken(healthy_after_s=None, lines=("Starting to load model tiny...", (0.1, "Compiling a graph for x"))))
    record = smoke(bed)
    assert (record.reason or "").startswith("compile passed its deadline of 0.5 s (launch ")
    assert record.witness is not None
    assert "Compiling a graph" in record.witness.text


def test_a_request_that_was_not_completed_makes_the_result_void(bed: Bed) -> None:
    outcome = bed.run(broken(bench={"completed": 4}))
    record = bed.records()[f"bench:{BROKEN}:short"]
    assert isinstance(record, BenchRecord)
    assert (record.verdict, record.repeats) == ("failed", [])
    assert record.reason == "void: 4 of 5 requests completed in warmup"
    assert not outcome.passed


def test_a_client_that_counts_more_than_its_server_makes_the_result_void(bed: Bed) -> None:
    bed.matrix.write_text(bed.matrix.read_text().replace("num_prompts = 5", "num_prompts = 5\nwarmup_prompts = 3"))
    # The client says 5 of 5 after a warm-up of 3, and three requests reached the server.
    bed.run(broken(bench={"completed": 3, "num_prompts": 3}))
    record = bed.records()[f"bench:{BROKEN}:short"]
    assert record.verdict == "failed"


def test_a_client_that_fails_is_told_by_its_code_and_last_line(bed: Bed) -> None:
    bed.run(broken(bench_exit_code=7, bench_lines=("ValueError: no such tokenizer",)))
    record = bed.records()[f"bench:{BROKEN}:short"]
    assert record.reason == "vllm bench serve exited with code 7 in warmup"
    assert record.witness is not None
    assert record.witness.text == "ValueError: no such tokenizer"
    assert bed.verdicts()[f"bench:{BROKEN}:long"] == "failed"


def test_a_server_that_dies_while_it_is_measured_voids_the_result(bed: Bed) -> None:
    bed.run(broken(die_at_request=6, last_lines=("torch.OutOfMemoryError: CUDA out of memory",), bench_seconds=0.3))
    record = bed.records()[f"bench:{BROKEN}:short"]
    assert record.verdict == "failed"
    assert record.witness is not None
    assert "OutOfMemoryError" in record.witness.text


def test_a_server_that_does_not_end_when_it_is_asked_to_fails(bed: Bed) -> None:
    bed.matrix.write_text(bed.matrix.read_text().replace("[[bench]]", "[smoke.deadlines]\nstop = 0.2\n[[bench]]", 1))
    bed.run(broken(refuses_to_stop=True))
    assert (smoke(bed).reason or "").startswith("the server did not end within 0.2 s")


def test_processes_that_outlive_their_server_are_told_and_no_failure(bed: Bed) -> None:
    bed.run(broken(stop_leaves=13))
    assert smoke(bed).verdict == "passed"
    assert any("13 processes" in text for text in [event.text for event in bed.events if event.kind == "note"])


def test_a_build_that_fails_stops_its_cells_and_no_others(bed: Bed) -> None:
    bed.builder = FakeBuilder({"vllm-cpu0.27.0": FakeBuild(error=BuildError("uv exited with code 1", where="install"))})
    outcome = bed.run()
    verdicts = {cell.slug: cell.verdict for cell in outcome.summary.cells}
    assert [verdicts[cell] for cell in CELLS] == ["failed", "failed", "passed", "passed"]
    reasons = {cell.slug: cell.reason for cell in outcome.summary.cells}
    assert "install: uv exited with code 1" in (reasons[CELLS[0]] or "")


def test_a_build_that_failed_and_is_found_when_it_is_resumed_has_passed(bed: Bed) -> None:
    bed.builder = FakeBuilder({"vllm-cpu0.27.0": FakeBuild(error=BuildError("the index did not answer"))})
    bed.run()
    bed.builder = FakeBuilder({"vllm-cpu0.27.0": FakeBuild(cached=True)})
    assert bed.run(resume=True).passed


def test_a_machine_that_cannot_build_ends_the_run_and_what_was_done_stays(bed: Bed) -> None:
    bed.builder = FakeBuilder({"vllm-cpu0.32.0": FakeBuild(error=MachineError("no space left"), delay_s=0.1)})
    with pytest.raises(MachineError, match="no space left"):
        bed.run()
    assert list(bed.verdicts()) == [job for job in bed.verdicts() if job.startswith("build:")]
    bed.builder = FakeBuilder()
    assert bed.run(resume=True).passed


def test_an_image_that_the_builder_cannot_lower_is_refused_and_nothing_is_touched(bed: Bed) -> None:
    bed.builder = FakeBuilder({"vllm-cpu0.32.0": FakeBuild(refused="run nvcc is not Python")})
    with pytest.raises(UsageError, match="not Python"):
        bed.run()
    assert not (bed.folder / "run").exists()


def test_several_nodes_are_refused_and_nothing_is_touched(bed: Bed) -> None:
    bed.matrix.write_text(bed.matrix.read_text().replace('served_model_name = "tiny"', "nodes = 2\ndata_parallel = 2"))
    with pytest.raises(UsageError, match="one node"):
        bed.run()
    assert not (bed.folder / "run").exists()


def test_a_matrix_of_impossible_cells_is_refused_with_the_reasons(bed: Bed) -> None:
    bed.matrix.write_text(bed.matrix.read_text().replace('served_model_name = "tiny"', "deep_gemm = true"))
    with pytest.raises(VepError, match="no cell of the matrix can be run"):
        bed.run()


def test_builds_alone_start_no_server(bed: Bed) -> None:
    bed.run(stage="build")
    assert bed.launcher.servers == []
    assert len(bed.verdicts()) == 2


def test_a_matrix_without_a_server_is_built_whatever_the_stage_and_has_passed(bed: Bed) -> None:
    bed.matrix.write_text('recipe = "vllm-cpu"\n[axes]\nvllm = ["0.27.0", "0.32.0"]\n')
    outcome = bed.run()
    assert bed.launcher.servers == []
    assert set(bed.verdicts().values()) == {"passed"}
    assert len(bed.builder.built) == 2
    assert outcome.passed
    assert [cell.verdict for cell in outcome.summary.cells] == ["passed", "passed"]
    assert "nothing to serve" in (outcome.directory / "report" / "pick.json").read_text()
    bed.run(resume=True)
    assert len(bed.builder.built) == 2


def test_smoke_alone_measures_nothing(bed: Bed) -> None:
    bed.run(stage="smoke")
    assert all(not job.startswith("bench") for job in bed.verdicts())
    assert len(bed.launcher.servers) == 4


def test_a_finished_run_resumed_starts_nothing(bed: Bed) -> None:
    bed.run()
    before = {path: path.stat().st_mtime_ns for path in (bed.folder / "run").rglob("*.json")}
    outcome = bed.run(resume=True)
    assert outcome.passed
    assert bed.launcher.servers == []
    assert len(bed.told("job-kept")) == 14
    after = {path: path.stat().st_mtime_ns for path in before}
    assert {path.name for path in before if before[path] != after[path]} <= {"plan.json"}


def test_a_resumed_run_measures_only_what_is_left_on_a_server_that_is_proven_again(bed: Bed) -> None:
    bed.run()
    lost = bed.folder / "run" / "cells" / BROKEN / "bench-long.json"
    lost.unlink()
    bed.run(resume=True)
    assert [server.spec.name for server in bed.launcher.servers] == [BROKEN]
    assert len(bed.verdicts()) == 14
    record = bed.records()[f"bench:{BROKEN}:long"]
    assert isinstance(record, BenchRecord)
    assert record.server == 2


def test_a_failed_job_is_a_result_that_stays_unless_it_is_asked_for_again(bed: Bed) -> None:
    bed.run(broken(die_at_request=1))
    bed.run(resume=True)
    assert bed.launcher.servers == []
    assert bed.verdicts()[f"smoke:{BROKEN}"] == "failed"
    outcome = bed.run(resume=True, retry_failed=True)
    assert [server.spec.name for server in bed.launcher.servers] == [BROKEN]
    assert outcome.passed


def test_an_edited_matrix_says_what_is_no_longer_valid_and_runs_just_that(bed: Bed) -> None:
    bed.run()
    bed.matrix.write_text(bed.matrix.read_text().replace("max-num-seqs = 8", "max-num-seqs = 16"))
    outcome = bed.run(resume=True)
    assert outcome.passed
    again = [server.spec.name for server in bed.launcher.servers]
    assert again == ["vllm0.27.0-seqs8", "vllm0.32.0-seqs8"]
    notes = [event.text for event in bed.events if event.kind == "note"]
    assert any(text.startswith("smoke:vllm0.27.0-seqs8 is no longer valid") for text in notes)
    assert (bed.folder / "run" / "superseded" / "1" / "cells" / "vllm0.27.0-seqs8" / "smoke.json").exists()
    assert len(bed.verdicts()) == 14


def test_a_resumed_run_may_choose_cells_and_loses_none(bed: Bed) -> None:
    bed.run(only="seqs1")
    assert len(bed.verdicts()) == 2 + 2 + 4
    bed.run(resume=True, only="seqs8 and vllm0.32.0")
    assert len(bed.verdicts()) == 2 + 3 + 6
    assert len(bed.run(resume=True).summary.cells) == 3


def test_a_directory_in_use_by_nobody_but_full_is_refused(bed: Bed) -> None:
    bed.run(stage="build")
    with pytest.raises(EvidenceError, match="not empty"):
        bed.run()


def test_records_of_one_builder_say_nothing_of_another(bed: Bed) -> None:
    bed.run(stage="build")
    with pytest.raises(EvidenceError, match="--builder venv"):
        bed.run(resume=True, builder="docker")


def test_one_measurement_at_a_time(bed: Bed) -> None:
    bed.run(stage="smoke")
    spans = [(event.kind, event.job) for event in bed.events if event.kind in ("job-started", "job-finished")]
    running = 0
    for kind, _ in spans:
        running += 1 if kind == "job-started" else -1
        assert running <= 1


def test_a_client_that_cannot_be_started_voids_its_measurement_and_not_the_proof(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(server: FakeServer, argv: Sequence[str], log: Path, env: Mapping[str, str]) -> int:
        if server.spec.name == BROKEN and "bench-long" in str(log):
            raise LaunchError("the program 'python' is not in the image")
        return await whole(server, argv, log, env)

    whole = FakeServer.run
    monkeypatch.setattr(FakeServer, "run", refuse)
    bed.run()
    assert smoke(bed).verdict == "passed"
    assert smoke(bed).server.stop is not None
    assert bed.verdicts()[f"bench:{BROKEN}:short"] == "passed"
    assert bed.records()[f"bench:{BROKEN}:long"].reason == "the program 'python' is not in the image"


def test_a_server_that_nothing_ends_fails_and_keeps_what_was_measured(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stop(server: FakeServer, grace_s: float) -> Stopped:
        await whole(server, grace_s)
        raise LaunchError("processes that SIGKILL does not end: 7")

    whole = FakeServer.stop
    monkeypatch.setattr(FakeServer, "stop", stop)
    bed.run(only=BROKEN)
    assert smoke(bed).reason == "processes that SIGKILL does not end: 7"
    assert bed.verdicts()[f"bench:{BROKEN}:long"] == "passed"
    assert bed.told("job-skipped") == []


def test_what_failed_first_is_the_reason_also_when_the_server_cannot_be_stopped(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stop(server: FakeServer, grace_s: float) -> Stopped:
        await whole(server, grace_s)
        raise LaunchError("processes that SIGKILL does not end: 7")

    whole = FakeServer.stop
    monkeypatch.setattr(FakeServer, "stop", stop)
    bed.run(broken(die_at_request=1), only=BROKEN)
    assert (smoke(bed).reason or "").startswith("healthy, but request 1 failed")


def test_a_client_finds_its_tokenizer_as_the_server_does_and_gets_nothing_else_of_its_variables(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def note(server: FakeServer, argv: Sequence[str], log: Path, env: Mapping[str, str]) -> int:
        if argv[0] == "python":
            given.append(dict(env))
        return await whole(server, argv, log, env)

    given: list[dict[str, str]] = []
    whole = FakeServer.run
    monkeypatch.setattr(FakeServer, "run", note)
    bed.matrix.write_text(bed.matrix.read_text().replace("[[bench]]", "[serve.env]\nOTHER = '1'\n[[bench]]", 1))
    bed.run(only=BROKEN)
    assert given == [{"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}] * 2


def test_a_resumed_run_asks_the_launcher_for_the_cells_that_were_chosen_and_no_others(bed: Bed) -> None:
    many = "seqs9 = { args = { max-num-seqs = 9 }, serve = { nodes = 2, data_parallel = 2 } }\n[serve]"
    bed.matrix.write_text(bed.matrix.read_text().replace("[serve]", many, 1))
    bed.run(only="seqs1")
    assert bed.run(resume=True).passed
    with pytest.raises(UsageError, match="one node"):
        bed.run(resume=True, only="seqs9")


def test_asking_for_failures_again_makes_no_sense_in_a_new_run(bed: Bed) -> None:
    with pytest.raises(UsageError, match="--retry-failed without --resume"):
        bed.run(retry_failed=True)
    assert not (bed.folder / "run").exists()


def test_a_run_of_an_older_format_is_passed_over_in_the_search_for_the_newest(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bed.folder)
    older = bed.folder / "runs" / "zz-older"
    older.mkdir(parents=True)
    (older / "run.json").write_text('{"format": 0, "vep": "0.0.1"}')
    with pytest.raises(EvidenceError, match="format 0"):
        bed.run(resume=True, out=None)
    bed.run(stage="build", out=None)
    assert bed.run(stage="build", resume=True, out=None).directory != older
