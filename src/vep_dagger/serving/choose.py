"""The one cell that is served, and where it listens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from vep_dagger.errors import UsageError
from vep_dagger.plan import Deployment, Plan, load_plan
from vep_dagger.plan.meant import one_deployment
from vep_dagger.workflow import Options, settled_lock

PORT = 8000
"""Where a server listens unless somebody says otherwise, as with ``vllm serve`` itself."""


@dataclass(frozen=True)
class Asked:
    """What a person asked to be served."""

    options: Options
    cell: str
    """A cell's name, or an expression as for ``-k`` that chooses cells of one server."""
    host: str | None = None
    """None for the matrix file's."""
    port: int | None = None
    """None for the matrix file's, or :data:`PORT`; 0 for a free one."""


@dataclass(frozen=True)
class Chosen:
    """A deployment in a plan of its own, which has host and port as they were asked for."""

    full: Plan
    """The plan of all cells."""
    plan: Plan
    deployment: Deployment


async def choose_locked(asked: Asked, say: Callable[[str], None]) -> Chosen:
    """The same as :func:`choose`, with the lock completed for what is going to be built, or held against it. Raises
    LockError too."""
    chosen = choose(asked)
    cells = replace(chosen.full, cells=chosen.plan.cells)
    full = await settled_lock(chosen.full, asked.options, lambda event: say(event.text), cells)
    return chosen if full is chosen.full else choose(asked, full)


def choose(asked: Asked, full: Plan | None = None) -> Chosen:
    """The deployment that was asked for, of ``full`` or of the file as it is. Raises MatrixError for the file,
    UsageError if that is not one that a single machine can serve."""
    full = full or load_plan(asked.options.matrix, overlay=asked.options.compat)
    deployment = one_deployment(full, asked.cell)
    if deployment.nodes > 1:
        raise UsageError(
            f"its server runs on {deployment.nodes} nodes, and vep serve starts it on one",
            where=f"cell {deployment.slug}",
            hint="vep plan --json has the command of each node",
        )
    file = full.matrix.file
    assert file.serve is not None, "there is a deployment"
    port = asked.port if asked.port is not None else file.serve.port or PORT
    serve = file.serve.model_copy(update={"host": asked.host or file.serve.host, "port": port or None})
    cells = tuple(planned for planned in full.cells if planned.deployment is deployment)
    matrix = replace(full.matrix, file=file.model_copy(update={"serve": serve}))
    return Chosen(full, replace(full, matrix=matrix, only=deployment.slug, cells=cells[:1]), deployment)
