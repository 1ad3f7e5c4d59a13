"""The README's commands work as they are typed, one after the other, by somebody who has just begun."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "README.md").read_text()
ACTIVATED = "make setup && . .venv/bin/activate"
TYPED = [
    command
    for pair in re.findall(
        r"^    ((?:dagger|vep|python|make|\S*/vep) .+?)(?: {2,}#.*)?$|`(vep [a-z]+ [^`]+)`", TEXT, re.MULTILINE
    )
    for command in pair
    if command
]
ALONE = ("plan", "lock --check", "explain", "containerfile")
"""Commands that need no engine, no network and no GPU."""


def test_the_environment_is_entered_before_its_programs_are_typed() -> None:
    assert len(TYPED) > 10
    inside = [command for command in TYPED if not command.startswith("make")]
    assert [command for command in inside if ".venv/bin/" in command] == [], "typed in one way alone"
    assert TEXT.count(ACTIVATED) == 1
    assert all(TEXT.index(ACTIVATED) < TEXT.index(command) for command in inside)


@pytest.mark.parametrize("command", [each for each in TYPED if any(each.startswith(f"vep {alone}") for alone in ALONE)])
def test_what_needs_nothing_works_as_it_is_typed(command: str) -> None:
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_there_is_one_of_each_of_these() -> None:
    assert [alone for alone in ALONE if not any(each.startswith(f"vep {alone}") for each in TYPED)] == []
