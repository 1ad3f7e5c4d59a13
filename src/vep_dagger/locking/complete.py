"""A lock completed: what it has is kept, what it lacks is asked for, what nobody wants any more is left out."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import anyio

from vep_dagger.builders.base import Say
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.dsl import Image
from vep_dagger.errors import LockError, MachineError, VepError
from vep_dagger.evidence.files import write_whole
from vep_dagger.locking.names import meant, short_name
from vep_dagger.locking.outcome import Answer, Completed, who
from vep_dagger.locking.resolve import Seen, can_be_verified, resolve
from vep_dagger.matrix.lock import UNREACHED, AnyEntry, ArchiveEntry, Lock
from vep_dagger.plan import Plan
from vep_dagger.plan.locking import PythonRequest, requests, wanted

AT_ONCE = 4
"""Questions that are asked at the same time; each has deadlines of its own."""


async def complete(
    plan: Plan,
    settings: BuildSettings,
    say: Say,
    *,
    upgrade: Collection[str] = (),
    verify: bool,
    only: Iterable[Image] | None = None,
) -> Completed:
    """The lock of a whole plan. Nothing is written.

    What the lock has already is kept. ``verify`` asks again for tags, names of images and what servers tell of
    archives, which costs little as a rule, and compares; ``upgrade`` names what is asked for again, and taken. A pin of
    the matrix file wins. What cannot be reached stays without a content; what there is not is left out, and is a
    problem. With ``only``, just what these images need is asked for.

    Raises UsageError for a name in ``upgrade`` that nothing has.
    """
    images = plan.recipe_images
    want, lock = wanted(images), plan.lock or Lock()
    again = meant(upgrade, want)
    asked = {entry.identity for entry in (want if only is None else wanted(only))}
    question = _Question(requests(images), settings, say, verify=verify)
    answers: dict[tuple[str, ...], Answer] = {}
    limiter = anyio.CapacityLimiter(AT_ONCE)

    async def answer(entry: AnyEntry) -> None:
        old, identity = lock.find(entry.identity), entry.identity
        async with limiter:
            answers[identity] = await question.answer(entry, old, ask=identity in asked, again=identity in again)

    async with anyio.create_task_group() as group:
        for entry in want:
            # What is of no chosen cell, and in no lock yet, stays out of it.
            if entry.identity in asked or entry.content or lock.find(entry.identity):
                group.start_soon(answer, entry)
    in_order = tuple(answers[entry.identity] for entry in want if entry.identity in answers)
    entries = (each.entry for each in in_order if each.state != "refused")
    completed = Lock.made(entries).at(Lock.beside(plan.matrix.path))
    return Completed(completed, in_order, tuple(entry for entry in lock if want.find(entry.identity) is None))


async def complete_file(plan: Plan, settings: BuildSettings, say: Say, upgrade: Collection[str] = ()) -> Completed:
    """Complete and verify the lock of a plan, and write it. Raises UsageError and MachineError; what is wrong with pins
    is in the result.
    """
    completed = await complete(plan, settings, say, upgrade=upgrade, verify=True)
    store(completed.lock, Lock.beside(plan.matrix.path))
    return completed


def store(lock: Lock, path: Path) -> bool:
    """Write a lock, whole, and say whether that was needed: the same text is not written again, and an empty lock makes
    no file. Raises MachineError.
    """
    text = lock.text()
    try:
        before = path.read_text(encoding="utf-8") if path.exists() else None
        if text == before or (before is None and not lock.entries):
            return False
        write_whole(path, text)
    except OSError as error:
        raise MachineError(
            f"the lock cannot be written: {error.strerror or error}",
            where=str(path),
            hint="make its directory writable; --locked uses the lock as it is, and writes none",
        ) from None
    return True


@dataclass(frozen=True, slots=True)
class _Question:
    python: dict[str, PythonRequest]
    settings: BuildSettings
    say: Say
    verify: bool

    async def answer(self, want: AnyEntry, old: AnyEntry | None, *, ask: bool, again: bool) -> Answer:
        """What becomes of an entry that is wanted, and of which the lock has ``old``."""
        if again and want.content is not None:
            pinned = await self.answer(want, old, ask=ask, again=False)
            return replace(pinned, note=pinned.note or "pinned in the matrix file: another one is chosen there")
        before = old.content if old else None
        held = _held(want, old)
        if held.content is not None and not again and not (self.verify and can_be_verified(want)):
            return _settled(held, before)
        if not ask:
            return Answer(held, "kept" if held.content else "unseen")
        try:
            # With what is held of it already, an archive need not be downloaded to be compared.
            seen = await resolve(want if again else held, self.python.get(want.identity[1]), self.settings, self.say)
        except MachineError as error:
            return _unreached(held, before, _why(want, error), missed=again)
        except LockError as error:
            named = LockError(f"{who(want)}: {error.what}", where=error.where, hint=error.hint)
            if held.content is None:
                return Answer(held.model_copy(update={"unseen": None}), "refused", problem=named)
            return Answer(held, "kept", problem=named)
        if held.content is None or again:
            return _settled(seen.entry, before)
        if seen.agrees(held.content):
            return _settled(seen.entry if isinstance(want, ArchiveEntry) else held, before)
        return _contradicted(want, held, before, seen)


def _held(want: AnyEntry, old: AnyEntry | None) -> AnyEntry:
    """The wanted entry with what is known of it already: a pin of the matrix file wins over the lock."""
    if isinstance(want, ArchiveEntry) and old is not None and want.content == old.content is not None:
        return old.model_copy(update={"used_by": want.used_by})
    if want.content is not None or old is None or (old.content is None and old.unseen is None):
        return want
    return old.model_copy(update={"used_by": want.used_by})


def _settled(entry: AnyEntry, before: str | None) -> Answer:
    if before == entry.content:
        return Answer(entry, "kept")
    return Answer(entry, "moved" if before else "new", before)


def _unreached(held: AnyEntry, before: str | None, why: str, *, missed: bool) -> Answer:
    if held.content is None:
        return Answer(held if held.unseen else held.model_copy(update={"unseen": UNREACHED}), "unseen", why=why)
    settled = _settled(held, before)
    return Answer(settled.entry, settled.state, settled.before, f"not asked again: {why}", missed=missed)


def _contradicted(want: AnyEntry, held: AnyEntry, before: str | None, seen: Seen) -> Answer:
    now, name = seen.entry.content, short_name(want)
    pinned = want.content is not None
    if seen.moves:
        way = "" if pinned else f"; `vep lock --upgrade {name}` takes that"
        settled = _settled(held, before)
        return Answer(settled.entry, settled.state, settled.before, f"the branch is at {now} now{way}")
    said = "pinned in the matrix file" if pinned else "locked"
    hint = (
        "one of the two is wrong: pin the right one, or neither"
        if isinstance(want, ArchiveEntry) and pinned
        else "one of the two is wrong: pin the right one, or the tag alone"
        if pinned
        else f"a tag that moves, or a file that changes, is rare and worth a question; `vep lock --upgrade {name}` "
        "takes it if it is meant"
    )
    problem = LockError(
        f"{who(want)}: {want.asked} is not what it was\n    {said}: {held.content}\n    now: {now}", hint=hint
    )
    return Answer(held, "kept" if held.content == before else "new", problem=problem)


def _why(want: AnyEntry, error: VepError) -> str:
    """In one line, and without the address, which stands beside it."""
    return " ".join(error.what.split()).removeprefix(f"{want.identity[1]} ")
