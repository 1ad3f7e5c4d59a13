"""What became of each pin when a lock was completed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from vep_dagger.errors import LockError, MachineError
from vep_dagger.matrix.lock import AnyEntry, Lock

State: TypeAlias = Literal["new", "kept", "moved", "unseen", "refused"]
"""``moved``: the lock had another content before, and what it has now was asked for: by ``--upgrade``, or by a pin of
the matrix file. ``unseen``: nobody answered. ``refused``: there is no such thing, so that the lock has no entry of it.
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """One entry of the lock, and what became of it."""

    entry: AnyEntry
    state: State
    before: str | None = None
    """What the lock had before, where it ``moved``."""
    note: str | None = None
    """What people should know of it."""
    why: str | None = None
    """Why nobody answered, as this machine was told it: it is shown, and in no file."""
    missed: bool = False
    """Whether it was to be asked for again (``--upgrade``), and nobody answered."""
    problem: LockError | None = None
    """What is wrong with it: the entry is then as it was before."""


@dataclass(frozen=True, slots=True)
class Completed:
    """A lock, with what became of each of its entries and which ones nobody wants any more."""

    lock: Lock
    answers: tuple[Answer, ...]
    removed: tuple[AnyEntry, ...] = ()

    def those(self, state: State) -> tuple[Answer, ...]:
        """The answers of one state."""
        return tuple(answer for answer in self.answers if answer.state == state)

    @property
    def refusal(self) -> LockError | None:
        """What must not be passed over: tags that moved, names that are not there."""
        problems = [answer.problem for answer in self.answers if answer.problem]
        if len(problems) < 2:
            return problems[0] if problems else None
        listed = "".join(f"\n  - {each.what}" + (f"\n    help: {each.hint}" if each.hint else "") for each in problems)
        return LockError(f"{len(problems)} pins cannot be locked as they are:{listed}")

    @property
    def lack(self) -> MachineError | None:
        """What nobody could say, since it could not be reached."""
        lacking = [answer for answer in self.answers if (answer.state == "unseen" or answer.missed)]
        if not lacking:
            return None
        listed = "".join(
            f"\n  - {who(each.entry)}: {each.entry.asked}: {reason(each) or each.note}" for each in lacking
        )
        return MachineError(
            f"{len(lacking)} of {len(self.answers)} pins could not be asked for:{listed}",
            hint="run `vep lock` again where these can be reached, name other places in [mirrors] of the matrix file, "
            "or write the commit, sha256 or digest into its pins",
        )


def said(completed: Completed) -> list[str]:
    """What was learned, a line each: what is new, what moved, what is gone, and what nobody could say."""
    lines = []
    for answer in completed.answers:
        entry = answer.entry
        if answer.state == "new":
            lines.append(f"locked {who(entry)}: {entry.asked} is {entry.content}")
        elif answer.state == "moved":
            lines.append(f"locked {who(entry)}: {entry.asked} was {answer.before}, and is {entry.content}")
        elif answer.state == "unseen":
            lines.append(f"not locked {who(entry)}: {entry.asked}: {reason(answer)}")
    return lines + [
        f"out of the lock {who(entry)}: {entry.asked} is not wanted any more" for entry in completed.removed
    ]


def reason(answer: Answer) -> str | None:
    """Why an entry is unseen: as it was told here, or else as the lock has it."""
    return answer.why or answer.entry.unseen


def who(entry: AnyEntry) -> str:
    """Who needs an entry, for people."""
    return ", ".join(entry.used_by) or entry.asked
