"""What a finished run comes to: the cells with their verdicts and figures, the pick, and where the report is."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vep_dagger.console.live import STYLES
from vep_dagger.console.plain import MARKS
from vep_dagger.report.model import CellSummary, Summary
from vep_dagger.report.pick import decide


def print_outcome(summary: Summary, report: tuple[Path, ...], console: Console) -> None:
    """Print the outcome for people."""
    rule = summary.pick
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("cell", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    if rule.workload:
        table.add_column(f"{rule.workload}: {rule.metric}", justify="right")
    table.add_column("", overflow="fold")
    for cell in summary.cells:
        verdict = Text(MARKS.get(cell.verdict, cell.verdict), style=STYLES.get(cell.verdict, ""))
        row: list[Text | str] = [cell.slug, verdict]
        if rule.workload:
            row.append(_figure(cell, rule.workload, rule.metric))
        table.add_row(*row, _why(cell))
    console.print()
    console.print(table)
    console.print()
    console.print(Text(_pick(summary)))
    console.print(Text(f"report: {report[0]}"), soft_wrap=True)


def _figure(cell: CellSummary, workload: str, metric: str) -> str:
    figure = cell.figure(workload, metric)
    return f"{figure.median:,.1f} ({figure.low:,.1f} – {figure.high:,.1f})" if figure else ""


def _why(cell: CellSummary) -> Text:
    if cell.reason is None:
        return Text("")
    text = Text(cell.reason)
    if cell.witness is not None:
        place = cell.witness.file + (f":{cell.witness.line}" if cell.witness.line else "")
        text.append(f"\n{place}: {cell.witness.text}", style="dim")
    return text


def _pick(summary: Summary) -> str:
    decision = decide(summary)
    names = " and ".join(entry.cell.slug for entry in decision.best)
    if decision.outcome == "winner":
        return f"pick: {names} ({decision.basis})"
    return f"no single pick: {decision.reason}" + (f" ({names})" if names else "")
