"""Findings for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from vep_dagger.doctor.finding import Finding
from vep_dagger.doctor.ways import WAYS, blocked_by

if TYPE_CHECKING:
    from rich.console import Group

FORMAT = 1
STYLES = {"ok": "green", "limited": "yellow", "missing": "red"}


def summary(findings: Sequence[Finding]) -> list[str]:
    """One line for each way to build and run: open, or what it lacks."""
    lines = []
    for way in WAYS:
        lacking = blocked_by(way, findings)
        can = f"cannot: it lacks {', '.join(lacking)}" if lacking else "can"
        lines.append(f"{way.runs} (--builder {way.builder} --launcher {way.launcher}): this machine {can}")
    return lines


def render(findings: Sequence[Finding]) -> list[str]:
    """Plain lines: each finding, below it what it would enable when it is not ``ok``; the summary last."""
    width = max((len(finding.name) for finding in findings), default=0)
    indent = " " * (width + 11)
    lines = []
    for title, group in _groups(findings):
        lines.append(title)
        for finding in group:
            lines.append(f"{finding.state:<7}  {finding.name:<{width}}  {finding.what}")
            lines += [f"{indent}{line}" for line in _remedy(finding)]
        lines.append("")
    return [*lines, *summary(findings)]


def table(findings: Sequence[Finding]) -> Group:
    """The same for a terminal of any width."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[Table | Text] = []
    width = max((len(finding.name) for finding in findings), default=0)
    for title, group in _groups(findings):
        grid = Table.grid(padding=(0, 2), expand=False)
        grid.add_column(width=len("limited"))
        grid.add_column(width=width)
        grid.add_column(overflow="fold")
        for finding in group:
            style = STYLES[finding.state] if finding.used or finding.state == "ok" else "dim"
            found = Text(finding.what)
            for line in _remedy(finding):
                found.append(f"\n{line}", style="dim")
            grid.add_row(Text(finding.state, style=style), Text(finding.name), found)
        parts += [Text(title, style="bold"), grid, Text()]
    return Group(*parts, *map(Text, summary(findings)))


def _groups(findings: Sequence[Finding]) -> list[tuple[str, list[Finding]]]:
    groups = [
        ("What this version of vep uses", [finding for finding in findings if finding.used]),
        ("What later versions will use", [finding for finding in findings if not finding.used]),
    ]
    return [(title, group) for title, group in groups if group]


def _remedy(finding: Finding) -> list[str]:
    if finding.state == "ok":
        return []
    hint = [f"to get it: {finding.hint}"] if finding.hint else []
    return [f"would enable: {finding.enables}", *hint]


def document(findings: Sequence[Finding]) -> dict[str, Any]:
    """The JSON form: ``format``, ``findings`` (the fields of :class:`Finding`) and ``ways`` with what each lacks."""
    ways = [
        {"builder": way.builder, "launcher": way.launcher, "runs": way.runs, "lacks": blocked_by(way, findings)}
        for way in WAYS
    ]
    return {"format": FORMAT, "findings": [asdict(finding) for finding in findings], "ways": ways}
