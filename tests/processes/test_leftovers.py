"""What outlived both `vep` and its guard, found by its mark."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vep_dagger.errors import LaunchError
from vep_dagger.processes import leftovers, procfs
from vep_dagger.processes.leftovers import find, kill_leftovers, mark_environment, reap

# No other run of these tests has them.
A, B, C = (uuid.uuid4().hex for _ in range(3))


@pytest.fixture
def marked() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes with the marks A (and an orphan without a mark in its session) and B."""
    env = {"PATH": os.environ["PATH"]}
    started = [
        subprocess.Popen(["sh", "-c", text], env=env | mark_environment(mark), start_new_session=True)
        for mark, text in [(A, "(env -i sleep 60 &); exec sleep 60"), (B, "exec sleep 60")]
    ]
    try:
        wait_until(lambda: len(find(A)) == 2 and len(find(B)) == 1)
        yield started
    finally:
        for each in started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(each.pid, 9)
            each.wait()


def wait_until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_mark_finds_its_own_with_unmarked_members_of_their_sessions(marked: list[subprocess.Popen[bytes]]) -> None:
    found = find(A)
    assert found[0] == marked[0].pid
    assert len(found) == 2
    assert find(B) == [marked[1].pid]
    assert find(A[:-1]) == []


def test_killing_ends_these_and_no_others(marked: list[subprocess.Popen[bytes]]) -> None:
    there = find(A)
    assert sorted(kill_leftovers(A)) == sorted(there)
    assert find(A) == []
    assert marked[1].poll() is None
    assert kill_leftovers(A) == []


def test_we_are_not_found_though_we_are_marked() -> None:
    text = (
        f"from vep_dagger.processes.leftovers import kill_leftovers\nassert kill_leftovers('{C}') == []\nprint('alive')"
    )
    done = subprocess.run(
        [sys.executable, "-c", text], env={**os.environ, **mark_environment(C)}, capture_output=True, text=True
    )
    assert done.stdout == "alive\n"


def test_reaping_a_folder_ends_what_its_files_name(marked: list[subprocess.Popen[bytes]], tmp_path: Path) -> None:
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / f".vep-process-{A}").touch()
    (tmp_path / ".vep-process-nobody").touch()
    assert len(reap(tmp_path)) == 2
    assert marked[1].poll() is None
    assert list(tmp_path.rglob(".vep-*")) == []


def test_a_signal_never_reaches_a_process_that_has_the_pid_of_another(marked: list[subprocess.Popen[bytes]]) -> None:
    now = procfs.process(marked[1].pid)
    assert now is not None
    assert not procfs.send(now._replace(start=now.start - 1), 9)
    assert marked[1].poll() is None
    assert procfs.send(now, 9)
    assert marked[1].wait(5) == -9
    assert not procfs.send(now, 9)


def test_what_cannot_be_killed_is_named(
    marked: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(leftovers, "send", lambda *_: False)
    mark = tmp_path / f".vep-process-{B}"
    mark.touch()
    with pytest.raises(LaunchError, match=f"SIGKILL does not end: {marked[1].pid}"):
        reap(tmp_path, patience_s=0.05)
    assert mark.exists()


def test_a_name_with_spaces_and_parentheses_is_read_right() -> None:
    text = "printf 'a) S 1 (b' > /proc/self/comm; read x"
    with subprocess.Popen(["sh", "-c", text], stdin=subprocess.PIPE) as odd:
        wait_until(lambda: b"a) S 1" in Path(f"/proc/{odd.pid}/comm").read_bytes())
        seen = procfs.process(odd.pid)
        assert seen is not None
        assert (seen.parent, seen.session) == (os.getpid(), os.getsid(0))
        assert odd.pid in [each.pid for each in procfs.descendants(os.getpid())]
