"""A command on the other side of a bridge (:mod:`.bridge`): a guard (:mod:`vep_dagger.processes.guard`) whose pipes are
a connection."""

from __future__ import annotations

import errno
import json
import signal
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import TaskGroup

from vep_dagger.errors import LaunchError
from vep_dagger.launchers.base import Stopped
from vep_dagger.launchers.dagger.bridge import Bridge, RefusedError
from vep_dagger.launchers.dagger.streams import BROKEN, Channel
from vep_dagger.processes.failure import not_started
from vep_dagger.processes.leftovers import mark_environment

GRACE_S = 5.0
"""Between SIGTERM and SIGKILL when nobody is there to say."""
LINGER_S = 2.0
"""For what a main process leaves behind, before it is killed."""
PATIENCE_S = 25.0
"""For SIGKILL to take effect, beyond the grace: freeing the memory of a GPU takes seconds."""
START_S = 60.0


class Remote:
    """A command that was started there and may have ended. When the bridge is lost it counts as killed."""

    def __init__(self, bridge: Bridge, number: int, channel: Channel, label: str) -> None:
        self._bridge, self._number, self._channel, self._label = bridge, number, channel, label
        self._code: int | None = None
        self._last: dict[str, Any] = {}
        self._failure: dict[str, Any] | None = None
        self._ended_at = 0.0
        self._started, self._exited, self._over = anyio.Event(), anyio.Event(), anyio.Event()
        self._sending, self._stopping = anyio.Lock(), anyio.Lock()
        self._stopped: Stopped | None = None

    @classmethod
    async def start(
        cls,
        bridge: Bridge,
        group: TaskGroup,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        secrets: Sequence[str],
        cwd: Path,
        log: Path,
        label: str,
        image: str,
        marker: str | None = None,
    ) -> Remote:
        """Start a command with exactly this environment, and those ``secrets`` that the agent has; its output is
        appended to ``log``. ``group`` is where it is followed. Raises LaunchError."""
        mark = mark_environment(marker or uuid.uuid4().hex)
        request = {
            "argv": list(argv),
            "env": {**env, **mark},
            "cwd": str(cwd),
            "grace_s": GRACE_S,
            "linger_s": LINGER_S,
            "mark": None,
            "last": None,
        }
        words = {
            "do": "run",
            "request": request,
            "secrets": list(secrets),
            "log": str(log),
            "label": label,
            "mark": mark,
        }
        try:
            number, channel = await bridge.dial(words)
        except RefusedError as error:
            if error.code == errno.ENOENT:
                raise LaunchError(
                    f"the program {argv[0]!r} is not in the image {image}", where=label, hint=error.why
                ) from None
            raise LaunchError(f"{label!r} cannot be started: {error.why}", where=argv[0]) from None
        command = cls(bridge, number, channel, label)
        group.start_soon(command._follow)
        with anyio.move_on_after(START_S):
            try:
                await command._started.wait()
            except BaseException:
                await command.stop(0)
                raise
        if command._failure is not None:
            event = command._failure
            raise not_started(label, argv[0], cwd, event["step"], event["errno"])
        if not command._started.is_set():
            await command.stop(0)
            raise LaunchError(f"{label!r} was not started within {START_S:g} s", where=str(log))
        return command

    def exited(self) -> int | None:
        """The main process' exit code (negative: the signal), or None while it lives."""
        return self._code

    async def wait(self) -> int:
        """Wait until the main process has exited, and give the exit code. Everything that it wrote is here by then."""
        await self._exited.wait()
        assert self._code is not None
        return self._code

    async def left(self) -> None:
        """Wait until nothing of it is left."""
        await self._over.wait()

    @property
    def gone(self) -> anyio.Event:
        """Set when the main process has exited."""
        return self._exited

    def memory_bytes(self) -> int | None:
        """What its processes held at the last look, seconds ago; None when it has ended."""
        return None if self._over.is_set() else self._bridge.memory.get(self._number) or None

    async def stop(self, grace_s: float) -> Stopped:
        """SIGTERM to the main process, and after ``grace_s`` SIGKILL to all. Cannot be cancelled, and is bounded.

        Raises LaunchError if that is not enough. Called again, it gives the same answer; called by a second task
        meanwhile, it can only shorten the first one's grace.
        """
        begin = time.monotonic()
        with anyio.CancelScope(shield=True):
            with suppress(*BROKEN):
                async with self._sending:
                    await self._channel.stream.send(json.dumps({"stop": grace_s}).encode() + b"\n")
            async with self._stopping:
                if self._stopped is None:
                    with anyio.move_on_after(grace_s + PATIENCE_S):
                        await self._over.wait()
                    if self._over.is_set():
                        self._stopped = self._how(max(0.0, self._ended_at - begin))
        if self._stopped is None:
            raise LaunchError(
                f"{self._label!r} does not end, even by SIGKILL",
                hint="it waits in the kernel, most often for a device's driver: see `dmesg`",
            )
        return self._stopped

    def _how(self, seconds: float) -> Stopped:
        killed, forced = self._last.get("killed", 0), self._last.get("forced", self._code == -signal.SIGKILL)
        return Stopped(None if forced else self._code, killed == 0 and not forced, seconds, killed)

    async def _follow(self) -> None:
        """Read the guard's reports until there are no more."""
        try:
            async with self._channel.stream:
                with suppress(*BROKEN):
                    while True:
                        await self._hear(json.loads(await self._channel.reader.receive_until(b"\n", 4096)))
            if self._code is None and self._failure is None:
                # Whoever learns of the end looks for its reason: that comes first.
                with anyio.move_on_after(2 * self._bridge.farewell_s):
                    await self._bridge.gone.wait()
        finally:
            if self._code is None:
                # Without its guard the main process is killed by the kernel (PR_SET_PDEATHSIG).
                self._code = -signal.SIGKILL
            self._ended_at = self._ended_at or time.monotonic()
            for event in (self._started, self._exited, self._over):
                event.set()

    async def _hear(self, event: dict[str, Any]) -> None:
        match event["event"]:
            case "started":
                self._started.set()
            case "failed":
                self._failure = event
            case "exited":
                # Who learns that it has ended looks at what it left.
                await self._flush()
                self._code = event["code"]
                self._exited.set()
            case "ended":
                self._last, self._ended_at = event, time.monotonic()
                await self._flush()

    async def _flush(self) -> None:
        # What could not be written is said by whoever asks for the files themselves.
        with suppress(LaunchError):
            await self._bridge.flush()
