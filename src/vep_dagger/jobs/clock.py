"""Time as records have it."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class Stopwatch:
    """When something began (UTC) and how long it has taken (monotonic seconds)."""

    def __init__(self) -> None:
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds so far, to the millisecond."""
        return round(time.monotonic() - self._began, 3)
