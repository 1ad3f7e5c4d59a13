"""Readers that go away: `vep plan | head` is no fault of anyone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.cli.conftest import CommandLine


@pytest.mark.parametrize("args", [["plan", "--json"], ["plan"], ["doctor"]], ids=" ".join)
def test_a_reader_that_goes_away_gives_no_traceback(vep: CommandLine, args: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "vep_dagger.cli", *args],
            cwd=vep.folder,
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        os.close(writing)
    assert done.stderr == ""
    assert done.returncode == 1
