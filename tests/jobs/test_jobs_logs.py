"""Reading servers' logs: real ones of GPU servers, and the lines that say why a server died."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from vep_dagger.compat import Compat
from vep_dagger.compat.rules import LineRule, PhaseRule
from vep_dagger.jobs.cause import find_cause
from vep_dagger.jobs.logwatch import Line, LogWatch

GPU_LOGS = Path(__file__).parents[1] / "compat" / "gpu-logs"
FALLBACK = LineRule("fallback", r"has been removed\. Falling back", "fell-back")


def unpacked(name: str, folder: Path) -> Path:
    """A real log as it lay on disk."""
    path = folder / "server.log"
    path.write_bytes(gzip.decompress((GPU_LOGS / name / "server.log.gz").read_bytes()))
    return path


@pytest.fixture
def phases() -> tuple[PhaseRule, ...]:
    return Compat.load().phases("0.26.0")


def test_a_silent_fallback_that_completed_every_request_is_seen(tmp_path: Path) -> None:
    watch = LogWatch(unpacked("c_pplx_dg1", tmp_path), forbidden=[FALLBACK])
    watch.read(last=True)
    line = watch.seen[FALLBACK]
    raw = watch.path.read_bytes().split(b"\n")[line.number - 1].decode()
    assert "Falling back to 'allgather_reducescatter'" in raw
    assert line.text.startswith("WARNING"), "the process' prefix and its colours are stripped"


def test_the_log_of_a_server_on_the_right_backend_shows_no_fallback(tmp_path: Path) -> None:
    watch = LogWatch(unpacked("b_agrs_dg0", tmp_path), forbidden=[FALLBACK])
    watch.read(last=True)
    assert watch.seen == {}


@pytest.mark.parametrize(
    ("log", "last"), [("b_agrs_dg0", "ready"), ("c_pplx_dg1", "ready"), ("w_dg1_nowarm", "capture")]
)
def test_the_phase_of_a_real_start_is_known_at_its_end(
    log: str, last: str, tmp_path: Path, phases: tuple[PhaseRule, ...]
) -> None:
    watch = LogWatch(unpacked(log, tmp_path), phases=phases)
    watch.read(last=True)
    assert phases[watch.phase].phase == last


def test_a_log_read_byte_by_byte_tells_the_same(tmp_path: Path, phases: tuple[PhaseRule, ...]) -> None:
    whole = unpacked("c_pplx_dg1", tmp_path)
    at_once = LogWatch(whole, forbidden=[FALLBACK], phases=phases)
    at_once.read(last=True)
    growing = LogWatch(tmp_path / "growing.log", forbidden=[FALLBACK], phases=phases)
    data = whole.read_bytes()
    with growing.path.open("ab") as file:
        for start in range(0, len(data), 997):
            file.write(data[start : start + 997])
            file.flush()
            growing.read()
    growing.read(last=True)
    assert growing.lines == at_once.lines
    assert (growing.seen, growing.phase) == (at_once.seen, at_once.phase)


def test_progress_is_seen_before_its_line_has_an_end(tmp_path: Path, phases: tuple[PhaseRule, ...]) -> None:
    log = tmp_path / "server.log"
    log.write_text(
        "Capturing CUDA graphs (decode, FULL):   0%|  | 0/51\rCapturing CUDA graphs (decode, FULL):  58%|██ | 30/51"
    )
    watch = LogWatch(log, phases=phases)
    watch.read()
    assert (phases[watch.phase].phase, watch.progress) == ("capture", "58%")


def test_a_log_that_is_not_there_yet_has_no_lines(tmp_path: Path) -> None:
    assert LogWatch(tmp_path / "server.log").read() == []


def lines(text: str) -> list[Line]:
    return [Line(number, line) for number, line in enumerate(text.strip().splitlines(), 1)]


def test_the_first_exception_is_the_cause_and_not_those_that_follow_from_it() -> None:
    cause = find_cause(
        lines("""
INFO 11-24 23:00:31 [core.py:133] Initializing a V1 LLM engine
ERROR 11-24 23:00:31 [core.py:700] Traceback (most recent call last):
ERROR 11-24 23:00:31 [core.py:700]   File "cpu_communicator.py", line 1, in all_gatherv
ERROR 11-24 23:00:31 [core.py:700] NotImplementedError
ERROR 11-24 23:00:31 [async_llm.py:906] vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue.
INFO:     127.0.0.1:34430 - "POST /v1/completions HTTP/1.1" 500 Internal Server Error
""")
    )
    assert cause == Line(4, "NotImplementedError (cpu_communicator.py:1, in all_gatherv)")


def test_a_fatal_message_is_the_cause_where_no_exception_tells() -> None:
    cause = find_cause(lines("INFO starting\nvllm: error: unrecognized arguments: --al2all-backend pplx\n"))
    assert cause is not None
    assert "unrecognized arguments" in cause.text


def test_an_exception_that_only_follows_is_better_than_nothing() -> None:
    cause = find_cause(
        lines("INFO starting\nRuntimeError: Engine core initialization failed. See root cause above.\nbye")
    )
    assert cause is not None
    assert cause.number == 2


def test_the_last_line_is_the_cause_where_nothing_else_is() -> None:
    assert find_cause(lines("INFO starting\nINFO loading")) == Line(2, "INFO loading")
    assert find_cause([]) is None
