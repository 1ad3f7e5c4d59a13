"""What became of a lock, as a table."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vep_dagger.dsl import short
from vep_dagger.locking.check import differences, unseen
from vep_dagger.locking.outcome import Answer, Completed, reason, who
from vep_dagger.matrix.lock import AnyEntry, Lock, PythonEntry
from vep_dagger.plan import Plan

_STYLES = {"new": "green", "kept": "", "moved": "yellow", "unseen": "red", "refused": "red"}
_LONGEST = 90


def print_lock(completed: Completed, console: Console, *, as_json: bool) -> None:
    """Print each entry: who needs it, what was asked, what it is, and what became of it."""
    if as_json:
        console.print(json.dumps(_document(completed), indent=1), soft_wrap=True, markup=False)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("name", "asked", "is", ""):
        table.add_column(column, overflow="fold")
    for answer in completed.answers:
        entry = answer.entry
        table.add_row(Text(who(entry)), Text(_asked(entry)), Text(_content(entry)), _state(answer))
    if completed.answers:
        console.print(table)
    for entry in completed.removed:
        console.print(Text(f"not wanted any more: {who(entry)}: {_asked(entry)}"), soft_wrap=True)
    for answer in completed.answers:
        if answer.note:
            console.print(Text(f"{who(answer.entry)}: {answer.note}", style="yellow"), soft_wrap=True)
    console.print(Text(f"{len(completed.answers)} pins in {completed.lock.path}"), soft_wrap=True)


def print_check(plan: Plan, console: Console, *, as_json: bool) -> bool:
    """Print what a plan's lock lacks, contradicts, and has too much; whether it is none of it."""
    path = Lock.beside(plan.matrix.path)
    found, blank = differences(plan.recipe_images, plan.lock), unseen(plan.lock)
    if as_json:
        document = {"lock": str(path), "there": plan.lock is not None, "differences": found, "unseen": blank}
        console.print(json.dumps(document, indent=1), soft_wrap=True, markup=False)
        return not found
    for line in found:
        console.print(Text(line), soft_wrap=True)
    for line in blank:
        console.print(Text(f"note: nobody has seen it: {line}", style="yellow"), soft_wrap=True)
    if not found:
        console.print(Text(f"{path} holds what the matrix wants" if plan.lock else "there is nothing to lock"))
    elif plan.lock is None:
        console.print(Text(f"there is no {path}: run `vep lock`"), soft_wrap=True)
    else:
        console.print(Text(f"{path} is not the matrix's: {len(found)} differences; run `vep lock`"), soft_wrap=True)
    return not found


def _asked(entry: AnyEntry) -> str:
    asked = entry.asked
    return asked if len(asked) <= _LONGEST else f"{asked[:_LONGEST]}…"


def _content(entry: AnyEntry) -> str:
    if entry.content is None:
        return ""
    if isinstance(entry, PythonEntry):
        return f"{len(entry.packages or ())} packages"
    return short(entry.content.removeprefix("sha256:"))


def _state(answer: Answer) -> Text:
    words: str = answer.state
    if answer.problem:
        return Text("refused" if answer.state == "refused" else "contradicted", style="red")
    if answer.state == "unseen":
        words = f"unseen: {reason(answer)}"
    elif answer.state == "moved" and not isinstance(answer.entry, PythonEntry):
        words = f"moved, was {short((answer.before or '').removeprefix('sha256:'))}"
    return Text(words, style=_STYLES[answer.state])


def _document(completed: Completed) -> dict[str, Any]:
    return {
        "lock": str(completed.lock.path),
        "digest": completed.lock.digest,
        "entries": [
            {
                **_plain(answer.entry),
                "state": answer.state,
                "before": answer.before,
                "note": answer.note or answer.why,
                "problem": answer.problem.what if answer.problem else None,
            }
            for answer in completed.answers
        ],
        "removed": [_plain(entry) for entry in completed.removed],
    }


def _plain(entry: AnyEntry) -> dict[str, Any]:
    return {
        "kind": entry.table,
        "used_by": entry.used_by,
        "asked": entry.asked,
        "content": entry.content,
        "unseen": entry.unseen,
    }
