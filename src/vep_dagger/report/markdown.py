"""``report.md``: the report as a GitHub job summary shows it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from vep_dagger.report.grid import SYMBOLS, grid
from vep_dagger.report.images import different_layers, told
from vep_dagger.report.metrics import SHOWN, metric
from vep_dagger.report.model import CellSummary, Summary
from vep_dagger.report.pick import Decision, broken, decide, ranked
from vep_dagger.report.statistics import Distribution
from vep_dagger.report.text import clean, figure, one_line, seconds, size, start

ROWS = 100
"""The most rows of a table of figures, and the most cells that are explained: a job summary may hold 1 MiB."""

SPECIAL = re.compile(r"([\\`*_\[\]<>#|~&@$])")


def plain(text: str) -> str:
    """``text`` on one line, with nothing in it that Markdown or HTML would act on."""
    return SPECIAL.sub(r"\\\1", one_line(text))


def code(text: str) -> str:
    """``text`` as a code span that holds any backticks, with pipes escaped as tables need it."""
    inner = one_line(text).replace("|", "\\|")
    longest = max((len(run) for run in re.findall("`+", inner)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if longest else ""
    return f"{fence}{pad}{inner}{pad}{fence}"


def fenced(text: str, language: str = "") -> list[str]:
    """``text`` as a code block that holds any backticks."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language}", *clean(text).rstrip("\n").split("\n"), fence]


def report_markdown(summary: Summary) -> str:
    """The pick, the grid, the figures, what did not pass and why, and the builds."""
    decision = decide(summary)
    facts = summary.facts
    counts = [f"{SYMBOLS[verdict]} {count} {verdict}" for verdict, count in summary.counts.items() if count]
    lines = [
        f"# {plain(facts.matrix)}",
        "",
        f"Run {code(facts.run)}, started {plain(facts.started)}, vep {plain(facts.vep_version)}. {' · '.join(counts)}",
        "",
        *_pick(summary, decision),
        "## Verdicts",
        "",
        *_grid(summary),
        "",
        *_figures(summary),
        *_reasons(summary),
        *_starts(summary),
        *_builds(summary),
    ]
    warnings = [*summary.warnings, *(f"{cell.slug}: {text}" for cell in summary.cells for text in cell.warnings)]
    if warnings:
        lines += ["## Warnings", "", *(f"- {plain(warning)}" for warning in warnings[:ROWS]), ""]
    return "\n".join(lines)


def _pick(summary: Summary, decision: Decision) -> list[str]:
    rule = summary.pick
    if decision.outcome == "none":
        return [f"**No pick**: {plain(decision.reason or '')}.", ""]
    what = metric(rule.metric)
    figures = f"{_range(decision.best[0].decisive)} {what.unit}".rstrip()
    where = f"{plain(what.label)}, {rule.better} is better, workload {code(rule.workload or '')}, {decision.basis}"
    if decision.outcome == "tie":
        cells = ", ".join(code(entry.cell.slug) for entry in decision.best)
        return [f"**Tie** at {figures}: {cells} ({where}).", ""]
    winner = decision.best[0].cell
    return [f"**Pick**: {code(winner.slug)} with {figures} ({where}).", "", *fenced(winner.command or "", "sh"), ""]


def _grid(summary: Summary) -> Iterable[str]:
    layout = grid(summary)
    heads = [*layout.row_axes, *layout.columns]
    if layout.column_axis:
        heads = [*layout.row_axes, *(f"{layout.column_axis} = {label}" for label in layout.columns)]
    if layout.rows:
        yield from _table(
            [plain(head) for head in heads],
            (
                [*(f"**{plain(label)}**" for label in row.labels), *(_slot(cells) for cells in row.slots)]
                for row in layout.rows
            ),
        )
    if layout.apart:
        if layout.rows:
            yield ""
        yield from _table(["cell", "verdict"], ([code(cell.slug), _mark(cell)] for cell in layout.apart))


def _slot(cells: Sequence[CellSummary]) -> str:
    return " ".join(_mark(cell) for cell in cells) or "–"


