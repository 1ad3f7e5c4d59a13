"""Cells of a matrix, each measured on a server that was proven before: ``dagger run python pipelines/bench.py``.

What is not built or proven yet is so first. With ``--out DIR --resume`` it goes on in the run of ``build.py`` or
``smoke.py``; ``--builder registry --from REPO`` measures images that were published, on another machine for instance.
"""

from __future__ import annotations

from statistics import median

from vep_dagger.evidence import BenchRecord
from vep_dagger.jobs.events import Emit
from vep_dagger.pipeline import carried_out, pipeline
from vep_dagger.workflow import Options

SHOWN = ("output_throughput", "median_ttft_ms", "median_tpot_ms")


async def bench(options: Options, emit: Emit) -> bool:
    """Measure each cell's workloads, and report."""
    async with carried_out(options, emit) as run:
        async for cell in run.ended(BenchRecord):
            record = cell.record
            repeats = [repeat.metrics for repeat in record.repeats]
            figures = [f"{name} {median(of[name] for of in repeats):.1f}" for name in SHOWN if repeats]
            print(cell.name, record.workload, record.verdict, record.reason or ", ".join(figures), flush=True)
    print(run.outcome.report[0])
    return run.outcome.passed


if __name__ == "__main__":
    pipeline(bench, "bench")
