"""Directories that work is done in, and those that were left."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vep_dagger.processes.leftovers import MARK_FILE, mark_environment
from vep_dagger.squash.workplace import PREFIX, sweep, workplace

AT_WORK = """
import sys, time
from pathlib import Path
from vep_dagger.squash.workplace import workplace
with workplace(Path(sys.argv[1])) as aside:
    (aside / "saved.tar").write_text("much")
    (aside / "rootfs" / "locked").mkdir(parents=True)
    (aside / "rootfs" / "locked" / "file").write_text("x")
    (aside / "rootfs" / "locked").chmod(0o500)
    print(aside.name, flush=True)
    time.sleep(60)
"""


@contextmanager
def at_work(directory: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The name of a directory that another process works in."""
    with subprocess.Popen(
        [sys.executable, "-c", AT_WORK, str(directory)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()


@pytest.mark.parametrize("ends", [None, KeyboardInterrupt, OSError])
def test_nothing_is_left_however_the_work_ends(tmp_path: Path, ends: type[BaseException] | None) -> None:
    def work() -> None:
        with workplace(tmp_path) as aside:
            (aside / "image.tar").write_text("x")
            assert aside.name.startswith(PREFIX)
            if ends is not None:
                raise ends

    if ends is None:
        work()
    else:
        with pytest.raises(ends):
            work()
    assert list(tmp_path.iterdir()) == []


def test_what_one_that_was_killed_left_is_removed_and_what_one_works_in_is_not(tmp_path: Path) -> None:
    with at_work(tmp_path) as (killed, first), at_work(tmp_path) as (alive, _):
        assert sweep(tmp_path) == []
        first.kill()
        first.wait()
        assert sweep(tmp_path) == [killed]
        assert [path.name for path in tmp_path.iterdir()] == [alive]
        assert (tmp_path / alive / "saved.tar").exists()


def test_processes_that_outlived_it_are_ended_first(tmp_path: Path) -> None:
    with at_work(tmp_path) as (name, process):
        process.kill()
        process.wait()
    (tmp_path / name / f"{MARK_FILE}0123").touch()
    with subprocess.Popen(["sleep", "60"], env=mark_environment("0123"), start_new_session=True) as left:
        assert sweep(tmp_path) == [name]
        assert left.wait(10) == -9


def test_directories_of_other_machines_links_and_other_things_stay(tmp_path: Path) -> None:
    with at_work(tmp_path) as (name, process):
        process.kill()
        process.wait()
    (tmp_path / name).rename(tmp_path / f"{PREFIX}some-other-node-abc")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "thesis").write_text("years of work")
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    (tmp_path / ".vep-other").mkdir()
    before = sorted(tmp_path.iterdir())
    assert sweep(tmp_path) == []
    assert sorted(tmp_path.iterdir()) == before
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["thesis"]
