"""Ctrl-C and SIGTERM while a server is in the foreground: the first asks, the second forces."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskStatus

from vep_dagger.launchers.base import Server


@dataclass
class Interruption:
    """Cancels ``scope`` at the first signal; at the second, ends the server without grace."""

    say: Callable[[str], None]
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    server: Server | None = None
    """The server that runs, if one does."""
    heard: int = 0

    async def listen(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Hear signals until cancelled."""
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            async for _ in signals:
                self.heard += 1
                if self.heard == 1:
                    self.say("stopping; Ctrl-C again forces it")
                    self.scope.cancel()
                elif self.server is not None:
                    self.say("forcing it to end")
                    # Beside the stop that goes on, it can only shorten that one's grace.
                    await self.server.stop(0)
