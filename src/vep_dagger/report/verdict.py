"""What can be said of a cell, from its plan and the records of its jobs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vep_dagger.evidence.record import AnyRecord, BenchRecord, BuildRecord, Verdict, Witness
from vep_dagger.report.images import cleaned_step
from vep_dagger.report.model import JobSummary
from vep_dagger.report.text import clean

if TYPE_CHECKING:
    from vep_dagger.plan.document import JobDoc


MISSED = {"build": "built", "smoke": "started", "bench": "measured"}


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, why, and where that can be seen."""

    verdict: Verdict
    reason: str | None = None
    witness: Witness | None = None


def void(record: BenchRecord) -> str | None:
    """Why no figure of a measurement may be used; None when they may.

    Completion is counted here again, whatever the record says of itself: a figure over fewer requests than were asked
    for is a figure of another workload.
    """
    if record.verdict != "passed":
        return record.reason or "the measurement did not pass, and its record does not say why"
    if not record.repeats:
        return "the record has no repeat"
    for number, repeat in enumerate(record.repeats, start=1):
        if repeat.completed != repeat.num_prompts:
            return f"repeat {number} completed {repeat.completed} of {repeat.num_prompts} requests"
    return None


def job_summaries(jobs: Sequence[JobDoc], records: Mapping[str, AnyRecord]) -> Iterator[JobSummary]:
    """The jobs of a cell with their verdicts, in the order build, smoke, bench.

    A job without a record says which job before it did not pass, if one did not.
    """
    stopped: str | None = None
    for job in jobs:
        record = records.get(job.id)
        if record is None:
            missed = f"{stopped}, so not {MISSED[job.kind]}" if stopped else "not reached"
            yield JobSummary(job.id, job.kind, job.workload, "not-run", missed, None, None)
            continue
        verdict: Verdict = record.verdict
        why = record.reason
        if isinstance(record, BenchRecord):
            why = void(record)
            verdict = "failed" if why and verdict == "passed" else verdict
        elif verdict != "passed":
            stopped = f"{job.kind} {'fell back' if verdict == 'fell-back' else 'failed'}"
        reason = clean(why) if why else None
        step = cleaned_step(record.failed_step) if isinstance(record, BuildRecord) else None
        witness = cleaned(record.witness)
        yield JobSummary(job.id, job.kind, job.workload, verdict, reason, witness, record.seconds, step)


def judge(impossible: str | None, jobs: Sequence[JobSummary]) -> Judgement:
    """The verdict of a cell.

    What the plan rules out is impossible; then the first job that did not pass decides, in the order build, smoke,
    bench; a cell passed when every job of it did, and was not run otherwise.
    """
    if impossible is not None:
        return Judgement("impossible", clean(impossible))
    for job in jobs:
        if job.verdict in ("failed", "fell-back"):
            return _of_job(job)
    missing = [job for job in jobs if job.verdict == "not-run"]
    if missing:
        return Judgement("not-run", f"not reached: {', '.join(_name(job) for job in missing)}")
    return Judgement("passed")


def cleaned(witness: Witness | None) -> Witness | None:
    """The witness with a text that can be shown anywhere."""
    return Witness(file=witness.file, line=witness.line, text=clean(witness.text)) if witness else None


def _of_job(job: JobSummary) -> Judgement:
    reason = job.reason or "its record does not say why"
    if job.kind == "build":
        return Judgement("failed", f"build: {reason}", job.witness)
    if job.kind == "smoke":
        return Judgement(job.verdict, reason, job.witness)
    return Judgement("failed", f"the result of {job.workload} is void: {reason}", job.witness)


def _name(job: JobSummary) -> str:
    return f"bench {job.workload}" if job.kind == "bench" else job.kind
