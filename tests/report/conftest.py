from __future__ import annotations

import pytest

from tests.report.example import Run, example
from vep_dagger.report.summary import Summary


@pytest.fixture
def run() -> Run:
    return example()


@pytest.fixture
def summary(run: Run) -> Summary:
    return run.summary()
