"""The pick: which cell is best, or why none is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from vep_dagger.report.metrics import metric
from vep_dagger.report.model import CellSummary, GateCheck, Summary
from vep_dagger.report.statistics import Distribution
from vep_dagger.report.text import figure, limit

FORMAT = 1
"""Raised when a reader of an older ``pick.json`` could misunderstand a newer one."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A cell that could be picked, and the figure that decides."""

    cell: CellSummary
    decisive: Distribution
    behind: float | None
    """How much worse than the best median, as a part of it (0.05 is 5 %)."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome, the ranked cells that passed and hold the gates, and why each other cell is not among them."""

    outcome: Literal["winner", "tie", "none"]
    reason: str | None
    """Why there is no winner; None when there is one."""
    basis: str
    best: tuple[Entry, ...]
    """The winner, or the cells that tie, or nothing."""
    runners_up: tuple[Entry, ...]
    left_out: tuple[tuple[CellSummary, str], ...]


def decide(summary: Summary) -> Decision:
    """Rank the cells that passed and hold the gates by the median of the rule's metric.

    Cells of one server have the same figures by their nature, so the first of them stands for all. Medians that are
    equal are a tie: the order of the file is no reason to prefer one.
    """
    rule = summary.pick
    left_out: list[tuple[CellSummary, str]] = []
    found: list[tuple[CellSummary, Distribution]] = []
    servers: set[str | None] = set()
    for cell in summary.cells:
        because = _left_out(cell)
        decisive = cell.figure(rule.workload, rule.metric)
        if because is None and decisive is None:
            because = f"no figure of {metric(rule.metric).label} to pick by"
        if because is not None or decisive is None:
            left_out.append((cell, because or ""))
        elif cell.deployment not in servers:
            servers.add(cell.deployment)
            found.append((cell, decisive))
    # sorted() is stable: equal medians stay in the order of the file.
    found.sort(key=lambda pair: pair[1].median, reverse=rule.better == "higher")
    if not found:
        return Decision(
            "none", _why_none(summary, left_out), "no measurement that may be used", (), (), tuple(left_out)
        )
    top = found[0][1].median
    entries = tuple(Entry(cell, decisive, _behind(decisive.median, top)) for cell, decisive in found)
    best = tuple(entry for entry in entries if entry.decisive.median == top)
    runners_up = entries[len(best) :]
    if len(best) > 1:
        reason = f"{len(best)} servers have the same median"
        return Decision("tie", reason, _basis(entries), best, runners_up, tuple(left_out))
    return Decision("winner", None, _basis(entries), best, runners_up, tuple(left_out))


def ranked(summary: Summary, workload: str) -> list[CellSummary]:
    """The cells with valid figures of one workload: those that a pick may name first, and the best of them first."""
    rule = summary.pick
    sign = -1.0 if rule.better == "higher" else 1.0

    def rank(cell: CellSummary) -> tuple[bool, bool, float]:
        decisive = cell.figure(workload, rule.metric)
        return not cell.eligible, decisive is None, sign * decisive.median if decisive else 0.0

    measured = (cell for cell in summary.cells if (found := cell.of(workload)) and found.state == "measured")
    return sorted(measured, key=rank)


def pick_document(summary: Summary) -> dict[str, object]:
    """``pick.json``, as ``docs/report.md`` describes it."""
    decision = decide(summary)
    rule = summary.pick
    entries = [_entry(summary, entry) for entry in decision.best]
    return {
        "format": FORMAT,
        "run": summary.facts.run,
        "matrix": summary.facts.matrix,
        "vep": summary.facts.vep_version,
        "lock": summary.lock,
        "rule": {
            "metric": rule.metric,
            "unit": metric(rule.metric).unit,
            "better": rule.better,
            "workload": rule.workload,
            "gates": dict(summary.gates),
        },
        "basis": decision.basis,
        "outcome": decision.outcome,
        "reason": decision.reason,
        "winner": entries[0] if decision.outcome == "winner" else None,
        "tied": entries if decision.outcome == "tie" else [],
        "runners_up": [_entry(summary, entry) for entry in decision.runners_up],
        "left_out": [
            {"cell": cell.slug, "verdict": cell.verdict, "reason": because} for cell, because in decision.left_out
        ],
    }


def broken(check: GateCheck) -> str:
    """A gate that does not hold, for people: the figure, the limit, and by how much."""
    what = metric(check.metric)
    if check.value is None or check.by is None:
        return f"{check.workload}: no figure of {what.label}, which is gated"
    side = "under" if what.better == "higher" else "over"
    unit = f" {what.unit}" if what.unit else ""
    return (
        f"{check.workload}: {what.label} {figure(check.value)}{unit} is {figure(check.by)}{unit}"
        f" ({check.by / check.limit:.1%}) {side} the limit of {limit(check.limit)}{unit}"
    )


def _left_out(cell: CellSummary) -> str | None:
    if cell.verdict != "passed":
        return cell.reason or cell.verdict
    beyond = [broken(check) for check in cell.gates if not check.held]
    return "; ".join(beyond) or None


def _why_none(summary: Summary, left_out: list[tuple[CellSummary, str]]) -> str:
    if all(cell.deployment is None and cell.verdict != "impossible" for cell in summary.cells):
        return "the matrix has no [serve]: nothing to serve, so nothing was measured"
    if not summary.workloads:
        return "the matrix has no [[bench]], so nothing was measured"
    passed = sum(cell.verdict == "passed" for cell, _ in left_out)
    if passed == 0:
        return "no cell passed"
    cells = "the cell that passed" if passed == 1 else f"none of the {passed} cells that passed"
    holds = "does not hold the gates" if passed == 1 else "holds the gates"
    gated = any(not check.held for cell, _ in left_out for check in cell.gates)
    return f"{cells} {holds}" if gated else "no cell that passed has a figure to pick by"


def _behind(median: float, top: float) -> float | None:
    return abs(median - top) / abs(top) if top else None


def _basis(entries: tuple[Entry, ...]) -> str:
    counts = sorted({entry.decisive.n for entry in entries})
    repeats = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"median of {repeats} repeat{'' if counts == [1] else 's'}, no interval yet"


def _entry(summary: Summary, entry: Entry) -> dict[str, object]:
    cell = entry.cell
    image = summary.image(cell.image)
    return {
        "cell": cell.slug,
        "choices": dict(cell.choices),
        "same_server": list(cell.shared),
        "decisive": _figure(entry.decisive),
        "behind": entry.behind,
        "figures": {
            measured.workload: {name: _figure(found) for name, found in measured.figures.items()}
            for measured in cell.measured
        },
        "image": {
            "key": cell.image,
            "tag": image.tag if image else None,
            "location": image.location if image else None,
            "digest": image.digest if image else None,
            "published": image.published if image else None,
        },
        "command": cell.command,
    }


def _figure(found: Distribution) -> Mapping[str, object]:
    return {"median": found.median, "low": found.low, "high": found.high, "n": found.n, "range": found.basis}
