"""The lock of the repository's own matrix file."""

from __future__ import annotations

from pathlib import Path

from vep_dagger.matrix.lock import UNREACHED, Lock

FILE = Path(__file__).parents[2] / "matrix.lock"


def test_it_is_what_the_tool_writes() -> None:
    lock = Lock.load(FILE)
    assert lock.text() == FILE.read_text(encoding="utf-8")
    assert {entry.unseen for entry in lock if not entry.content} <= {UNREACHED}
