"""Servers of a matrix, each proven to be what its cell says: ``dagger run python pipelines/smoke.py``.

What is not built yet is built first. With ``--out DIR --resume`` it goes on in the run of ``build.py``: what is
finished there is not done again.
"""

from __future__ import annotations

from vep_dagger.evidence import SmokeRecord
from vep_dagger.jobs.events import Emit
from vep_dagger.pipeline import carried_out, pipeline
from vep_dagger.workflow import Options


async def smoke(options: Options, emit: Emit) -> bool:
    """Start the server of each cell, prove that it is what the cell says, and stop it."""
    async with carried_out(options, emit) as run:
        async for cell in run.ended(SmokeRecord):
            record = cell.record
            ready = record.server.ready_seconds
            print(cell.name, record.verdict, record.reason or (f"ready in {ready:.0f} s" if ready else ""), flush=True)
            if record.witness:
                print(f"  {record.witness.file}:{record.witness.line or ''} {record.witness.text}", flush=True)
    print(run.outcome.directory)
    return run.outcome.passed


if __name__ == "__main__":
    pipeline(smoke, "smoke")
