"""Fixtures of the jobs' tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.jobs.bed import Bed


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bed:
    """A matrix in a folder of its own, run on fakes."""
    return Bed(tmp_path, monkeypatch)
