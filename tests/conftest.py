"""For all tests: one that cannot run here says what is missing and how to get it, and the output ends with that."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator

import pytest


@pytest.fixture
def needs() -> Callable[[str, str], str]:
    """``needs("chromium", "apt-get install chromium")``: the program's path, or the test is skipped, loudly."""

    def find(program: str, how: str) -> str:
        path = shutil.which(program)
        if path is None:
            pytest.skip(f"needs {program}: {how}")
        return path

    return find


def missing_things(reasons: list[str]) -> Iterator[str]:
    """One line for each thing that was missing: how many tests went without it, and how to get it."""
    for reason, count in Counter(reasons).items():
        thing, colon, how = reason.partition(": ")
        tests = f"{count} test{'s' if count > 1 else ''} skipped"
        if thing.startswith("needs ") and colon:
            yield f"{tests} for want of {thing.removeprefix('needs ')}. To run them: {how}"
        else:
            yield f"{tests}: {reason}"


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Skips are loud: what was not tested is the last thing before the closing line."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = [report.longrepr[2].removeprefix("Skipped: ") for report in skipped if isinstance(report.longrepr, tuple)]
    if reasons:
        terminalreporter.section("not tested here")
        for line in missing_things(reasons):
            terminalreporter.line(line, yellow=True)
