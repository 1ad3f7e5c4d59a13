"""The whole way from a matrix to a report: ``dagger run python pipelines/all.py``.

What ``vep run`` does, for people who want something in between: another view of the events, a step before or after, an
outcome that goes somewhere else.
"""

from __future__ import annotations

from vep_dagger.jobs.events import Emit
from vep_dagger.pipeline import pipeline
from vep_dagger.report.pick import decide
from vep_dagger.workflow import Options, run


async def everything(options: Options, emit: Emit) -> bool:
    """Build, smoke and bench every cell of a matrix, and report."""
    outcome = await run(options, emit)
    for cell in outcome.summary.cells:
        print(cell.slug, cell.verdict, cell.reason or "")
    decision = decide(outcome.summary)
    print("pick:", " and ".join(entry.cell.slug for entry in decision.best) or decision.reason)
    print(outcome.report[0])
    return outcome.passed


if __name__ == "__main__":
    pipeline(everything, "bench")
