"""Tasks wait for what they need and for a place in their lane."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import pytest

from vep_dagger.jobs.scheduler import Task, run_tasks


class Diary:
    """What happened, in order, and how many were at work at once."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.at_work: dict[str, int] = {}
        self.most: dict[str, int] = {}

    def task(
        self, id: str, lane: str = "gpu", needs: Sequence[str] = (), *, passes: bool = True, seconds: float = 0.01
    ) -> Task:
        async def work() -> bool:
            self.at_work[lane] = self.at_work.get(lane, 0) + 1
            self.most[lane] = max(self.most.get(lane, 0), self.at_work[lane])
            self.lines.append(f"{id} began")
            await anyio.sleep(seconds)
            self.lines.append(f"{id} ended")
            self.at_work[lane] -= 1
            return passes

        return Task(id, lane, work, lambda need: self.lines.append(f"{id} skipped for {need}"), tuple(needs))


@pytest.fixture
def diary() -> Diary:
    return Diary()


def run(tasks: Sequence[Task], **lanes: int) -> dict[str, bool]:
    async def main() -> dict[str, bool]:
        return await run_tasks(tasks, lanes)

    return anyio.run(main)


def test_a_task_starts_after_what_it_needs(diary: Diary) -> None:
    passed = run([diary.task("smoke", needs=["build"]), diary.task("build", "build")], gpu=1, build=1)
    assert diary.lines == ["build began", "build ended", "smoke began", "smoke ended"]
    assert passed == {"build": True, "smoke": True}


def test_a_failed_task_stops_what_depends_on_it_and_nothing_else(diary: Diary) -> None:
    tasks = [
        diary.task("build-a", "build", passes=False),
        diary.task("build-b", "build"),
        diary.task("a", needs=["build-a"]),
        diary.task("b", needs=["build-b"]),
        diary.task("after-a", needs=["a"]),
    ]
    passed = run(tasks, gpu=1, build=1)
    assert passed == {"build-a": False, "build-b": True, "a": False, "b": True, "after-a": False}
    assert "a skipped for build-a" in diary.lines
    assert "after-a skipped for a" in diary.lines
    assert "a began" not in diary.lines


def test_a_lane_holds_no_more_than_its_capacity(diary: Diary) -> None:
    run([diary.task(f"cell-{number}") for number in range(5)], gpu=1)
    assert diary.most == {"gpu": 1}


def test_other_lanes_go_on_while_one_is_busy(diary: Diary) -> None:
    run([diary.task("cell", "gpu", seconds=0.3), diary.task("image", "build", seconds=0.01)], gpu=1, build=1)
    assert diary.lines.index("image ended") < diary.lines.index("cell ended")


def test_a_lane_serves_in_the_order_given(diary: Diary) -> None:
    run([diary.task(name) for name in "abcd"], gpu=1)
    assert [line for line in diary.lines if "began" in line] == ["a began", "b began", "c began", "d began"]


def test_a_need_outside_the_list_counts_as_done(diary: Diary) -> None:
    assert run([diary.task("cell", needs=["build:in-an-earlier-run"])], gpu=1) == {"cell": True}


def test_an_exception_cancels_the_rest_and_is_raised(diary: Diary) -> None:
    async def breaks() -> bool:
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="the disk is full"):
        run([Task("breaks", "build", breaks, lambda _: None), diary.task("cell", seconds=30)], gpu=1, build=1)
    assert "cell ended" not in diary.lines


def test_an_exception_is_the_only_one_though_others_wait_for_its_task(diary: Diary) -> None:
    async def explode() -> bool:
        await anyio.sleep(0.01)
        raise ValueError("boom")

    broken = Task("build", "build", explode, lambda _: None)
    with pytest.raises(ValueError, match="boom") as caught:
        run([broken, diary.task("smoke", needs=["build"])], gpu=1, build=1)
    group = caught.value.__context__
    assert group is None or (isinstance(group, BaseExceptionGroup) and len(group.exceptions) == 1)
    assert diary.lines == []
