"""The layers of one image while it is built, as they have been heard of."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass

from vep_dagger.jobs.events import Event

DONE = ("built", "cached", "taken")
"""The states of a layer that is there, in the order in which they are counted; others are counted if there are any."""

LASTING = re.compile(r"^ for \d+ s\b")

STYLES = {"building": "cyan", "built": "green", "cached": "dim", "taken": "dim", "failed": "bold red"}


@dataclass
class LayerRow:
    """One layer as it stands."""

    name: str
    state: str
    seconds: float
    heard: float
    """When that was so."""
    text: str = ""
    """What it does now."""

    def taken(self) -> str:
        """The seconds it took, or takes up to now."""
        more = time.monotonic() - self.heard if self.state == "building" else 0.0
        return f"{self.seconds + more:.0f}"


class Layers:
    """Those of one build, in the order in which they began."""

    def __init__(self) -> None:
        self._rows: dict[str, LayerRow] = {}

    def take(self, event: Event) -> None:
        """Take an event of kind ``layer`` in."""
        name, state = event.layer or "", event.state or "building"
        before = self._rows.get(name)
        text = before.text if before and state == "building" else ""
        self._rows[name] = LayerRow(name, state, event.seconds or 0.0, time.monotonic(), text)

    def say(self, text: str) -> bool:
        """Whether a text about progress is that of a layer that is being built, whose name it begins with."""
        for row in self.rows().values():
            rest = text.removeprefix(row.name)
            if row.state == "building" and rest != text and rest[:1] in (" ", ":"):
                # The seconds have a column of their own.
                row.text = " ".join(LASTING.sub("", rest).removeprefix(":").split())
                return True
        return False

    def end(self) -> None:
        """Nothing goes on any more: what was being built is left as it was."""
        self._rows = {name: row for name, row in self.rows().items() if row.state != "building"}

    def rows(self) -> dict[str, LayerRow]:
        """Each layer by its name; a copy, since events come while a thread draws."""
        return dict(list(self._rows.items()))

    def summary(self) -> str:
        """``16 layers: 4 built, 12 cached, 0 taken``; empty before the first."""
        rows = list(self.rows().values())
        if not rows:
            return ""
        counted = (*DONE, *(state for state in ("failed", "building") if any(row.state == state for row in rows)))
        return f"{len(rows)} layer{'' if len(rows) == 1 else 's'}: {_counts(rows, counted)}"

    def fitting(self, room: int, *, failed_only: bool = False) -> tuple[list[LayerRow], str]:
        """The layers for so many lines, in their order, and a text about the others, which takes one of the lines.

        What failed or is being built comes first, then what ended last.
        """
        rows = [row for row in self.rows().values() if not failed_only or row.state == "failed"]
        if len(rows) <= room:
            return rows, ""
        first = {"failed": 0, "building": 1}
        ranked = sorted(rows, key=lambda row: (first.get(row.state, 2), -row.heard))
        shown = {row.name for row in ranked[: max(0, room - 1)]}
        others = [row for row in rows if row.name not in shown]
        states = [state for state in (*DONE, "failed", "building") if any(row.state == state for row in others)]
        what = "more" if shown else "layers"
        return [row for row in rows if row.name in shown], f"{len(others)} {what}: {_counts(others, states)}"


def _counts(rows: Iterable[LayerRow], states: Iterable[str]) -> str:
    have = [row.state for row in rows]
    return ", ".join(f"{have.count(state)} {state}" for state in states)
