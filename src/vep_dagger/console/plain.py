"""A run as plain lines, for pipes and logs: one line an event, with the time since the start."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from typing import TextIO

from vep_dagger.console.layers import Layers
from vep_dagger.jobs.events import Event

MARKS = {"passed": "ok", "failed": "FAILED", "fell-back": "FELL BACK", "not-run": "not run"}

LASTING = re.compile(r" for \d+ s\b")
"""How a text says that something goes on."""

AGAIN_S = 60.0
"""Seconds until a log is told again that something still goes on."""


class PlainLines:
    """Prints events; progress when its text changes, or after a while; a layer when it is done."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._began = time.monotonic()
        self._said: dict[str | None, str] = {}
        self._progress: set[str] = set()
        self._layers: dict[str | None, Layers] = {}
        self._lasting: dict[tuple[str | None, str], float] = {}

    def __call__(self, event: Event) -> None:
        """Print one event."""
        if event.kind == "job-planned":
            # What will be done is for views that show all of it at once; a log tells what happens.
            return
        if event.kind == "note" and event.text in self._progress:
            # A live table loses what a job said on its way; lines do not.
            return
        if event.kind == "layer":
            self._layers.setdefault(event.job, Layers()).take(event)
            if event.state == "building":
                return
        if event.kind == "job-progress":
            self._progress.add(event.text)
            # Percentages and seconds change often; a pipe gets each phase once.
            stable = LASTING.sub("", event.text).rstrip("0123456789% ")
            if self._said.get(event.job) == stable or self._is_known(event, stable):
                return
            self._said[event.job] = stable
        if event.kind == "job-finished" and event.verdict == "passed" and event.job in self._layers:
            event = replace(event, text=self._layers[event.job].summary())
        print(f"{_clock(time.monotonic() - self._began)} {describe(event)}", file=self._out, flush=True)

    def _is_known(self, event: Event, stable: str) -> bool:
        """Whether the text says that something goes on, as it has said not long ago: several layers take turns."""
        if not LASTING.search(event.text):
            return False
        now = time.monotonic()
        before = self._lasting.get((event.job, stable))
        if before is not None and now - before < AGAIN_S:
            return True
        self._lasting[event.job, stable] = now
        return False


class JsonLines:
    """Prints each event as a line of JSON, with the seconds since the start."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._began = time.monotonic()

    def __call__(self, event: Event) -> None:
        """Print one event."""
        line = {"t": round(time.monotonic() - self._began, 3), **event.data()}
        print(json.dumps(line, ensure_ascii=False), file=self._out, flush=True)


def describe(event: Event) -> str:
    """An event as one line for people."""
    job = f"{event.job}: " if event.job else ""
    match event.kind:
        case "run-started":
            return f"run directory {event.text}"
        case "run-finished":
            return f"report {event.text}"
        case "note":
            return f"note: {event.text}"
        case "job-kept":
            return f"{job}kept ({MARKS[event.verdict or 'passed']}: {event.text})"
        case "job-skipped":
            return f"{job}not run ({event.text})"
        case "job-finished":
            took = f", {event.seconds:.1f} s" if event.seconds is not None else ""
            return f"{job}{MARKS[event.verdict or 'passed']} ({event.text}{took})"
        case "layer" if event.state != "cached":
            return f"{job}{event.text} ({event.seconds or 0.0:.1f} s)"
        case _:
            return f"{job}{event.text}"


def _clock(seconds: float) -> str:
    return f"[{int(seconds) // 60:3d}:{int(seconds) % 60:02d}]"
