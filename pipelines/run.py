"""The whole way as plain calls, to run and to copy: ``python pipelines/run.py examples/cpu/matrix.toml``.

What ``vep run`` does, for people who want something in between: another view of the events, a step before or after, an
outcome that goes somewhere else.
"""

from __future__ import annotations

import sys
from pathlib import Path

import anyio

from vep_dagger.jobs.events import Event
from vep_dagger.workflow import Options, run


def show(event: Event) -> None:
    """Print what has ended; the rest is in the run directory."""
    if event.kind in ("job-finished", "job-skipped", "note"):
        print(event.verdict or event.kind, event.job or "", event.text, sep="\t", flush=True)


async def main(matrix: Path) -> int:
    """Build, smoke and bench every cell of ``matrix``; 0 if all passed."""
    outcome = await run(Options(matrix), show)
    for cell in outcome.summary.cells:
        print(cell.slug, cell.verdict, *(f"{name} {limit}" for name, limit in outcome.summary.gates.items()))
    print(outcome.report[0])
    return 0 if outcome.passed else 1


if __name__ == "__main__":
    sys.exit(anyio.run(main, Path(sys.argv[1] if len(sys.argv) > 1 else "matrix.toml")))
