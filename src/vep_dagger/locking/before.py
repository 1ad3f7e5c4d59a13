"""The lock of a matrix that is going to be built, completed first."""

from __future__ import annotations

from dataclasses import replace

from vep_dagger.builders.base import Say
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.compat import Compat
from vep_dagger.locking.complete import complete, store
from vep_dagger.locking.outcome import said
from vep_dagger.matrix.lock import Lock
from vep_dagger.plan import Plan, make_plan


async def learned(full: Plan, chosen: Plan, settings: BuildSettings, compat: Compat, say: Say) -> Plan:
    """The plan of all cells, with a lock that has what the chosen ones need, as far as it can be reached. What it
    learns is written, and said.

    Raises LockError for names that are not there, and MachineError for a lock that cannot be written.
    """
    completed = await complete(full, settings, say, verify=False, only=chosen.recipe_images)
    stored = store(completed.lock, Lock.beside(full.matrix.path))
    # Why something cannot be had is not in the file, and so never known already.
    unreached = tuple(answer for answer in completed.answers if answer.why)
    for line in said(completed if stored else replace(completed, answers=unreached)):
        say(line)
    if completed.refusal:
        raise completed.refusal
    return make_plan(full.matrix, compat=compat, lock=completed.lock)
