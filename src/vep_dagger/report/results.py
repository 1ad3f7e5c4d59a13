"""``results.csv``: every measurement in long form, one row for each cell, workload and repeat."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from vep_dagger.report.metrics import KNOWN
from vep_dagger.report.model import CellSummary, Summary
from vep_dagger.report.text import one_line

BEFORE = ("cell", "verdict")
AFTER = ("workload", "repeat", "completed", "num_prompts", "duration_s")
LAST = ("ready_s", "warm", "reason")
FORMULA = ("=", "+", "-", "@")


def results_csv(summary: Summary) -> str:
    """The table as ``docs/report.md`` describes it, with a header, commas and ``\\n`` line ends.

    A void repeat has its counts and no figures; a cell without any measurement has one row with neither.
    """
    axes = list(dict.fromkeys([*summary.axes, *(axis for cell in summary.cells for axis in cell.choices)]))
    metrics = [*KNOWN, *sorted(_names(summary) - set(KNOWN))]
    taken = {*BEFORE, *AFTER, *metrics, *LAST}
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    heads = [f"axis_{axis}" if axis in taken else axis for axis in axes]
    writer.writerow([harmless(name) for name in (*BEFORE, *heads, *AFTER, *metrics, *LAST)])
    for cell in summary.cells:
        before = [harmless(cell.slug), cell.verdict, *(harmless(cell.choices.get(axis, "")) for axis in axes)]
        last = [*_start(cell), harmless(one_line(cell.reason or ""))]
        for measurement in _measurements(cell, metrics):
            writer.writerow([*before, *measurement, *last])
    return out.getvalue()


def _start(cell: CellSummary) -> list[str]:
    """How long the server took to be ready, and whether that was a warm start, where anything is kept for one."""
    server = cell.server
    if server is None:
        return ["", ""]
    ready = "" if server.ready_seconds is None else repr(server.ready_seconds)
    return [ready, "" if server.warm is None else str(server.warm).lower()]


def harmless(text: str) -> str:
    """``text`` with a quote before it if a spreadsheet would run it as a formula; a plain number stays one."""
    if not text.lstrip().startswith(FORMULA):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def _measurements(cell: CellSummary, metrics: list[str]) -> Iterator[list[str]]:
    empty = [""] * len(metrics)
    repeats = [
        (measured, number, repeat) for measured in cell.measured for number, repeat in enumerate(measured.repeats)
    ]
    for measured, number, repeat in repeats:
        counts = [str(number + 1), str(repeat.completed), str(repeat.num_prompts), repr(repeat.duration_s)]
        valid = measured.state == "measured"
        figures = [repr(repeat.metrics[name]) if name in repeat.metrics else "" for name in metrics]
        yield [harmless(measured.workload), *counts, *(figures if valid else empty)]
    if not repeats:
        yield [""] * len(AFTER) + empty


def _names(summary: Summary) -> set[str]:
    measured = (measured for cell in summary.cells for measured in cell.measured)
    return {name for found in measured for name in found.figures}
