"""Records: what a finished job says of itself. ``docs/evidence.md`` explains each field.

A record is written whole or not at all (:mod:`vep_dagger.evidence.rundir`) and carries its job's key, so that a reader
knows whether it still belongs to the plan.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

FORMAT: Literal[1] = 1

Verdict: TypeAlias = Literal["passed", "failed", "fell-back", "impossible", "not-run"]
"""What can be said of a job or a cell. Only the first three are ever written into a record: ``impossible`` comes from
the plan, and ``not-run`` is what is left."""


class Part(BaseModel):
    """Base of everything in a record: strict, frozen, no unknown keys."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Witness(Part):
    """Where a claim can be seen: a file of the run directory (relative path), a line of it (from 1), and the line's
    text, cleaned."""

    file: str
    line: int | None = None
    text: str


class RecordBase(Part):
    """What every record has."""

    format: Literal[1] = FORMAT
    job: str
    key: str
    verdict: Literal["passed", "failed", "fell-back"]
    reason: str | None = Field(default=None, description="Why it is not ``passed``, for people.")
    witness: Witness | None = Field(default=None, description="The evidence for the reason.")
    started: str = Field(description="UTC, ISO 8601.")
    seconds: float


class LayerRecord(Part):
    """One layer or step of a build: whether it was built, cached, or taken from somewhere else, and its seconds."""

    name: str
    key: str
    state: Literal["built", "cached", "taken", "failed"]
    seconds: float
    size_bytes: int | None = Field(default=None, description="What it adds to the image, where the engine says.")
    parts: dict[str, int] = Field(
        default_factory=dict, description="Of these bytes, those of each part of an installation: all of them, or none."
    )


class FailedStep(Part):
    """What of a build failed: the layer, the command, its exit code, and its last lines of output, cleaned."""

    layer: str | None = None
    command: str | None = None
    code: int | None = None
    output: list[str] = Field(default_factory=list)


class BuildRecord(RecordBase):
    """An image was built, or found."""

    kind: Literal["build"] = "build"
    image: str
    builder: str
    cached: bool = Field(description="Whether the whole image was there already.")
    location: str | None = Field(description="Where it is: a directory, or an image reference with its digest.")
    digest: str | None = Field(default=None, description="``sha256:…`` of the image, of a container builder.")
    published: str | None = Field(default=None, description="``repository:tag@sha256:…`` if it was pushed.")
    exported: str | None = Field(default=None, description="The archive that it was exported to.")
    layers: list[LayerRecord]
    failed_step: FailedStep | None = Field(default=None, description="Of a build that did not pass because of one.")
    notes: list[str] = Field(
        default_factory=list, description="What people should know: which torch was taken, for instance."
    )
    packages: dict[str, str] = Field(default_factory=dict, description="Python packages by name.")
    size_bytes: int | None = None
    log: str | None = Field(default=None, description="Relative path.")


class PhaseSpan(Part):
    """One phase of a server's start, in seconds from the process' start."""

    phase: str
    begin: float
    seconds: float


class StopFacts(Part):
    """How a server ended. ``killed`` counts processes of it that did not end by themselves."""

    exit_code: int | None = Field(description="None if it had to be killed.")
    clean: bool = Field(description="Whether asking was enough, for all of its processes.")
    seconds: float
    killed: int


class ServerFacts(Part):
    """One start of a server: its log, its phases, how long until ``/health``, and how it stopped."""

    number: int = Field(description="Counts the starts of this deployment in this run, from 1.")
    launcher: str
    log: str = Field(description="Relative path.")
    command: list[str]
    phases: list[PhaseSpan] = Field(default_factory=list)
    ready_seconds: float | None = Field(
        default=None, description="From the process' start to ``/health`` answering 200."
    )
    warm: bool | None = Field(
        default=None,
        description="Whether what an earlier start of the same deployment compiled was there; null where nothing is "
        "kept between starts.",
    )
    version: str | None = Field(default=None, description="What ``/version`` answered.")
    peak_memory_bytes: int | None = Field(
        default=None,
        description="The most that the server's processes held together; looked at between measurements.",
    )
    stop: StopFacts | None = Field(default=None, description="None until the server has been stopped.")


class Answer(Part):
    """One greedy completion of the smoke test."""

    prompt: str
    text: str
    tokens: int
    seconds: float


class LineSeen(Part):
    """A demanded or forbidden line, and where it was seen (None: nowhere)."""

    name: str
    pattern: str
    seen: Witness | None = None


class SmokeRecord(RecordBase):
    """A server was started and is, or is not, what its cell says."""

    kind: Literal["smoke"] = "smoke"
    deployment: str
    server: ServerFacts
    answers: list[Answer] = Field(default_factory=list)
    demanded: list[LineSeen] = Field(default_factory=list)
    forbidden: list[LineSeen] = Field(default_factory=list)


class Repeat(Part):
    """One measurement: the raw result's file, what was asked and completed, and the figures.

    ``metrics`` are named as in ``vllm bench serve``'s result: throughputs in 1/s, times in milliseconds.
    """

    file: str
    completed: int
    num_prompts: int
    duration_s: float
    metrics: dict[str, float]


class BenchRecord(RecordBase):
    """A workload was measured. When not ``passed`` the result is void and no repeat of it may be used."""

    kind: Literal["bench"] = "bench"
    deployment: str
    workload: str
    server: int = Field(description="The number of the server start that was measured.")
    command: list[str] = Field(description="``vllm bench serve`` and its arguments, of the first repeat.")
    warmup: Repeat | None = None
    repeats: list[Repeat] = Field(default_factory=list)
    server_requests: dict[str, float] = Field(
        default_factory=dict,
        description="The server's own count of finished requests during the repeats, by reason (``/metrics``).",
    )


AnyRecord: TypeAlias = BuildRecord | SmokeRecord | BenchRecord
RECORD: TypeAdapter[AnyRecord] = TypeAdapter(Annotated[AnyRecord, Field(discriminator="kind")])
"""Reads any record."""
