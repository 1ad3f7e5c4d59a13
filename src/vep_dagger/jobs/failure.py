"""How a job ends when it does not pass."""

from __future__ import annotations

from typing import Literal

from vep_dagger.evidence import Witness


class JobFailed(Exception):  # noqa: N818 - what happened to a job, as a record says it
    """A job did not pass: its verdict, why, and the line that shows it. It becomes the job's record and goes no
    further."""

    def __init__(
        self, reason: str, witness: Witness | None = None, verdict: Literal["failed", "fell-back"] = "failed"
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.witness = witness
        self.verdict = verdict
