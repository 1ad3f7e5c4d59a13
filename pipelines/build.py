"""Images of a matrix, each as soon as it is there: ``dagger run python pipelines/build.py``.

``dagger run`` shows the engine's own progress; ``python pipelines/build.py`` alone does the same work. ``--help`` has
the options: where to publish, export, keep finished layers.
"""

from __future__ import annotations

from vep_dagger.evidence import BuildRecord
from vep_dagger.jobs.events import Emit
from vep_dagger.pipeline import carried_out, layers_of, pipeline
from vep_dagger.workflow import Options


async def build(options: Options, emit: Emit) -> bool:
    """Build the images of a matrix, and publish, export and keep them as asked."""
    async with carried_out(options, emit) as run:
        async for image in run.ended(BuildRecord):
            record = image.record
            if record.verdict != "passed":
                print(image.name, record.verdict, record.reason, flush=True)
                continue
            where = record.digest or record.location
            print(image.name, where, f"{layers_of(image)}, {record.seconds:.0f} s", record.published or "", flush=True)
    print(run.outcome.directory)
    return run.outcome.passed


if __name__ == "__main__":
    pipeline(build, "build")
