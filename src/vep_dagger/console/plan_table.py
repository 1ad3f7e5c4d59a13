"""A plan as tables: cells, layers, images, jobs; what is impossible and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vep_dagger.dsl import Image, short
from vep_dagger.plan import Plan

ROWS = 60
"""Cells that a table shows; ``--json`` has them all."""


def print_plan(plan: Plan, console: Console) -> None:
    """Print the plan for people."""
    console.print(_cells(plan))
    if len(plan.cells) > ROWS:
        console.print(Text(f"… and {len(plan.cells) - ROWS} more cells; --json lists all", style="dim"))
    console.print()
    if plan.layers:
        console.print(_layers(plan))
        console.print()
    console.print(_images(plan))
    console.print()
    for line in _counts(plan):
        console.print(Text(line))
    for warning in plan.all_warnings:
        console.print(Text(f"warning: {warning}", style="yellow"))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _cells(plan: Plan) -> Table:
    table = _table("cell", "image", "server", "")
    for planned in plan.cells[:ROWS]:
        image, deployment = planned.image, planned.deployment
        if image is None:
            table.add_row(planned.cell.slug, "", "", Text(f"impossible: {planned.impossible}", style="yellow"))
            continue
        # Keys are made only for the rows that are shown.
        server: Text | str = ""
        if deployment is not None:
            own = deployment.slug == planned.cell.slug
            server = short(deployment.key) if own else Text(f"that of {deployment.slug}", style="dim")
        table.add_row(planned.cell.slug, short(image.key), server, "")
    return table


def _layers(plan: Plan) -> Table:
    table = _table("layer", "key", "images", "")
    for layer, document in zip(plan.layers, plan.document_layers(), strict=True):
        missing = Text(f"not locked: {', '.join(document.unresolved)}", style="yellow") if document.unresolved else ""
        table.add_row(Text(layer.name), short(layer.key), str(document.images), missing)
    return table


def _images(plan: Plan) -> Table:
    table = _table("image", "tag", "cells", "")
    cells = Counter(cell.image.key for cell in plan.cells if cell.image)
    for image in plan.images:
        table.add_row(short(image.key), Text(image.tag), str(cells[image.key]), _locked(image))
    return table


def _locked(image: Image) -> Text | str:
    missing = [source for source in image.build.sources if not source.resolved]
    return Text(f"not locked: {len(missing)} sources", style="yellow") if missing else ""


def _counts(plan: Plan) -> Iterator[str]:
    impossible = len(plan.cells) - plan.possible
    yield _many(len(plan.cells), "cell") + (f", {impossible} of them impossible" if impossible else "")
    if plan.layers:
        yield f"{_many(len(plan.layers), 'layer build')} ({plan.layer_builds_alone} if each cell were built by itself)"
    benches = len(plan.deployments) * len(plan.matrix.file.bench)
    jobs = ((len(plan.images), "image build"), (len(plan.deployments), "smoke job"), (benches, "bench job"))
    yield ", ".join(_many(count, what) for count, what in jobs)
    if plan.matrix.file.serve is None:
        yield "nothing to serve: the file has no [serve]"


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
