"""What tests of SquashFS files need of this machine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.squash.squash_runs import HOW


@pytest.fixture
def program(needs: Callable[[str, str], str]) -> str:
    return needs("mksquashfs", HOW)
