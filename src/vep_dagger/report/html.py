"""``index.html``: the report as one page that works from a file, without a network.

All text of a run is foreign: the template escapes it, and the page's own policy lets no script run but the ones whose
hashes it names, and nothing be loaded from anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vep_dagger.evidence.record import PhaseSpan
from vep_dagger.report.grid import SYMBOLS, grid
from vep_dagger.report.images import told
from vep_dagger.report.metrics import SHOWN, Metric, metric
from vep_dagger.report.model import CellSummary, Summary
from vep_dagger.report.pick import broken, decide, ranked
from vep_dagger.report.plots import COLOURS, Plot, plots
from vep_dagger.report.text import clean, figure, href, limit, seconds, size, start

TEMPLATES = Path(__file__).parent / "templates"

PLOT_CONFIG = {"displayModeBar": False, "displaylogo": False, "showTips": False}

COMPACT_ROWS = 12
"""A grid of more rows is set in smaller ones."""
OPEN_CELLS = 4
"""The most cells whose details are open from the start."""


@dataclass(frozen=True, slots=True)
class Section:
    """One workload of the page: its cells with valid figures, best first, its columns, and its plots."""

    name: str
    title: str
    cells: tuple[CellSummary, ...]
    columns: tuple[Metric, ...]
    plots: tuple[Plot, ...]


def report_html(summary: Summary) -> str:
    """The whole page. Without a measurement it has no plots, and is small."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        clean=clean,
        figure=figure,
        limit=limit,
        href=href,
        seconds=seconds,
        size=size,
        start=start,
        told=told,
        broken=broken,
        metric=metric,
        shares=_shares,
    )
    decision = decide(summary)
    sections = tuple(_sections(summary))
    drawn = [plot for section in sections for plot in section.plots]
    scripts = [*([_plotlyjs()] if drawn else []), (TEMPLATES / "report.js").read_text("utf-8")]
    layout = grid(summary)
    numbers = {cell.slug: number for number, cell in enumerate(summary.cells, start=1)}
    return environment.get_template("report.html.j2").render(
        summary=summary,
        facts=summary.facts,
        decision=decision,
        deciding=metric(summary.pick.metric),
        layout=layout,
        compact=len(layout.rows) > COMPACT_ROWS,
        sections=sections,
        symbols=SYMBOLS,
        numbers=numbers,
        troubled=[cell for cell in summary.cells if not cell.eligible],
        open_cells=len(summary.cells) <= OPEN_CELLS,
        style=(TEMPLATES / "report.css").read_text("utf-8"),
        scripts=scripts,
        policy=_policy(scripts),
        plot_data=_embedded(_plot_data(drawn)) if drawn else None,
    )


def _sections(summary: Summary) -> Iterator[Section]:
    for number, load in enumerate(summary.workloads, start=1):
        cells = ranked(summary, load.name)
        columns = tuple(metric(name) for name in SHOWN if any(cell.figure(load.name, name) for cell in cells))
        options = {name: load.options.get(name) for name in ("input_len", "output_len")}
        lengths = " in, ".join(str(value) for value in options.values() if value is not None)
        title = f"{load.num_prompts:,} prompts" + (f", {lengths} out tokens" if "in, " in lengths else "")
        title += f", {load.repeats} repeat{'s' if load.repeats != 1 else ''}"
        yield Section(load.name, title, tuple(cells), columns, plots(summary, load.name, number, cells))


def _shares(phases: Sequence[PhaseSpan]) -> list[tuple[PhaseSpan, float, float]]:
    """Each phase with where it begins and how long it is, in percent of the start as its phases span it."""
    first = min(phase.begin for phase in phases)
    whole = max(phase.begin + phase.seconds for phase in phases) - first
    scale = 100 / whole if whole > 0 else 0.0
    return [(phase, (phase.begin - first) * scale, phase.seconds * scale) for phase in phases]


def _plot_data(drawn: Sequence[Plot]) -> Mapping[str, Any]:
    """What the page's script needs: every figure, and the dark scheme's colour for each of the light one's."""
    return {
        "plots": {plot.id: asdict(plot)["figure"] for plot in drawn},
        "dark": dict(COLOURS.values()),
        "config": PLOT_CONFIG,
    }


def _embedded(value: Mapping[str, Any]) -> str:
    """JSON that can stand in a script element: nothing in it can end the element or begin a comment."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _policy(scripts: Sequence[str]) -> str:
    allowed = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts
    )
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; form-action 'none'"
    )


def _plotlyjs() -> str:
    from plotly.offline import get_plotlyjs

    # A line end of another kind would change the hash, since browsers read every line end as "\n".
    text: str = get_plotlyjs().replace("\r\n", "\n").replace("\r", "\n")
    return text
