"""A lock held against what a matrix wants. Pure: nobody is asked."""

from __future__ import annotations

from collections.abc import Iterable

from vep_dagger.dsl import Image
from vep_dagger.errors import LockError
from vep_dagger.locking.outcome import who
from vep_dagger.matrix.lock import AnyEntry, GitEntry, Lock
from vep_dagger.plan import Plan
from vep_dagger.plan.locking import wanted


def differences(images: Iterable[Image], lock: Lock | None) -> list[str]:
    """What a lock lacks of these images' pins, what it has otherwise, and what it has and none of them wants."""
    held, want = lock or Lock(), wanted(images)
    found = [said for entry in want if (said := _difference(entry, held.find(entry.identity)))]
    return found + [
        f"{who(entry)}: {entry.asked} is not wanted any more" for entry in held if not want.find(entry.identity)
    ]


def _difference(want: AnyEntry, held: AnyEntry | None) -> str | None:
    if held is None:
        return f"{who(want)}: {want.asked} is not in the lock"
    if want.content and want.content != held.content:
        return f"{who(want)}: {want.asked} is pinned to {want.content}, and the lock has {held.content or 'nothing'}"
    return None


def unseen(lock: Lock | None) -> list[str]:
    """The entries whose content nobody has seen, with the reason."""
    return [
        f"{who(entry)}: {entry.asked}: {entry.unseen or 'not asked yet'}" for entry in lock or () if not entry.content
    ]


def refuse_unlocked(plan: Plan) -> None:
    """Raise LockError for whatever the plan's cells need and the lock does not hold firmly: what is not in it, what has
    no content, what contradicts a pin of the matrix file, and branches.
    """
    held = plan.lock or Lock()
    pairs = [(entry, held.find(entry.identity)) for entry in wanted(plan.recipe_images)]
    missing = [said for want, has in pairs if (said := _loose(want, has))]
    branches = [said for want, has in pairs if (said := _branch(want, has))]
    problems = missing + branches
    if not problems:
        return
    path = Lock.beside(plan.matrix.path)
    there = "" if plan.lock is not None else " (there is no such file)"
    hints = ["`vep lock` resolves what is missing; commit what it writes"] if missing else []
    if branches:
        hints.append("a branch stays one, whatever the lock has: write a tag or the commit into the matrix file's pin")
    raise LockError(
        f"--locked: {len(problems)} pins are not locked:" + "".join(f"\n  - {problem}" for problem in problems),
        where=f"{path}{there}",
        hint="; ".join(hints),
    )


def _loose(want: AnyEntry, held: AnyEntry | None) -> str | None:
    if difference := _difference(want, held):
        return difference
    assert held is not None, "that would be a difference"
    if held.content is None:
        why = f": {held.unseen}" if held.unseen else ""
        return f"{who(want)}: nobody has seen what {want.asked} holds{why}"
    return None


def _branch(want: AnyEntry, held: AnyEntry | None) -> str | None:
    if isinstance(held, GitEntry) and held.branch and held.content and want.content is None:
        return (
            f"{who(want)}: {want.asked} is a branch, which moves: pin a tag, or the commit that the lock has, "
            f"{held.content}"
        )
    return None