def _mark(cell: CellSummary) -> str:
    return f"{SYMBOLS[cell.verdict]} {cell.verdict}"


def _figures(summary: Summary) -> Iterable[str]:
    for load in summary.workloads:
        cells = ranked(summary, load.name)
        if not cells:
            continue
        names = [name for name in SHOWN if any(cell.figure(load.name, name) for cell in cells)]
        yield from (f"## Workload {plain(load.name)}", "", "Median (min–max) of the repeats.", "")
        yield from _table(
            ["cell", "verdict", "n", *(plain(metric(name).heading) for name in names)],
            ([code(cell.slug), _mark(cell), *_row(cell, load.name, names)] for cell in cells[:ROWS]),
        )
        yield ""
        if len(cells) > ROWS:
            yield from (f"{len(cells) - ROWS} more in `results.csv`.", "")


def _row(cell: CellSummary, workload: str, names: Sequence[str]) -> list[str]:
    found = [cell.figure(workload, name) for name in names]
    n = max((one.n for one in found if one), default=0)
    return [str(n), *(_range(one) if one else "–" for one in found)]


def _range(found: Distribution) -> str:
    if found.n == 1:
        return figure(found.median)
    return f"{figure(found.median)} ({figure(found.low)}–{figure(found.high)})"


def _reasons(summary: Summary) -> Iterable[str]:
    cells = [cell for cell in summary.cells if not cell.eligible]
    if not cells:
        return
    yield from ("## Not passed, or gates not held", "")
    for cell in cells[:ROWS]:
        beyond = [broken(check) for check in cell.gates if not check.held]
        reason = cell.reason if cell.verdict != "passed" else "; ".join(beyond)
        yield f"- {_mark(cell)} {code(cell.slug)}: {plain(reason or cell.verdict)}"
        if cell.witness:
            place = f"{cell.witness.file}:{cell.witness.line}" if cell.witness.line else cell.witness.file
            yield from ("", f"  {code(place)}", "", *(f"  {line}" for line in fenced(cell.witness.text, "text")))
        if cell.command and cell.verdict != "impossible":
            yield from ("", f"  Repeat: {code(cell.command)}", "")
    if len(cells) > ROWS:
        yield f"- {len(cells) - ROWS} more in `index.html`"
    yield ""


def _starts(summary: Summary) -> Iterable[str]:
    """Only where something is kept between starts: else all are alike."""
    cells = [(cell, cell.server) for cell in summary.cells if cell.server and cell.server.warm is not None]
    if not cells:
        return
    yield from ("## Starts", "")
    yield from _table(
        ["cell", "ready after", "start"],
        ([code(cell.slug), seconds(server.ready_seconds), start(server.warm)] for cell, server in cells[:ROWS]),
    )
    yield ""


def _builds(summary: Summary) -> Iterable[str]:
    if not summary.images:
        return
    yield from ("## Builds", "")
    yield from _table(
        ["image", "vLLM", "state", "layers", "time", "published", "notes"],
        (
            [
                *(code(image.tag), plain(image.release), image.state, plain(image.tally), seconds(image.seconds)),
                code(image.published or image.digest or "") if image.published or image.digest else "",
                plain("; ".join(image.notes)),
            ]
            for image in summary.images
        ),
    )
    yield ""
    for image in summary.images:
        if image.failed_step:
            yield from (f"{code(image.tag)} failed:", "", *fenced("\n".join(told(image.failed_step)), "text"), "")
    yield from _layers(summary)


def _layers(summary: Summary) -> Iterable[str]:
    found = different_layers(summary)
    if not found:
        return
    yield from ("## Layers", "", "Each different one once.", "")
    yield from _table(
        ["layer", "state", "time", "size", "images"],
        (
            row
            for layer, tags in found[:ROWS]
            for row in (
                [plain(layer.name), layer.state, seconds(layer.seconds), size(layer.size_bytes), str(len(tags))],
                *([f"– {plain(name)}", "", "", size(part), ""] for name, part in layer.parts.items()),
            )
        ),
    )
    yield ""


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{' --- |' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
