"""The scheduler: tasks that wait for what they need and for a place in their lane.

One failed task stops what depends on it and nothing else. A lane is a resource that holds so many tasks at once: while
a server is measured nothing else touches its lane.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import anyio

from vep_dagger.jobs.groups import unwrapped


@dataclass(frozen=True, slots=True)
class Task:
    """Something to do: it passes when ``run`` gives True. ``skipped`` hears the id of the task that stopped it."""

    id: str
    lane: str
    run: Callable[[], Awaitable[bool]]
    skipped: Callable[[str], None]
    needs: tuple[str, ...] = ()


async def run_tasks(tasks: Sequence[Task], lanes: Mapping[str, int]) -> dict[str, bool]:
    """Run tasks as their needs and lanes allow; whether each passed. First come, first served in each lane, in the
    order given.

    Needs that name no task of the list count as passed. An exception of a task cancels all others and is raised.
    """
    places = {name: anyio.Semaphore(capacity) for name, capacity in lanes.items()}
    finished = {task.id: anyio.Event() for task in tasks}
    passed: dict[str, bool] = {}

    async def outcome_of(task: Task) -> bool:
        for need in task.needs:
            if need not in finished:
                continue
            await finished[need].wait()
            if not passed[need]:
                task.skipped(need)
                return False
        async with places[task.lane]:
            return await task.run()

    async def carry_out(task: Task) -> None:
        passed[task.id] = await outcome_of(task)
        # Not after an exception: it ends all that waits, and there is no outcome for them to see.
        finished[task.id].set()

    with unwrapped():
        async with anyio.create_task_group() as group:
            for task in tasks:
                group.start_soon(carry_out, task, name=task.id)
    return passed
