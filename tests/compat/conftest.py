"""The shipped data, and the logs of three servers that really ran vLLM 0.26.0 on two H100s."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from vep_dagger.compat import Compat, clean

LOGS = Path(__file__).parent / "gpu-logs"


@pytest.fixture(scope="session")
def compat() -> Compat:
    return Compat.load()


@pytest.fixture(scope="session")
def gpu_logs() -> dict[str, list[str]]:
    """By name of the cell: the cleaned messages of the server's log."""
    return {
        path.parent.name: clean(gzip.decompress(path.read_bytes()).decode())
        for path in sorted(LOGS.glob("*/server.log.gz"))
    }
