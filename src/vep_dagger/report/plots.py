"""The page's plots, as plain figures for plotly: data and layout, no drawing and no browser.

Colours are written as the light scheme's values; the page replaces each by the dark scheme's where that is wanted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from vep_dagger.report.grid import SYMBOLS
from vep_dagger.report.metrics import metric
from vep_dagger.report.model import CellSummary, Summary
from vep_dagger.report.text import figure, one_line

SHOWN_CELLS = 20
"""The most cells of one plot: more would be read by nobody, and the table has them all."""
MARKER = 0.08
"""A numbered marker's size as a part of a plot on a phone."""

COLOURS: Mapping[str, tuple[str, str]] = {
    "text": ("#1b1f24", "#e4e8ee"),
    "muted": ("#5b6470", "#98a2b0"),
    "line": ("#d9dee5", "#333b46"),
    "surface": ("#ffffff", "#161a20"),
    "accent": ("#2f6fde", "#6ea3ff"),
    "bar": ("#b7cdf5", "#2c4673"),
    "second": ("#b4550d", "#f0a05a"),
    "point": ("#12356f", "#dbe7ff"),
}
"""Each colour of the plots in the light and the dark scheme."""


@dataclass(frozen=True, slots=True)
class Plot:
    """One figure: what plotly draws, its height in pixels, and what it says to people who do not see it."""

    id: str
    title: str
    caption: str
    alt: str
    height: int
    figure: Mapping[str, Any]
    wide: bool = False


def plots(summary: Summary, workload: str, number: int, cells: Sequence[CellSummary]) -> tuple[Plot, ...]:
    """The plots of one workload, of cells with valid figures, best first; ``number`` makes their ids unique."""
    shown = list(cells[:SHOWN_CELLS])
    if not shown:
        return ()
    left = (
        f" The first {SHOWN_CELLS} of {len(cells)} cells; the table has them all." if len(cells) > SHOWN_CELLS else ""
    )
    labels = [label(summary, cell, rank) for rank, cell in enumerate(shown, start=1)]
    decisive = summary.pick.metric if metric(summary.pick.metric).better == "higher" else "output_throughput"
    made = [
        _bars(f"plot-{number}-throughput", workload, decisive, shown, labels, left),
        _ranges(f"plot-{number}-ttft", workload, "TTFT", "Time to the first token", shown, labels, left),
        _ranges(f"plot-{number}-tpot", workload, "TPOT", "Time per further token", shown, labels, left),
        _speed(f"plot-{number}-speed", workload, shown, _height(labels)),
    ]
    return tuple(plot for plot in made if plot is not None)


def label(summary: Summary, cell: CellSummary, rank: int) -> str:
    """A cell's name beside a plot: its rank and the choices that tell it from others, in lines short for a phone."""
    telling = [axis for axis, labels in summary.axes.items() if len(labels) > 1]
    if not telling or any(axis not in cell.choices for axis in telling):
        words = [cell.slug]
    else:
        words = [cell.choices[axis] for axis in telling]
    # Plotly reads a little HTML in its labels.
    lines = [escape(one_line(_short(word)), quote=False) for word in words]
    lines[0] = f"{rank}. {lines[0]}"
    if not cell.eligible:
        lines[-1] += f" {SYMBOLS['failed' if cell.verdict == 'passed' else cell.verdict]}"
    return "<br>".join(
        [", ".join(lines[start : start + 2]) for start in range(0, len(lines), 2)] if len(lines) > 3 else lines
    )


def _short(word: str) -> str:
    return word if len(word) <= 22 else f"{word[:14]}…{word[-7:]}"


