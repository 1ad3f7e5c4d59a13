"""What a finished run comes to: the cells with their verdicts and figures, the pick, and where the report is."""

from __future__ import annotations

import re
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vep_dagger.console.layer_sizes import layer_sizes
from vep_dagger.console.live import STYLES
from vep_dagger.console.plain import MARKS
from vep_dagger.evidence.record import FailedStep
from vep_dagger.jobs.run import Stage
from vep_dagger.report.images import told
from vep_dagger.report.model import CellSummary, ImageSummary, Summary
from vep_dagger.report.pick import decide

_DIGEST = re.compile(r"(sha256:[0-9a-f]{12})[0-9a-f]{52}")
"""A table has the beginning, which engines take as well; the record has all of it."""


def print_outcome(summary: Summary, page: Path, console: Console, stage: Stage) -> None:
    """Print the outcome for people."""
    console.print()
    console.print(_images(summary) if stage == "build" else _cells(summary, measured=stage == "bench"))
    if stage == "build" and (sizes := layer_sizes(summary)):
        console.print()
        console.print(sizes)
    for image in summary.images:
        if image.failed_step is not None:
            console.print(_failed(image, image.failed_step), soft_wrap=True)
        for what, where in (("published", image.published), ("exported", image.exported)):
            if where:
                console.print(Text(f"{what} {where}"), soft_wrap=True)
    told_already = {image.key for image in summary.images if image.failed_step is not None}
    for cell in summary.cells:
        if cell.image in told_already:
            continue
        if cell.verdict in ("failed", "fell-back") and cell.reason is not None:
            # Not in the table: reasons and paths are for copying, and a narrow column would break them.
            console.print(_why(cell), soft_wrap=True)
    console.print()
    if stage == "bench":
        console.print(Text(_pick(summary)), soft_wrap=True)
    console.print(Text(f"report: {page}"), soft_wrap=True)


def _cells(summary: Summary, *, measured: bool) -> Table:
    rule = summary.pick
    table = _table("cell", "verdict")
    if measured and rule.workload:
        table.add_column(f"{rule.workload}: {rule.metric}", justify="right")
    for cell in summary.cells:
        # A smoke test that passed is what was asked for, though the cell was not measured.
        smoke = next((job.verdict for job in cell.jobs if job.kind == "smoke"), cell.verdict)
        verdict = cell.verdict if measured else smoke
        row = [Text(cell.slug), Text(MARKS.get(verdict, verdict), style=STYLES.get(verdict, ""))]
        if measured and rule.workload:
            row.append(Text(_figure(cell, rule.workload, rule.metric)))
        table.add_row(*row)
    return table


def _images(summary: Summary) -> Table:
    table = _table("image", "", "s", "layers", "where")
    for image in summary.images:
        good = image.state in ("built", "cached")
        state = Text(MARKS.get(image.state, image.state), style=STYLES["passed" if good else image.state])
        seconds = f"{image.seconds:.0f}" if image.seconds is not None else ""
        layers = Text(image.tally.partition(": ")[2])
        # Where it was pushed or exported to stands below, unbroken; what a step printed, too.
        where = "" if image.published or image.exported else _DIGEST.sub(r"\1", image.location or "")
        where = where if image.state != "failed" or image.failed_step else image.reason or ""
        table.add_row(Text(image.tag), state, seconds, layers, Text(where))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, no_wrap=name != "where", overflow="fold")
    return table


def _figure(cell: CellSummary, workload: str, metric: str) -> str:
    figure = cell.figure(workload, metric)
    return f"{figure.median:,.1f} ({figure.low:,.1f} – {figure.high:,.1f})" if figure else ""


def _failed(image: ImageSummary, step: FailedStep) -> Text:
    """A build that failed: what and where in its first line, then the command and the end of what it printed."""
    reason = (image.reason or "failed").splitlines()[0]
    text = Text(f"\n{reason if reason.startswith(image.tag) else f'{image.tag}: {reason}'}")
    text.append("".join(f"\n  {line}" for line in told(step)), style="dim")
    for what, value in (("log", image.log), ("help", image.hint)):
        if value:
            text.append(f"\n  {what}: {value}")
    return text


def _why(cell: CellSummary) -> Text:
    text = Text(f"\n{cell.slug}: {cell.reason}")
    if cell.witness is not None:
        place = cell.witness.file + (f":{cell.witness.line}" if cell.witness.line else "")
        text.append(f"\n  {place}: {cell.witness.text}", style="dim")
    return text


def _pick(summary: Summary) -> str:
    decision = decide(summary)
    names = " and ".join(entry.cell.slug for entry in decision.best)
    if decision.outcome == "winner":
        return f"pick: {names} ({decision.basis})"
    return f"no single pick: {decision.reason}" + (f" ({names})" if names else "")
