"""Whether a server uses the backend that its cell asks for, told as soon as its log shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from vep_dagger.compat.rules import LineRule
from vep_dagger.jobs.logwatch import LogWatch


@dataclass
class Backend:
    """Tells, once each, that all demanded lines were seen, that a forbidden one was, or that one is missing."""

    watch: LogWatch
    log: str
    """The log's name in what is said."""
    say: Callable[[str], None]
    _told: set[LineRule] = field(default_factory=set)
    _settled: bool = False

    def look(self) -> None:
        """Tell what the log has shown so far."""
        for rule in self.watch.forbidden:
            line = self.watch.seen.get(rule)
            if line is not None and rule not in self._told:
                self._warn(rule, f"the log shows {rule.name} ({self.log}:{line.number}): {line.text}")
        demanded = [self.watch.seen[rule] for rule in self.watch.demanded if rule in self.watch.seen]
        whole = bool(demanded) and len(demanded) == len(self.watch.demanded)
        if whole and not self._settled and self._told.isdisjoint(self.watch.forbidden):
            self._settled = True
            places = ", ".join(f"{self.log}:{line.number}" for line in demanded)
            self.say(f"backend: as demanded ({places})")

    def conclude(self) -> None:
        """Tell what is missing, now that a request was answered: by then every release has logged what it uses."""
        self.look()
        if not self.watch.demanded and self._told.isdisjoint(self.watch.forbidden):
            self.say("backend: this cell demands none")
        for rule in self.watch.demanded:
            if rule not in self.watch.seen and rule not in self._told:
                self._warn(rule, f"no line of {self.log} shows {rule.name}, which the cell demands")

    def _warn(self, rule: LineRule, text: str) -> None:
        self._told.add(rule)
        fell = "THE BACKEND FELL BACK: " if rule.violation == "fell-back" else ""
        self.say(f"!!! WARNING: {fell}{text}; it is served all the same")