def _bars(
    name: str, workload: str, decisive: str, cells: Sequence[CellSummary], labels: Sequence[str], left: str
) -> Plot | None:
    what = metric(decisive)
    found = [
        (text, cell, one)
        for text, cell in zip(labels, cells, strict=True)
        if (one := cell.figure(workload, decisive)) is not None
    ]
    if not found:
        return None
    bars = {
        "type": "bar",
        "orientation": "h",
        "name": "median",
        "y": [text for text, _, _ in found],
        "x": [one.median for _, _, one in found],
        "marker": {"color": [COLOURS["bar" if cell.eligible else "line"][0] for _, cell, _ in found]},
        "hovertemplate": "%{y}<br>median %{x:,.4~r} " + what.unit + "<extra></extra>",
    }
    points = {
        "type": "scatter",
        "mode": "markers",
        "name": "repeat",
        "y": [text for text, _, one in found for _ in one.values],
        "x": [value for _, _, one in found for value in one.values],
        "marker": {
            "color": COLOURS["point"][0],
            "size": 7,
            "opacity": 0.85,
            "line": {"width": 1, "color": COLOURS["surface"][0]},
        },
        "hovertemplate": "%{y}<br>repeat %{x:,.4~r} " + what.unit + "<extra></extra>",
    }
    said = "; ".join(f"{cell.slug} {figure(one.median)}" for _, cell, one in found)
    return Plot(
        name,
        what.label[:1].upper() + what.label[1:],
        f"Bar: median (grey: did not pass). Dots: repeats. {what.unit}, more is better.{left}",
        f"Bars of {what.heading} by cell: {one_line(said)}",
        _height(labels),
        {"data": [bars, points], "layout": _layout(what.unit, labels, {"bargap": 0.38, "showlegend": False})},
    )


def _ranges(
    name: str, workload: str, what: str, title: str, cells: Sequence[CellSummary], labels: Sequence[str], left: str
) -> Plot | None:
    middle, far = f"median_{what.lower()}_ms", f"p99_{what.lower()}_ms"
    found = [
        (text, cell, a, b)
        for text, cell in zip(labels, cells, strict=True)
        if (a := cell.figure(workload, middle)) and (b := cell.figure(workload, far))
    ]
    if not found:
        return None
    joints = {
        "type": "scatter",
        "mode": "lines",
        "name": "median to p99",
        "y": [part for text, *_ in found for part in (text, text, None)],
        "x": [part for _, _, a, b in found for part in (a.median, b.median, None)],
        "line": {"color": COLOURS["line"][0], "width": 5},
        "hoverinfo": "skip",
        "showlegend": False,
    }

    def points(which: int, title: str, colour: str, symbol: str) -> dict[str, Any]:
        chosen = [(text, (a, b)[which]) for text, _, a, b in found]
        return {
            "type": "scatter",
            "mode": "markers",
            "name": title,
            "y": [text for text, _ in chosen],
            "x": [one.median for _, one in chosen],
            "error_x": {
                "type": "data",
                "symmetric": False,
                "array": [one.high - one.median for _, one in chosen],
                "arrayminus": [one.median - one.low for _, one in chosen],
                "color": COLOURS[colour][0],
                "thickness": 1.2,
                "width": 4,
            },
            "marker": {"color": COLOURS[colour][0], "size": 10, "symbol": symbol},
            "hovertemplate": "%{y}<br>" + title + " %{x:,.4~r} ms<extra></extra>",
        }

    said = "; ".join(f"{cell.slug} {figure(a.median)} and {figure(b.median)}" for _, cell, a, b in found)
    layout = _layout(
        "ms",
        labels,
        {
            "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"},
            "margin": {"t": 30, "r": 16, "b": 44, "l": 8},
        },
    )
    return Plot(
        name,
        f"{title} ({what})",
        f"Median and 99th percentile of the requests; whiskers: range of the repeats. ms, less is better.{left}",
        f"Median and p99 {what} in ms by cell: {one_line(said)}",
        _height(labels),
        {
            "data": [joints, points(0, "median", "accent", "circle"), points(1, "p99", "second", "diamond")],
            "layout": layout,
        },
    )


