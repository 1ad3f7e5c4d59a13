"""`.ci/run` with a make and a vep that only pretend: what it calls, and what its last line says."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PASSED = "===== 12 passed, 1 skipped in 3.21s ====="


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    (tmp_path / "bin").mkdir()
    script(tmp_path, "make", f'echo "called: make $*"; [ "$1" = run ] || echo "{PASSED}"')
    script(tmp_path, "vep", 'echo "called: vep $*"; case $2 in *broken*) exit 1;; esac')
    script(tmp_path, "chromium", "exit 0")
    script(tmp_path, "ldconfig", "echo '	libnuma.so.1 (libc6) => /lib/libnuma.so.1'")
    return tmp_path


def script(tree: Path, name: str, text: str) -> None:
    path = tree / "bin" / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def run(tree: Path) -> tuple[int, list[str]]:
    environ = {**os.environ, "PATH": f"{tree / 'bin'}:{os.environ['PATH']}", "VEP_VENV": str(tree)}
    done = subprocess.run([tree / ".ci" / "run"], env=environ, capture_output=True, text=True)
    return done.returncode, done.stdout.splitlines()


def test_it_calls_the_readmes_commands_and_ends_with_pytests_closing_line(tree: Path) -> None:
    code, lines = run(tree)
    assert code == 0
    assert [line.removeprefix("called: ") for line in lines if line.startswith("called: ")] == [
        "make test",
        "vep plan matrix.toml",
        "make run",
        "vep run examples/cpu/broken.toml",
    ]
    assert lines[-2:] == ["ci: all passed", PASSED]
    readme = (ROOT / "README.md").read_text()
    assert all(command in readme for command in ("make test", "make run", "vep plan", "examples/cpu/broken.toml"))


def test_failing_tests_end_it_and_are_counted_in_the_last_line(tree: Path) -> None:
    closing = "=== 2 failed, 10 passed in 3.21s ==="
    script(tree, "make", f'echo "called: make $*"; echo "{closing}"; exit 2')
    code, lines = run(tree)
    assert code == 2
    assert lines[-2:] == ["ci: failed (exit code 2), see above", closing]
    assert "called: make run" not in lines


def test_tests_that_never_ran_are_not_hidden(tree: Path) -> None:
    script(tree, "make", "exit 3")
    code, lines = run(tree)
    assert (code, lines[-1]) == (3, "0 passed: pytest did not come to its end")


@pytest.mark.parametrize("exits", [0, 3])
def test_a_broken_example_that_does_not_exit_with_1_is_a_failure(tree: Path, exits: int) -> None:
    script(tree, "vep", f"case $2 in *broken*) exit {exits};; esac")
    code, lines = run(tree)
    assert (code, lines[-2]) == (1, "ci: failed (exit code 1), see above")
