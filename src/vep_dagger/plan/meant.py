"""What a person means who names one cell: its image, or its server. Cells that share one are as good as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from vep_dagger.dsl import Image
from vep_dagger.errors import UsageError
from vep_dagger.plan.deployment import Deployment
from vep_dagger.plan.plan import Plan, PlannedCell

T = TypeVar("T")

SHOWN = 4
"""How many images or servers are named where there are too many."""


def one_image(plan: Plan, cell: str) -> Image:
    """The image of the cell of that name, or of those that an expression chooses. Raises UsageError if that is not one
    image."""
    cells = _meant(plan, cell)
    images = {planned.image.key: planned.image for planned in cells if planned.image}
    return _only(cell, cells, "image", images, [image.tag for image in images.values()])


def one_deployment(plan: Plan, cell: str) -> Deployment:
    """The server of the cell of that name, or of those that an expression chooses. Raises UsageError if that is not one
    server."""
    cells = _meant(plan, cell)
    servers = {planned.deployment.key: planned.deployment for planned in cells if planned.deployment}
    return _only(cell, cells, "server", servers, [server.slug for server in servers.values()])


def _meant(plan: Plan, cell: str) -> Sequence[PlannedCell]:
    named = tuple(planned for planned in plan.cells if planned.cell.slug == cell)
    return named or plan.choose(cell, "CELL").cells


def _only(asked: str, cells: Sequence[PlannedCell], noun: str, found: Mapping[str, T], names: Sequence[str]) -> T:
    """The one of ``found``, which has them by their keys: two of them may have one name."""
    if len(found) == 1:
        return next(iter(found.values()))
    if not found:
        # A cell that is possible has an image.
        why = next((planned.impossible for planned in cells if planned.impossible), "the matrix has no [serve]")
        raise UsageError(f"{asked!r} has no {noun}: {why}", where="CELL")
    shown = ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
    raise UsageError(
        f"{asked!r} chooses cells of {len(found)} {noun}s: {shown}",
        where="CELL",
        hint="name one cell; vep plan lists them",
    )
