"""What a container holds is read as the kernel writes it, in both versions of control groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from vep_dagger.launchers.docker.cgroup import memory_of

ONE = {"memory.usage_in_bytes": "5000", "memory.stat": "inactive_file 1\ntotal_inactive_file 1000\n"}
TWO = {"memory.current": "5000", "memory.stat": "anon 7\ninactive_file 1000\n"}


@pytest.mark.parametrize(
    ("line", "folder", "files"),
    [("9:memory:/docker/abc", "memory/docker/abc", ONE), ("0::/docker/abc", "docker/abc", TWO)],
)
def test_memory_is_what_is_used_without_the_file_cache(
    tmp_path: Path, line: str, folder: str, files: dict[str, str]
) -> None:
    (tmp_path / "proc" / "7").mkdir(parents=True)
    (tmp_path / "proc" / "7" / "cgroup").write_text(f"3:pids:/docker/abc\n{line}\n")
    (tmp_path / "root" / folder).mkdir(parents=True)
    for name, text in files.items():
        (tmp_path / "root" / folder / name).write_text(text)
    assert memory_of(7, "abc", tmp_path / "root", tmp_path / "proc") == 4000
    # A pid of another machine's daemon is another process here.
    assert memory_of(7, "def", tmp_path / "root", tmp_path / "proc") is None
    assert memory_of(8, "abc", tmp_path / "root", tmp_path / "proc") is None
