"""From a matrix to its plan. Pure: no engine, no network, the same on every machine."""

from __future__ import annotations

from pathlib import Path

from vep_dagger.compat import Compat
from vep_dagger.dsl import Impossible
from vep_dagger.errors import MatrixError
from vep_dagger.matrix import Cell, Matrix, expand
from vep_dagger.matrix.lock import Lock
from vep_dagger.plan.collector import collector_paused
from vep_dagger.plan.deployment import OWN_BENCH_FLAGS
from vep_dagger.plan.images import Images
from vep_dagger.plan.own_flags import called, read_as, read_as_flag
from vep_dagger.plan.plan import Plan, PlannedCell
from vep_dagger.plan.servers import Servers
from vep_dagger.recipes.registry import find_recipe


def make_plan(
    matrix: Matrix, *, only: str | None = None, compat: Compat | None = None, lock: Lock | None = None
) -> Plan:
    """The plan of a matrix, or of those cells that the expression ``only`` chooses; with all that ``lock`` knows.

    Raises MatrixError (with the place in the file) for whatever the file says wrong, UsageError for a bad expression.
    """
    recipe = find_recipe(matrix.file.recipe, matrix.path.parent)
    _refuse_own_bench_flags(matrix)
    with collector_paused():
        cells = expand(matrix, tuple(recipe.pins_type.model_fields))
        known = compat or Compat.load()
        images, servers = Images(matrix, recipe, known, lock), Servers(matrix, known)
        # All of them, also with an expression: whose name a shared server bears must not depend on which cells were
        # chosen.
        planned = tuple(_planned(cell, images, servers) for cell in cells)
    return Plan(matrix, None, planned, images.warnings, lock, images.recipes_own).choose(only)


def load_plan(path: Path, *, only: str | None = None, overlay: Path | None = None) -> Plan:
    """The plan of a matrix file and the lock beside it; ``overlay`` is a file that corrects the compatibility data."""
    return make_plan(Matrix.load(path), only=only, compat=Compat.load(overlay), lock=Lock.of(path))


def _planned(cell: Cell, images: Images, servers: Servers) -> PlannedCell:
    server = servers.made(cell)
    if server is None:
        try:
            image = images.of(cell)
            server = servers.of(cell, image)
        except Impossible as reason:
            return PlannedCell(cell, None, None, str(reason))
        if server is None:
            return PlannedCell(cell, image)
    return PlannedCell(cell, server.image, server)


def _refuse_own_bench_flags(matrix: Matrix) -> None:
    for number, load in enumerate(matrix.file.bench):
        for name, value in load.args.items():
            if word := read_as_flag(value):
                raise MatrixError(
                    f"{word!r} is no value of {name}: vLLM takes it for a flag",
                    where=matrix.document.locate(("bench", number, "args", name)),
                    hint="every flag is an entry of its own",
                )
            if flag := read_as(name, OWN_BENCH_FLAGS):
                raise MatrixError(
                    f"{called(name, flag)} is given by vep itself",
                    where=matrix.document.locate(("bench", number, "args", name), key=True),
                    hint="use the key of [[bench]] that sets it; a header with a key is a secret, and stands nowhere",
                )