def _speed(name: str, workload: str, cells: Sequence[CellSummary], height: int) -> Plot | None:
    found = [
        (rank, cell, 1000 / tpot.median, output.median)
        for rank, cell in enumerate(cells, start=1)
        if (tpot := cell.figure(workload, "median_tpot_ms"))
        and tpot.median > 0
        and (output := cell.figure(workload, "output_throughput"))
    ]
    if len(found) < 2:
        return None
    standing = [(x, y) for _, cell, x, y in found if cell.eligible]
    frontier = sorted(
        (x, y) for x, y in standing if not any(a >= x and b >= y and (a, b) != (x, y) for a, b in standing)
    )
    line = {
        "type": "scatter",
        "mode": "lines",
        "name": "frontier",
        "x": [x for x, _ in frontier],
        "y": [y for _, y in frontier],
        "line": {"color": COLOURS["muted"][0], "width": 1.5, "dash": "dot"},
        "hoverinfo": "skip",
    }
    numbered = _apart([(x, y) for _, _, x, y in found])
    points = {
        "type": "scatter",
        "mode": "markers+text",
        "name": "cell",
        "x": [x for _, _, x, _ in found],
        "y": [y for *_, y in found],
        "text": [str(rank) if apart else "" for (rank, *_), apart in zip(found, numbered, strict=True)],
        "customdata": [escape(one_line(cell.slug), quote=False) for _, cell, *_ in found],
        "textfont": {"color": COLOURS["surface"][0], "size": 11},
        "marker": {
            "color": [COLOURS["accent" if cell.eligible else "muted"][0] for _, cell, _, _ in found],
            "opacity": 1,
            "size": [20 if apart else 9 for apart in numbered],
            "line": {"width": 1, "color": COLOURS["surface"][0]},
        },
        "cliponaxis": False,
        "hovertemplate": "%{customdata}<br>%{x:,.4~r} tok/s per user, %{y:,.4~r} tok/s in all<extra></extra>",
    }
    layout = _layout("tok/s per user", (), {"showlegend": False})
    layout["margin"] = {"t": 16, "r": 24, "b": 48, "l": 8}
    # Points show where they stand, not how long they are: these axes need no zero, and use the room.
    layout["xaxis"]["rangemode"] = "normal"
    layout["yaxis"] = {
        **layout["xaxis"],
        "title": {"text": "tok/s in all", "standoff": 6},
        "automargin": True,
    }
    said = "; ".join(f"{cell.slug} {figure(x)} and {figure(y)}" for _, cell, x, y in found)
    return Plot(
        name,
        "Throughput against per-user speed",
        "Per user: 1000 / median TPOT. Numbers are ranks (grey: did not pass). Dotted: cells that none beats in both.",
        f"Output tokens per second for one user and in all, by cell: {one_line(said)}",
        min(max(height, 260), 440),
        {"data": [line, points], "layout": layout},
    )


def _apart(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Which points have the room for a number: those at a marker's distance from all before them that have one."""
    wide = max(x for x, _ in points) - min(x for x, _ in points) or 1.0
    high = max(y for _, y in points) - min(y for _, y in points) or 1.0
    taken: list[tuple[float, float]] = []
    apart = []
    for x, y in points:
        free = all(abs(x - a) > MARKER * wide or abs(y - b) > MARKER * high for a, b in taken)
        apart.append(free)
        if free:
            taken.append((x, y))
    return apart


def _height(labels: Sequence[str]) -> int:
    row = 18 * max(text.count("<br>") + 1 for text in labels) + 14
    return 86 + len(labels) * max(36, row)


def _layout(unit: str, labels: Sequence[str], more: Mapping[str, Any]) -> dict[str, Any]:
    axis = {
        "gridcolor": COLOURS["line"][0],
        "zerolinecolor": COLOURS["line"][0],
        "linecolor": COLOURS["line"][0],
        "fixedrange": True,
        "nticks": 6,
    }
    return {
        "autosize": True,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "inherit", "size": 12, "color": COLOURS["text"][0]},
        "margin": {"t": 8, "r": 16, "b": 44, "l": 8},
        "dragmode": False,
        "hovermode": "closest",
        "hoverlabel": {"bgcolor": COLOURS["surface"][0], "font": {"color": COLOURS["text"][0]}},
        "xaxis": {**axis, "rangemode": "tozero", "title": {"text": unit, "standoff": 6}},
        "yaxis": {
            "type": "category",
            "categoryorder": "array",
            "categoryarray": list(labels),
            "range": [len(labels) - 0.5, -0.5],
            "automargin": True,
            "fixedrange": True,
            "showgrid": False,
            "ticks": "",
            "ticklabelstandoff": 6,
        },
        **more,
    }
