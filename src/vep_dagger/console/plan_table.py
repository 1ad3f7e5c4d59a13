"""A plan as tables: cells, layers, images, jobs; what is impossible and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vep_dagger.dsl import GitSource, Image, ImageSource, Layer, Source, short
from vep_dagger.plan import Plan
from vep_dagger.plan.open_sources import OpenSource, open_sources
from vep_dagger.plan.plan import with_needs

ROWS = 60
"""Cells that a table shows; ``--json`` has them all."""


def print_plan(plan: Plan, console: Console) -> None:
    """Print the plan for people."""
    console.print(_cells(plan))
    if len(plan.cells) > ROWS:
        console.print(Text(f"… and {len(plan.cells) - ROWS} more cells; --json lists all", style="dim"))
        _print_reasons(plan, console)
    console.print()
    if plan.layers:
        console.print(_layers(plan))
        console.print()
    console.print(_images(plan))
    console.print()
    for line in _counts(plan):
        console.print(Text(line))
    for line in _open(open_sources(plan)):
        console.print(Text(line, style="yellow"))
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


def _print_reasons(plan: Plan, console: Console) -> None:
    """Why cells are impossible that the table has no row for."""
    reasons = Counter(planned.impossible for planned in plan.cells[ROWS:] if planned.impossible)
    for reason, count in reasons.items():
        console.print(Text(f"{count} of them impossible: {reason}", style="yellow"))


def _layers(plan: Plan) -> Table:
    """Each layer that is built, once, with how many cells share it, and what it is made of."""
    cells = Counter(cell.image.key for cell in plan.cells if cell.image)
    sharing: Counter[str] = Counter()
    for image in plan.images:
        sharing.update({layer.key: cells[image.key] for layer in with_needs(image)})
    table = _table("layer", "key", "cells", "sources")
    for layer in plan.layers:
        table.add_row(Text(layer.name), short(layer.key), str(sharing[layer.key]), _sources(layer))
    return table


def _sources(layer: Layer) -> Text:
    base = () if isinstance(layer.base, Layer) else (layer.base,)
    known = [_held(source) for source in (*base, *layer.build.sources) if source.resolved]
    missing = [_asked(source) for source in (*base, *layer.build.sources) if not source.resolved]
    text = Text(", ".join(known))
    if missing:
        text.append(("; " if known else "") + f"not locked: {', '.join(missing)}", style="yellow")
    return text


def _held(source: Source) -> str:
    """A source in a few characters: what a person calls it, and the beginning of what it holds."""
    match source:
        case GitSource(url, commit, ref):
            return " ".join(filter(None, (url.rpartition("/")[2].removesuffix(".git"), ref, (commit or "")[:12])))
        case ImageSource(ref, digest):
            return " ".join(filter(None, (ref, (digest or "").removeprefix("sha256:")[:12])))
        case _:
            return f"{source.url.rpartition('/')[2]} {(source.sha256 or '')[:12]}"


def _asked(source: Source) -> str:
    match source:
        case GitSource(url, _, ref):
            return f"{url} {ref or ''}".rstrip()
        case ImageSource(ref):
            return ref
        case _:
            return source.url


def _images(plan: Plan) -> Table:
    table = _table("image", "tag", "cells", "")
    cells = Counter(cell.image.key for cell in plan.cells if cell.image)
    for image in plan.images:
        table.add_row(short(image.key), Text(image.tag), str(cells[image.key]), _locked(image))
    return table


def _locked(image: Image) -> Text | str:
    missing = [source for source in image.build.sources if not source.resolved]
    return Text(f"not locked: {_many(len(missing), 'source')}", style="yellow") if missing else ""


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


def _open(sources: tuple[OpenSource, ...]) -> Iterator[str]:
    """What is not resolved, and what would resolve it."""
    stopping = [source for source in sources if source.stops]
    if stopping:
        yield f"{_many(len(stopping), 'source')} not locked, and needed by every build of their layers: run `vep lock`"
    for source in stopping:
        if source.unseen:
            users = ", ".join(source.used_by)
            yield f"  {source.asked} ({users}): `vep lock` could not see it: {source.unseen}; pin what it holds"
    late = [source for source in sources if not source.stops]
    if late:
        users = ", ".join(dict.fromkeys(name for source in late for name in source.used_by))
        yield (
            f"{_many(len(late), 'Python environment')} ({users}) not locked, and resolved when it is installed: "
            "`vep lock` writes its packages down"
        )


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
